package kube

import (
	"context"
	"sync"

	"github.com/musterhq/muster/runtime/kube/mirror"
	"github.com/musterhq/muster/runtime/usage"
)

// Probes are the agents of nodes, as far as something is wanted of them: usage.Server and
// its Table.
type Probes interface {
	// Watch says whose wake-ups on a node are waited for.
	Watch(node string, owners []string)
	// Forget drops what a node said that is no more.
	Forget(node string)
}

var _ usage.Sink = (*Scheduler)(nil)

// Used takes in what pods on a node do with their GPUs.
func (s *Scheduler) Used(node string, uses []usage.PodUse) { s.mirror.Used(node, uses) }

// Health takes in the state of all GPUs of a node.
func (s *Scheduler) Health(node string, gpus []usage.GPUHealth) { s.mirror.Health(node, gpus) }

// UseStats counts what nodes said of their GPUs.
func (s *Scheduler) UseStats() mirror.UseStats { return s.mirror.UseStats() }

// asker asks probes from a goroutine of its own: those who ask hold locks that are needed
// for what probes say.
type asker struct {
	to   Probes
	kick chan struct{}

	mu     sync.Mutex
	watch  map[string][]string
	forget map[string]bool
}

func newAsker(to Probes) *asker {
	return &asker{to: to, kick: make(chan struct{}, 1), watch: map[string][]string{}, forget: map[string]bool{}}
}

func (a *asker) await(node string, owners []string) {
	a.put(func() { a.watch[node] = owners })
}

func (a *asker) gone(node string) {
	a.put(func() { a.forget[node] = true; delete(a.watch, node) })
}

func (a *asker) put(change func()) {
	if a.to == nil {
		return
	}
	a.mu.Lock()
	change()
	a.mu.Unlock()
	select {
	case a.kick <- struct{}{}:
	default:
	}
}

// run asks until ctx ends.
func (a *asker) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-a.kick:
		}
		a.mu.Lock()
		watch, forget := a.watch, a.forget
		a.watch, a.forget = map[string][]string{}, map[string]bool{}
		a.mu.Unlock()
		for node := range forget {
			a.to.Forget(node)
		}
		for node, owners := range watch {
			a.to.Watch(node, owners)
		}
	}
}
