package sim

import (
	"container/heap"

	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/runtime/sim/trace"
)

// What can be on the agenda besides events of the ledger.
type (
	jobEnd struct {
		id  string
		run uint64
	}
	jobSaved jobEnd
	wakeUp   struct{}
)

// agenda is what will happen, in order of time; what happens at one instant comes
// in the order in which it was added.
type agenda struct {
	items itemHeap
	seq   uint64
	looks int // of the items: they alone keep no run going
}

type item struct {
	at  spec.Time
	seq uint64
	it  any
}

type itemHeap []item

func (h itemHeap) Len() int { return len(h) }
func (h itemHeap) Less(i, j int) bool {
	return h[i].at < h[j].at || h[i].at == h[j].at && h[i].seq < h[j].seq
}
func (h itemHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *itemHeap) Push(x any)   { *h = append(*h, x.(item)) }
func (h *itemHeap) Pop() any {
	old := *h
	n := len(old)
	x := old[n-1]
	old[n-1] = item{}
	*h = old[:n-1]
	return x
}

func (a *agenda) add(at spec.Time, it any) {
	a.seq++
	if _, ok := it.(look); ok {
		a.looks++
	}
	heap.Push(&a.items, item{at, a.seq, it})
}

// next is the time of the next thing to happen.
func (a *agenda) next() (spec.Time, bool) {
	if len(a.items) == 0 {
		return 0, false
	}
	return a.items[0].at, true
}

// take removes everything of one instant.
func (a *agenda) take(at spec.Time) (out []any) {
	for len(a.items) > 0 && a.items[0].at <= at {
		it := heap.Pop(&a.items).(item).it
		if _, ok := it.(look); ok {
			a.looks--
		}
		out = append(out, it)
	}
	return out
}

// idle says whether nothing is left to happen but that probes look.
func (a *agenda) idle() bool { return a.looks == len(a.items) }

// shuffle gives the things of one instant another order. Nodes still come before
// everything else of their instant: a job can wait for a node, not the reverse.
func (a *agenda) shuffle(seed uint64) {
	if seed == 0 {
		return
	}
	r := trace.NewRand(seed)
	for i := range a.items {
		a.items[i].seq = r.Uint64() >> 16
	}
	heap.Init(&a.items)
	a.seq = 1 << 48
}
