package wasm

import (
	"slices"
	"sort"

	"github.com/musterhq/muster/builtin/keysort"
	"github.com/musterhq/muster/policies"
)

// sortAll fills the order of a batch whose keys are all new, if the caller wants it.
func (k *memory) sortAll(b *policies.JobBatch) {
	if b.Order == nil {
		return
	}
	b.Order = sized(b.Order, b.N)
	for i := range b.Order {
		b.Order[i] = int32(i)
	}
	keysort.Sort(b.Order, b.Keys[:b.NKeys], &k.sort)
}

// arrange fills the order of a batch from that of the last one: the rows that were
// asked are taken out, sorted by themselves, and merged in again. It is one walk over
// the rows, without looking at their keys.
func (k *memory) arrange(b *policies.JobBatch, a *answers) {
	k.order = k.order[:0]
	k.locate(a)
	if b.Order == nil {
		return
	}
	if len(a.order) != a.n {
		k.sortAll(b)
		return
	}
	k.findRows(a)
	slices.SortFunc(k.places, func(x, y place) int {
		if c := compareKeys(b, x.row, &b.Keys, y.row); c != 0 {
			return c
		}
		return x.row - y.row
	})
	b.Order, k.order = sized(b.Order, b.N), sized(k.order, len(a.order)+len(k.places))
	out := ordering{b.Order, k.order, 0, 0}
	from := 0
	for _, p := range k.places {
		to := from + sort.Search(len(a.order)-from, func(i int) bool {
			slot := int(a.order[from+i])
			c := compareKeys(b, p.row, &a.keys, slot)
			return c < 0 || c == 0 && slot >= p.slot
		})
		out.emit(a.order[from:to], k.rowOf)
		out.put(int32(p.row), int32(p.slot))
		from = to
	}
	out.emit(a.order[from:], k.rowOf)
	k.order = k.order[:out.m]
	slices.SortFunc(k.places, func(x, y place) int { return x.row - y.row })
}

// What memory.rowOf says of a slot without a row.
const (
	leftRow  = -1 // its job is not there any more; it may come back
	askedRow = -2 // it is put in by its new keys
)

// findRows finds the row of each slot that is still there and was not asked.
func (k *memory) findRows(a *answers) {
	k.rowOf = sized(k.rowOf, a.n)
	next := 0
	for _, r := range k.runs {
		for i := next; i < r.old; i++ {
			k.rowOf[i] = leftRow
		}
		next = r.old + r.n
		rows := k.rowOf[r.old:next]
		for i := range rows {
			rows[i] = int32(r.at + i)
		}
	}
	for i := next; i < a.n; i++ {
		k.rowOf[i] = leftRow
	}
	for _, p := range k.places {
		if p.how == known {
			k.rowOf[p.slot] = askedRow
		}
	}
}

// ordering is the order that is written: n rows and m slots so far.
type ordering struct {
	rows, slots []int32
	n, m        int
}

func (o *ordering) put(row, slot int32) {
	o.rows[o.n], o.slots[o.m] = row, slot
	o.n, o.m = o.n+1, o.m+1
}

// emit writes slots and the rows of those that have one.
func (o *ordering) emit(from, rowOf []int32) {
	rows, slots, n, m := o.rows, o.slots, o.n, o.m
	for _, s := range from {
		r := rowOf[s]
		if r == askedRow {
			continue
		}
		slots[m] = s
		m++
		if r >= 0 {
			rows[n] = r
			n++
		}
	}
	o.n, o.m = n, m
}

// compareKeys compares a row of the batch with one of other keys of the same form.
func compareKeys(b *policies.JobBatch, row int, keys *[policies.MaxKeys][]int64, other int) int {
	for c := range b.NKeys {
		if x, y := b.Keys[c][row], keys[c][other]; x != y {
			if x < y {
				return -1
			}
			return 1
		}
	}
	return 0
}
