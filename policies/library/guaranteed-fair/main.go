// Command guaranteed-fair gives every queue first what it was guaranteed, and then
// its part of what the others leave. It is the twin of the built-in guaranteed-fair,
// whose documentation says what is decided where; internal/fairness has the tree and the
// arithmetic.
package main

import (
	"github.com/musterhq/muster/policies/library/internal/fairness"
	"github.com/musterhq/muster/sdk/go/queueshares"
)

func init() { queueshares.Register(entitle) }

func main() {}

func entitle(b *queueshares.Batch) error { return fairness.Entitle(b, divide) }

// divide shares what is left above the guarantees by weight.
func divide(b *queueshares.Batch, r int, total int64, cs []fairness.Claim) {
	for i := range cs {
		cs[i].Weight = fairness.Weight(b, cs[i].Row, r)
	}
	fairness.Fill(total, fairness.Piece(b.Resources[r]), cs)
}
