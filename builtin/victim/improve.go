package victim

import (
	"slices"

	"github.com/musterhq/muster/builtin/amount"
)

// greedyWork bounds the heuristics of one search, in units looked at; one costs
// some ten nanoseconds to a microsecond.
const greedyWork = 60_000

// improve looks for a good set: greedy starts that price spread units
// differently, then units of the best set are taken out in turn, alone and in
// pairs, and what is missing is found anew; and others are put in, so that some
// that are in may go.
func (s *Search) improve(b *best) {
	g := &s.greedy
	g.start(&s.f, &s.lo)
	g.work = greedyWork
	if len(s.f.units) <= ExactUnits { // the exact search does better
		g.work /= 10
	}
	for _, g.share = range []amount.Amount{0, shareUnit / 2, shareUnit} {
		s.lo.start(&s.f)
		clear(g.fresh)
		if g.complete() {
			g.pare()
			b.offer(&s.lo)
		}
		if !s.f.wide { // no unit is spread: all starts are the same
			break
		}
	}
	if !b.found {
		return
	}
	for g.work > 0 && (g.without(b, 1) || g.with(b) || g.without(b, 2)) {
		continue
	}
}

// without takes one or two units out of the best set for good and completes what
// is left; it says whether that gave a better set.
func (g *greedy) without(b *best, n int) bool {
	set := slices.Clone(b.set)
	if n > len(set) {
		return false
	}
	for _, g.share = range []amount.Amount{0, shareUnit} {
		clear(g.fresh)
		for i := range set {
			for k := i; k < len(set) && (n == 2 || k == i) && g.work > 0; k++ {
				if n == 2 && k == i {
					continue
				}
				g.become(set)
				was := b.key
				g.without1(b, []int32{set[i], set[k]}[:n])
				if b.key.compare(was) < 0 {
					return true
				}
			}
		}
		if !g.f.wide { // all prices are the same
			break
		}
	}
	return false
}

func (g *greedy) without1(b *best, out []int32) {
	for _, u := range out {
		g.remove(u)
		g.tabu[u] = true
	}
	if g.complete() {
		for _, u := range out {
			g.tabu[u] = false
		}
		g.pare()
		b.offer(g.st)
	}
	for _, u := range out {
		g.tabu[u] = false
		g.touch(u)
	}
}

// with puts one more unit into the best set and takes out what is no longer
// needed.
func (g *greedy) with(b *best) bool {
	set := slices.Clone(b.set)
	for u := range g.f.units {
		if g.work -= len(set); g.work < 0 {
			return false
		}
		g.become(set)
		if g.tabu[u] || !g.st.mayAdd(int32(u)) || g.f.units[u].cost >= b.key.cost {
			continue
		}
		g.add(int32(u))
		g.pare()
		was := b.key
		if b.offer(g.st); b.key.compare(was) < 0 {
			return true
		}
	}
	return false
}
