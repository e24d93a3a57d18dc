package view

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/builtin/world"
	"github.com/musterhq/muster/runtime/clock"
	"github.com/musterhq/muster/runtime/reload"
	"github.com/musterhq/muster/runtime/usage"
)

// World is where snapshots come from; a *loop.Loop is one.
type World interface {
	// Visit calls f with the world between two turns, soon.
	Visit(f func(*world.World))
}

// Options of a source. What is nil is not told.
type Options struct {
	// Clock is the loop's.
	Clock clock.Clock
	// MaxAge is how old a snapshot may be that is given out again; 0 is a second.
	MaxAge spec.Duration
	// Wait is how long the loop has to answer; 0 is five seconds.
	Wait spec.Duration
	// Leader says who decides. A process that does not has no world to show.
	Leader func() Leadership
	// Paused says why nothing is carried out now, "" if it is.
	Paused func() string
	// Policies is the life cycle of what was loaded.
	Policies func() reload.Status
	// NodeNote says why a node takes no tasks ("not ready", "being drained"), "" if it does.
	NodeNote func(node string) string
	// Extra has what the adapter knows about a job beyond the world.
	Extra Extra
	// Outside lists the jobs whose pods wait, whether they are in the world or not: those that are
	// not, and of which Extra knows why, are told beside the others. It is called from any goroutine.
	Outside func() []string
	// Usage is what probes report of nodes, as usage.Table.Snapshot has it; Pods says
	// whose the pods are that they name. Both are called from any goroutine.
	Usage func() []usage.Node
	Pods  Pods
	// Created lists the leaves that placement rules have created; such a queue goes when no
	// job has been in it for Stays.
	Created func() []Created
	Stays   spec.Duration
}

// Created is a leaf that is not configured, below the queue that is.
type Created struct{ Path, Below string }

// Extra tells what stands in a job's way outside of the world: pods that are not there
// yet, gates, problems of a pod. It is called from any goroutine.
type Extra interface{ Extra(jobID string) []Reason }

// ErrStandby says that another process decides.
type ErrStandby struct{ Leader Leadership }

func (e *ErrStandby) Error() string {
	if e.Leader.Holder == "" {
		return "this process stands by, and no leader is known"
	}
	return fmt.Sprintf("this process stands by; the leader is %s", e.Leader.Holder)
}

// ErrNoAnswer says that the loop did not answer, and never has.
var ErrNoAnswer = errors.New("the scheduler has not answered yet")

// Source gives out snapshots. It may be used from any goroutine.
type Source struct {
	Recorder *Recorder
	world    World
	o        Options
	real     clock.Real // of ages: a simulation's clock may stand still

	mu     sync.Mutex
	last   *Snapshot
	lastAt spec.Time
	coming *request
	number uint64
	tasks  int // of the last snapshot
}

// request is a visit to the loop that is on its way.
type request struct {
	done chan struct{} // closed when its snapshot is there
	at   spec.Time
}

// NewSource returns a source over a loop. The recorder should listen to the same loop.
func NewSource(w World, r *Recorder, o Options) *Source {
	if o.Clock == nil {
		o.Clock = clock.Real{}
	}
	if o.MaxAge == 0 {
		o.MaxAge = spec.Second
	}
	if o.Wait == 0 {
		o.Wait = 5 * spec.Second
	}
	return &Source{Recorder: r, world: w, o: o}
}

// Run takes the samples of use over time until the context ends.
func (s *Source) Run(ctx context.Context) error {
	for {
		if s.leads() == nil {
			s.Sample(ctx)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.o.Clock.Wake(s.o.Clock.Now() + FineStep):
		}
	}
}

// Sample notes what is used now, soon, and what of it is measured.
func (s *Source) Sample(ctx context.Context) {
	var measured []Queue
	if s.o.Usage != nil {
		if now, err := s.Snapshot(ctx); err == nil && !now.Stale {
			measured = now.Queues
		}
	}
	s.world.Visit(func(w *world.World) { s.Recorder.usage.sample(w, s.o.Clock.Now(), measured) })
}

