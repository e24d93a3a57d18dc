// Package kube runs the scheduler on a Kubernetes cluster. Its parts, each a package:
//
//	pods     what a pod asks for, what a node offers
//	groups   which job a pod belongs to, in every dialect
//	route    the queue of a job, and who may submit to it
//	objects  queues and policies as objects of the cluster
//	mirror   keeps the loop's view and the cluster in step
//	act      binds, warns, evicts and tells
//
// This package joins them: informers feed the mirror, the mirror feeds the loop, the loop
// decides, the actor acts. Every replica keeps its caches warm; the one that holds the
// lease decides. Whoever comes to lead rebuilds everything from API objects.
package kube

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/musterhq/muster/builtin/cycle"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/runtime/clock"
	"github.com/musterhq/muster/runtime/config/grow"
	"github.com/musterhq/muster/runtime/kube/act"
	"github.com/musterhq/muster/runtime/kube/groups"
	"github.com/musterhq/muster/runtime/kube/mirror"
	"github.com/musterhq/muster/runtime/kube/objects/queue"
	"github.com/musterhq/muster/runtime/kube/pods"
	"github.com/musterhq/muster/runtime/kube/route"
	"github.com/musterhq/muster/runtime/ledger"
	"github.com/musterhq/muster/runtime/loop"
	"github.com/musterhq/muster/runtime/reload"
)

// Groups keeps the group objects of a cluster: groups.Watch.
type Groups interface {
	groups.Objects
	// Run follows them until ctx ends, and tells of each change.
	Run(ctx context.Context) error
	HasSynced() bool
}

// Options of a scheduler. Client, Queues, Groups and Schedulers are required.
type Options struct {
	Client kubernetes.Interface
	// Schedulers are the names in spec.schedulerName that it answers to.
	Schedulers []string
	// Namespace is its own, Identity its name there: leases and records of gangs in
	// flight are kept under them.
	Namespace, Identity string
	Lease               Lease
	Queues              queue.Source
	// Groups makes the watch of group objects; changed is to be called for each.
	Groups func(changed func(groups.Key)) Groups
	// Base is what decides where no policy is loaded.
	Base cycle.Set
	// Act, but for Namespace, Identity and Admit.
	Act act.Options

	Pods     pods.Options
	GroupOpt groups.Options
	Waits    mirror.Waits
	Log      *slog.Logger
	// Group hears how group objects stand, while this replica leads; nil hears nothing.
	Group func(groups.Key, groups.State)
	// Tree hears of every tree of queues that holds from now on; nil hears nothing.
	Tree func(*spec.Tree)
	// StayOnFailedGPUs leaves pods on GPUs that failed.
	StayOnFailedGPUs bool
	// Probes are told what is wanted of nodes; nil if nobody listens to any.
	Probes Probes
	// MaxCreated is how many queues placement rules may create; 0 is 10,000. IdleCreated is
	// how long such a queue stays that no job is in; 0 is 10 s.
	MaxCreated  int
	IdleCreated time.Duration
	// Leading is called when this replica has come to lead, before the first decision.
	// What it starts must end with ctx.
	Leading func(ctx context.Context, l Leader) error
}

// Leader is what a replica that leads has.
type Leader struct {
	Loop   *loop.Loop
	Mirror *mirror.Mirror
	Actor  *act.Actor
	// Swap puts policies on top of the base set: the Swap of a reload.Manager.
	Swap func(reload.Set) <-chan struct{}
}

// Scheduler is one replica.
type Scheduler struct {
	o       Options
	objects *objects
	groups  Groups
	mirror  *mirror.Mirror
	actor   *act.Actor
	probes  *asker
	garden  *garden

	abandoned []act.Unit // by the mirror, as it began

	changing sync.Mutex // held by whoever changes the tree, before mu

	mu         sync.Mutex
	configured *spec.Tree  // as the source gave it
	grown      []grow.Leaf // what placement rules have created
	tree       *spec.Tree  // both, which holds
	router     *route.Router
	next       *route.Router     // of the tree to come, while a change is under way
	drains     map[string]string // created leaves that a new configuration has no place for: why
	drainEnd   int64             // when that is given up
	synced     bool
	leader     string
	loaded     reload.Set
	loop       *loop.Loop // of the replica that leads, else nil
	change     *change    // of the tree, under way
	paused     bool
}

