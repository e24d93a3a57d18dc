// Command decayed-fair gives every queue first what it was guaranteed, and divides the
// rest by weights that shrink with what a queue has used of late. It is the twin of the
// built-in decayed-fair.
//
//	weight' = n*n / (n + strength*u)
//
// n is a queue's part of the weights of the siblings that want more, u its part of their
// decayed GPU time. Who has used exactly its share counts 1/(1+strength) of its weight,
// who has used nothing all of it.
package main

import (
	"github.com/musterhq/muster/policies/library/internal/fairness"
	"github.com/musterhq/muster/sdk/go/queueshares"
)

func init() { queueshares.Register(entitle) }

func main() {}

// The settings, in the order of policy.yaml.
const strength = 0

// parts is how many parts of 1 strength is counted in.
const parts = 1 << 16

func entitle(b *queueshares.Batch) error { return fairness.Entitle(b, divide) }

func divide(b *queueshares.Batch, r int, total int64, cs []fairness.Claim) {
	for i := range cs {
		cs[i].Weight = fairness.Weight(b, cs[i].Row, r)
	}
	shrink(b, cs)
	fairness.Fill(total, fairness.Piece(b.Resources[r]), cs)
}

func shrink(b *queueshares.Batch, cs []fairness.Claim) {
	weights, past := fairness.Weights(cs), int64(0)
	for _, c := range cs {
		past = fairness.Add(past, fairness.Past(b, c.Row))
	}
	k := int64(b.ParamFloat(strength) * parts)
	if past == 0 || k == 0 {
		return
	}
	for i := range cs {
		c := &cs[i]
		n := max(1, fairness.Share(c.Weight, weights))
		u, _ := fairness.Scale(fairness.Share(fairness.Past(b, c.Row), past), k, parts)
		w, _ := fairness.Scale(n, n, fairness.Add(n, u))
		c.Weight = max(1, w)
	}
}
