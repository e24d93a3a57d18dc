// Package push sends a node's reports to the scheduler that leads: all at the opening of a
// stream, then what changed, at once if it can't wait. From time to time the scheduler asks
// for a new stream in place of the old one, as the node is to prove anew who it is.
//
// Nothing is queued. While nobody listens, only the newest state is kept; who comes to lead
// gets all of it.
package push

import (
	"context"
	"errors"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/musterhq/muster/gpuprobe/wire"
)

// State is what there is to report; *agent.State is the usual one. It is asked as often as
// something is sent, from the goroutine of Run.
type State interface {
	// Report is the full report as of now. What it points to is kept and not changed.
	Report(now time.Time) *wire.NodeReport
}

// Status is how the client is doing. Counts are totals.
type Status struct {
	Connected bool
	Address   string // of the stream, "" if there is none
	Reason    string // why there is none, CamelCase: Starting, NotLeading, Unreachable, Refused, NoToken, Replaced
	Detail    string // for people
	Streams   uint64 // that were taken
	Reports   uint64
	Full      uint64 // of them
	Edges     uint64 // of them
}

// Source is the status in the form of the ways of measuring.
func (s Status) Source() *wire.Source {
	return &wire.Source{Name: "scheduler", Up: s.Connected, Reason: s.Reason, Detail: s.Detail}
}

// Client sends the reports of one node. Run sends; the rest may be called from any
// goroutine.
type Client struct {
	o Options
	// wake holds a token after the first state, and while an edge waits.
	wake chan struct{}

	mu       sync.Mutex
	last     State
	edge     bool // the last state has what can't wait
	status   Status
	interval time.Duration
}

// New checks the options, an *Error if they are wrong.
func New(o Options) (*Client, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	return &Client{o: o, wake: make(chan struct{}, 1), status: Status{Reason: "Starting"}, interval: o.Interval}, nil
}

// Report hands over the newest state. It never blocks. An edge is sent at once.
func (c *Client) Report(s State, edge bool) {
	c.mu.Lock()
	first := c.last == nil
	c.last, c.edge = s, c.edge || edge
	c.mu.Unlock()
	if first || edge {
		token(c.wake)
	}
}

// Status of the client now.
func (c *Client) Status() Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.status
}

func (c *Client) note(f func(s *Status)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(&c.status)
}

// Run sends until the context ends, which is what it returns.
func (c *Client) Run(ctx context.Context) error {
	select { // there is nothing to say yet
	case <-ctx.Done():
		return ctx.Err()
	case <-c.wake:
	}
	spread := c.o.Jitter
	for ctx.Err() == nil {
		if !c.sleep(ctx, time.Duration(c.o.Chance()*float64(spread))) {
			break
		}
		if c.round(ctx) {
			spread = c.o.Jitter
		} else {
			spread = min(max(2*spread, time.Second), c.o.MaxDelay)
		}
	}
	return ctx.Err()
}

func (c *Client) sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	select {
	case <-ctx.Done():
		return false
	case <-c.o.Clock.Wake(c.o.Clock.Now() + int64(d)):
		return true
	}
}

// round tries all addresses, and reports where one takes the stream, until it ends. It
// says whether one did.
func (c *Client) round(ctx context.Context) (taken bool) {
	for _, p := range c.o.places(ctx) {
		taken, err := c.try(ctx, p)
		if ctx.Err() != nil {
			return taken
		}
		c.note(func(s *Status) {
			s.Connected, s.Address, s.Reason, s.Detail = false, "", reason(err), text(err)
		})
		c.o.Log.Debug("no stream to a scheduler", "address", p.address, "reason", reason(err), "err", err)
		if taken {
			return true
		}
	}
	return false
}

func text(err error) string {
	if err == nil {
		return "the scheduler ended the stream"
	}
	return status.Convert(err).Message()
}

// reason that a stream ended for, in a word.
func reason(err error) string {
	if errors.Is(err, errNoToken) {
		return "NoToken"
	}
	switch status.Code(err) {
	case codes.OK, codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.Unknown:
		if notLeading(err) {
			return "NotLeading"
		}
		return "Unreachable"
	case codes.Aborted:
		return "Replaced"
	}
	return "Refused"
}

// stream is an open one.
type stream struct {
	grpc.BidiStreamingClient[wire.NodeReport, wire.Ask]
	told  *told
	pace  pace
	seq   uint64
	asked chan struct{} // holds a token if a full report is wanted
	timed chan struct{} // holds a token if the interval changed
	anew  chan struct{} // holds a token if a new stream is wanted in place of this one
	end   chan error    // why nothing is received any more
	ended chan struct{} // closed after that
	over  func()        // ends it
}

