// Command kai-proportion shares as the proportion plugin of NVIDIA's KAI scheduler does:
// quotas first, then the rest to the queues of the highest priority, then to the next,
// and within one priority in rounds by
//
//	s = max(0, n + k*(n-u))
//
// n is a queue's part of the weights of those that still want more, u its decayed GPU
// time over that of the whole pool. It is the twin of the built-in kai-proportion, whose
// documentation says where it differs from KAI.
package main

import (
	"cmp"
	"slices"
	"strings"

	"github.com/musterhq/muster/policies/library/internal/fairness"
	muster "github.com/musterhq/muster/sdk/go"
	"github.com/musterhq/muster/sdk/go/queueshares"
)

func init() { queueshares.Register(entitle) }

func main() {}

// The settings, in the order of policy.yaml.
const paramK = 0

// parts is how many parts of 1 k is counted in.
const parts = 1 << 16

// Of this call.
var (
	k    int64
	used []int64 // by row: u, in parts of 2^32
)

func entitle(b *queueshares.Batch) error {
	k = int64(b.ParamFloat(paramK) * parts)
	normalise(b)
	return fairness.Entitle(b, divide)
}

// normalise fills used: a pool that was used for ever has capacity * half-life / ln 2.
func normalise(b *queueshares.Batch) {
	used = muster.Grow(used, b.N)
	gpus := int64(0)
	for r, name := range b.Resources {
		if fairness.IsGPU(name) && strings.IndexByte(name, ':') < 0 {
			gpus = fairness.Add(gpus, max(0, b.Capacity[r]))
		}
	}
	whole, _ := fairness.Scale(gpus, max(0, b.HalfLife)/1_000_000, 1000)
	whole, _ = fairness.Scale(whole, 1_442_695, 1_000_000)
	for row := range used {
		if whole > 0 {
			used[row] = min(fairness.Share(fairness.Past(b, row), whole), muster.One)
		}
	}
}

// divide serves one priority after the other.
func divide(b *queueshares.Batch, r int, total int64, cs []fairness.Claim) {
	slices.SortFunc(cs, func(x, y fairness.Claim) int {
		return cmp.Or(cmp.Compare(b.Priority[y.Row], b.Priority[x.Row]), cmp.Compare(x.Row, y.Row))
	})
	for len(cs) > 0 {
		n := 1
		for n < len(cs) && b.Priority[cs[n].Row] == b.Priority[cs[0].Row] {
			n++
		}
		serve(b, total, fairness.Piece(b.Resources[r]), cs[:n])
		for _, c := range cs[:n] {
			total -= c.Got
		}
		cs = cs[n:]
	}
}

// serve divides total in rounds, for as long as somebody wanted less than its part, and
// then piece by piece by the largest remainder of the last round.
func serve(b *queueshares.Batch, total, piece int64, tier []fairness.Claim) {
	for again := true; again && total > 0; {
		total, again = round(b, total, piece, tier)
	}
	slices.SortFunc(tier, fairness.ByRemainder)
	for gave := true; gave && total > 0; {
		gave = false
		for i := range tier {
			p := min(piece, tier[i].Need-tier[i].Got, total)
			tier[i].Got += p
			total -= p
			gave = gave || p > 0
		}
	}
}

func round(b *queueshares.Batch, total, piece int64, tier []fairness.Claim) (left int64, again bool) {
	sum := weigh(b, tier)
	left = total
	for i := range tier {
		c := &tier[i]
		had, want := c.Got, c.Need-c.Got
		c.Cut, c.Fraction = 0, 0
		if want == 0 {
			continue
		}
		part, rest := fairness.Scale(total, c.Weight, sum)
		give := want
		if want > part {
			c.Cut, c.Fraction = part%piece, rest
			give = part - c.Cut
		}
		again = again || want < part
		c.Got = had + give
		left -= give
	}
	return left, again
}

// weigh sets the weight of each claim that wants more to its s, or to its plain weight
// if all have used more than s forgives, and returns the sum.
func weigh(b *queueshares.Batch, tier []fairness.Claim) int64 {
	plain(b, tier)
	weights, sum := fairness.Weights(tier), int64(0)
	for i := range tier {
		c := &tier[i]
		if c.Weight == 0 {
			continue
		}
		n := max(1, fairness.Share(c.Weight, weights))
		c.Weight = max(0, n+(n-used[c.Row])*k/parts)
		sum += c.Weight
	}
	if sum > 0 {
		return sum
	}
	plain(b, tier)
	return max(1, fairness.Weights(tier))
}

func plain(b *queueshares.Batch, tier []fairness.Claim) {
	for i := range tier {
		c := &tier[i]
		if c.Weight = 0; c.Got < c.Need {
			c.Weight = max(1, b.Weight[c.Row])
		}
	}
}
