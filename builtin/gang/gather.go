package gang

import (
	"cmp"
	"slices"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/pack"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/builtin/world"
)

// gather places a gang whose tasks all need each other in one domain. The node that is
// best for the first task may be in a domain with no room for the others, so each
// domain is tried by itself. If none can hold the gang, the freest tells how far it got.
func (p *placer) gather(term spec.Term) ([]*world.Task, Failure) {
	all := Domains(p.w, p.j, term)
	domains := slices.DeleteFunc(slices.Clone(all), func(d Room) bool { return !d.enough })
	if p.x.Strategy() != pack.Spread {
		slices.SortStableFunc(domains, func(a, b Room) int { return b.freer(a) })
	}
	if len(domains) == 0 && len(all) > 0 {
		domains = all[:1]
	}
	worst := Failure{Of: p.j.GangMissing()}
	for _, d := range domains {
		p.within = d.Domain
		placed, fail := p.place()
		if placed != nil {
			return placed, Failure{}
		}
		if fail.Placed >= worst.Placed {
			worst = fail
		}
	}
	worst.Within, worst.Topology = true, term.Topology
	return nil, worst
}

// Room is a domain with what is free in it for a gang.
type Room struct {
	world.Domain
	enough    bool // taken together; whether the tasks fit on the nodes is another matter
	gpus, cpu amount.Amount
	free      []amount.Amount
}

// Domains lists the domains in which the missing part of a gang may gather, the freest
// first. Placement tries those with enough in the other order, like bin-packing: the
// tightest that holds the gang is taken, and the freest are left for larger gangs
// (under the strategy that spreads, the freest is). The order is that of free GPUs, then
// of cpu, then of the first nodes' names, whatever the order in which nodes came.
func Domains(w *world.World, j *world.Job, term spec.Term) []Room {
	missing := Missing(w, j, make([]amount.Amount, w.R()))
	var rooms []Room
	at := map[world.Domain]int{}
	for _, n := range w.Order() {
		d, ok := w.DomainOf(term, n)
		if !ok || !w.Usable(n, j) || !runs(w, j, n) {
			continue
		}
		i, known := at[d]
		if !known {
			i = len(rooms)
			at[d] = i
			rooms = append(rooms, Room{Domain: d, free: make([]amount.Amount, len(missing))})
		}
		rooms[i].add(w, n, missing)
	}
	for i := range rooms {
		rooms[i].enough = true
		for k, e := range missing {
			rooms[i].enough = rooms[i].enough && rooms[i].free[k] >= e.Amount
		}
	}
	slices.SortStableFunc(rooms, Room.freer) // they came in order of their first nodes
	return rooms
}

// freer sorts the freer domain first: GPUs before cpu.
func (r Room) freer(o Room) int {
	return cmp.Or(cmp.Compare(o.gpus, r.gpus), cmp.Compare(o.cpu, r.cpu))
}

// add counts what is free on one more node.
func (r *Room) add(w *world.World, n world.NodeIx, missing amount.List) {
	free := w.Free(n)
	r.gpus = r.gpus.Add(max(0, free[amount.GPU]))
	r.cpu = r.cpu.Add(max(0, free[amount.CPU]))
	for k, e := range missing {
		r.free[k] = r.free[k].Add(max(0, free[e.Dim]))
	}
}

// runs says whether any of the missing tasks may use a node.
func runs(w *world.World, j *world.Job, n world.NodeIx) bool {
	return slices.ContainsFunc(j.Groups, func(g world.Group) bool {
		return g.Min > g.Placed+g.Finished && w.RunsOn(g.Shape, n)
	})
}
