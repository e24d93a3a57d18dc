package usage

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/gpuprobe/wire"
	"github.com/musterhq/muster/runtime/clock"
)

const (
	identifyTimeout = 10 * time.Second
	identifyAtOnce  = 32
	stopTimeout     = 3 * time.Second
	sweepEvery      = spec.Second
	// Buffers of a connection: reports are small, and there are thousands of them.
	bufferSize = 4 << 10
	maxHeaders = 16 << 10
	pingEvery  = 10 * time.Second // clients may ping no more often
	// MaxWatched bounds the owners of one node whose wake-up may be awaited.
	MaxWatched = MaxUses
)

// Options of a Server.
type Options struct {
	Sink     Sink
	Identify Identify
	// TLS is needed unless the listener is on loopback.
	TLS *tls.Config
	// Interval is asked of every probe; 0 leaves it to the probe.
	Interval time.Duration
	TableOptions
	Log *slog.Logger // none if nil
}

// Server takes the streams of probes. Until SetLeading it sends them elsewhere.
type Server struct {
	wire.UnimplementedProbeServer
	o      Options
	table  *Table
	stats  counters
	asking chan struct{}
	// readers are goroutines that wait for a stream's next report.
	readers sync.WaitGroup

	mu struct {
		sync.Mutex
		leading bool
		streams map[*Session]*stream
	}
}

// stream is a Session's connection.
type stream struct {
	*Session
	end chan error    // holds the first reason to end it
	due chan struct{} // holds a token while there is something to ask
	mu  sync.Mutex
	ask *wire.Ask // what to ask next, nil if nothing
}

// NewServer returns a server that does not lead.
func NewServer(o Options) (*Server, error) {
	if o.Identify == nil {
		return nil, errors.New("usage: a server must be able to identify nodes [no-identify]")
	}
	if o.Clock == nil {
		o.Clock = clock.Real{}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{o: o, table: NewTable(o.Sink, o.TableOptions), asking: make(chan struct{}, identifyAtOnce)}
	s.mu.streams = map[*Session]*stream{}
	return s, nil
}

// Table has the last state of every node.
func (s *Server) Table() *Table { return s.table }

// Stats counts what happened.
func (s *Server) Stats() Stats { return s.stats.read() }

// Serve takes streams until the context ends; then it ends them and closes the listener.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	if s.o.TLS == nil && !onLoopback(l.Addr()) {
		return fmt.Errorf("usage: %s is not on loopback: tokens need TLS; give a certificate [no-tls]", l.Addr())
	}
	g := grpc.NewServer(s.serverOptions()...)
	wire.RegisterProbeServer(g, s)
	ended := make(chan error, 1)
	go func() { ended <- g.Serve(l) }()
	sweeping, stop := context.WithCancel(ctx)
	defer stop()
	var sweeper sync.WaitGroup
	sweeper.Go(func() { s.sweep(sweeping) })
	var err error
	select {
	case <-ctx.Done():
		s.shut(g)
		<-ended
	case err = <-ended:
		g.Stop()
	}
	stop()
	sweeper.Wait()
	s.readers.Wait()
	return err
}

func (s *Server) serverOptions() []grpc.ServerOption {
	o := []grpc.ServerOption{
		grpc.MaxRecvMsgSize(MaxMessage), grpc.MaxConcurrentStreams(4), grpc.MaxHeaderListSize(maxHeaders),
		grpc.ConnectionTimeout(identifyTimeout), grpc.WaitForHandlers(true),
		grpc.ReadBufferSize(bufferSize), grpc.WriteBufferSize(bufferSize), grpc.SharedWriteBuffer(true),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: pingEvery, PermitWithoutStream: true}),
	}
	if s.o.TLS != nil {
		o = append(o, grpc.Creds(credentials.NewTLS(s.o.TLS)))
	}
	return o
}

// shut ends all streams in order, and the rest by force.
func (s *Server) shut(g *grpc.Server) {
	s.endAll(status.Error(codes.Unavailable, "the scheduler ends"))
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	force := context.AfterFunc(ctx, g.Stop)
	defer force()
	g.GracefulStop()
}

// SetLeading lets streams in, or ends them all, so that probes look for the leader.
func (s *Server) SetLeading(leading bool) {
	s.mu.Lock()
	was := s.mu.leading
	s.mu.leading = leading
	s.mu.Unlock()
	if was && !leading {
		s.endAll(notLeading())
	}
	if leading && !was {
		s.table.HealthAgain()
	}
}

func notLeading() error {
	return status.Error(codes.Unavailable, "this scheduler does not lead; try another [not-leading]")
}

func (s *Server) endAll(why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, st := range s.mu.streams {
		st.stop(why)
	}
}

// stop has a stream end; only the first reason counts.
func (st *stream) stop(why error) {
	select {
	case st.end <- why:
	default:
	}
}

// Report is one stream.
func (s *Server) Report(g grpc.BidiStreamingServer[wire.NodeReport, wire.Ask]) error {
	if !s.leads() {
		return notLeading()
	}
	node, err := s.identify(g.Context())
	if err != nil {
		return err
	}
	st, err := s.open(node)
	if err != nil {
		return err
	}
	defer s.close(st)
	if err := g.SendHeader(nil); err != nil { // tells the probe that it is welcome
		return err
	}
	s.readers.Go(func() { st.stop(s.read(g, st)) })
	for {
		select {
		case <-g.Context().Done():
			return g.Context().Err()
		case why := <-st.end:
			return why
		case <-st.due:
			if err := g.Send(st.question()); err != nil {
				return err
			}
		}
	}
}

