package world

import (
	"slices"
	"strconv"
	"strings"

	"github.com/musterhq/muster/builtin/spec"
)

// Where tasks are that others want near or far. For each term that some group or some
// foreign task refers to, the world counts, by domain, the tasks that count for it and
// those that avoid it. The counts change with every task that comes to a node or leaves
// it, in what-ifs too; a victim on its way out counts until it is gone. Whether a node
// will do is then a look at a few numbers (see Nearby).

// near is spec.Near of a group, with its terms looked up. nil relates to nothing.
type near struct {
	spec   spec.Near
	needs  []int32 // terms, in the order of spec
	avoids []int32
	spread []int32
}

// places is where the tasks of all terms are.
type places struct {
	topologies []topology
	number     map[string]int32 // topology of a label
	terms      []term
	term       map[spec.Term]int32
	spare      []int32            // terms that nobody refers to any more
	of         map[string][]int32 // terms with that ID
	placed     map[string]int32   // tasks that count for an ID, wherever they are
	eligible   map[eligibleKey]*eligible
	nodes      uint64 // grows when nodes come, go or change
}

// topology is the domains of one label.
type topology struct {
	label  string  // "" is the node itself: its domains are the nodes
	domain []int32 // of each node, nowhere where it has none
	values map[string]int32
	names  []string // of domains
	nodes  []int32  // of each domain
	spare  []int32  // domains without nodes, to be given another name
}

// nowhere is the domain of a node without the label.
const nowhere int32 = -1

type term struct {
	spec.Term
	topology int32
	uses     int32   // groups and foreign tasks that refer to it
	counts   []int32 // by domain: tasks that count for it; shorter if the rest is 0
	total    int32   // of counts
	avoided  []int32 // by domain: tasks that avoid it
}

func add(counts *[]int32, domain, n int32) {
	for int(domain) >= len(*counts) {
		*counts = append(*counts, 0)
	}
	(*counts)[domain] += n
}

func at(counts []int32, domain int32) int32 {
	if domain < 0 || int(domain) >= len(counts) {
		return 0
	}
	return counts[domain]
}

// nearOf looks up the terms of a group, which holds them until forgetNear.
func (w *World) nearOf(s *spec.Near) *near {
	if s.Empty() {
		return nil
	}
	n := &near{spec: *s}
	for _, t := range s.Needs {
		n.needs = append(n.needs, w.hold(t))
	}
	for _, t := range s.Avoids {
		n.avoids = append(n.avoids, w.hold(t))
	}
	for _, t := range s.Spread {
		n.spread = append(n.spread, w.hold(t.Term))
	}
	return n
}

func (w *World) forgetNear(n *near) {
	if n == nil {
		return
	}
	for _, t := range slices.Concat(n.needs, n.avoids, n.spread) {
		w.drop(t)
	}
}

// hold returns the number of a term for one more who refers to it.
func (w *World) hold(t spec.Term) int32 {
	p := &w.places
	i, known := p.term[t]
	if !known {
		i = w.newTerm(t)
	}
	p.terms[i].uses++
	return i
}

func (w *World) newTerm(t spec.Term) int32 {
	p := &w.places
	if p.term == nil {
		p.term, p.of, p.number = map[spec.Term]int32{}, map[string][]int32{}, map[string]int32{}
	}
	i := int32(len(p.terms))
	if last := len(p.spare) - 1; last >= 0 {
		i, p.spare = p.spare[last], p.spare[:last]
	} else {
		p.terms = append(p.terms, term{})
	}
	p.terms[i] = term{Term: t, topology: w.topologyOf(t.Topology)}
	p.term[t] = i
	p.of[t.ID] = append(p.of[t.ID], i)
	if p.placed[t.ID] > 0 {
		w.survey(&p.terms[i])
	}
	return i
}

// survey counts the tasks of a term that are there already.
func (w *World) survey(t *term) {
	for n := range w.Nodes {
		domain := w.places.topologies[t.topology].of(NodeIx(n))
		if domain == nowhere || !w.Nodes[n].Present {
			continue
		}
		for o := w.Nodes[n].head; o != nil; o = o.next {
			if r := o.Job.Groups[o.Group].near; r != nil && slices.Contains(r.spec.Counts, t.ID) {
				t.count(domain, 1)
			}
		}
		if f := w.Nodes[n].foreign; f != nil {
			t.count(domain, f.Counts[t.ID])
		}
	}
}

func (t *term) count(domain, n int32) {
	add(&t.counts, domain, n)
	t.total += n
}

