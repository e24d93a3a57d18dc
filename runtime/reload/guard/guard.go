// Package guard stands between the scheduler and one version of a policy. It counts
// how the policy answers, and keeps one that fails too often from being asked at all
// for a while; it knows when the last call has left, so that the policy can be closed;
// and it lets a shadow listen. It does all this without allocating in a call, and by
// the time of the batch alone, so that a replay gives the same.
package guard

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/musterhq/muster/policies"
)

// Tap hears every answer of the policy before it is used. It must not keep the batch
// beyond the call, must not change it, and must not block. err is what the policy
// returned; took is the time of the call in ns, fuel what it used of that, 0 if it is
// not known.
type Tap interface {
	Jobs(b *policies.JobBatch, err error, took, fuel int64)
	Queues(b *policies.QueueBatch, err error, took, fuel int64)
	Victims(b *policies.VictimBatch, err error, took, fuel int64)
}

// metered is a policy that knows what its last call has cost.
type metered interface{ LastFuel() int64 }

// Change is a policy that was taken out of use, or came back.
type Change struct {
	State State
	At    int64 // time of the batch, ns
	Until int64 // end of the quarantine, ns
	// Fault is the failure that was one too many.
	Fault policies.Code
	Text  string
}

// Options of a guard.
type Options struct {
	// Changed hears of changes of the state, on the goroutine of the call: it must be
	// quick. May be nil.
	Changed func(Change)
	// Now measures calls while a tap listens, in ns; nil measures nothing.
	Now func() int64
}

// Policy is a guarded policy. It is as safe for concurrent use as the policy inside.
type Policy struct {
	inner policies.Policy
	opt   Options
	own   policies.Info
	info  atomic.Pointer[policies.Info] // own, and what the tap's owner reads
	tap   atomic.Pointer[Tap]
	gone  [kinds]error // answers after Close

	lastFuel atomic.Int64
	inFlight atomic.Int64
	closing  atomic.Bool
	idle     chan struct{} // gets a token when the last call leaves a closing policy

	mu     sync.Mutex // never held while the policy is asked
	meter  meter
	refuse [kinds]error // answers while quarantined
	stats  Stats        // but LastText, which is made from last when asked for
	last   error
}

var _ policies.Policy = (*Policy)(nil)

// Stats is what became of the calls so far.
type Stats struct {
	Calls    uint64        `json:"calls"`    // that reached the policy
	Faults   uint64        `json:"faults"`   // traps and the host's codes
	Declined uint64        `json:"declined"` // statuses of the policy itself: abstain, bad input …
	Skipped  uint64        `json:"skipped"`  // answered for it while it was quarantined
	LastCode policies.Code `json:"lastCode,omitempty"`
	LastText string        `json:"lastText,omitempty"` // of the last call that failed
}

// New guards a policy. The guard owns it from then on.
func New(p policies.Policy, opt Options) *Policy {
	g := &Policy{inner: p, opt: opt, own: p.Info(), idle: make(chan struct{}, 1)}
	g.info.Store(&g.own)
	g.meter.reset()
	g.gone = g.answers(policies.CodeUnknownErr, "the policy is closed")
	return g
}

// Inner is the policy inside.
func (g *Policy) Inner() policies.Policy { return g.inner }

// Info names the policy inside. While a tap listens, it also lists the columns and
// labels that the tap's owner reads, so that the host fills them.
func (g *Policy) Info() policies.Info { return *g.info.Load() }

// Attach lets a tap listen, and has the host fill what reader reads beside what the
// policy itself does. A tap that was there before is replaced.
func (g *Policy) Attach(t Tap, reader *policies.Info) {
	both := g.own
	both.Columns = union(g.own.Columns, reader.Columns)
	if g.own.Columns == nil && !slices.ContainsFunc(reader.Columns, isText) {
		both.Columns = nil
	}
	both.Labels = union(g.own.Labels, reader.Labels)
	g.info.Store(&both)
	g.tap.Store(&t)
}

// isText says whether a column is filled only for a policy that lists it.
func isText(column string) bool { return column == "job.user_name" }

// Detach ends the listening. A call under way may still be told.
func (g *Policy) Detach() {
	g.tap.Store(nil)
	g.info.Store(&g.own)
}

