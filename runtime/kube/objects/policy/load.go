package policy

import (
	"context"
	"reflect"
	"sync"
	"time"

	api "github.com/musterhq/muster/runtime/kube/api/v1alpha1"
	"github.com/musterhq/muster/runtime/reload/reason"
	"github.com/musterhq/muster/runtime/reload/wanted"
)

// row is one object and what was made of it.
type row struct {
	object *api.Policy
	status api.PolicyStatus // as the API server has it

	mu     sync.Mutex
	cancel context.CancelFunc // of the load under way, nil if there is none
	target wanted.Spec        // what that loads
	spec   wanted.Spec        // of the last load
	seen   string             // digest of the ConfigMap that it read
	number int                // of the version that it made, 0 if none
	err    error
	tries  int
	then   int64 // when a load that failed is tried again, 0 for not by itself
	faults uint64
	// refused is what an operator's last request was answered by.
	refused error
}

// retries of what may go well later.
const (
	firstRetry = time.Second
	lastRetry  = 5 * time.Minute
)

// open says that a load is under way, or the first one still to begin.
func (r *row) open() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.cancel != nil || r.spec.Name == ""
}

// stop cancels the load under way, and says whether there is one.
func (r *row) stop() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cancel != nil {
		r.cancel()
	}
	return r.cancel != nil
}

// bring makes what an object asks for so, as far as that is due. It returns when a retry
// is, 0 if there is none.
func (c *Controller) bring(ctx context.Context, r *row) (then int64) {
	s, err := c.wantedOf(r.object)
	if err != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.spec, r.err, r.number, r.then = s, err, 0, 0
		return 0
	}
	seen, known := c.contentOf(s.Source)
	if !known {
		return 0 // its follower wakes us
	}
	r.mu.Lock()
	before, number, busy := r.spec, r.number, r.cancel != nil
	same := r.spec.Name != "" && reflect.DeepEqual(r.spec, s)
	content := r.seen == seen || seen == "" && number != 0 // what vanished is left alone
	due := r.then != 0 && c.clock.Now() >= r.then
	then = r.then
	overtaken := busy && !reflect.DeepEqual(r.target, s)
	r.mu.Unlock()
	switch {
	case overtaken:
		r.stop()
		return 0
	case busy:
		return 0
	case c.promoted(r, before, s):
	case !same || !content || due:
		c.load(ctx, r, s, seen)
		return 0
	}
	c.answer(ctx, r, s, seen)
	return then
}

// promoted makes a shadow active whose object now says mode: active and nothing else:
// it need not be fetched again.
func (c *Controller) promoted(r *row, before, s wanted.Spec) bool {
	if before.Mode != wanted.Shadow || s.Mode != wanted.Active || before.Beside != "" {
		return false
	}
	asked := before
	asked.Mode = wanted.Active
	if !reflect.DeepEqual(asked, s) {
		return false
	}
	if _, err := c.manager.Promote(s.Slot()); err != nil {
		return false // it is no shadow (any more): load it
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.spec, r.err = s, nil
	return true
}

// load takes a policy through its life, beside everything else.
func (c *Controller) load(ctx context.Context, r *row, s wanted.Spec, seen string) {
	ctx, cancel := context.WithCancel(ctx)
	r.mu.Lock()
	before := r.spec
	r.cancel, r.target = cancel, s
	r.mu.Unlock()
	c.loads.Go(func() {
		if before.Name != "" && before.Slot() != s.Slot() {
			c.remove(s.Name) // it decides, or is compared, under another name from now on
		}
		v, err := c.manager.Load(ctx, s)
		cancelled := ctx.Err() != nil
		cancel()
		r.mu.Lock()
		defer r.mu.Unlock()
		r.cancel = nil
		r.err, r.number, r.then, r.faults = err, v.Number, 0, 0
		if !cancelled {
			r.spec, r.seen = s, seen
		}
		if err != nil && again(s, err) {
			r.then = c.clock.Now() + int64(min(firstRetry<<min(r.tries, 16), lastRetry))
			r.tries++
		} else {
			r.tries = 0
		}
		c.wake()
	})
}

// again says whether the same may go well later: also where a shadow has nothing to be
// compared with yet.
func again(s wanted.Spec, err error) bool {
	e := reason.Of(err)
	return e.Again || s.Mode == wanted.Shadow && e.Code == reason.NotFound
}
