package kube

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/runtime/clock"
	"github.com/musterhq/muster/runtime/config/grow"
	"github.com/musterhq/muster/runtime/kube/groups"
	"github.com/musterhq/muster/runtime/kube/pods"
	"github.com/musterhq/muster/runtime/kube/route"
	"github.com/musterhq/muster/runtime/ledger"
)

// The tree that holds has what is configured and what placement rules have created. It
// changes when either does, one change at a time. A job that wants a queue which is not
// there waits until a change has brought it; many of them wait for the same one. While a
// change is under way no job is put where only the old tree has a queue, so that none comes
// too late. If a new configuration has no place for a created queue that jobs run in, the
// queue drains: it takes no more jobs, and the source tries the configuration again.

// change is a new tree of queues that the loop has been given.
type change struct {
	seq  uint64
	done chan error
}

// queue resolves the queue of a job.
func (s *Scheduler) queue(info groups.Info, namespace string) (string, *pods.Problem) {
	s.mu.Lock()
	now, next, drains := s.router, s.next, s.drains
	s.mu.Unlock()
	place, err := now.Place(route.Job{
		Queue: info.Queue, User: info.User, Groups: info.UserGroups, Namespace: namespace, ParentQueue: parentQueue(s.objects.Namespace(namespace)),
	})
	var no *route.Refusal
	switch {
	case errors.As(err, &no):
		return "", &pods.Problem{Code: no.Code, Text: no.Text, Fatal: true}
	case drains[place.Path] != "":
		return "", &pods.Problem{Code: "queue-draining", Fatal: true, Text: fmt.Sprintf(
			"queue %s takes no more jobs: in the new configuration %s, which holds when nothing runs there any more", place.Path, drains[place.Path])}
	case place.Below != "":
		return "", s.garden.want(place, namespace)
	case next != nil && !next.Has(place.Path):
		return "", &pods.Problem{Code: "queues-changing", Text: "the tree of queues is being changed"}
	}
	return place.Path, nil
}

// parentQueue is the queue under which a namespace wants those of its jobs; it may not be
// known, or be gone.
func parentQueue(ns *corev1.Namespace) string {
	if ns == nil {
		return ""
	}
	return ns.Annotations[route.ParentQueueKey]
}

// apply makes a configured tree the one that holds. The loop answers for it; one that has
// ended does not, so ctx ends the wait.
func (s *Scheduler) apply(ctx context.Context, t *spec.Tree) error {
	s.changing.Lock()
	defer s.changing.Unlock()
	s.mu.Lock()
	leaves, leads := s.grown, s.loop != nil
	s.mu.Unlock()
	g := grow.Overlay(*t, leaves)
	if !leads {
		s.hold(t, g)
		return nil
	}
	if len(g.Dropped) > 0 {
		s.drain(g.Dropped)
	}
	defer s.narrow(t, g)()
	s.mirror.Flush() // what was decided before that is posted
	if err := s.post(ctx, g.Tree); err != nil {
		return err
	}
	for _, d := range g.Dropped {
		s.o.Log.Info("a queue that placement rules have created has no place any more", "queue", d.Path, "why", d.Why)
	}
	s.garden.planted(leaves, g.Leaves)
	s.hold(t, g)
	s.mu.Lock()
	s.drains = nil
	s.swap(s.loop)
	s.mu.Unlock()
	s.mirror.QueuesChanged()
	return nil
}

// narrow has jobs put only where both the tree that holds has a queue and the next one, and
// returns what ends that.
func (s *Scheduler) narrow(configured *spec.Tree, g grow.Grown) (end func()) {
	next := route.New(*configured, paths(g.Leaves)...)
	s.mu.Lock()
	s.next = next
	s.mu.Unlock()
	return func() {
		s.mu.Lock()
		s.next = nil
		s.mu.Unlock()
		s.mirror.QueuesGrown()
	}
}

// post gives the loop a tree and returns its answer.
func (s *Scheduler) post(ctx context.Context, t spec.Tree) error {
	c := &change{done: make(chan error, 1)}
	s.mu.Lock()
	c.seq = s.loop.Post(ledger.QueuesChanged{Tree: t})
	s.change = c
	s.mu.Unlock()
	select {
	case err := <-c.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// drainFor is how long a queue drains since the source has tried last to have it dropped,
// which it does every ten seconds: longer than that, it has given it up.
const drainFor = 30 * time.Second

// drain keeps new jobs from leaves that are to be dropped, and takes those back that only
// wait there.
func (s *Scheduler) drain(dropped []grow.Dropped) {
	drains := map[string]string{}
	for _, d := range dropped {
		drains[d.Path] = d.Why
	}
	s.mu.Lock()
	s.drains, s.drainEnd = drains, clock.Real{}.Now()+int64(drainFor)
	s.mu.Unlock()
	s.mirror.QueuesChanged()
	s.mirror.Flush()
}

func (s *Scheduler) draining() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.drains) > 0
}