// union keeps the order of a, which policies rely on, and appends what only b has.
func union(a, b []string) []string {
	out := slices.Clone(a)
	for _, s := range b {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// ScoreJobs asks the policy, unless it is quarantined.
func (g *Policy) ScoreJobs(ctx context.Context, b *policies.JobBatch) error {
	if err := g.enter(b.Now, policies.JobOrder); err != nil {
		return err
	}
	defer g.leave()
	tap, start := g.listening()
	err := g.inner.ScoreJobs(ctx, b)
	g.answered(b.Now, err)
	if tap != nil {
		tap.Jobs(b, err, g.since(start), g.LastFuel())
	}
	return err
}

// Entitle asks the policy, unless it is quarantined.
func (g *Policy) Entitle(ctx context.Context, b *policies.QueueBatch) error {
	if err := g.enter(b.Now, policies.QueueShares); err != nil {
		return err
	}
	defer g.leave()
	tap, start := g.listening()
	err := g.inner.Entitle(ctx, b)
	g.answered(b.Now, err)
	if tap != nil {
		tap.Queues(b, err, g.since(start), g.LastFuel())
	}
	return err
}

// CostVictims asks the policy, unless it is quarantined.
func (g *Policy) CostVictims(ctx context.Context, b *policies.VictimBatch) error {
	if err := g.enter(b.Now, policies.VictimCosts); err != nil {
		return err
	}
	defer g.leave()
	tap, start := g.listening()
	err := g.inner.CostVictims(ctx, b)
	g.answered(b.Now, err)
	if tap != nil {
		tap.Victims(b, err, g.since(start), g.LastFuel())
	}
	return err
}

func (g *Policy) listening() (Tap, int64) {
	t := g.tap.Load()
	if t == nil {
		return nil, 0
	}
	if g.opt.Now == nil {
		return *t, 0
	}
	return *t, g.opt.Now()
}

func (g *Policy) since(start int64) int64 {
	if g.opt.Now == nil {
		return 0
	}
	return g.opt.Now() - start
}

// LastFuel is what the last call used, 0 if the policy was not asked or does not know.
func (g *Policy) LastFuel() int64 { return g.lastFuel.Load() }

// enter counts a call in, or says why there is none. After a nil, leave must follow.
func (g *Policy) enter(now int64, k policies.Kind) error {
	g.inFlight.Add(1) // first, so that Close either sees the call or is seen by it
	if g.closing.Load() {
		g.leave()
		return g.gone[slot(k)]
	}
	g.mu.Lock()
	admitted, change := g.meter.admit(now)
	if !admitted {
		g.stats.Skipped++
		g.lastFuel.Store(0)
		err := g.refuse[slot(k)]
		g.mu.Unlock()
		g.leave()
		return err
	}
	g.stats.Calls++
	g.mu.Unlock()
	g.tell(change, now)
	return nil
}

func (g *Policy) leave() {
	if g.inFlight.Add(-1) == 0 && g.closing.Load() {
		select {
		case g.idle <- struct{}{}:
		default:
		}
	}
}

// answered takes one answer into account.
func (g *Policy) answered(now int64, err error) {
	if m, ok := g.inner.(metered); ok {
		g.lastFuel.Store(m.LastFuel())
	}
	if errors.Is(err, policies.ErrNotImplemented) {
		return
	}
	g.mu.Lock()
	strike := g.count(err)
	change := g.meter.record(now, strike)
	if change == Quarantined {
		g.refuse = g.answers(policies.CodeQuarantined, g.meter.text(g.stats.LastCode))
	}
	g.mu.Unlock()
	g.tell(change, now)
}

// count says whether an answer is a strike; g.mu is held.
func (g *Policy) count(err error) bool {
	if err == nil {
		return false
	}
	g.stats.LastCode = policies.CodeOf(err)
	g.last = err
	if !IsStrike(g.stats.LastCode) {
		g.stats.Declined++
		return false
	}
	g.stats.Faults++
	return true
}

// tell reports a change, if there is one.
func (g *Policy) tell(s State, now int64) {
	if s == "" || g.opt.Changed == nil {
		return
	}
	g.mu.Lock()
	c := Change{State: s, At: now, Until: g.meter.until, Fault: g.stats.LastCode, Text: g.meter.text(g.stats.LastCode)}
	g.mu.Unlock()
	g.opt.Changed(c)
}

// State is whether the policy is asked, and until when (batch time, ns) it is not.
func (g *Policy) State() (s State, until int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.meter.state, g.meter.until
}

// Stats returns the counters.
func (g *Policy) Stats() Stats {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.stats
	if g.last != nil {
		s.LastText = g.last.Error()
	}
	return s
}

// Pardon forgets all strikes: an operator has said so.
func (g *Policy) Pardon() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.meter.reset()
}

// Close waits until no call is under way and closes the policy inside. Calls that come
// later are refused. Only the first Close does anything.
func (g *Policy) Close() error {
	if g.closing.Swap(true) {
		return nil
	}
	for g.inFlight.Load() > 0 {
		<-g.idle
	}
	return g.inner.Close()
}

const kinds = 3

func slot(k policies.Kind) int {
	switch k {
	case policies.QueueShares:
		return 1
	case policies.VictimCosts:
		return 2
	}
	return 0
}

// answers are ready-made errors, one for each kind, so that a call makes none.
func (g *Policy) answers(code policies.Code, text string) (out [kinds]error) {
	name := g.own.Name
	if g.own.Version != "" {
		name += " " + g.own.Version
	}
	for _, k := range []policies.Kind{policies.JobOrder, policies.QueueShares, policies.VictimCosts} {
		out[slot(k)] = &policies.CallError{Policy: name, Kind: k, Code: code, Detail: text}
	}
	return out
}