// drop forgets a term when nobody refers to it any more.
func (w *World) drop(i int32) {
	p := &w.places
	t := &p.terms[i]
	if t.uses--; t.uses > 0 {
		return
	}
	delete(p.term, t.Term)
	if p.of[t.ID] = slices.DeleteFunc(p.of[t.ID], func(o int32) bool { return o == i }); len(p.of[t.ID]) == 0 {
		delete(p.of, t.ID)
	}
	*t = term{}
	p.spare = append(p.spare, i)
}

// settle counts a task that comes to its node (1) or leaves it (-1).
func (w *World) settle(t *Task, sign int32) {
	if r := t.Job.Groups[t.Group].near; r != nil {
		for _, id := range r.spec.Counts {
			w.countAt(t.Node, id, sign)
		}
		for _, i := range r.avoids {
			w.avoidAt(t.Node, i, sign)
		}
	}
}

func (w *World) countAt(n NodeIx, id string, tasks int32) {
	p := &w.places
	if p.placed == nil {
		p.placed = map[string]int32{}
	}
	if p.placed[id] += tasks; p.placed[id] == 0 {
		delete(p.placed, id)
	}
	for _, i := range p.of[id] {
		t := &p.terms[i]
		if domain := p.topologies[t.topology].of(n); domain != nowhere {
			t.count(domain, tasks)
			w.Moved++
		}
	}
}

func (w *World) avoidAt(n NodeIx, i, tasks int32) {
	t := &w.places.terms[i]
	if domain := w.places.topologies[t.topology].of(n); domain != nowhere {
		add(&t.avoided, domain, tasks)
		w.Moved++
	}
}

// settleNode counts everything on a node, or takes it back: before and after the node
// goes into other domains.
func (w *World) settleNode(n NodeIx, sign int32) {
	for t := w.Nodes[n].head; t != nil; t = t.next {
		w.settle(t, sign)
	}
	w.settleForeign(n, sign)
}

func (w *World) settleForeign(n NodeIx, sign int32) {
	f := w.Nodes[n].foreign
	if f == nil {
		return
	}
	for _, id := range idsOf(f.Counts) {
		w.countAt(n, id, sign*f.Counts[id])
	}
	for k, t := range termsOf(f.Avoids) {
		w.avoidAt(n, f.avoids[k], sign*f.Avoids[t])
	}
}

// SetCounts replaces what the tasks of a group count for, sorted.
func (w *World) SetCounts(j *Job, group int, counts []string) {
	w.Epoch++
	w.Moved++
	each := func(sign int32) {
		for i := range j.Tasks {
			if t := &j.Tasks[i]; int(t.Group) == group && t.Node != NoNode {
				w.settle(t, sign)
			}
		}
	}
	each(-1)
	j.respec(func(s *spec.Job) {
		s.Tasks = slices.Clone(s.Tasks)
		s.Tasks[group].Near.Counts = counts
	})
	g := &j.Groups[group]
	old := g.near
	g.near = w.nearOf(&j.Own.Tasks[group].Near)
	w.forgetNear(old)
	each(1)
	j.Shape = signature(j)
}

// key tells groups apart that relate to others differently.
func (n *near) key(b []byte) []byte {
	if n == nil {
		return b
	}
	for _, id := range n.spec.Counts {
		b = strconv.AppendQuote(append(b, '+'), id)
	}
	for i, terms := range [...][]spec.Term{n.spec.Needs, n.spec.Avoids} {
		for _, t := range terms {
			b = strconv.AppendQuote(append(b, "&!"[i]), t.ID)
			b = strconv.AppendQuote(b, t.Topology)
		}
	}
	for _, s := range n.spec.Spread {
		b = strconv.AppendQuote(append(b, '~'), s.ID)
		b = strconv.AppendQuote(b, s.Topology)
		b = strconv.AppendInt(append(b, ' '), int64(s.MaxSkew), 10)
		b = strconv.AppendInt(append(b, ' '), int64(s.MinDomains), 10)
		b = strconv.AppendBool(b, s.Self)
	}
	return b
}

// digestPlaces writes down the counts, by name of the domains.
func (w *World) digestPlaces(b *strings.Builder) {
	p := &w.places
	var terms []spec.Term
	for i := range p.terms {
		if p.terms[i].uses > 0 {
			terms = append(terms, p.terms[i].Term)
		}
	}
	slices.SortFunc(terms, compareTerms)
	for _, name := range terms {
		t := &p.terms[p.term[name]]
		b.WriteString("term " + name.ID + "@" + name.Topology + " " + strconv.Itoa(int(t.total)))
		for _, d := range p.topologies[t.topology].sorted(w) {
			if at(t.counts, d.at)+at(t.avoided, d.at) > 0 {
				b.WriteString(" " + d.name + "=" + strconv.Itoa(int(at(t.counts, d.at))) + "!" + strconv.Itoa(int(at(t.avoided, d.at))))
			}
		}
		b.WriteByte('\n')
	}
}
