package usage

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
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
	// MaxStreamAge is after how long at most a node must prove anew who it is, with a new
	// stream. 0 is DefaultStreamAge, less than 0 never.
	MaxStreamAge time.Duration
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
		// unsureAt is when it could last not be told whose a token is.
		unsureAt spec.Time
	}
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
		err = <-ended // nil, as it was asked to end
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
		grpc.ReadBufferSize(bufferSize), grpc.WriteBufferSize(bufferSize),
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

// sweep ends the streams of nodes that are silent, and has old ones renewed.
func (s *Server) sweep(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.o.Clock.Wake(s.o.Clock.Now() + sweepEvery):
		}
		s.renewOld(s.o.Clock.Now())
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
