package usage_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/gpuprobe/wire"
	"github.com/musterhq/muster/runtime/usage"
)

// tokens are known until they are revoked.
type tokens struct {
	mu    sync.Mutex
	nodes map[string]string
	away  error // instead of an answer
}

func (k *tokens) identify(ctx context.Context, token string) (string, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.away != nil {
		return "", k.away
	}
	return usage.Static(k.nodes)(ctx, token)
}

func (k *tokens) change(f func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f()
}

func (k *tokens) revoke(token string) { k.change(func() { delete(k.nodes, token) }) }

// aging is a server whose streams live for 100 s at most.
func aging(t *testing.T, change ...func(*usage.Options)) (*served, *tokens) {
	k := &tokens{nodes: map[string]string{"token-n": "n"}}
	first := func(o *usage.Options) { o.MaxStreamAge, o.Identify = 100*time.Second, k.identify }
	return serve(t, append([]func(*usage.Options){first}, change...)...), k
}

// slow is a report of a node that is silent after three minutes only.
func slow(seq uint64, full bool, parts ...any) *wire.NodeReport {
	r := report(seq, full, parts...)
	r.IntervalMs = 60_000
	return r
}

func (s *served) pass(d time.Duration) { s.clock.Advance(s.clock.Now() + int64(d)) }

// asleep is a stream of a node whose pod has done nothing for 500 s, and was watched.
func (s *served) asleep() *call {
	s.Helper()
	c := s.dial("token-n")
	c.says(slow(1, true, use("p", 0, 0, 500, 500)))
	s.sink.heard()
	return c
}

// isAsked waits until the stream is asked to come anew.
func (c *call) isAsked() {
	c.Helper()
	c.sweeping("being asked", func() error {
		for {
			if a, err := c.Recv(); err != nil || a.GetRenew() {
				return err
			}
		}
	})
}

// expires waits for the end of a stream that was asked in vain.
func (c *call) expires() {
	c.Helper()
	c.sweeping("the end", func() error {
		for {
			switch _, err := c.Recv(); {
			case err == nil: // an ask
			case status.Code(err) == codes.Unauthenticated && strings.Contains(err.Error(), "[expired]"):
				return nil
			default:
				return err
			}
		}
	})
}

// sweeping lets a little time pass, so that the server looks about, until f is done.
func (c *call) sweeping(what string, f func() error) {
	c.Helper()
	done := make(chan error, 1)
	go func() { done <- f() }()
	c.eventually(what, func() bool {
		select {
		case err := <-done:
			must(c.T, err)
			return true
		default:
			c.pass(20 * time.Millisecond)
			return false
		}
	})
}

func TestAnOldStreamIsRenewedAndNothingIsForgotten(t *testing.T) {
	s, _ := aging(t)
	old := s.asleep()
	s.pass(100 * time.Second)
	old.isAsked()
	renewed := s.dial("token-n")
	old.ends(codes.Aborted, "[replaced]")
	if n, _ := s.Table().One("n"); n.Stale || !n.Connected || len(n.Uses) != 1 {
		t.Errorf("between the two streams: %+v", n)
	}
	renewed.says(slow(1, true, use("p", 0, 0, 600, 600)))
	s.eventually("one stream", func() bool { return s.Stats().Streams == 1 })
	if news := s.sink.heard(); slices.ContainsFunc(news, func(n string) bool { return strings.Contains(n, "unknown") || strings.Contains(n, "watched 0s") }) {
		t.Errorf("%v", news)
	}
	if p := s.sink.last["p"]; p.Idle != 600*spec.Second || p.Watched != 600*spec.Second {
		t.Errorf("%+v", p)
	}
	if st := s.Stats(); st.Renewed != 1 || st.Replaced != 0 || len(st.Refused) > 0 {
		t.Errorf("%+v", st)
	}
}

func TestWhoseTokenIsNoLongerGoodIsUnknownSoon(t *testing.T) {
	s, k := aging(t)
	c := s.asleep()
	k.revoke("token-n")
	s.pass(100 * time.Second)
	c.isAsked()
	s.dial("token-n").ends(codes.Unauthenticated, "[nobody]")
	if n, _ := s.Table().One("n"); n.Stale {
		t.Error("it has a while to find a token")
	}
	s.pass(60 * time.Second)
	c.expires()
	s.eventually("n being stale", func() bool { n, _ := s.Table().One("n"); return n.Stale })
	if news := s.sink.heard(); !slices.Equal(news, []string{"n/p unknown"}) {
		t.Errorf("%v", news)
	}
	if r := s.Stats().Refused; r["nobody"] != 1 || r["expired"] != 1 {
		t.Errorf("%v", r)
	}
}

func TestAProbeThatCantRenewIsEndedAndComesAgain(t *testing.T) {
	s, _ := aging(t)
	c := s.asleep()
	s.pass(100 * time.Second)
	c.isAsked()
	s.pass(60 * time.Second)
	c.expires()
	s.dial("token-n").says(slow(1, true, use("p", 0, 0, 660, 660)))
	if p := s.sink.last["p"]; !p.Known || p.Watched != 660*spec.Second {
		t.Errorf("%+v", p)
	}
}

