package act

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
)

// unitRun is one unit being carried out.
type unitRun struct {
	a     *Actor
	unit  *Unit
	since int64 // when Do took it
	// first is the turn that the unit waited for before it began, until it is used.
	first atomic.Pointer[ticket]
	// failed is the first failure for good; what has not begun is given up then.
	failed atomic.Pointer[error]
}

// turn is the unit's place in the queue: the first in the order of the units, the others
// behind whatever began meanwhile.
func (r *unitRun) turn() *ticket {
	if t := r.first.Swap(nil); t != nil {
		return t
	}
	return r.a.binds.draw()
}

func (r *unitRun) fail(err error) { r.failed.CompareAndSwap(nil, &err) }

// err is why the unit can't be finished, nil as long as it can.
func (r *unitRun) err() error {
	if p := r.failed.Load(); p != nil {
		return *p
	}
	return nil
}

// run goes from the record over the claims to the binds. Nothing is bound before all
// that is needed for every pod of the unit is there.
func (r *unitRun) run(ctx context.Context) {
	defer func() {
		if t := r.first.Swap(nil); t != nil {
			t.giveBack()
		}
	}()
	err := r.record(ctx)
	if err == nil {
		err = r.provideAll(ctx)
	}
	if errors.Is(err, errStopped) {
		return
	}
	if err != nil {
		r.fail(err)
	}
	r.each(ctx, len(r.unit.Binds), func(i int) { r.bindOne(ctx, &r.unit.Binds[i]) })
	if ctx.Err() == nil {
		r.erase(ctx)
	}
}

// each calls f for 0 to n-1, as many at a time as there are slots, and waits.
func (r *unitRun) each(ctx context.Context, n int, f func(i int)) {
	each(ctx, n, r.a.opts.Workers, f)
}

func each(ctx context.Context, n, atOnce int, f func(i int)) {
	if n == 1 {
		f(0)
		return
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(n, atOnce) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := int(next.Add(1)) - 1; i < n && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				f(i)
			}
		}()
	}
	wg.Wait()
}

// bindOne binds one pod of the unit and reports it.
func (r *unitRun) bindOne(ctx context.Context, b *Bind) {
	var res result
	if cause := r.err(); cause != nil {
		res.err = givenUp(r.unit, cause)
	} else {
		res = r.bind(ctx, b)
	}
	if errors.Is(res.err, errStopped) {
		return
	}
	if res.err != nil {
		r.fail(res.err)
	}
	r.a.settle(r, b, res)
}

// givenUp keeps the reason of a unit that could not even begin as it is.
func givenUp(u *Unit, cause error) error {
	if len(u.Binds) == 1 {
		return cause
	}
	return fmt.Errorf("%w: %w", ErrGivenUp, cause)
}
