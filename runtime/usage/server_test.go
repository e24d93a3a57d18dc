package usage_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/gpuprobe/wire"
	"github.com/musterhq/muster/runtime/clock"
	"github.com/musterhq/muster/runtime/usage"
)

// served is a server on loopback, and its clock.
type served struct {
	*testing.T
	*usage.Server
	sink    *sink
	clock   *clock.Virtual
	address string
	stop    func()
}

func serve(t *testing.T, change ...func(*usage.Options)) *served {
	t.Helper()
	s := &served{T: t, sink: &sink{}, clock: clock.NewVirtual(1000 * spec.Second)}
	o := usage.Options{Sink: s.sink, Identify: usage.Static(map[string]string{"token-n": "n", "token-m": "m"})}
	o.Clock = s.clock
	for _, f := range change {
		f(&o)
	}
	var err error
	s.Server, err = usage.NewServer(o)
	must(t, err)
	s.SetLeading(true)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	s.address = l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, l) }()
	s.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		s.stop = func() {}
	}
	t.Cleanup(func() { s.stop() })
	return s
}

// call is one stream, by hand.
type call struct {
	*served
	grpc.BidiStreamingClient[wire.NodeReport, wire.Ask]
}

func (s *served) dial(token string) *call {
	s.Helper()
	conn, err := grpc.NewClient("passthrough:///"+s.address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(s.T, err)
	ctx, cancel := context.WithCancel(context.Background())
	s.Cleanup(func() { cancel(); _ = conn.Close() })
	if token != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
	}
	g, err := wire.NewProbeClient(conn).Report(ctx)
	must(s.T, err)
	return &call{s, g}
}

// says sends a report and waits until it is taken.
func (c *call) says(r *wire.NodeReport) {
	c.Helper()
	n := c.Stats().Reports
	must(c.T, c.Send(r))
	c.eventually("the report to be taken", func() bool { return c.Stats().Reports > n })
}

// ends waits for the end of the stream.
func (c *call) ends(code codes.Code, reason string) {
	c.Helper()
	for {
		_, err := c.Recv()
		if err == nil {
			continue // an ask
		}
		if status.Code(err) != code || !strings.Contains(err.Error(), reason) {
			c.Fatalf("it ended with %v", err)
		}
		return
	}
}

func (s *served) eventually(what string, ok func() bool) {
	s.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.Fatalf("it never came to %s: %+v", what, s.Stats())
		}
	}
}

func TestNobodyReportsWithoutProofOfWhoTheyAre(t *testing.T) {
	s := serve(t)
	s.dial("").ends(codes.Unauthenticated, "[no-token]")
	s.dial("forged").ends(codes.Unauthenticated, "[nobody]")
	if r := s.Stats().Refused; r["no-token"] != 1 || r["nobody"] != 1 {
		t.Errorf("%v", r)
	}
}

func TestIfIdentityCantBeToldTheProbeMayTryLater(t *testing.T) {
	s := serve(t, func(o *usage.Options) {
		o.Identify = func(context.Context, string) (string, error) { return "", errors.New("the API server is away") }
	})
	s.dial("token-n").ends(codes.Unavailable, "[identity-unavailable]")
}

func TestANodeCantLieAboutAnother(t *testing.T) {
	s := serve(t)
	s.dial("token-n").says(report(1, true, use("p", 0, 1000, 0, 0)))
	s.sink.heard()
	liar := s.dial("token-m")
	must(t, liar.Send(report(1, true, use("p", 0, 0, 9999, 9999))))
	liar.ends(codes.PermissionDenied, "node m reports as node \"n\"")
	if got := s.sink.heard(); len(got) > 0 || s.Stats().Refused["other-node"] != 1 {
		t.Errorf("the sink heard %v; %+v", got, s.Stats())
	}
	if n, _ := s.Table().One("n"); n.Stale || n.Uses[0].GetBusy() != 1000 {
		t.Errorf("%+v", n)
	}
}

func TestAMalformedReportEndsTheStreamAndTheNodeIsUnknown(t *testing.T) {
	s := serve(t)
	c := s.dial("token-n")
	c.says(report(1, true, use("p", 0, 1000, 0, 0)))
	must(t, c.Send(report(2, false, use("p", 0, 5000, 0, 0))))
	c.ends(codes.InvalidArgument, "[permille-range]")
	s.eventually("n being stale", func() bool { n, _ := s.Table().One("n"); return n.Stale })
	if got := s.sink.heard(); !slices.Contains(got, "n/p unknown") {
		t.Errorf("%v", got)
	}
}

func TestAReportThatIsTooBigIsRefused(t *testing.T) {
	s := serve(t)
	c := s.dial("token-n")
	_ = c.Send(&wire.NodeReport{Node: strings.Repeat("x", usage.MaxMessage+1)}) // it may be refused while it is sent
	c.ends(codes.ResourceExhausted, "")
	s.eventually("it being counted", func() bool { return s.Stats().Refused["too-big"] == 1 })
}

func TestASilentNodeIsUnknownAfterThreeIntervals(t *testing.T) {
	s := serve(t)
	c := s.dial("token-n")
	c.says(report(1, true, use("p", 0, 1000, 0, 0)))
	s.clock.Advance(s.clock.Now() + 30*spec.Second)
	time.Sleep(20 * time.Millisecond) // time for a sweep that would be wrong
	if n, _ := s.Table().One("n"); n.Stale {
		t.Fatal("three intervals have not passed")
	}
	s.sink.heard()
	s.eventually("n being stale", func() bool {
		s.clock.Advance(s.clock.Now() + spec.Second)
		n, _ := s.Table().One("n")
		return n.Stale
	})
	c.ends(codes.DeadlineExceeded, "[silent]")
	if got := s.sink.heard(); !slices.Equal(got, []string{"n/p unknown"}) {
		t.Errorf("%v", got)
	}
}

