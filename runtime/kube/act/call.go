package act

import (
	"context"
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/musterhq/muster/runtime/clock"
)

const (
	backoffMin = 50 * time.Millisecond
	backoffMax = 5 * time.Second

	forever = time.Duration(math.MaxInt64)
)

// call makes one request when it is its turn and the gate lets it pass, and tells the
// gate what became of it. Its slot is free again when it returns.
func (a *Actor) call(ctx context.Context, turn *ticket, do func(context.Context) error) error {
	defer turn.giveBack()
	if err := turn.redeem(ctx); err != nil {
		return err
	}
	if err := a.gate.pass(ctx); err != nil {
		return err
	}
	req, end := a.request(ctx)
	defer end()
	err := do(req)
	switch fateOf(err) {
	case stopped:
		return errStopped
	case done, gone, conflict:
		a.gate.passed()
	case busy:
		if !byBudget(err) {
			a.gate.hold(retryAfter(err))
		}
	case away, lost:
		if ctx.Err() != nil {
			return errStopped // its own end cut it short; nobody reads on
		}
		a.suspect(ctx)
	}
	return err
}

// request is the context of one request: it has a deadline, and outlives ctx by the
// grace, so that what is in flight at the end can finish.
func (a *Actor) request(ctx context.Context) (context.Context, func()) {
	req, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.opts.Timeout)
	forget := context.AfterFunc(ctx, func() {
		select {
		case <-a.clock.Wake(a.clock.Now() + int64(a.opts.Grace)):
			cancel()
		case <-req.Done():
		}
	})
	return req, func() { forget(); cancel() }
}

func (a *Actor) sleep(ctx context.Context, d time.Duration) error {
	return a.sleepUntil(ctx, a.clock.Now()+int64(d))
}

func (a *Actor) sleepUntil(ctx context.Context, t int64) error {
	if ctx.Err() != nil {
		return errStopped
	}
	if t <= a.clock.Now() {
		return nil
	}
	select {
	case <-a.clock.Wake(t):
		return nil
	case <-ctx.Done():
		return errStopped
	}
}

// tries counts the attempts at one thing. Time in which the API server is away does not
// use up patience.
type tries struct {
	a     *Actor
	began int64
	left  time.Duration
	pause time.Duration
	max   time.Duration
}

func (a *Actor) tries(patience time.Duration) *tries {
	return &tries{a: a, began: a.activeTime(), left: patience, pause: backoffMin, max: backoffMax}
}

func (a *Actor) activeTime() int64 { return a.clock.Now() - a.gate.awayFor() }

// over says that patience is used up.
func (t *tries) over() bool {
	return t.a.activeTime()-t.began >= int64(t.left)
}

// rest waits before the next attempt, longer each time, and never the same time for all.
func (t *tries) rest(ctx context.Context) error {
	d := t.pause/2 + rand.N(t.pause/2+1)
	t.pause = min(2*t.pause, t.max)
	return t.a.sleep(ctx, d)
}

// persist repeats a request that may be carried out twice without harm, until it is done,
// can't be, or patience is used up.
func (a *Actor) persist(ctx context.Context, turn func() *ticket, do func(context.Context) error) error {
	return a.again(ctx, a.opts.Patience, func() error { return a.call(ctx, turn(), do) })
}

// again repeats what makes calls itself.
func (a *Actor) again(ctx context.Context, patience time.Duration, f func() error) error {
	for t := a.tries(patience); ; {
		err := f()
		switch fateOf(err) {
		case busy, away, unsure, lost:
			if t.over() {
				return err
			}
			a.stats.retries.Add(1)
			if e := t.rest(ctx); e != nil {
				return e
			}
		default:
			return err
		}
	}
}

// pacer spreads requests over time: at most one each interval.
type pacer struct {
	clock    clock.Clock
	interval time.Duration // 0 is no limit

	mu   sync.Mutex
	next int64
}

func newPacer(c clock.Clock, qps float64) *pacer {
	p := &pacer{clock: c}
	if qps > 0 {
		p.interval = time.Duration(float64(time.Second) / qps)
	}
	return p
}

// slot is when the next request may go, slowness times as far apart as usual.
func (p *pacer) slot(slowness int64) int64 {
	if p.interval == 0 {
		return 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	at := max(p.next, p.clock.Now())
	p.next = at + int64(p.interval)*slowness
	return at
}
