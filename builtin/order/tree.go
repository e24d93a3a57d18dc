package order

import "github.com/musterhq/muster/policies"

// childIndex lists the children of each row of a QueueBatch, in the order of
// their rows.
type childIndex struct {
	first []int32 // children of row i are rows[first[i]:first[i+1]]
	rows  []int32
	at    []int32 // scratch: where the next child of a row goes
}

func (t *childIndex) children(row int32) []int32 {
	return t.rows[t.first[row]:t.first[row+1]]
}

// build refuses a batch in which a parent does not come before its children.
func (t *childIndex) build(b *policies.QueueBatch) error {
	t.first = resized(t.first, b.N+1)
	clear(t.first)
	for i := 1; i < b.N; i++ {
		p := b.Parent[i]
		if p < 0 || int(p) >= i {
			return badInput("fairness", policies.QueueShares, "row %d has parent row %d; parents come first", i, p)
		}
		t.first[p+1]++
	}
	for i := range b.N {
		t.first[i+1] += t.first[i]
	}
	t.at = append(t.at[:0], t.first[:b.N]...)
	t.rows = resized(t.rows, max(b.N-1, 0))
	for i := 1; i < b.N; i++ {
		p := b.Parent[i]
		t.rows[t.at[p]] = int32(i)
		t.at[p]++
	}
	return nil
}
