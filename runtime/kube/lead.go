package kube

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"github.com/musterhq/muster/builtin/pack"
	"github.com/musterhq/muster/builtin/spec"
)

// Lease says how replicas agree on who leads.
type Lease struct {
	// Elect is whether they do: without it this one leads at once, and must be the only
	// one.
	Elect bool
	Name  string // of the Lease object; "" is muster-scheduler
	// Duration is how long a leader that is silent is waited for, Renew within what time
	// it must be heard, Retry how often it says something. Zero is 15 s, 10 s and 2 s.
	Duration, Renew, Retry time.Duration
}

// ErrLostLease ends a scheduler that others may have taken over from.
var ErrLostLease = errors.New("the lease was lost: another replica may lead")

// elect calls lead while this replica holds the lease. The lease is given back only when
// lead has returned.
func (s *Scheduler) elect(ctx context.Context, lead func(context.Context) error) error {
	if !s.o.Lease.Elect {
		s.leads(s.o.Identity)
		return lead(ctx)
	}
	elected, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	started := make(chan context.Context, 1)
	lost := make(chan struct{})
	elector, err := leaderelection.NewLeaderElector(s.election(started))
	if err != nil {
		return fmt.Errorf("leader election: %w", err)
	}
	go func() {
		defer close(lost)
		elector.Run(elected)
	}()
	var leading context.Context
	select {
	case leading = <-started:
	case <-ctx.Done():
		stop()
		<-lost
		return nil
	}
	both, cancel := context.WithCancel(leading)
	defer context.AfterFunc(ctx, cancel)()
	defer cancel()
	err = lead(both)
	if ctx.Err() == nil && err == nil {
		err = ErrLostLease
	}
	stop()
	<-lost
	return err
}

func (s *Scheduler) election(started chan<- context.Context) leaderelection.LeaderElectionConfig {
	l := s.o.Lease
	return leaderelection.LeaderElectionConfig{
		Lock: &resourcelock.LeaseLock{
			LeaseMeta:  metav1.ObjectMeta{Namespace: s.o.Namespace, Name: cmp.Or(l.Name, "muster-scheduler")},
			Client:     s.o.Client.CoordinationV1(),
			LockConfig: resourcelock.ResourceLockConfig{Identity: s.o.Identity},
		},
		LeaseDuration: cmp.Or(l.Duration, 15*time.Second),
		RenewDeadline: cmp.Or(l.Renew, 10*time.Second),
		RetryPeriod:   cmp.Or(l.Retry, 2*time.Second),
		// A leader that goes in order leaves no gap.
		ReleaseOnCancel: true,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(ctx context.Context) { started <- ctx },
			OnStoppedLeading: func() {},
			OnNewLeader:      s.leads,
		},
	}
}

func (s *Scheduler) leads(identity string) {
	s.mu.Lock()
	s.leader = identity
	s.mu.Unlock()
	s.o.Log.Info("leader", "identity", identity)
}

// The pause before the API server is asked again, at first and at most.
const (
	insistFirst = 100 * time.Millisecond
	insistMost  = 5 * time.Second
)

// insist asks again as long as ctx lasts, where the API server is away or has too much to
// do: who comes to lead often does so because of that, and giving up would cost the caches.
func (s *Scheduler) insist(ctx context.Context, ask func(context.Context) error) error {
	for wait := insistFirst; ; wait = min(2*wait, insistMost) {
		err := ask(ctx)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil || !passing(err):
			return err
		}
		s.o.Log.Warn("the API server did not answer; it is asked again", "error", err)
		if !pause(ctx, wait) {
			return ctx.Err()
		}
	}
}

// passing says of an error that asking again may help: all but what the API server refuses.
func passing(err error) bool {
	status := apierrors.APIStatus(nil)
	if !errors.As(err, &status) {
		return true // the network's
	}
	switch code := status.Status().Code; code {
	case http.StatusUnauthorized, http.StatusRequestTimeout, http.StatusTooManyRequests: // a token may be rotated
		return true
	default:
		return code < 400 || code >= 500
	}
}

// catchUp waits until the caches show every bind of the last leader: a pod that looks
// unbound here and is not in a list taken now was bound, or has gone, and its change is
// on the way.
func (s *Scheduler) catchUp(ctx context.Context) error {
	before := s.mirror.Unbound()
	list, err := s.o.Client.CoreV1().Pods(metav1.NamespaceAll).List(ctx, metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector("spec.nodeName", "").String(),
	})
	if err != nil {
		return fmt.Errorf("listing pods that are bound nowhere: %w", err)
	}
	free := make(map[types.UID]bool, len(list.Items))
	for i := range list.Items {
		free[list.Items[i].UID] = true
	}
	stale := slices.DeleteFunc(before, func(uid types.UID) bool { return free[uid] })
	for {
		unbound := s.mirror.Unbound()
		stale = slices.DeleteFunc(stale, func(uid types.UID) bool { return !slices.Contains(unbound, uid) })
		if len(stale) == 0 {
			return nil
		}
		s.o.Log.Info("waiting for the cache to catch up", "pods", len(stale))
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-soon(20 * time.Millisecond):
		}
	}
}

// placement is the strategy that the queues' configuration asks for, or the one given.
func placement(t *spec.Tree, given pack.Strategy) pack.Strategy {
	if t == nil || t.Placement == "" {
		return given
	}
	if p, err := pack.ParseStrategy(t.Placement); err == nil {
		return p
	}
	return given
}