// undrain opens queues again that nobody wants to have dropped any more.
func (s *Scheduler) undrain() {
	s.mu.Lock()
	over := len(s.drains) > 0 && clock.Real{}.Now() > s.drainEnd
	if over {
		s.drains = nil
	}
	s.mu.Unlock()
	if over {
		s.mirror.QueuesGrown()
	}
}

func paths(leaves []grow.Leaf) []string {
	out := make([]string, len(leaves))
	for i, l := range leaves {
		out[i] = l.Path
	}
	return out
}

// hold takes over a tree that holds.
func (s *Scheduler) hold(configured *spec.Tree, g grow.Grown) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.configured, s.grown, s.tree = configured, g.Leaves, &g.Tree
	s.router = route.New(*configured, paths(g.Leaves)...)
	if s.o.Tree != nil {
		s.o.Tree(&g.Tree)
	}
}

// asked plants what the jobs of the cluster need, before the loop hears of any: whoever
// comes to lead has the queues that the one before had. The mirror is locked.
func (s *Scheduler) asked() {
	leaves := s.garden.plan(nil, s.quotaOf)
	if len(leaves) == 0 {
		return
	}
	s.mu.Lock()
	configured := s.configured
	g := grow.Overlay(*configured, leaves)
	s.loop.Post(ledger.QueuesChanged{Tree: g.Tree})
	s.mu.Unlock()
	s.garden.planted(leaves, g.Leaves)
	s.hold(configured, g)
}

// gather is how long wishes for queues are collected, rest how long a change of the tree is
// the last one, restShare how many times longer than it took, and again how long it is
// waited when one was refused.
const (
	gather    = 50 * time.Millisecond
	rest      = 200 * time.Millisecond
	restShare = 4
	again     = 5 * time.Second
)

// tend changes the tree as the garden wants it, until ctx ends.
func (s *Scheduler) tend(ctx context.Context) {
	for {
		var sweep <-chan int64
		if s.garden.count() > 0 || s.draining() {
			sweep = soon(time.Duration(s.garden.idle) / 2)
		}
		wait := time.Duration(0)
		select {
		case <-ctx.Done():
			return
		case <-s.garden.knock:
			wait = gather
		case <-sweep:
		}
		if !pause(ctx, wait) {
			return
		}
		s.undrain()
		began := clock.Real{}.Now()
		changed, err := s.regrow(ctx)
		switch {
		case err != nil && ctx.Err() == nil:
			s.o.Log.Error("queues that placement rules create can't be created, or removed; it is tried again", "error", err)
			s.garden.wake()
			wait = again
		case changed:
			wait = max(rest, restShare*time.Duration(clock.Real{}.Now()-began))
		default:
			wait = 0
		}
		if !pause(ctx, wait) {
			return
		}
	}
}

// pause waits; it is false if ctx ends meanwhile.
func pause(ctx context.Context, d time.Duration) bool {
	if d == 0 {
		return ctx.Err() == nil
	}
	select {
	case <-ctx.Done():
		return false
	case <-soon(d):
		return true
	}
}

// regrow creates what is wanted and removes what is empty, in one change of the tree, and
// says whether there was something to do.
func (s *Scheduler) regrow(ctx context.Context) (changed bool, err error) {
	s.changing.Lock()
	defer s.changing.Unlock()
	gone := s.garden.survey(clock.Real{}.Now(), s.mirror.Queues())
	leaves := s.garden.plan(gone, s.quotaOf)
	s.mu.Lock()
	configured := s.configured
	same := slices.EqualFunc(leaves, s.grown, func(a, b grow.Leaf) bool { return reflect.DeepEqual(a, b) })
	s.mu.Unlock()
	if same {
		if s.garden.planted(leaves, leaves) {
			s.mirror.QueuesGrown()
		}
		return false, nil
	}
	g := grow.Overlay(*configured, leaves)
	defer s.narrow(configured, g)()
	if used := s.mirror.Queues(); slices.ContainsFunc(gone, func(path string) bool { return used[path] != nil }) {
		s.garden.wake() // by a job that was on its way
		return true, nil
	}
	if err := s.post(ctx, g.Tree); err != nil {
		return false, err
	}
	s.garden.planted(leaves, g.Leaves)
	s.hold(configured, g)
	s.o.Log.Info("queues that placement rules create", "there are", len(g.Leaves), "removed", len(gone))
	return true, nil
}
