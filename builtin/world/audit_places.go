package world

import (
	"fmt"
	"slices"

	"github.com/musterhq/muster/builtin/spec"
)

// places: the terms that are referred to, and the tasks of each by domain, are those
// that nodes, groups and others say.
func (a *audit) places() {
	p := &a.w.places
	for i := range p.topologies {
		a.topology(&p.topologies[i])
	}
	a.referred()
	for i := range p.terms {
		if p.terms[i].uses > 0 {
			a.term(&p.terms[i])
		}
	}
	placed := map[string]int32{}
	a.eachCounted(func(_ NodeIx, id string, tasks int32) { placed[id] += tasks })
	for _, id := range idsOf(placed) {
		agree(a, "tasks of "+id, p.placed[id], placed[id])
	}
	for _, id := range idsOf(p.placed) {
		agree(a, "tasks of "+id, p.placed[id], placed[id])
	}
}

// topology: each node is in the domain that its label says.
func (a *audit) topology(t *topology) {
	if t.label == "" {
		return
	}
	nodes := make([]int32, len(t.nodes))
	for n := range a.w.Nodes {
		nd, d := &a.w.Nodes[n], t.of(NodeIx(n))
		value, has := nd.Spec.Labels[t.label]
		if has = has && nd.Present; has != (d != nowhere) || has && (t.names[d] != value || t.values[value] != d) {
			a.note("%s is not in its domain of %s", nd.Name, t.label)
			continue
		}
		if has {
			nodes[d]++
		}
	}
	live := 0
	for d := range nodes {
		agree(a, fmt.Sprintf("nodes of domain %s of %s", t.names[d], t.label), t.nodes[d], nodes[d])
		agree(a, fmt.Sprintf("domain %d of %s is spare", d, t.label), slices.Contains(t.spare, int32(d)), nodes[d] == 0)
		if nodes[d] > 0 {
			live++
		}
	}
	agree(a, "domains of "+t.label, len(t.values), live)
}

// referred: a term is there as long as a group or a task of others refers to it.
func (a *audit) referred() {
	w := a.w
	uses := map[spec.Term]int32{}
	for _, j := range w.Jobs() {
		for gi := range j.Groups {
			s := &j.Own.Tasks[gi].Near
			agree(a, fmt.Sprintf("group %d of %s relates to others", gi, j.Spec.ID), j.Groups[gi].near != nil, !s.Empty())
			for _, t := range slices.Concat(s.Needs, s.Avoids) {
				uses[t]++
			}
			for _, t := range s.Spread {
				uses[t.Term]++
			}
		}
	}
	for n := range w.Nodes {
		if f := w.Nodes[n].foreign; f != nil {
			for _, t := range termsOf(f.Avoids) {
				uses[t]++
			}
		}
	}
	agree(a, "terms", len(w.places.term), len(uses))
	for _, t := range termsOf(uses) {
		i, ok := w.places.term[t]
		if !ok || w.places.terms[i].uses != uses[t] || !slices.Contains(w.places.of[t.ID], i) {
			a.note("term %s@%s is not referred to as often as was counted, %d times", t.ID, t.Topology, uses[t])
		}
	}
}

// eachCounted calls f for all that counts for any term, wherever it is.
func (a *audit) eachCounted(f func(n NodeIx, id string, tasks int32)) {
	for n := range a.w.Nodes {
		for t := a.w.Nodes[n].head; t != nil; t = t.next {
			for _, id := range t.Job.Own.Tasks[t.Group].Near.Counts {
				f(NodeIx(n), id, 1)
			}
		}
		if o := a.w.Nodes[n].foreign; o != nil {
			for _, id := range idsOf(o.Counts) {
				f(NodeIx(n), id, o.Counts[id])
			}
		}
	}
}

func (a *audit) term(t *term) {
	w := a.w
	topo := &w.places.topologies[t.topology]
	var counts, avoided []int32
	total := int32(0)
	a.eachCounted(func(n NodeIx, id string, tasks int32) {
		if d := topo.of(n); id == t.ID && d != nowhere {
			add(&counts, d, tasks)
			total += tasks
		}
	})
	for n := range w.Nodes {
		d := topo.of(NodeIx(n))
		if d == nowhere {
			continue
		}
		for o := w.Nodes[n].head; o != nil; o = o.next {
			for _, v := range o.Job.Own.Tasks[o.Group].Near.Avoids {
				if v == t.Term {
					add(&avoided, d, 1)
				}
			}
		}
		if f := w.Nodes[n].foreign; f != nil {
			add(&avoided, d, f.Avoids[t.Term])
		}
	}
	name := "tasks of " + t.ID + " in domain %d of " + t.Topology
	for d := range int32(max(len(counts), len(t.counts), len(avoided), len(t.avoided))) {
		agree(a, fmt.Sprintf(name, d), [2]int32{at(t.counts, d), at(t.avoided, d)}, [2]int32{at(counts, d), at(avoided, d)})
	}
	agree(a, "tasks of "+t.ID+" in all domains of "+t.Topology, t.total, total)
}
