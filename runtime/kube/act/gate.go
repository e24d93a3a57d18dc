package act

import (
	"context"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/musterhq/muster/runtime/clock"
)

const (
	holdMin  = 50 * time.Millisecond
	holdMax  = 5 * time.Second
	probeMin = 100 * time.Millisecond
	probeMax = 5 * time.Second
)

// gate is what all requests pass. It shuts when the API server seems away, and holds
// them for a while when it says that it has too much to do.
type gate struct {
	clock clock.Clock

	mu     sync.Mutex
	open   chan struct{} // nil while open; closed when it opens again
	since  int64         // when it shut
	away   int64         // ns that it was shut in all, before since
	shuts  uint64
	until  int64         // nothing passes before
	length time.Duration // of the next hold; grows while the server stays busy
}

// pass waits until requests may go.
func (g *gate) pass(ctx context.Context) error {
	for ctx.Err() == nil {
		g.mu.Lock()
		open, until, now := g.open, g.until, g.clock.Now()
		g.mu.Unlock()
		switch {
		case open != nil:
			select {
			case <-open:
			case <-ctx.Done():
			}
		case now < until:
			select {
			case <-g.clock.Wake(until):
			case <-ctx.Done():
			}
		default:
			return nil
		}
	}
	return errStopped
}

// shut closes the gate and says whether it was open.
func (g *gate) shut() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open != nil {
		return false
	}
	g.open, g.since = make(chan struct{}), g.clock.Now()
	g.shuts++
	return true
}

func (g *gate) reopen() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.away += g.clock.Now() - g.since
	close(g.open)
	g.open = nil
}

// hold keeps everything back for a moment, longer each time until something passes.
func (g *gate) hold(wanted time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.clock.Now()
	if now < g.until {
		return // those in flight together are told off together
	}
	g.length = min(max(2*g.length, holdMin, wanted), max(holdMax, wanted))
	g.until = now + int64(g.length)
}

func (g *gate) passed() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.length = 0
}

// awayFor is how long the gate was shut in all, in ns. Patience does not run then.
func (g *gate) awayFor() int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open == nil {
		return g.away
	}
	return g.away + g.clock.Now() - g.since
}

// suspect shuts the gate and has one probe find out whether the server is away. While
// the first probe runs nobody is told: a single lost answer is no outage.
func (a *Actor) suspect(ctx context.Context) {
	if !a.gate.shut() {
		return
	}
	a.group.Add(1)
	go func() {
		defer a.group.Done()
		told := false
		for pause := probeMin; ; pause = min(2*pause, probeMax) {
			err := a.probe(ctx)
			if err == nil || ctx.Err() != nil {
				break
			}
			if !told {
				told = true
				a.stats.pauses.Add(1)
				a.stats.paused.Store(true)
				a.opts.Log.Warn("the API server is away: nothing is carried out until it is back", "err", err)
				a.out.Paused(true)
			}
			if a.sleep(ctx, pause) != nil {
				break
			}
		}
		if ctx.Err() != nil {
			return // what waits at the gate is stopping as well
		}
		a.gate.reopen()
		if told {
			a.stats.paused.Store(false)
			a.opts.Log.Info("the API server is back")
			a.out.Paused(false)
		}
	}()
}

// probe reads an object that need not exist: the answer comes from the store behind the
// API server, so a server without its store counts as away.
func (a *Actor) probe(ctx context.Context) error {
	req, end := a.request(ctx)
	defer end()
	_, err := a.api.CoreV1().ConfigMaps(a.opts.Namespace).Get(req, "muster-probe", metav1.GetOptions{})
	if f := fateOf(err); f == away || f == lost || (f == unsure && !apierrors.IsUnauthorized(err)) {
		return err
	}
	return nil
}