func TestTheNewestStreamOfANodeWins(t *testing.T) {
	s := serve(t)
	old := s.dial("token-n")
	old.says(report(1, true, use("p", 0, 1000, 0, 0)))
	s.dial("token-n").says(report(1, true, use("p", 0, 1000, 0, 0)))
	old.ends(codes.Aborted, "[replaced]")
	s.eventually("one stream", func() bool { return s.Stats().Streams == 1 })
	if n, _ := s.Table().One("n"); n.Stale || !n.Connected || s.Stats().Replaced != 1 {
		t.Errorf("%+v, %+v", n, s.Stats())
	}
	if got := s.sink.heard(); slices.Contains(got, "n/p unknown") {
		t.Errorf("%v", got)
	}
}

func TestAGapIsAnsweredWithAnAskForAll(t *testing.T) {
	s := serve(t)
	c := s.dial("token-n")
	c.says(report(1, true))
	must(t, c.Send(report(3, false)))
	for full := false; !full; {
		a, err := c.Recv()
		must(t, err)
		full = a.GetFull()
	}
	c.says(report(4, true, use("p", 0, 1000, 0, 0)))
}

func TestOnlyTheLeaderServes(t *testing.T) {
	s := serve(t)
	c := s.dial("token-n")
	c.says(report(1, true, nvmlUp, gpuAt(0, wire.Health_HEALTHY, ""), use("p", 0, 1000, 0, 0)))
	s.SetLeading(false)
	c.ends(codes.Unavailable, "[not-leading]")
	s.dial("token-n").ends(codes.Unavailable, "[not-leading]")
	s.eventually("no stream", func() bool { return s.Stats().Streams == 0 })
	s.sink.heard()
	s.SetLeading(true)
	s.dial("token-n").says(report(1, true, nvmlUp, gpuAt(0, wire.Health_HEALTHY, ""), use("p", 0, 1000, 0, 0)))
	if got := s.sink.heard(); !slices.Equal(got, []string{"n/p busy 100% idle 0s watched 0s", "n 0:ok p"}) {
		t.Errorf("who leads again hears all: %v", got)
	}
}

func TestAwaitedWakeUpsAreAskedForOnceAndOfLaterStreams(t *testing.T) {
	s := serve(t, func(o *usage.Options) { o.Interval = 7 * time.Second })
	s.Watch("n", []string{"q", "p", "q"})
	next := func(c *call) *wire.Ask {
		t.Helper()
		a, err := c.Recv()
		must(t, err)
		return a
	}
	c := s.dial("token-n")
	a := next(c)
	for !a.GetWatchSet() { // it may come in two
		a = next(c)
	}
	if !slices.Equal(a.GetWatch(), []string{"p", "q"}) {
		t.Fatalf("%v", a)
	}
	s.Watch("n", []string{"p", "q"})
	s.Watch("n", nil)
	if a := next(c); !a.GetWatchSet() || len(a.GetWatch()) > 0 {
		t.Fatalf("%v", a)
	}
}

func TestTheIntervalIsAskedFor(t *testing.T) {
	s := serve(t, func(o *usage.Options) { o.Interval = 7 * time.Second })
	if a, err := s.dial("token-n").Recv(); err != nil || a.GetIntervalMs() != 7000 {
		t.Fatalf("%v, %v", a, err)
	}
}

func TestAFloodIsReadSlowly(t *testing.T) {
	s := serve(t)
	c := s.dial("token-n")
	const flood = 60
	for i := range flood {
		must(t, c.Send(report(uint64(i+1), i == 0)))
	}
	s.eventually("the flood being slowed", func() bool { return s.Stats().Slowed == 1 })
	if n := s.Stats().Reports; n > 20 {
		t.Errorf("%d reports were read at once", n)
	}
	s.eventually("all being read", func() bool {
		s.clock.Advance(s.clock.Now() + 50_000_000)
		return s.Stats().Reports == flood
	})
	if s.Stats().Gaps > 0 {
		t.Error("something was lost")
	}
}

func TestTheEndOfTheServerEndsStreams(t *testing.T) {
	s := serve(t)
	c := s.dial("token-n")
	c.says(report(1, true))
	s.stop()
	c.ends(codes.Unavailable, "the scheduler ends")
}

// outside pretends that a listener can be reached from elsewhere.
type outside struct{ net.Listener }

func (outside) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1} }

func TestTokensAreNotTakenInTheClear(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer func() { must(t, l.Close()) }()
	s, err := usage.NewServer(usage.Options{Identify: usage.NamedByToken})
	must(t, err)
	if err := s.Serve(t.Context(), outside{l}); err == nil || !strings.Contains(err.Error(), "[no-tls]") {
		t.Errorf("%v", err)
	}
	if _, err := usage.NewServer(usage.Options{TLS: &tls.Config{}}); err == nil || !strings.Contains(err.Error(), "[no-identify]") {
		t.Errorf("%v", err)
	}
}

func TestNamesAsTokens(t *testing.T) {
	if node, err := usage.NamedByToken(t.Context(), "n"); node != "n" || err != nil {
		t.Errorf("%s, %v", node, err)
	}
	for _, token := range []string{"", strings.Repeat("n", 300)} {
		if _, err := usage.NamedByToken(t.Context(), token); !errors.Is(err, usage.ErrNobody) {
			t.Errorf("%q: %v", token, err)
		}
	}
}
