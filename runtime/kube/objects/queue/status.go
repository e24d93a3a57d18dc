package queue

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/runtime/clock"
	api "github.com/musterhq/muster/runtime/kube/api/v1alpha1"
	"github.com/musterhq/muster/runtime/kube/objects"
)

// Use is what a queue has and all below it, by resource, GPU types included.
type Use struct {
	Guaranteed, Max spec.Resources
	Used            spec.Resources // by running tasks
	Pending         spec.Resources // asked for by tasks that wait
	Running         int64          // jobs
	Waiting         int64          // jobs
}

// acceptance is what is said of an object's spec.
type acceptance struct {
	reason, text, path string
	held               bool // this or an older version of it is in the tree
}

// statusWriter writes the status of Queue objects: what was accepted at once, what is
// used every few seconds, and nothing that is there already. It is silent in a replica
// that stands by: that one doesn't know what is used, nor what jobs are in the way of. Where
// no tree holds nobody can lead, and each replica says what is wrong.
type statusWriter struct {
	client dynamic.ResourceInterface
	clock  clock.Clock
	every  time.Duration
	failed func(error)
	knock  chan struct{}

	mu    sync.Mutex
	rows  map[string]*row // by the object's name
	use   map[string]Use  // by path
	leads bool            // something was reported

	leaderless func() bool
}

// row is one object's status.
type row struct {
	object  *api.Queue // as it was read
	said    acceptance
	written api.QueueStatus // what the API server has, as far as was heard
	then    int64           // earliest time of the next write for what is used
	urgent  bool            // the condition has changed
}

func newStatusWriter(c dynamic.ResourceInterface, t clock.Clock, every time.Duration, failed func(error)) *statusWriter {
	return &statusWriter{client: c, clock: t, every: every, failed: failed, knock: make(chan struct{}, 1), rows: map[string]*row{}, use: map[string]Use{}}
}

func (w *statusWriter) wake() {
	select {
	case w.knock <- struct{}{}:
	default:
	}
}

func (w *statusWriter) report(use map[string]Use) {
	w.mu.Lock()
	w.use, w.leads = use, true
	w.mu.Unlock()
	w.wake()
}

// accept sets what is said of an object's spec.
func (w *statusWriter) accept(q *api.Queue, a acceptance) {
	w.mu.Lock()
	r := w.rows[q.Name]
	if r == nil || r.object.UID != q.UID {
		r = &row{written: *q.Status.DeepCopy()}
		w.rows[q.Name] = r
	}
	r.urgent = r.urgent || r.object == nil || r.said != a || r.object.Generation != q.Generation
	r.object, r.said = q, a
	w.mu.Unlock()
	w.wake()
}

// seen takes in what the API server has: another replica may have written it.
func (w *statusWriter) seen(o any) {
	u, ok := o.(*unstructured.Unstructured)
	q := &api.Queue{}
	if !ok || runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, q) != nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if r := w.rows[q.Name]; r != nil && r.object.UID == q.UID {
		r.written = q.Status
	}
}

// silent says that another replica writes, or is going to.
func (w *statusWriter) silent() bool {
	w.mu.Lock()
	leads := w.leads
	w.mu.Unlock()
	return !leads && !w.leaderless()
}

// forget drops the objects that are gone.
func (w *statusWriter) forget(now versions) {
	w.mu.Lock()
	defer w.mu.Unlock()
	maps.DeleteFunc(w.rows, func(name string, _ *row) bool { return now[name] == nil })
}

// run writes until ctx ends.
func (w *statusWriter) run(ctx context.Context) {
	for {
		var alarm <-chan int64
		if next := w.flush(ctx); next != 0 {
			alarm = w.clock.Wake(next)
		}
		select {
		case <-ctx.Done():
			return
		case <-w.knock:
		case <-alarm:
		}
	}
}

// flush writes all that is due, and returns when the next is, 0 for not before a wake.
func (w *statusWriter) flush(ctx context.Context) (next int64) {
	if w.silent() {
		return 0
	}
	w.mu.Lock()
	names := slices.Sorted(maps.Keys(w.rows))
	w.mu.Unlock()
	for _, name := range names {
		if at := w.write(ctx, name); at != 0 && (next == 0 || at < next) {
			next = at
		}
	}
	return next
}

// write brings one object's status up to date; it returns when it is to be looked at
// again, 0 for not at all.
func (w *statusWriter) write(ctx context.Context, name string) (again int64) {
	w.mu.Lock()
	r := w.rows[name]
	if r == nil {
		w.mu.Unlock()
		return 0
	}
	now := w.clock.Now()
	status := r.status(w.use[r.said.path], metav1.NewTime(time.Unix(0, now)))
	if !r.urgent && now < r.then {
		again = r.then
		w.mu.Unlock()
		return again
	}
	before, object := r.written, r.object
	r.urgent = false
	w.mu.Unlock()
	changed, err := objects.PatchStatus(ctx, w.client, name, before, status)
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case err == nil && changed:
		r.written, r.then = status, now+int64(w.every)
	case err == nil || apierrors.IsNotFound(err) || ctx.Err() != nil:
	default:
		w.failed(err)
		r.urgent = r.urgent || r.object != object
		r.then = now + int64(w.every)
		return r.then
	}
	return 0
}

// status is what an object's status should be.
func (r *row) status(use Use, now metav1.Time) api.QueueStatus {
	s := api.QueueStatus{
		ObservedGeneration: r.object.Generation, Path: r.said.path, State: r.state(),
		Conditions: slices.Clone(r.written.Conditions),
	}
	c := metav1.Condition{
		Type: api.Accepted, Status: metav1.ConditionTrue, Reason: r.said.reason, Message: r.said.text,
		ObservedGeneration: r.object.Generation, LastTransitionTime: now,
	}
	if r.said.reason != Applied {
		c.Status = metav1.ConditionFalse
	}
	s.Conditions = objects.SetCondition(s.Conditions, c)
	if !r.said.held {
		return s
	}
	s.Guaranteed, s.Max = written(use.Guaranteed), written(use.Max)
	s.Used, s.Pending = written(use.Used), written(use.Pending)
	s.RunningJobs, s.PendingJobs = &use.Running, &use.Waiting
	s.GPUs = &api.GPUs{
		Guaranteed: gpus(use.Guaranteed, "0"), Max: gpus(use.Max, "-"), Used: gpus(use.Used, "0"), Pending: gpus(use.Pending, "0"),
	}
	return s
}

func (r *row) state() api.QueueState {
	switch {
	case r.said.reason == Applied:
		return api.QueueActive
	case r.said.held:
		return api.QueueOutdated
	}
	return api.QueueRefused
}

// written are amounts as Kubernetes writes them.
func written(list spec.Resources) api.Resources {
	if len(list) == 0 {
		return nil
	}
	out := make(api.Resources, len(list))
	for _, e := range list {
		if e.Amount != amount.Max { // absent is unbounded
			out[e.Name] = api.MustParse(amount.Format(e.Name, e.Amount))
		}
	}
	return out
}

func gpus(list spec.Resources, none string) string {
	if a, ok := list.Get(amount.GPUName); ok && a != amount.Max {
		return amount.Format(amount.GPUName, a)
	}
	return none
}