// New returns a scheduler that does nothing yet.
func New(o Options) (*Scheduler, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	objs, err := newObjects(o.Client, o.Pods.PerNodeLabels())
	if err != nil {
		return nil, err
	}
	s := &Scheduler{o: o, objects: objs, probes: newAsker(o.Probes), garden: newGarden(o.MaxCreated, o.IdleCreated, o.Log)}
	s.groups = o.Groups(func(k groups.Key) { s.mirror.GroupChanged(k) })
	s.mirror = mirror.New(mirror.Options{
		Schedulers: o.Schedulers, Post: s.tell, Applied: s.applied,
		Do:      func(w act.Work) { s.actor.Do(w) },
		Forget:  func(pod act.Pod) { s.actor.Forget(pod) },
		Abandon: s.abandon, Group: o.Group,
		Objects: objs, Groups: s.groups, Queue: s.queue, Asked: s.asked,
		GroupOptions: o.GroupOpt, PodOptions: o.Pods, Waits: o.Waits, StayOnFailedGPUs: o.StayOnFailedGPUs, Await: s.probes.await, Log: o.Log,
	})
	o.Act.Namespace, o.Act.Identity, o.Act.Admit, o.Act.Log = o.Namespace, o.Identity, s.mirror.Admit, o.Log
	s.actor = act.New(o.Client, o.Act, outcomes{s.mirror, s})
	return s, nil
}

// outcomes also tells the scheduler whether it can act.
type outcomes struct {
	*mirror.Mirror
	s *Scheduler
}

func (o outcomes) Paused(paused bool) {
	o.s.mu.Lock()
	o.s.paused = paused
	o.s.mu.Unlock()
	o.Mirror.Paused(paused)
}

func (s *Scheduler) tell(evs ...ledger.Event) uint64 { return s.loop.Post(evs...) }

func (s *Scheduler) applied() uint64 { return s.loop.Applied() }

// abandon has the records of a gang removed once this replica leads.
func (s *Scheduler) abandon(u act.Unit) { s.abandoned = append(s.abandoned, u) }

// forgo removes the records of gangs that are not finished as they were intended.
func (s *Scheduler) forgo(ctx context.Context) {
	for _, u := range s.abandoned {
		s.actor.Abandon(ctx, u)
	}
}

// Run follows the cluster, and schedules while it leads, until ctx ends. It returns early
// if it can't go on, or has lost the lease: then it must not be run again.
func (s *Scheduler) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var work sync.WaitGroup
	defer work.Wait()
	defer cancel(nil)
	run := func(what string, f func(context.Context) error) {
		work.Go(func() {
			if err := f(ctx); err != nil && ctx.Err() == nil {
				cancel(fmt.Errorf("%s: %w", what, err))
			}
		})
	}
	run("following the queues", func(ctx context.Context) error {
		return s.o.Queues.Watch(ctx, func(t *spec.Tree) error { return s.apply(ctx, t) })
	})
	run("following groups", s.groups.Run)
	run("asking probes", s.probes.run)
	if err := s.followNamespaces(); err != nil {
		return err
	}
	if err := s.objects.feed(ctx, s.mirror, s.probes.gone); err != nil {
		return err
	}
	if err := s.await(ctx); err != nil {
		return err
	}
	err := s.elect(ctx, s.lead)
	if cause := context.Cause(ctx); err == nil && cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return err
}

// await waits until there is everything that decisions stand on.
func (s *Scheduler) await(ctx context.Context) error {
	told := ""
	for {
		why := s.o.Queues.Ready()
		if why == nil && s.groups.HasSynced() {
			s.mu.Lock()
			s.synced = true
			s.mu.Unlock()
			return nil
		}
		if why != nil && why.Error() != told {
			told = why.Error()
			s.o.Log.Warn("waiting", "for", told)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-soon(50 * time.Millisecond):
		}
	}
}

// soon fires once when a time has passed.
func soon(d time.Duration) <-chan int64 {
	var c clock.Real
	return c.Wake(c.Now() + int64(d))
}