func (s *Server) leads() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.leading
}

// open registers a stream, in place of an older one of its node.
func (s *Server) open(node string) (*stream, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.mu.leading {
		return nil, notLeading()
	}
	session, old := s.table.Open(node)
	st := &stream{Session: session, end: make(chan error, 1), due: make(chan struct{}, 1)}
	s.mu.streams[session] = st
	if older := s.mu.streams[old]; older != nil {
		older.stop(status.Error(codes.Aborted, "a newer stream of this node is there [replaced]"))
		s.stats.add(func(c *Stats) { c.Replaced++ })
	}
	s.stats.add(func(c *Stats) { c.Opened++; c.Streams++ })
	if s.o.Interval > 0 {
		st.want(func(a *wire.Ask) { a.IntervalMs = uint32(s.o.Interval.Milliseconds()) })
	}
	if watch := session.watched(); len(watch) > 0 {
		st.want(func(a *wire.Ask) { a.Watch, a.WatchSet = watch, true })
	}
	return st, nil
}

func (s *Server) close(st *stream) {
	s.mu.Lock()
	delete(s.mu.streams, st.Session)
	s.mu.Unlock()
	st.Close()
	s.stats.add(func(c *Stats) { c.Streams-- })
}

// read takes in reports until there are no more; it returns how the stream ends.
func (s *Server) read(g grpc.BidiStreamingServer[wire.NodeReport, wire.Ask], st *stream) error {
	for {
		r, err := g.Recv()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case status.Code(err) == codes.ResourceExhausted:
			return s.reject(codes.ResourceExhausted, refuse("too-big", "node %s: %v", st.node.name, err))
		case err != nil:
			return err
		}
		if !s.pace(g.Context(), st) {
			return g.Context().Err()
		}
		if err := s.apply(st, r); err != nil {
			return err
		}
	}
}

// pace waits until the node may be heard again; false if the stream ended.
func (s *Server) pace(ctx context.Context, st *stream) bool {
	now := s.o.Clock.Now()
	at := st.pay(now)
	if at <= now {
		return true
	}
	s.stats.add(func(c *Stats) { c.Slowed++ })
	select {
	case <-ctx.Done():
		return false
	case <-s.o.Clock.Wake(at):
		return true
	}
}

// pay takes a token of the node's bucket.
func (s *Session) pay(now spec.Time) (at spec.Time) {
	s.node.mu.Lock()
	defer s.node.mu.Unlock()
	return s.node.bucket.take(now)
}

func (s *Server) apply(st *stream, r *wire.NodeReport) error {
	verdict, err := st.Apply(r)
	var refused *Refusal
	switch {
	case errors.As(err, &refused) && refused.Code == "other-node":
		return s.reject(codes.PermissionDenied, refused)
	case errors.As(err, &refused):
		return s.reject(codes.InvalidArgument, refused)
	case verdict == Over:
		return nil
	case verdict == Gap:
		s.stats.add(func(c *Stats) { c.Gaps++ })
		st.want(func(a *wire.Ask) { a.Full = true })
		return nil
	}
	s.stats.add(func(c *Stats) {
		c.Reports++
		if r.GetFull() {
			c.Full++
		}
		if r.GetEdge() {
			c.Edges++
		}
	})
	return nil
}

// want adds to what is asked of the probe next.
func (st *stream) want(f func(*wire.Ask)) {
	st.mu.Lock()
	if st.ask == nil {
		st.ask = &wire.Ask{}
	}
	f(st.ask)
	st.mu.Unlock()
	select {
	case st.due <- struct{}{}:
	default:
	}
}

func (st *stream) question() *wire.Ask {
	st.mu.Lock()
	defer st.mu.Unlock()
	a := st.ask
	st.ask = nil
	if a == nil {
		a = &wire.Ask{}
	}
	return a
}

// Watch says whose wake-ups on a node are awaited (see Ask.watch in report.proto). It
// replaces what was said before, holds for streams that are still to come, and asks
// nothing if nothing changed.
func (s *Server) Watch(node string, owners []string) {
	owners = slices.Clone(owners[:min(len(owners), MaxWatched)])
	slices.Sort(owners)
	owners = slices.Compact(owners)
	s.mu.Lock()
	defer s.mu.Unlock()
	session, changed := s.table.watch(node, owners)
	if st := s.mu.streams[session]; st != nil && changed {
		st.want(func(a *wire.Ask) { a.Watch, a.WatchSet = owners, true })
	}
}

func (t *Table) watch(node string, owners []string) (s *Session, changed bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.node(node)
	n.mu.Lock()
	defer n.mu.Unlock()
	changed = !slices.Equal(n.watch, owners)
	n.watch = owners
	return n.session, changed
}

func (s *Session) watched() []string {
	s.node.mu.Lock()
	defer s.node.mu.Unlock()
	return s.node.watch
}

// sweep ends the streams of nodes that are silent.
func (s *Server) sweep(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.o.Clock.Wake(s.o.Clock.Now() + sweepEvery):
		}
		for _, session := range s.table.Silent() {
			s.mu.Lock()
			st := s.mu.streams[session]
			s.mu.Unlock()
			if st != nil {
				s.stats.add(func(c *Stats) { c.Silent++ })
				st.stop(status.Error(codes.DeadlineExceeded, "nothing was heard for three intervals [silent]"))
			}
		}
	}
}