func TestWhileNobodyCanBeIdentifiedOldStreamsGoOnForAWhile(t *testing.T) {
	s, k := aging(t)
	c := s.asleep()
	s.pass(100 * time.Second)
	c.isAsked()
	k.change(func() { k.away = errors.New("the API server is away") })
	for seq, tries := uint64(2), 0; tries < 2; seq, tries = seq+1, tries+1 {
		s.dial("token-n").ends(codes.Unavailable, "[identity-unavailable]")
		s.pass(40 * time.Second)
		time.Sleep(20 * time.Millisecond) // time for a sweep that would be wrong
		c.says(slow(seq, false))
	}
	s.dial("token-n").ends(codes.Unavailable, "[identity-unavailable]")
	s.pass(90 * time.Second) // that is twice the age
	c.expires()
}

func TestOfADeletedNodeItIsAskedAtOnceWhetherItIsStillThere(t *testing.T) {
	for _, there := range []bool{false, true} {
		t.Run(fmt.Sprint("there ", there), func(t *testing.T) {
			s, k := aging(t)
			c := s.asleep()
			if !there {
				k.revoke("token-n")
			}
			s.Table().Forget("n")
			s.pass(time.Second)
			c.isAsked()
			renewed := s.dial("token-n")
			if there {
				renewed.says(slow(1, true, use("p", 0, 0, 501, 501)))
				if n, ok := s.Table().One("n"); !ok || n.Stale || s.Stats().Renewed != 1 {
					t.Errorf("%+v, %+v", n, s.Stats())
				}
				return
			}
			renewed.ends(codes.Unauthenticated, "[nobody]")
			s.pass(60 * time.Second)
			c.expires()
			s.eventually("n being forgotten", func() bool { _, ok := s.Table().One("n"); return !ok })
			if news := s.sink.heard(); !slices.Equal(news, []string{"n/p unknown"}) {
				t.Errorf("%v", news)
			}
		})
	}
}

// The pods of a node that was deleted, and their tokens, live a little longer.
func TestATokenThatIsGoodForAWhileAfterItsNodeWasDeleted(t *testing.T) {
	s, k := aging(t, func(o *usage.Options) { o.MaxStreamAge = time.Hour })
	c := s.asleep()
	s.Table().Forget("n")
	s.pass(time.Second)
	c.isAsked()
	c = s.dial("token-n")
	c.says(slow(1, true, use("p", 0, 0, 501, 501)))
	k.revoke("token-n")
	s.pass(2 * time.Minute)
	c.isAsked()
	s.dial("token-n").ends(codes.Unauthenticated, "[nobody]")
	c.says(slow(2, false))
	s.pass(time.Minute)
	c.expires()
	s.eventually("n being forgotten", func() bool { _, ok := s.Table().One("n"); return !ok })
}

// A stream that is opened soon after a node was deleted may be one of its last; later it is
// that of a node that came back under its name.
func TestANodeThatCameBackIsKeptWhenItsStreamEnds(t *testing.T) {
	for after, kept := range map[spec.Duration]bool{spec.Second: false, 9 * 60 * spec.Second: false, 11 * 60 * spec.Second: true} {
		b := newBench(t)
		b.send(true, use("p", 0, 0, 90, 80))
		b.table.Forget("n")
		b.after(after)
		b.open()
		b.send(true, use("p", 0, 0, 90, 80))
		b.session.Close()
		if n, ok := b.table.One("n"); ok != kept || ok && !n.Stale {
			t.Errorf("%d s after: %t, %+v", after/spec.Second, ok, n)
		}
	}
}

// Thousands of nodes that came within a few seconds, as the leader changed, do not come
// anew within a few seconds.
func TestStreamsThatWereOpenedTogetherAreRenewedSpreadOut(t *testing.T) {
	s, err := usage.NewServer(usage.Options{Identify: usage.NamedByToken})
	must(t, err)
	perMinute := map[time.Duration]int{}
	for i := range 5000 {
		after := s.RenewAfter(nodeName(i))
		if after != s.RenewAfter(nodeName(i)) || after > usage.DefaultStreamAge || after <= usage.DefaultStreamAge*4/5 {
			t.Fatalf("%s after %v", nodeName(i), after)
		}
		perMinute[after/time.Minute]++
	}
	for minute, n := range perMinute {
		if n > 5000/6*13/10 {
			t.Errorf("%d in minute %d: %v", n, minute, perMinute)
		}
	}
}

func TestStreamsMayLiveForEver(t *testing.T) {
	s, err := usage.NewServer(usage.Options{Identify: usage.NamedByToken, MaxStreamAge: -1})
	must(t, err)
	if after := s.RenewAfter("n"); after < 100*365*24*time.Hour {
		t.Errorf("%v", after)
	}
}
