package usage

import (
	"context"
	"errors"
	"io"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/gpuprobe/wire"
)

// stream is a Session's connection.
type stream struct {
	*Session
	end chan error    // holds the first reason to end it
	due chan struct{} // holds a token while there is something to ask
	mu  sync.Mutex
	ask *wire.Ask // what to ask next, nil if nothing

	life life // guarded by the server's mu
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
	st := &stream{Session: session, end: make(chan error, 1), due: make(chan struct{}, 1), life: s.lifeOf(node, s.o.Clock.Now())}
	s.mu.streams[session] = st
	if older := s.mu.streams[old]; older != nil {
		older.stop(status.Error(codes.Aborted, "a newer stream of this node is there [replaced]"))
		count := func(c *Stats) { c.Replaced++ }
		if older.life.askedAt != 0 {
			count = func(c *Stats) { c.Renewed++ }
		}
		s.stats.add(count)
	}
	s.stats.add(func(c *Stats) { c.Opened++; c.Streams++ })
	if s.o.Interval > 0 {
		st.want(func(a *wire.Ask) { a.IntervalMs = uint32(s.o.Interval.Milliseconds()) })
	}
	// also if nobody's: the probe may have heard otherwise on a stream before this one
	watch := session.watched()
	st.want(func(a *wire.Ask) { a.Watch, a.WatchSet = watch, true })
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
