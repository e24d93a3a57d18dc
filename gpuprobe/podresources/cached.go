package podresources

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/musterhq/muster/runtime/clock"
)

// CacheOptions are how often to ask, and how long to believe an answer.
type CacheOptions struct {
	Clock clock.Clock // the real one if nil
	// Every is how often the kubelet is asked. 10 seconds if 0.
	Every time.Duration
	// Gap is the least time between two calls, on demand too. 1 second if 0.
	Gap time.Duration
	// Keep is for how long an answer holds while there is no newer one. 60 seconds if 0.
	Keep time.Duration
	// Changed, if any, is called when what is assigned has changed, or when it is known
	// again or known no more. It must not block.
	Changed func()
}

// State says how asking the kubelet is doing.
type State struct {
	Up     bool
	Reason string // as of Error, or NotAsked before the first answer; "" while up
	Detail string // for people; also while up, if an older answer still holds
}

// Snapshot is what is known. Nobody changes it.
type Snapshot struct {
	// Known is false before the first answer, and when the last one is too old: then
	// Assignments is empty and says nothing.
	Known       bool
	Assignments []Assignment // sorted
	At          int64        // when it was asked, on the cache's clock
	State       State
}

// Cached asks a Lister in the background, so that nobody waits for the kubelet. All
// methods may be called from any goroutine.
type Cached struct {
	lister Lister
	o      CacheOptions
	knock  chan struct{}

	mu     sync.Mutex
	last   []Assignment
	at     int64 // of last, 0 if there was none
	failed error // nil if the last call had an answer
	known  bool  // as Changed was told
}

// NewCached returns a cache that knows nothing until it Runs.
func NewCached(l Lister, o CacheOptions) *Cached {
	if o.Clock == nil {
		o.Clock = clock.Real{}
	}
	o.Every = cmp.Or(o.Every, 10*time.Second)
	o.Gap = cmp.Or(o.Gap, time.Second)
	o.Keep = cmp.Or(o.Keep, time.Minute)
	return &Cached{lister: l, o: o, knock: make(chan struct{}, 1)}
}

// Demand has the kubelet asked soon: a process has started that may belong to a new pod.
// Many demands are one call.
func (c *Cached) Demand() {
	select {
	case c.knock <- struct{}{}:
	default:
	}
}

// Run asks until ctx ends.
func (c *Cached) Run(ctx context.Context) error {
	for {
		c.ask(ctx)
		asked := c.o.Clock.Now()
		if !c.wait(ctx, asked+int64(c.o.Gap), false) || !c.wait(ctx, asked+int64(c.o.Every), true) {
			return ctx.Err()
		}
	}
}

// wait returns at a time, or when there is a demand if that counts; false if ctx ended.
func (c *Cached) wait(ctx context.Context, until int64, demand bool) bool {
	var knock <-chan struct{}
	if demand {
		knock = c.knock
	}
	select {
	case <-ctx.Done():
		return false
	case <-c.o.Clock.Wake(until):
	case <-knock:
	}
	return true
}

// ask makes one call. What was assigned when it began is what the answer is about.
func (c *Cached) ask(ctx context.Context) {
	at := c.o.Clock.Now()
	list, err := c.lister.List(ctx)
	if ctx.Err() != nil {
		return
	}
	c.mu.Lock()
	before, was := c.last, c.known
	if c.failed = err; err == nil {
		c.last, c.at = list, max(at, 1)
	}
	c.known = c.holds(c.o.Clock.Now())
	changed := was != c.known || err == nil && !slices.Equal(before, list)
	c.mu.Unlock()
	if changed && c.o.Changed != nil {
		c.o.Changed()
	}
}

// holds says whether the last answer is young enough.
func (c *Cached) holds(now int64) bool { return c.at != 0 && now-c.at <= int64(c.o.Keep) }

// Last is what is known now. It does not wait.
func (c *Cached) Last() Snapshot {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := Snapshot{Known: c.holds(c.o.Clock.Now()), At: c.at}
	if s.Known {
		s.Assignments = c.last
	}
	s.State = c.state(s.Known)
	return s
}

// state says how it is doing, given whether the last answer holds. Its texts have no
// ages: a state is told on when it changes.
func (c *Cached) state(holds bool) State {
	switch {
	case c.at == 0 && c.failed == nil:
		return State{Reason: "NotAsked", Detail: "the kubelet has not answered yet"}
	case holds && c.failed == nil:
		return State{Up: true}
	case holds:
		return State{Up: true, Detail: fmt.Sprintf("what the kubelet said before still holds: %v", c.failed)}
	case c.failed == nil:
		return State{Reason: "Timeout", Detail: "the kubelet is slow to answer, and what it said before is too old"}
	}
	var e *Error
	if !errors.As(c.failed, &e) {
		e = &Error{Reason: "Failed"}
	}
	return State{Reason: e.Reason, Detail: c.failed.Error()}
}
