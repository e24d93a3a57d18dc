package world

import (
	"slices"
	"strings"
)

// topologyOf is the number of a label's topology, made when first asked for. Labels are
// few; they are not forgotten.
func (w *World) topologyOf(label string) int32 {
	p := &w.places
	i, known := p.number[label]
	if !known {
		i = int32(len(p.topologies))
		p.number[label] = i
		p.topologies = append(p.topologies, topology{label: label, values: map[string]int32{}})
		for n := range w.Nodes {
			if w.Nodes[n].Present {
				p.topologies[i].join(NodeIx(n), &w.Nodes[n])
			}
		}
	}
	return i
}

// of is the domain of a node.
func (t *topology) of(n NodeIx) int32 {
	if t.label == "" {
		return int32(n)
	}
	if int(n) >= len(t.domain) {
		return nowhere
	}
	return t.domain[n]
}

// join puts a node into the domain that its labels say.
func (t *topology) join(n NodeIx, nd *Node) {
	if t.label == "" {
		return
	}
	for int(n) >= len(t.domain) {
		t.domain = append(t.domain, nowhere)
	}
	value, ok := nd.Spec.Labels[t.label]
	if !ok {
		t.domain[n] = nowhere
		return
	}
	d, known := t.values[value]
	if !known {
		d = int32(len(t.nodes))
		if last := len(t.spare) - 1; last >= 0 {
			d, t.spare = t.spare[last], t.spare[:last]
		} else {
			t.nodes, t.names = append(t.nodes, 0), append(t.names, "")
		}
		t.values[value], t.names[d] = d, value
	}
	t.nodes[d]++
	t.domain[n] = d
}

// leave takes a node out of its domain. Nothing on the node is counted any more.
func (t *topology) leave(n NodeIx) {
	if d := t.of(n); t.label != "" && d != nowhere {
		if t.nodes[d]--; t.nodes[d] == 0 {
			delete(t.values, t.names[d])
			t.spare = append(t.spare, d)
		}
		t.domain[n] = nowhere
	}
}

// leaveDomains takes a node, with everything on it, out of all domains.
func (w *World) leaveDomains(n NodeIx) {
	w.stir()
	w.settleNode(n, -1)
	for i := range w.places.topologies {
		w.places.topologies[i].leave(n)
	}
}

// joinDomains puts it into those that its labels say.
func (w *World) joinDomains(n NodeIx) {
	w.stir()
	for i := range w.places.topologies {
		w.places.topologies[i].join(n, &w.Nodes[n])
	}
	w.settleNode(n, 1)
}

// stir notes that a node comes, goes or changes: a domain more or less may be what
// somebody waits for.
func (w *World) stir() {
	w.places.nodes++
	w.Moved++
}

type namedDomain struct {
	name string
	at   int32
}

// sorted lists the domains that have nodes, by name.
func (t *topology) sorted(w *World) (out []namedDomain) {
	if t.label == "" {
		for n := range w.Nodes {
			out = append(out, namedDomain{w.Nodes[n].Name, int32(n)})
		}
	}
	for d, name := range t.names {
		if t.nodes[d] > 0 {
			out = append(out, namedDomain{name, int32(d)})
		}
	}
	slices.SortFunc(out, func(a, b namedDomain) int { return strings.Compare(a.name, b.name) })
	return out
}

type eligibleKey struct {
	shape    ShapeID
	topology int32
}

// eligible is the domains that have a node on which a shape may run, cordoned or not,
// whatever is free there.
type eligible struct {
	nodes   uint64 // places.nodes when it was made
	domains []int32
}

// maxEligible bounds what is remembered about shapes and domains.
const maxEligible = 1024

func (w *World) eligibleFor(s ShapeID, topo int32) []int32 {
	p := &w.places
	key := eligibleKey{s, topo}
	e := p.eligible[key]
	if e != nil && e.nodes == p.nodes {
		return e.domains
	}
	if p.eligible == nil || len(p.eligible) >= maxEligible {
		p.eligible = map[eligibleKey]*eligible{}
	}
	e = &eligible{nodes: p.nodes}
	seen := map[int32]bool{}
	for n := range w.Nodes {
		d := p.topologies[topo].of(NodeIx(n))
		if w.Nodes[n].Present && d != nowhere && !seen[d] && w.RunsOn(s, NodeIx(n)) {
			seen[d] = true
			e.domains = append(e.domains, d)
		}
	}
	p.eligible[key] = e
	return e.domains
}