func (s *Source) leads() error {
	if s.o.Leader == nil {
		return nil
	}
	if l := s.o.Leader(); !l.Leading {
		return &ErrStandby{l}
	}
	return nil
}

// Snapshot returns a picture that is at most MaxAge old, or the last one there is, then
// Stale, if the loop is too busy to be looked at.
func (s *Source) Snapshot(ctx context.Context) (*Snapshot, error) {
	if err := s.leads(); err != nil {
		return nil, err
	}
	last, coming := s.ask()
	if coming == nil {
		return last, nil
	}
	select {
	case <-coming:
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.last, nil
	case <-s.real.Wake(s.real.Now() + s.o.Wait):
	case <-ctx.Done():
	}
	if last == nil {
		return nil, ErrNoAnswer
	}
	old := *last
	old.Stale = true
	return &old, nil
}

// ask returns the last snapshot, and what to wait for if it is too old.
func (s *Source) ask() (last *Snapshot, coming <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last != nil && s.real.Now()-s.lastAt < s.o.MaxAge {
		return s.last, nil
	}
	if s.coming == nil || s.real.Now()-s.coming.at > s.o.Wait { // the loop may have ended with the request
		r := &request{make(chan struct{}), s.real.Now()}
		s.coming = r
		tasks := s.tasks
		s.world.Visit(func(w *world.World) {
			c := capture(w, s.o.Clock.Now(), tasks)
			go s.publish(c, r) // to write it out takes longer, and needs no world
		})
	}
	return s.last, s.coming.done
}

func (s *Source) publish(c *captured, r *request) {
	var told []usage.Node
	if s.o.Usage != nil {
		told = s.o.Usage()
	}
	c.measure(told, s.o.Pods)
	snap := render(c)
	by := byNode(told)
	snap.gpus = sync.OnceValue(func() []GPU { return snap.renderGPUs(by, s.o.Pods) })
	snap.probes = sync.OnceValue(func() []Probe { return snap.renderProbes(by) })
	snap.trouble = sync.OnceValue(by.trouble)
	snap.date(s.Recorder.reasonSince)
	s.Recorder.forget(snap)
	if s.o.Leader != nil {
		snap.Pool.Leader = s.o.Leader()
	} else {
		snap.Pool.Leader.Leading = true
	}
	if s.o.Paused != nil {
		snap.Pool.Paused = s.o.Paused()
	}
	if s.o.NodeNote != nil {
		for i := range snap.Nodes {
			snap.Nodes[i].Note = s.o.NodeNote(snap.Nodes[i].Name)
		}
	}
	if s.o.Created != nil {
		snap.markCreated(s.o.Created(), s.o.Stays)
	}
	if s.o.Outside != nil && s.o.Extra != nil {
		snap.addOutside(s.o.Outside(), s.o.Extra.Extra)
	}
	s.mu.Lock()
	s.number++
	snap.Number = s.number
	s.tasks = len(c.tasks)
	s.last, s.lastAt = snap, s.real.Now()
	if s.coming == r {
		s.coming = nil
	}
	s.mu.Unlock()
	close(r.done)
}

// Extra is what the adapter knows about a job.
func (s *Source) Extra(jobID string) []Reason {
	if s.o.Extra == nil {
		return nil
	}
	return s.o.Extra.Extra(jobID)
}

// Loaded is the life cycle of policies, empty if there is none.
func (s *Source) Loaded() reload.Status {
	if s.o.Policies == nil {
		return reload.Status{Policies: []reload.PolicyStatus{}}
	}
	return s.o.Policies()
}

// Leader says who decides.
func (s *Source) Leader() Leadership {
	if s.o.Leader == nil {
		return Leadership{Leading: true}
	}
	return s.o.Leader()
}