// try opens a stream at one address and reports until it ends; taken says that it was
// let in.
func (c *Client) try(ctx context.Context, p place) (taken bool, err error) {
	conn, err := c.dial(p)
	if err != nil {
		return false, err
	}
	defer func() { _ = conn.Close() }() // what it was for is over
	st, err := c.open(ctx, conn)
	if err != nil {
		return false, err
	}
	for st != nil {
		c.note(func(s *Status) {
			s.Connected, s.Address, s.Reason, s.Detail = true, p.address, "", ""
			s.Streams++
		})
		st, err = c.use(ctx, conn, st)
	}
	return true, err
}

// use reports on a stream until it ends. If a new one was opened in its place it returns
// that one.
func (c *Client) use(ctx context.Context, conn *grpc.ClientConn, st *stream) (next *stream, err error) {
	var receiver sync.WaitGroup
	receiver.Go(func() {
		st.end <- c.receive(st)
		close(st.ended)
	})
	r := renewal{c: c, conn: conn, old: st}
	err = c.send(ctx, st, &r)
	st.over() // so that no more is tried
	receiver.Wait()
	if next = r.take(); next != nil && ctx.Err() != nil {
		next.over()
		next = nil
	}
	return next, err
}

// send reports until the stream ends, or a new one is there in its place.
func (c *Client) send(ctx context.Context, st *stream, r *renewal) error {
	if err := c.one(st, true); err != nil {
		return c.because(st, err)
	}
	// the first comes early by chance: after a change of leaders all nodes come at once,
	// and need not report at once for ever
	alarm := c.alarm(time.Duration(c.o.Chance() * float64(c.every())))
	var later <-chan int64 // of an edge that came too soon after others
	for {
		full := false
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-st.end:
			return err
		case <-st.anew:
			r.begin(ctx)
			continue
		case <-r.ready:
			return nil
		case <-c.wake:
			if later != nil {
				continue
			}
			if d := st.pace.wait(c.o.Clock.Now()); d > 0 {
				later = c.alarm(d)
				continue
			}
		case <-later:
			later = nil
		case <-st.timed:
			alarm = c.alarm(c.every())
			continue
		case <-st.asked:
			full = true
		case <-alarm: // an edge does not put it off
			alarm = c.alarm(c.every())
		}
		if err := c.one(st, full); err != nil {
			return c.because(st, err)
		}
	}
}

func (c *Client) alarm(d time.Duration) <-chan int64 {
	return c.o.Clock.Wake(c.o.Clock.Now() + int64(d))
}

// because is why a stream can't be written to: its receiver knows.
func (c *Client) because(st *stream, err error) error {
	st.over()
	if why := <-st.end; why != nil && status.Code(why) != codes.Canceled {
		return why
	}
	return err
}

// one sends one report.
func (c *Client) one(st *stream, full bool) error {
	c.mu.Lock()
	state, edge, interval := c.last, c.edge, c.interval
	c.edge = false
	c.mu.Unlock()
	now := c.o.Now()
	r := state.Report(now)
	if full {
		st.told.full(r, now)
	} else {
		r = st.told.delta(r, now)
	}
	st.seq++
	r.Seq, r.Full, r.Edge, r.IntervalMs = st.seq, full, edge, uint32(interval.Milliseconds())
	if err := st.Send(r); err != nil {
		c.mu.Lock()
		c.edge = c.edge || edge
		c.mu.Unlock()
		return err
	}
	c.note(func(s *Status) {
		s.Reports++
		if full {
			s.Full++
		}
		if edge {
			s.Edges++
		}
	})
	return nil
}

func (c *Client) every() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.interval
}

// receive takes what the scheduler asks, until the stream ends.
func (c *Client) receive(st *stream) error {
	for {
		a, err := st.Recv()
		if err != nil {
			return err
		}
		if a.GetIntervalMs() > 0 {
			c.mu.Lock()
			c.interval = min(max(time.Duration(a.GetIntervalMs())*time.Millisecond, 10*time.Millisecond), time.Minute)
			c.mu.Unlock()
			token(st.timed)
		}
		if a.GetWatchSet() {
			c.o.Watch(a.GetWatch())
		}
		if a.GetFull() {
			token(st.asked)
		}
		if a.GetRenew() {
			token(st.anew)
		}
	}
}

// token puts one into a channel that has none.
func token(ch chan<- struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
