package groups

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/time/rate"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/util/workqueue"

	"github.com/musterhq/muster/runtime/clock"
)

// StatusOptions of a Status. Dynamic and Served are required.
type StatusOptions struct {
	Dynamic dynamic.Interface
	// Served tells the version in which each API is written: Watch.Served.
	Served func() map[API]string
	// Rate is the most writes per second, 20 if 0; Workers the most at a time, 4 if 0.
	Rate    float64
	Workers int
	Clock   clock.Clock  // real if nil
	Log     *slog.Logger // none if nil
}

// Status writes the status of group objects, for those who look at it there: kubectl,
// vcctl, the Spark operator. Nothing is decided by it, so it comes after everything
// else: a limited rate, of a group that changes often only the newest state, and a
// write only where the object says something else.
type Status struct {
	o     StatusOptions
	queue workqueue.TypedRateLimitingInterface[Key]

	mu     sync.Mutex
	states map[Key]State // wanted, of groups that exist as far as we know
	denied bool          // told that writing is forbidden
}

// NewStatus makes a writer that Run starts.
func NewStatus(o StatusOptions) *Status {
	if o.Rate <= 0 {
		o.Rate = 20
	}
	if o.Workers <= 0 {
		o.Workers = 4
	}
	if o.Clock == nil {
		o.Clock = clock.Real{}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Status{
		o: o, states: map[Key]State{},
		queue: workqueue.NewTypedRateLimitingQueue(workqueue.NewTypedItemExponentialFailureRateLimiter[Key](100*time.Millisecond, 2*time.Minute)),
	}
}

// Set has a group's status say s, soon. A state that was set before costs nothing.
func (w *Status) Set(k Key, s State) {
	if !k.API.status() {
		return
	}
	w.mu.Lock()
	old, known := w.states[k]
	w.states[k] = s
	w.mu.Unlock()
	if !known || old != s {
		w.queue.Add(k)
	}
}

// Forget drops a group that is gone.
func (w *Status) Forget(k Key) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.states, k)
}

// Run writes until ctx ends. It can be run once: a replica that comes to lead makes its
// own.
func (w *Status) Run(ctx context.Context) error {
	limit := rate.NewLimiter(rate.Limit(w.o.Rate), max(1, int(w.o.Rate)))
	var workers sync.WaitGroup
	for range w.o.Workers {
		workers.Go(func() {
			for w.next(ctx, limit) {
			}
		})
	}
	<-ctx.Done()
	w.queue.ShutDown()
	workers.Wait()
	return nil
}

// next writes one group; false when there will be no more.
func (w *Status) next(ctx context.Context, limit *rate.Limiter) bool {
	k, over := w.queue.Get()
	if over {
		return false
	}
	defer w.queue.Done(k)
	if limit.Wait(ctx) != nil {
		return false
	}
	if err := w.write(ctx, k); err != nil {
		w.failed(ctx, k, err)
		w.queue.AddRateLimited(k)
		return true
	}
	w.queue.Forget(k)
	return true
}

// failed tells of what people have to mend, once; conflicts and outages pass.
func (w *Status) failed(ctx context.Context, k Key, err error) {
	if !apierrors.IsForbidden(err) {
		if ctx.Err() == nil {
			w.o.Log.Debug("status of a group object not written", "group", k, "error", err)
		}
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.denied {
		w.o.Log.Warn("the status of group objects may not be written; it is left as it is", "group", k, "error", err,
			"hint", "allow update of podgroups/status")
	}
	w.denied = true
}

// write brings one object up to its state. It reads first: the object's own status says
// whether there is anything to write, and its version keeps a write from undoing
// somebody else's.
func (w *Status) write(ctx context.Context, k Key) error {
	w.mu.Lock()
	s, known := w.states[k]
	w.mu.Unlock()
	version := w.o.Served()[k.API]
	if !known || version == "" {
		return nil
	}
	api := w.o.Dynamic.Resource(candidate{k.API, version}.resource("podgroups")).Namespace(k.Namespace)
	o, err := api.Get(ctx, k.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		w.Forget(k)
		return nil
	}
	if err != nil {
		return err
	}
	if !s.apply(o, time.Unix(0, w.o.Clock.Now())) {
		return nil
	}
	return w.update(ctx, api, o)
}

// update writes the status; CRDs of old have none of their own, and are written whole.
func (w *Status) update(ctx context.Context, api dynamic.ResourceInterface, o *unstructured.Unstructured) error {
	_, err := api.UpdateStatus(ctx, o, metav1.UpdateOptions{})
	if !apierrors.IsNotFound(err) {
		return err
	}
	if _, err = api.Update(ctx, o, metav1.UpdateOptions{}); apierrors.IsNotFound(err) {
		return nil // it has gone in the meantime
	}
	return err
}
