package podresources

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterhq/muster/runtime/clock"
)

// script is a Lister that answers as it is told, and counts.
type script struct {
	mu     sync.Mutex
	list   []Assignment
	err    error
	hang   time.Duration
	calls  int
	active int
}

func (s *script) List(ctx context.Context) ([]Assignment, error) {
	s.mu.Lock()
	s.calls++
	if s.active++; s.active > 1 {
		panic("two calls at once")
	}
	list, err, hang := s.list, s.err, s.hang
	s.mu.Unlock()
	var hung error
	if hang > 0 {
		select {
		case <-ctx.Done():
			hung = ctx.Err()
		case <-time.After(hang):
		}
	}
	s.mu.Lock()
	s.active--
	s.mu.Unlock()
	return list, errors.Join(err, hung)
}

func (s *script) set(err error, devices ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err, s.list = err, nil
	for _, d := range devices {
		s.list = append(s.list, Assignment{Pod: "p", Device: d})
	}
}

func (s *script) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls
}

// cached runs a test with a cache in a bubble whose time is the test's.
func cached(t *testing.T, o CacheOptions, test func(*testing.T, *script, *Cached)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &script{}
		s.set(nil, "GPU-a")
		o.Clock = clock.Real{}
		c := NewCached(s, o)
		if got := c.Last(); got.Known || got.State.Up || got.State.Reason != "NotAsked" {
			t.Errorf("before it was asked: %+v", got)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- c.Run(ctx) }()
		synctest.Wait()
		test(t, s, c)
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

// pass lets time go by.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestTheKubeletIsAskedOnceAnInterval(t *testing.T) {
	cached(t, CacheOptions{}, func(t *testing.T, s *script, c *Cached) {
		if got := c.Last(); !got.Known || len(got.Assignments) != 1 || got.State != (State{Up: true}) || got.At == 0 {
			t.Errorf("%+v", got)
		}
		for range 1000 {
			c.Last()
		}
		pass(65 * time.Second)
		if n := s.count(); n != 7 {
			t.Errorf("%d calls in 65 s", n)
		}
	})
}

func TestADemandIsAnsweredSoonAndManyAreOne(t *testing.T) {
	cached(t, CacheOptions{}, func(t *testing.T, s *script, c *Cached) {
		pass(5 * time.Second)
		s.set(nil, "GPU-b")
		c.Demand()
		synctest.Wait()
		if n := s.count(); n != 2 || c.Last().Assignments[0].Device != "GPU-b" {
			t.Errorf("%d calls, %+v", n, c.Last())
		}
		before := s.count()
		for range 1000 { // a storm of processes
			c.Demand()
			pass(10 * time.Millisecond)
		}
		if n := s.count() - before; n < 9 || n > 11 {
			t.Errorf("%d calls in 10 s of demands", n)
		}
	})
}

func TestWhatTheKubeletSaidHoldsForAMinute(t *testing.T) {
	changes := 0
	cached(t, CacheOptions{Changed: func() { changes++ }}, func(t *testing.T, s *script, c *Cached) {
		gone := &Error{"Unavailable", "is the kubelet running?", errors.New("connection refused")}
		s.set(gone)
		pass(55 * time.Second)
		got := c.Last()
		if !got.Known || len(got.Assignments) != 1 || !got.State.Up || got.State.Reason != "" || !strings.Contains(got.State.Detail, "refused") {
			t.Errorf("%+v", got)
		}
		pass(10 * time.Second)
		got = c.Last()
		if got.Known || got.Assignments != nil || got.State.Up || got.State.Reason != "Unavailable" || !strings.Contains(got.State.Detail, "is the kubelet running?") {
			t.Errorf("%+v", got)
		}
		pass(10 * time.Second)
		if changes != 2 {
			t.Errorf("%d changes were told, not that it is known and that it is known no more", changes)
		}
		s.set(nil, "GPU-a")
		pass(10 * time.Second)
		if got = c.Last(); !got.Known || got.State != (State{Up: true}) || changes != 3 {
			t.Errorf("%+v after %d changes", got, changes)
		}
	})
}

func TestAKubeletThatHangsHoldsNobodyUp(t *testing.T) {
	cached(t, CacheOptions{}, func(t *testing.T, s *script, c *Cached) {
		s.mu.Lock()
		s.hang = time.Hour
		s.mu.Unlock()
		pass(30 * time.Second)
		begin := time.Now()
		if got := c.Last(); !got.Known || time.Since(begin) != 0 {
			t.Errorf("%+v", got)
		}
		pass(time.Minute)
		if got := c.Last(); got.Known || got.State.Reason != "Timeout" {
			t.Errorf("%+v", got)
		}
	})
}

func TestAKubeletThatNeverAnsweredSaysWhy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{}
		s.set(errors.New("something odd"))
		c := NewCached(s, CacheOptions{})
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		_ = c.Run(ctx)
		if got := c.Last(); got.Known || got.State != (State{Reason: "Failed", Detail: "something odd"}) {
			t.Errorf("%+v", got)
		}
	})
}
