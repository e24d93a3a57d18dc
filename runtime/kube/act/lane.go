package act

import (
	"container/heap"
	"context"
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"github.com/musterhq/muster/runtime/clock"
)

// lane holds at most one thing to do for each pod: a newer one replaces one that has not
// begun. No two for the same pod run at the same time.
type lane[T any] struct {
	clock clock.Clock

	mu    sync.Mutex
	items map[types.UID]*laneItem[T]
	order laneHeap[T] // has every item whose pod is not busy, and stale entries of replaced ones
	seq   uint64
	busy  map[types.UID]*flight
	kick  chan struct{}
}

type laneItem[T any] struct {
	uid   types.UID
	value T
	due   int64
}

type flight struct {
	over    chan struct{}
	dropped bool // whoever asked for it no longer wants it
}

func newLane[T any](c clock.Clock) *lane[T] {
	return &lane[T]{clock: c, items: map[types.UID]*laneItem[T]{}, busy: map[types.UID]*flight{}, kick: make(chan struct{}, 1)}
}

// put asks for v to be done at due or, if its forerunner was due earlier, then.
func (l *lane[T]) put(uid types.UID, due int64, v T) {
	l.mu.Lock()
	defer l.mu.Unlock()
	it := l.items[uid]
	if it != nil {
		it.value = v
		if it.due <= due {
			return
		}
		delete(l.items, uid)
	}
	it = &laneItem[T]{uid, v, due}
	l.items[uid] = it
	if f := l.busy[uid]; f != nil {
		f.dropped = false // wanted again; finish puts it in order
		return
	}
	l.push(it)
}

func (l *lane[T]) push(it *laneItem[T]) {
	l.seq++
	heap.Push(&l.order, laneEntry[T]{it.due, l.seq, it})
	l.wake()
}

func (l *lane[T]) wake() {
	select {
	case l.kick <- struct{}{}:
	default:
	}
}

// next waits for something due. finish must be called for it.
func (l *lane[T]) next(ctx context.Context) (uid types.UID, v T, err error) {
	for {
		it, due := l.pop()
		if it != nil {
			return it.uid, it.value, nil
		}
		var alarm <-chan int64
		if due > 0 {
			alarm = l.clock.Wake(due)
		}
		select {
		case <-l.kick:
		case <-alarm:
		case <-ctx.Done():
			return uid, v, errStopped
		}
	}
}

// pop gives what is due, or else when something will be (0: nothing is there).
func (l *lane[T]) pop() (*laneItem[T], int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.order) > 0 {
		top := l.order[0]
		it := top.item
		if l.items[it.uid] == it && top.due > l.clock.Now() {
			return nil, top.due
		}
		heap.Pop(&l.order)
		if l.items[it.uid] != it {
			continue // replaced or dropped
		}
		delete(l.items, it.uid)
		l.busy[it.uid] = &flight{over: make(chan struct{})}
		if len(l.order) > 0 {
			l.wake()
		}
		return it, 0
	}
	return nil, 0
}

// latest gives what replaced v since next, or v; wanted is false if it was dropped.
func (l *lane[T]) latest(uid types.UID, v T) (_ T, wanted bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if it := l.items[uid]; it != nil {
		delete(l.items, uid)
		return it.value, true
	}
	return v, !l.busy[uid].dropped
}

// finish says whether what was done was wanted to the end, and whether a newer one came.
func (l *lane[T]) finish(uid types.UID) (wanted, newer bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.busy[uid]
	delete(l.busy, uid)
	close(f.over)
	it := l.items[uid]
	if it != nil {
		l.push(it)
	}
	return !f.dropped, it != nil
}

// cancel takes back what has not begun, and says false if something has.
func (l *lane[T]) cancel(uid types.UID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.busy[uid] != nil {
		return false
	}
	delete(l.items, uid)
	return true
}

// waiting is what is to be done for the pod and has not begun.
func (l *lane[T]) waiting(uid types.UID) (v T, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if it := l.items[uid]; it != nil {
		return it.value, true
	}
	return v, false
}

// drop forgets what is to be done for the pod. If it is being done, the channel closes
// when it is over; otherwise it is nil.
func (l *lane[T]) drop(uid types.UID) <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.items, uid)
	if f := l.busy[uid]; f != nil {
		f.dropped = true
		return f.over
	}
	return nil
}

func (l *lane[T]) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.items)
}

type laneEntry[T any] struct {
	due  int64
	seq  uint64
	item *laneItem[T]
}

type laneHeap[T any] []laneEntry[T]

func (h laneHeap[T]) Len() int { return len(h) }
func (h laneHeap[T]) Less(i, j int) bool {
	return h[i].due < h[j].due || h[i].due == h[j].due && h[i].seq < h[j].seq
}
func (h laneHeap[T]) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *laneHeap[T]) Push(x any)   { *h = append(*h, x.(laneEntry[T])) }
func (h *laneHeap[T]) Pop() any {
	old := *h
	last := old[len(old)-1]
	old[len(old)-1] = laneEntry[T]{}
	*h = old[:len(old)-1]
	return last
}