// Ready is nil when the replica could lead at once.
func (s *Scheduler) Ready() error {
	if err := s.o.Queues.Ready(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.synced {
		return errors.New("the caches are not filled yet")
	}
	return nil
}

// Leader is the identity of the replica that leads, "" if none is known. Paused says
// that the API server is away.
func (s *Scheduler) Leader() (identity string, paused bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.leader, s.paused
}

// Created are the queues that placement rules have created, sorted by path.
func (s *Scheduler) Created() []grow.Leaf {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.grown)
}

// set is what decides now: what is loaded, on top of what is built in.
func (s *Scheduler) set() cycle.Set {
	base := s.o.Base
	base.Placement = placement(s.tree, base.Placement)
	var out cycle.Set
	reload.Into(func(set cycle.Set) <-chan struct{} { out = set; return nil }, base)(s.loaded)
	return out
}

func (s *Scheduler) swap(l *loop.Loop) <-chan struct{} { return l.Swap(s.set()) }

// turned hears of every turn: what the ledger refused must be told anew.
func (s *Scheduler) turned(t loop.Turn) {
	var refused error
	for _, err := range t.Refused {
		var r *loop.Refusal
		if !errors.As(err, &r) {
			s.o.Log.Warn("the ledger refused a late event", "error", err)
			continue
		}
		if _, is := r.Event.(ledger.QueuesChanged); is {
			refused = r.Err
			continue
		}
		s.mirror.Refused(r.Event, r.Err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.change; c != nil && s.loop.Applied() >= c.seq {
		c.done <- refused
		s.change = nil
	}
}

// lead schedules until ctx ends.
func (s *Scheduler) lead(ctx context.Context) error {
	if err := s.insist(ctx, s.catchUp); err != nil {
		return unlessOver(ctx, err)
	}
	var intended []act.Unit
	if err := s.insist(ctx, func(ctx context.Context) (err error) {
		intended, err = s.actor.Intents(ctx)
		return err
	}); err != nil {
		return unlessOver(ctx, fmt.Errorf("reading which gangs the last leader had begun: %w", err))
	}
	l, err := s.begin(ctx, intended)
	if err != nil {
		return err
	}
	s.o.Log.Info("leading", "identity", s.o.Identity, "gangs begun by the last leader", len(intended), "queues created by rules", s.garden.count())
	return s.play(ctx, l)
}

// begin has the loop told of everything that is there. Until it is, nobody else changes
// the tree of queues: that would wait for a loop that does not run yet.
func (s *Scheduler) begin(ctx context.Context, intended []act.Unit) (*loop.Loop, error) {
	s.changing.Lock()
	defer s.changing.Unlock()
	s.mu.Lock()
	l := loop.New(ledger.New(*s.tree), s.set(), s.mirror, clock.Real{})
	s.loop = l
	s.mu.Unlock()
	l.Listen(s.turned)
	if s.o.Leading != nil {
		if err := s.o.Leading(ctx, Leader{Loop: l, Mirror: s.mirror, Actor: s.actor, Swap: s.load}); err != nil {
			return nil, err
		}
	}
	s.seed()
	s.mirror.Begin(intended)
	return l, nil
}

// seed lets the actor know what pods were told already.
func (s *Scheduler) seed() {
	for _, obj := range s.objects.pods.GetStore().List() {
		if p, ok := obj.(*corev1.Pod); ok {
			s.actor.Seen(p)
		}
	}
}

// play runs the loop and what is around it. The actor ends last: what was decided is
// carried out, as far as its grace goes.
func (s *Scheduler) play(ctx context.Context, l *loop.Loop) error {
	acting, stop := context.WithCancel(context.WithoutCancel(ctx))
	var actor, rest sync.WaitGroup
	actor.Go(func() { s.actor.Run(acting) })
	rest.Go(func() { _ = s.mirror.Run(ctx) })
	rest.Go(func() { s.tend(ctx) })
	rest.Go(func() { s.forgo(ctx) })
	if k, ok := s.o.Queues.(queue.Keeper); ok {
		rest.Go(func() { k.Keep(ctx) })
	}
	err := l.Run(ctx)
	rest.Wait()
	stop()
	actor.Wait()
	return unlessOver(ctx, err)
}

// unlessOver drops an error that says no more than that ctx has ended.
func unlessOver(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	return err
}

// load takes over policies that were loaded.
func (s *Scheduler) load(set reload.Set) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.loaded = set
	return s.swap(s.loop)
}
