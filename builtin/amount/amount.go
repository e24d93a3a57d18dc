// Package amount holds quantities of resources: saturating integers, interned
// resource names, and the sparse and dense vectors that the core computes with.
//
// Every quantity is an int64 in the base unit of its resource: cpu in
// millicores, memory in bytes, GPUs in milli-GPUs (a whole GPU is 1000, so that
// a pod may ask for a part of one device), everything else in counts. Nothing in
// the core uses floating point for a decision.
package amount

import (
	"math"
	"math/bits"
)

// Amount is a quantity in base units. Use its methods rather than + and -: they
// saturate at Max and Min, so a sum can be wrong by at most being "as much as
// can be said", never by turning negative. (Kueue's resources.Amount has the
// same purpose; an overflow there once admitted everything.)
type Amount int64

// Max is also what an absent limit means: "no limit".
const (
	Max Amount = math.MaxInt64
	Min Amount = math.MinInt64
)

// Limit is the largest amount accepted from outside (config, trace, API). It
// leaves room for 8192 such amounts to be summed without saturating.
const Limit Amount = 1 << 50

// Add returns a+b, saturating.
func (a Amount) Add(b Amount) Amount {
	c := a + b
	if (c > a) == (b > 0) {
		return c
	}
	return a.saturated(b)
}

func (a Amount) saturated(b Amount) Amount {
	switch {
	case b == 0:
		return a
	case b > 0:
		return Max
	default:
		return Min
	}
}

// Sub returns a-b, saturating.
func (a Amount) Sub(b Amount) Amount {
	c := a - b
	if (c < a) == (b > 0) {
		return c
	}
	switch {
	case b == 0:
		return a
	case b > 0:
		return Min
	default:
		return Max
	}
}

// Mul returns a*n, saturating.
func (a Amount) Mul(n int64) Amount {
	if a == 0 || n == 0 {
		return 0
	}
	neg := (a < 0) != (n < 0)
	hi, lo := bits.Mul64(magnitude(int64(a)), magnitude(n))
	if hi != 0 || lo > math.MaxInt64 {
		if neg {
			return Min
		}
		return Max
	}
	if neg {
		return -Amount(lo)
	}
	return Amount(lo)
}

// Scale returns floor(a*num/den) for non-negative a and num and positive den,
// computed in 128 bits, saturating at Max.
func (a Amount) Scale(num, den Amount) Amount {
	if a <= 0 || num <= 0 || den <= 0 {
		return 0
	}
	hi, lo := bits.Mul64(uint64(a), uint64(num))
	if hi >= uint64(den) {
		return Max
	}
	q, _ := bits.Div64(hi, lo, uint64(den))
	if q > math.MaxInt64 {
		return Max
	}
	return Amount(q)
}

// One is the fixed-point value of 1 in a Share.
const One Share = 1 << 32

// Share is a ratio in fixed point, One being 1. Shares are compared, never
// floats, so that an order is the same on every machine.
type Share int64

// ShareOf returns part/whole in fixed point, rounded down. A part of nothing is
// the largest share; nothing of nothing is 0.
func ShareOf(part, whole Amount) Share {
	if part <= 0 {
		return 0
	}
	if whole <= 0 {
		return math.MaxInt64
	}
	return Share(part.Scale(Amount(One), whole))
}

func magnitude(v int64) uint64 {
	if v < 0 {
		return uint64(-(v + 1)) + 1
	}
	return uint64(v)
}
