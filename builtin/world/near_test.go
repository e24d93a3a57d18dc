package world_test

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/builtin/world"
)

// This file has the slow twin of Nearby: Kubernetes' rules as they are documented, over
// a look at every task of every node.

type plain struct {
	w       *world.World
	foreign map[string]world.Foreign // by node
}

func (p *plain) value(topology string, n world.NodeIx) (string, bool) {
	if topology == "" {
		return p.w.Nodes[n].Name, true
	}
	v, ok := p.w.Nodes[n].Spec.Labels[topology]
	return v, ok
}

// inDomain calls f for the nodes with a value of a label; any value if all.
func (p *plain) inDomain(topology, value string, all bool, f func(world.NodeIx)) {
	for n := range p.w.Nodes {
		if v, ok := p.value(topology, world.NodeIx(n)); p.w.Nodes[n].Present && ok && (all || v == value) {
			f(world.NodeIx(n))
		}
	}
}

func nearOf(t *world.Task) *spec.Near { return &t.Job.Own.Tasks[t.Group].Near }

// counted is how many tasks count for a term in a domain.
func (p *plain) counted(t spec.Term, value string, all bool) (n int32) {
	p.inDomain(t.Topology, value, all, func(at world.NodeIx) {
		for _, task := range p.w.TasksOn(at) {
			if slices.Contains(nearOf(task).Counts, t.ID) {
				n++
			}
		}
		n += p.foreign[p.w.Nodes[at].Name].Counts[t.ID]
	})
	return n
}

// shunned says whether a task that counts for an ID is avoided at a node.
func (p *plain) shunned(id string, n world.NodeIx) bool {
	for m := range p.w.Nodes {
		if !p.w.Nodes[m].Present {
			continue
		}
		var avoids []spec.Term
		for _, task := range p.w.TasksOn(world.NodeIx(m)) {
			avoids = append(avoids, nearOf(task).Avoids...)
		}
		for t, tasks := range p.foreign[p.w.Nodes[m].Name].Avoids {
			if tasks > 0 {
				avoids = append(avoids, t)
			}
		}
		for _, t := range avoids {
			here, ok := p.value(t.Topology, n)
			there, too := p.value(t.Topology, world.NodeIx(m))
			if t.ID == id && ok && too && here == there {
				return true
			}
		}
	}
	return false
}

func (p *plain) refusal(j *world.Job, group int, n world.NodeIx) world.Misfit {
	near := &j.Own.Tasks[group].Near
	for _, t := range near.Needs {
		value, ok := p.value(t.Topology, n)
		first := slices.Contains(near.Counts, t.ID) && p.counted(t, "", true) == 0
		if !ok || !first && p.counted(t, value, false) == 0 {
			return world.MisfitAffinity
		}
	}
	for _, t := range near.Avoids {
		if value, ok := p.value(t.Topology, n); ok && p.counted(t, value, false) > 0 {
			return world.MisfitAntiAffinity
		}
	}
	if slices.ContainsFunc(near.Counts, func(id string) bool { return p.shunned(id, n) }) {
		return world.MisfitAntiAffinity
	}
	for _, s := range near.Spread {
		value, ok := p.value(s.Topology, n)
		if !ok || p.skew(j.Groups[group].Shape, s, value) > s.MaxSkew {
			return world.MisfitSpread
		}
	}
	return world.Fit
}

// skew is by how much a domain would exceed the emptiest that the shape may use.
func (p *plain) skew(shape world.ShapeID, s spec.Spread, value string) int32 {
	least := map[string]int32{}
	p.inDomain(s.Topology, "", true, func(n world.NodeIx) {
		if p.w.Judge(shape, p.w.Nodes[n].Class) == world.Fit {
			v, _ := p.value(s.Topology, n)
			least[v] = p.counted(s.Term, v, false)
		}
	})
	smallest := int32(0)
	if len(least) >= int(s.MinDomains) {
		first := true
		for _, c := range least {
			if first || c < smallest {
				smallest, first = c, false
			}
		}
	}
	self := int32(0)
	if s.Self {
		self = 1
	}
	return p.counted(s.Term, value, false) + self - smallest
}

// agree compares the world's counts with the look at everything.
func (p *plain) agree(t fataler) {
	t.Helper()
	for _, j := range p.w.Jobs() {
		for g := range j.Groups {
			near := p.w.Nearby(j, g)
			for n := range p.w.Nodes {
				if !p.w.Nodes[n].Present {
					continue
				}
				if got, want := near.Refusal(world.NodeIx(n)), p.refusal(j, g, world.NodeIx(n)); got != want {
					t.Fatalf("%s, group %d on %s: %q, want %q, with %+v\n%s", j.Spec.ID, g, p.w.Nodes[n].Name, got, want, j.Own.Tasks[g].Near, p.w.Digest())
				}
			}
		}
	}
}

var termIDs = []string{"web", "db", "gang"}

func drawCounts(t *rapid.T) []string {
	ids := rapid.SliceOfNDistinct(rapid.SampledFrom(termIDs), 0, 2, rapid.ID[string]).Draw(t, "counts")
	slices.Sort(ids)
	return ids
}

func drawTerm(t *rapid.T) spec.Term {
	return spec.Term{ID: rapid.SampledFrom(termIDs).Draw(t, "term"), Topology: rapid.SampledFrom([]string{"", "rack", "zone"}).Draw(t, "topology")}
}

