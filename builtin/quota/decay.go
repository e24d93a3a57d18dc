package quota

import (
	"math/bits"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/spec"
)

// Decayed usage is the GPU time that a queue has used, each millisecond of it
// counting half after one half-life, a quarter after two, and so on (Slurm's
// PriorityDecayHalfLife). It is history: nothing in the undo log, changed by Advance
// only. Between two calls the usage is what it is at the second, so Advance is called
// before anything changes at a time.
//
// All of it is integer arithmetic, so that every machine gets the same bits. What is
// used in a span r shorter than a half-life H counts, at its end,
//
//	u·r·φ(z)  with  z = ln 2 · r/H,  φ(z) = (1-e^-z)/z = 1 - z/2 + z²/6 - …
//
// and what was used before it is cut by the part z·φ(z). Longer spans are whole
// half-lives and a rest. Each span adds an error of less than 2^-60 of the value and
// one unit of 10^-9 GPU-ms, so n spans give the same as one within n times that.

// The defaults of a tree.
const (
	DefaultHalfLife  = 7 * 24 * 3600 * spec.Second
	DefaultUseMaxAge = 120 * spec.Second
)

// wide is an amount of GPU time in milli-GPU × ns, which is 10^-9 GPU-ms.
type wide struct{ hi, lo uint64 }

// add is exact: what is added stays below 2^118 as long as amounts are below
// amount.Limit.
func (a wide) add(b wide) wide {
	lo, carry := bits.Add64(a.lo, b.lo, 0)
	return wide{a.hi + b.hi + carry, lo}
}

func (a wide) sub(b wide) wide {
	lo, borrow := bits.Sub64(a.lo, b.lo, 0)
	return wide{a.hi - b.hi - borrow, lo}
}

// part is a × f/2^64, rounded to the nearest.
func (a wide) part(f uint64) wide {
	h1, l1 := bits.Mul64(a.hi, f)
	h0, l0 := bits.Mul64(a.lo, f)
	return wide{h1, l1}.add(wide{0, h0}).add(wide{0, l0 >> 63})
}

// gpuMilliseconds rounds down; more than an int64 holds is the largest int64.
func (a wide) gpuMilliseconds() int64 {
	const unit = 1_000_000_000
	if a.hi >= unit/2 {
		return 1<<63 - 1
	}
	ms, _ := bits.Div64(a.hi, a.lo, unit)
	return int64(ms)
}

// span is a stretch of time of less than a half-life, or of exactly one.
type span struct {
	ns uint64
	// lost is the part of earlier usage that is forgotten in it, short what usage in
	// it lacks of its full weight: both as parts of 2^64.
	lost, short uint64
}

// ln2 is ln 2 × 2^64, rounded to the nearest.
const ln2 = 0xb17217f7d1cf79ac

// spanOf is r of a half-life h; r is less than h.
func spanOf(r, h uint64) span {
	y, _ := bits.Div64(r, 0, h)
	return spanAt(r, high(y, ln2))
}

// spanAt computes φ by Horner's scheme: short = z/2·(1 - z/3·(1 - z/4·…)).
func spanAt(ns, z uint64) span {
	short := uint64(0)
	for k := uint64(21); k >= 2; k-- {
		rest := -short // 1 - short; 1 itself is 2^64
		if short == 0 {
			short = z / k
			continue
		}
		short = high(z, rest) / k
	}
	return span{ns, z - high(z, short), short}
}

func high(a, b uint64) uint64 {
	h, _ := bits.Mul64(a, b)
	return h
}

// after is what a value becomes by the end of the span, with a steady usage.
func (s span) after(v wide, used amount.Amount) wide {
	hi, lo := bits.Mul64(uint64(max(0, used)), s.ns)
	fresh := wide{hi, lo}
	return v.sub(v.part(s.lost)).add(fresh.sub(fresh.part(s.short)))
}

// passage is a stretch of time: whole half-lives, then a rest.
type passage struct {
	halves int
	half   span
	rest   span
}

// forgotten is after how many half-lives nothing is left of any value.
const forgotten = 128

func (t *Tree) passageTo(now spec.Time) passage {
	dt, h := uint64(now-t.since), uint64(t.HalfLife)
	p := passage{rest: spanOf(dt%h, h)}
	if dt >= h {
		p.halves = int(min(forgotten, dt/h))
		p.half = spanAt(h, ln2)
	}
	return p
}

func (p *passage) after(v wide, used amount.Amount) wide {
	for range p.halves {
		v = p.half.after(v, used)
	}
	return p.rest.after(v, used)
}

// Advance brings the decayed usage of all queues to a time. Call it before usage
// changes at that time. A time that is not later changes nothing.
func (t *Tree) Advance(now spec.Time) {
	if now <= t.since {
		return
	}
	p := t.passageTo(now)
	for q := range t.past {
		t.past[q] = p.after(t.past[q], t.used[q*t.r+int(amount.GPU)])
	}
	t.since = now
}

// Decayed fills the decayed usage of each queue at a time, GPU-ms, as if usage had not
// changed since the last Advance. It changes nothing.
func (t *Tree) Decayed(now spec.Time, out []int64) {
	if now <= t.since {
		for q := range t.past {
			out[q] = t.past[q].gpuMilliseconds()
		}
		return
	}
	p := t.passageTo(now)
	for q := range t.past {
		out[q] = p.after(t.past[q], t.used[q*t.r+int(amount.GPU)]).gpuMilliseconds()
	}
}

// Inherit takes over the history of the queues that an older tree has too, by path.
func (t *Tree) Inherit(old *Tree) {
	t.since = old.since
	for q := range old.Queues {
		if n, ok := t.byPath[old.Queues[q].Path]; ok {
			t.past[n] = old.past[q]
		}
	}
}
