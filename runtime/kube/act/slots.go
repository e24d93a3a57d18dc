package act

import (
	"context"
	"sync"
)

// slots bounds how many requests are in flight. They are given out in the order of the
// tickets.
type slots struct {
	mu    sync.Mutex
	size  int
	taken int
	queue []*ticket
	room  chan struct{} // told when the queue got shorter
}

// ticket is a place in the queue for a slot.
type ticket struct {
	from *slots
	got  chan struct{} // closed when the slot is given
}

func newSlots(n int) *slots {
	return &slots{size: n, room: make(chan struct{}, 1)}
}

// draw takes a place at the end of the queue, without waiting. The ticket must be
// redeemed and then given back, or given back at once.
func (s *slots) draw() *ticket {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := &ticket{from: s, got: make(chan struct{})}
	if s.taken < s.size {
		s.taken++
		close(t.got)
		return t
	}
	s.queue = append(s.queue, t)
	return t
}

// redeem waits for the slot. The ticket has to be given back even after an error.
func (t *ticket) redeem(ctx context.Context) error {
	select {
	case <-t.got:
	case <-ctx.Done():
	}
	if ctx.Err() != nil {
		return errStopped
	}
	return nil
}

// giveBack passes the slot on, or leaves the queue.
func (t *ticket) giveBack() {
	s := t.from
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-t.got:
		s.pass()
	default:
		for i, q := range s.queue {
			if q == t {
				s.queue = append(s.queue[:i], s.queue[i+1:]...)
				break
			}
		}
	}
	select {
	case s.room <- struct{}{}:
	default:
	}
}

func (s *slots) pass() {
	if len(s.queue) == 0 {
		s.taken--
		return
	}
	next := s.queue[0]
	s.queue = s.queue[1:]
	close(next.got)
}

// waitRoom waits until fewer than one request for each slot waits. Only one goroutine
// may call it.
func (s *slots) waitRoom(ctx context.Context) error {
	for {
		if _, waiting := s.load(); waiting < s.size {
			return nil
		}
		select {
		case <-s.room:
		case <-ctx.Done():
			return errStopped
		}
	}
}

func (s *slots) load() (taken, waiting int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.taken, len(s.queue)
}

func (s *slots) idle() bool {
	taken, _ := s.load()
	return taken == 0
}
