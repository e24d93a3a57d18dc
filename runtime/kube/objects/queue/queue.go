// Package queue reads the tree of queues from where a cluster keeps it: a ConfigMap that
// holds YuniKorn's queues.yaml, Queue objects, or a file. What is valid is handed on,
// what is not never replaces what was, and whoever wrote it is told: by one event on the
// ConfigMap with line and column, or by conditions on the Queue objects with the field.
package queue

import (
	"context"
	"fmt"
	"reflect"
	"sync"
	"time"

	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/runtime/clock"
	"github.com/musterhq/muster/runtime/config"
)

// Apply makes a tree the one that holds. It refuses one that has no place for a job
// that is there (queue-in-use); the one before holds on then, and it is tried again.
type Apply func(*spec.Tree) error

// Source gives trees of queues.
type Source interface {
	// Watch hands on every new valid tree until ctx ends, which it returns the error of.
	Watch(ctx context.Context, apply Apply) error
	// Ready is nil once a tree holds, and says what is missing before.
	Ready() error
}

// retryAfter is how long it waits with a tree that was refused: jobs end.
const retryAfter = 10 * time.Second

// settle is how long objects must be left alone before they are judged, so that what one
// kubectl apply writes is judged as a whole.
const settle = 150 * time.Millisecond

// holder keeps the tree that holds.
type holder struct {
	clock clock.Clock
	knock chan struct{} // holds a token while there is something to look at

	mu    sync.Mutex
	holds *spec.Tree
	why   error // that nothing holds
}

func newHolder(c clock.Clock, what string) *holder {
	if c == nil {
		c = clock.Real{}
	}
	return &holder{clock: c, knock: make(chan struct{}, 1), why: fmt.Errorf("no queues yet: %s was not read", what)}
}

// wake has the source looked at again; it never blocks.
func (h *holder) wake() {
	select {
	case h.knock <- struct{}{}:
	default:
	}
}

// Ready is nil once a tree holds, and says what is missing before.
func (h *holder) Ready() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.holds != nil {
		return nil
	}
	return h.why
}

// missing says why there is nothing to begin with.
func (h *holder) missing(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.why = fmt.Errorf("no queues yet: %w", err)
}

// take applies a tree unless it holds already.
func (h *holder) take(t *spec.Tree, apply Apply) error {
	if h.tree() != nil && reflect.DeepEqual(h.tree(), t) {
		return nil
	}
	if err := apply(t); err != nil {
		h.missing(err)
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.holds = t
	return nil
}

func (h *holder) tree() *spec.Tree {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.holds
}

// wait returns when there is something to look at: after wake, or at the alarm, which
// may be nil. It is false when ctx has ended.
func (h *holder) wait(ctx context.Context, alarm <-chan int64) bool {
	select {
	case <-ctx.Done():
	case <-h.knock:
	case <-alarm:
	}
	return ctx.Err() == nil
}

// alarm fires in d; 0 is never.
func (h *holder) alarm(d time.Duration) <-chan int64 {
	if d == 0 {
		return nil
	}
	return h.clock.Wake(h.clock.Now() + int64(d))
}

// partition finds the tree of a file: of the partition default, the one that all nodes
// of a cluster are in.
func partition(file string, f *config.File) (*spec.Tree, error) {
	for i := range f.Partitions {
		if f.Partitions[i].Name == "default" {
			return &f.Partitions[i].Tree, nil
		}
	}
	return nil, noPartition(file, f)
}
