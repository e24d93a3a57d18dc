package agent

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// publish makes a State of what is known, keeps it and hands it out.
func (a *Agent) publish(now time.Time, edge bool) {
	st := &State{
		Node: a.c.Node, Boot: a.c.Boot, At: now, Edge: edge, Sweep: a.finished(),
		Sources: a.sources.list(), System: a.system, Recalling: a.recall.open, Counts: a.counts,
		GPUs: make([]GPU, 0, len(a.slots)), Uses: make([]Use, 0, len(a.uses)),
	}
	_, unowned, dropped := a.lookup.counts()
	st.Counts.Unowned, st.Counts.Dropped = unowned, dropped
	for _, p := range a.procs {
		if p.armed {
			st.Counts.ArmedPIDs++
		}
	}
	for _, s := range a.slots {
		for _, g := range s.gpus() {
			st.GPUs = append(st.GPUs, s.report(g))
		}
	}
	for _, u := range a.uses {
		st.Uses = append(st.Uses, u.Use)
	}
	slices.SortFunc(st.Uses, func(x, y Use) int {
		return cmp.Or(cmp.Compare(x.Owner, y.Owner), cmp.Compare(x.GPU, y.GPU))
	})
	a.untold += st.bound()
	st.Counts.Dropped += a.untold
	a.state.Store(st)
	if st.Sweep > 0 {
		a.c.Sink(st)
	}
}

// maxUses that are told: the scheduler refuses a report of many more as a whole.
const maxUses = 2048

// bound drops uses where there are too many, those of no pod first, and all of an owner or
// none: of what is not told the scheduler knows nothing. It returns how many.
func (s *State) bound() (dropped uint64) {
	all := len(s.Uses)
	if all <= maxUses {
		return 0
	}
	outside := func(u Use) bool { return strings.HasPrefix(u.Owner, "host:") }
	s.Uses = slices.DeleteFunc(s.Uses, outside)
	keep := min(len(s.Uses), maxUses)
	for keep > 0 && keep < len(s.Uses) && s.Uses[keep-1].Owner == s.Uses[keep].Owner {
		keep--
	}
	s.Uses = s.Uses[:keep]
	return uint64(all - keep)
}

// finished sweeps.
func (a *Agent) finished() uint64 {
	if a.running {
		return a.sweep - 1
	}
	return a.sweep
}

// report is a GPU with its health; an instance has that of its GPU.
func (s *slot) report(g *gpu) GPU {
	out := g.GPU
	h := &s.health
	out.Health, out.HealthReason, out.HealthSince = h.current.state, h.current.reason, h.since
	out.Recovery = h.recovery
	if g.Parent == "" {
		out.LastXID, out.XIDs = h.lastXID, h.xids
	}
	return out
}

// label says of the uses which pods they are, and whether the GPU was given to them.
func (a *Agent) label() {
	gpus := map[string]*gpu{}
	for _, s := range a.slots {
		for _, g := range s.gpus() {
			gpus[g.UUID] = g
		}
	}
	for key, u := range a.uses {
		p := a.assignments.nameOf(u.Owner)
		u.Namespace, u.Pod = p.namespace, p.name
		if g := gpus[key.GPU]; g != nil {
			u.Assigned = a.assignments.assigned(u.Owner, g)
		}
	}
}
