package push

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/musterhq/muster/gpuprobe/wire"
	"github.com/musterhq/muster/runtime/clock"
	"github.com/musterhq/muster/runtime/usage"
)

// diary is a sink that writes down all that it is told of pods.
type diary struct {
	mu   sync.Mutex
	uses []usage.PodUse
}

func (d *diary) Used(_ string, uses []usage.PodUse) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.uses = append(d.uses, uses...)
}

func (*diary) Health(string, []usage.GPUHealth) {}

func (d *diary) read() []usage.PodUse {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.uses)
}

// sleeps is a state of one pod that has done nothing and was watched for as many ms.
type sleeps uint64

func (ms sleeps) Report(time.Time) *wire.NodeReport {
	return &wire.NodeReport{Node: "n", BootId: "b", Uses: []*wire.Use{
		{Owner: "p", Gpu: "G", Busy: proto.Uint32(0), IdleMs: proto.Uint64(uint64(ms)), WatchedMs: uint64(ms)},
	}}
}

// aged is a scheduler whose streams live for 100 s of its own clock at most.
type aged struct {
	*scheduler
	diary
	clock *clock.Virtual
	good  atomic.Pointer[string] // the token that is good, nil: nobody knows
}

func newAged(t *testing.T) *aged {
	a := &aged{clock: clock.NewVirtual(1e18)}
	a.scheduler = newScheduler(t, true, func(o *usage.Options) {
		o.Sink, o.Clock, o.MaxStreamAge = &a.diary, a.clock, 100*time.Second
		o.Identify = func(_ context.Context, token string) (string, error) {
			switch good := a.good.Load(); {
			case good == nil:
				return "", errors.New("the API server is away")
			case *good != token:
				return "", usage.ErrNobody
			}
			return "n", nil
		}
	})
	return a
}

func (a *aged) pass(d time.Duration) { a.clock.Advance(a.clock.Now() + int64(d)) }

func (a *aged) trust(token string) { a.good.Store(&token) }

// until lets a little time pass, so that the server looks about, until it is so.
func (a *aged) until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	eventually(t, what, func() bool {
		a.pass(5 * time.Millisecond)
		return ok()
	})
}

func TestAStreamIsRenewedWithANewTokenAndNobodyNotices(t *testing.T) {
	s := newAged(t)
	s.trust("1")
	var token atomic.Pointer[string]
	token.Store(s.good.Load())
	c := start(t, Options{Addresses: []string{s.address}, Token: func() (string, error) { return *token.Load(), nil }})
	c.Report(sleeps(5_000_000), false)
	eventually(t, "a report", func() bool { return s.busy() == 0 })
	for i, next := range []string{"2", "3", "4"} {
		s.trust(next)
		token.Store(&next)
		s.pass(100 * time.Second)
		s.until(t, "a new stream", func() bool { return s.Stats().Renewed == uint64(i+1) && s.Stats().Streams == 1 })
		eventually(t, "its first report", func() bool { return s.Stats().Full == uint64(i+2) })
		c.Report(sleeps(5_000_000+100_000*uint64(i+1)), true)
		eventually(t, "an edge on the new stream", func() bool { return s.Stats().Edges == uint64(i+1) })
	}
	for _, u := range s.read() {
		if !u.Known || u.Watched < 5_000_000_000_000 || u.Idle < 5_000_000_000_000 {
			t.Errorf("%+v", u)
		}
	}
	if st, cs := s.Stats(), c.Status(); st.Replaced != 0 || len(st.Refused) > 0 || !cs.Connected || cs.Streams != 4 || cs.Detail != "" {
		t.Errorf("%+v, %+v", st, cs)
	}
}

// An edge that is sent while the new stream takes the place of the old one is in the first
// report of the new one.
func TestNoEdgeIsLostWhileStreamsChange(t *testing.T) {
	s := newAged(t)
	s.trust("n")
	c := start(t, Options{Addresses: []string{s.address}})
	c.Report(says(0), false)
	eventually(t, "a report", func() bool { return s.busy() == 0 })
	for round := range 20 {
		s.pass(100 * time.Second)
		want := 0
		s.until(t, "a new stream", func() bool {
			want = (want + 137 + round) % 1000 // out of the dead band
			c.Report(says(want), true)
			return s.Stats().Renewed == uint64(round+1)
		})
		// Of edges that come fast only some are sent, so the last may be near one long before
		// it, and is not told then.
		s.until(t, fmt.Sprintf("the last edge, %d", want), func() bool {
			got := s.busy()
			return got >= 0 && max(got-want, want-got) <= busyBand
		})
		// The old stream may have told it. A new one that has told nothing is silent soon.
		eventually(t, "the first report of the new stream", func() bool { return s.Stats().Full == uint64(round+2) })
	}
	if slices.ContainsFunc(s.read(), func(u usage.PodUse) bool { return !u.Known }) {
		t.Error("it was unknown in between")
	}
}

func TestWhoIsNotTakenAnyMoreIsUnknownAndSaysWhy(t *testing.T) {
	s := newAged(t)
	s.trust("n")
	c := start(t, Options{Addresses: []string{s.address}})
	c.Report(says(7), false)
	eventually(t, "a report", func() bool { return s.busy() == 7 })
	s.trust("another")
	s.pass(100 * time.Second)
	s.until(t, "being refused", func() bool { return s.Stats().Refused["nobody"] > 0 })
	if s.busy() != 7 || !c.Status().Connected {
		t.Error("the old stream goes on for a while")
	}
	eventually(t, "the client to say so", func() bool { return strings.Contains(c.Status().Detail, "no new one is taken") })
	s.pass(60 * time.Second)
	s.until(t, "nothing being known", func() bool { return s.busy() == -1 })
	eventually(t, "the client to know", func() bool { st := c.Status(); return !st.Connected && st.Reason == "Refused" })
	if r := s.Stats().Refused; r["expired"] != 1 {
		t.Errorf("%v", r)
	}
	s.trust("n")
	eventually(t, "being known again", func() bool { return s.busy() == 7 })
}

func TestARefusalThatPassesIsTriedAgainBesideTheOldStream(t *testing.T) {
	s := newAged(t)
	s.trust("n")
	c := start(t, Options{Addresses: []string{s.address}, Chance: func() float64 { return 0 }})
	c.Report(says(7), false)
	eventually(t, "a report", func() bool { return s.busy() == 7 })
	s.good.Store(nil)
	s.pass(100 * time.Second)
	s.until(t, "a try", func() bool { return s.Stats().Refused["identity-unavailable"] > 0 })
	s.trust("n")
	s.until(t, "a new stream", func() bool { return s.Stats().Renewed == 1 })
	if slices.ContainsFunc(s.read(), func(u usage.PodUse) bool { return !u.Known }) {
		t.Error("it was unknown in between")
	}
}
