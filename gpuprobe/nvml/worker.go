package nvml

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// worker runs the calls of one device, one at a time, on a goroutine of its own, so that
// a call which never comes back takes nobody with it.
type worker struct {
	who  string // "GPU 3", for errors
	turn chan struct{}
	jobs chan func()
	quit chan struct{} // closed by stop
	done chan struct{} // closed when the goroutine has ended

	// stuck is the name of the call that the driver did not answer in time, until it does.
	stuck atomic.Pointer[stuckCall]
	once  sync.Once
}

type stuckCall struct {
	name  string
	since time.Time
}

func newWorker(who string) *worker {
	w := &worker{
		who: who, turn: make(chan struct{}, 1), jobs: make(chan func()),
		quit: make(chan struct{}), done: make(chan struct{}),
	}
	go w.run()
	return w
}

func (w *worker) run() {
	defer close(w.done)
	for {
		select {
		case job := <-w.jobs:
			job()
		case <-w.quit:
			return
		}
	}
}

// stop ends the goroutine once the call that it is in comes back; done tells when.
func (w *worker) stop() { w.once.Do(func() { close(w.quit) }) }

func (w *worker) err() error {
	if s := w.stuck.Load(); s != nil {
		return fmt.Errorf("%s: %w: %s has not returned for %v",
			w.who, ErrUnresponsive, s.name, time.Since(s.since).Round(time.Second))
	}
	return nil
}

// call runs f on the worker. If it is not back within the deadline, the time for earlier
// calls included, its result is dropped when it comes, and until then every call fails
// at once.
func call[T any](w *worker, name string, deadline time.Duration, f func() (T, error)) (T, error) {
	var zero T
	if err := w.err(); err != nil {
		return zero, err
	}
	start := time.Now()
	timer := time.NewTimer(deadline)
	defer timer.Stop()
	select {
	case w.turn <- struct{}{}:
	case <-w.quit:
		return zero, ErrUninitialized
	case <-timer.C:
		return zero, fmt.Errorf("%s: %w: %s waited for earlier calls", w.who, ErrUnresponsive, name)
	}
	// Nothing is stuck now: a call that is keeps the turn.
	c := &pending[T]{finished: make(chan struct{})}
	select {
	case w.jobs <- func() { c.run(w, f) }:
	case <-w.done:
		<-w.turn
		return zero, ErrUninitialized
	}
	select {
	case <-c.finished:
		return c.value, c.err
	case <-timer.C:
	}
	if c.abandon(w, &stuckCall{name, start}) {
		return zero, w.unresponsive(name, deadline)
	}
	<-c.finished
	return c.value, c.err
}

func (w *worker) unresponsive(name string, deadline time.Duration) error {
	return fmt.Errorf("%s: %w: %s took longer than %v", w.who, ErrUnresponsive, name, deadline)
}

// pending is a call that runs on a worker while somebody waits for it.
type pending[T any] struct {
	value    T
	err      error
	finished chan struct{}

	mu   sync.Mutex
	over bool // f has returned
}

// run holds the worker's turn, and gives it back.
func (c *pending[T]) run(w *worker, f func() (T, error)) {
	c.value, c.err = f()
	c.mu.Lock()
	c.over = true
	w.stuck.Store(nil)
	c.mu.Unlock()
	<-w.turn
	close(c.finished)
}

// abandon marks the worker as stuck in this call, unless it has just come back.
func (c *pending[T]) abandon(w *worker, s *stuckCall) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.over {
		w.stuck.Store(s)
	}
	return !c.over
}