func drawNear(t *rapid.T) (n spec.Near) {
	n.Counts = drawCounts(t)
	for range rapid.IntRange(0, 1).Draw(t, "needs") {
		n.Needs = append(n.Needs, drawTerm(t))
	}
	for range rapid.IntRange(0, 2).Draw(t, "avoids") {
		n.Avoids = append(n.Avoids, drawTerm(t))
	}
	for range rapid.IntRange(0, 2).Draw(t, "spread") {
		s := spec.Spread{Term: drawTerm(t), MaxSkew: rapid.Int32Range(1, 2).Draw(t, "skew"), MinDomains: rapid.Int32Range(0, 3).Draw(t, "domains")}
		s.Self = slices.Contains(n.Counts, s.ID)
		n.Spread = append(n.Spread, s)
	}
	return n
}

func drawLabels(t *rapid.T) map[string]string {
	labels := map[string]string{}
	for _, l := range []string{"rack", "zone"} {
		if v := rapid.SampledFrom([]string{"", "1", "2", "3"}).Draw(t, l); v != "" {
			labels[l] = v
		}
	}
	return labels
}

func drawOthers(t *rapid.T) (f world.Foreign) {
	f.Counts, f.Avoids = map[string]int32{}, map[spec.Term]int32{}
	for range rapid.IntRange(0, 2).Draw(t, "others that count") {
		f.Counts[rapid.SampledFrom(termIDs).Draw(t, "id")] = rapid.Int32Range(0, 3).Draw(t, "tasks")
	}
	for range rapid.IntRange(0, 2).Draw(t, "others that avoid") {
		f.Avoids[drawTerm(t)] = rapid.Int32Range(0, 2).Draw(t, "tasks")
	}
	return f
}

// labelled is a node of a rack in a zone.
func labelled(name, rack, zone string) spec.Node {
	n := machine(name, "", 4)
	n.Labels = map[string]string{"rack": rack, "zone": zone}
	return n
}

func TestTermsThatNobodyRefersToAnyMoreAreForgotten(t *testing.T) {
	w := newWorld()
	w.AddNode(labelled("n", "1", "1"))
	empty := w.Digest()
	for i := range 3 {
		g := group(1, 1000, 0)
		g.Near = spec.Near{Counts: []string{"x"}, Needs: []spec.Term{{ID: "x", Topology: "rack"}}, Avoids: []spec.Term{{ID: "y"}}}
		j := addJob(t, w, "j", "root.a", g)
		w.Place(&j.Tasks[0], 0, 1, world.Bound, int64(i))
		w.SetForeign(0, world.Foreign{Avoids: map[spec.Term]int32{{ID: "z"}: 1}})
		w.RemoveJob(j)
		w.SetForeign(0, world.Foreign{})
		sameDigest(t, w, empty, "when all are gone")
	}
}

func TestATermThatComesLateCountsWhoIsThere(t *testing.T) {
	w := newWorld()
	w.AddNode(labelled("m", "1", "1"))
	w.AddNode(labelled("n", "2", "1"))
	g := group(1, 1000, 0)
	g.Near.Counts = []string{"web"}
	first := addJob(t, w, "first", "root.a", g)
	w.Place(&first.Tasks[0], 0, 1, world.Bound, 0)
	g.Near = spec.Near{Needs: []spec.Term{{ID: "web", Topology: "rack"}}}
	later := addJob(t, w, "later", "root.a", g)
	near := w.Nearby(later, 0)
	if near.Refusal(0) != world.Fit || near.Refusal(1) != world.MisfitAffinity {
		t.Errorf("m: %q, n: %q", near.Refusal(0), near.Refusal(1))
	}
	w.AddNode(labelled("n", "1", "1")) // it moves into the same rack
	if got := w.Nearby(later, 0).Refusal(1); got != world.Fit {
		t.Errorf("n, moved: %q", got)
	}
	w.AddNode(labelled("m", "3", "1")) // and the other one leaves it, with its task
	if got := w.Nearby(later, 0).Refusal(1); got != world.MisfitAffinity {
		t.Errorf("n, left alone: %q", got)
	}
}

func TestAGangGathersInTheNarrowestTermThatAllOfItShares(t *testing.T) {
	w := newWorld()
	for _, n := range []spec.Node{labelled("a", "1", "1"), labelled("b", "2", "1"), labelled("c", "3", "2")} {
		w.AddNode(n)
	}
	zone, rack := spec.Term{ID: "g", Topology: "zone"}, spec.Term{ID: "g", Topology: "rack"}
	member := group(2, 1000, 0)
	member.Near = spec.Near{Counts: []string{"g"}, Needs: []spec.Term{zone, rack}}
	wide := member
	wide.Near.Needs = []spec.Term{zone}
	alone := group(1, 1000, 0)
	elastic := alone
	elastic.Min = 0
	for _, c := range []struct {
		name   string
		groups []spec.TaskGroup
		want   spec.Term
	}{
		{"one group", []spec.TaskGroup{member}, rack},
		{"a group that needs less", []spec.TaskGroup{member, wide}, zone},
		{"surplus goes where it likes", []spec.TaskGroup{elastic, member}, rack},
		{"a group that needs nothing", []spec.TaskGroup{member, alone}, spec.Term{}},
		{"nothing but surplus", []spec.TaskGroup{elastic}, spec.Term{}},
	} {
		j := addJob(t, w, c.name, "root.a", c.groups...)
		if got, ok := w.Gathers(j); got != c.want || ok != (c.want.ID != "") {
			t.Errorf("%s: %+v, %v", c.name, got, ok)
		}
	}
}
