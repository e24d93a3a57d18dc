package reload_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/musterhq/muster/builtin/cycle"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/policies"
	"github.com/musterhq/muster/runtime/clock"
	"github.com/musterhq/muster/runtime/ledger"
	"github.com/musterhq/muster/runtime/loop"
	"github.com/musterhq/muster/runtime/reload"
	"github.com/musterhq/muster/runtime/wasm"
)

const leafCount = 8

// busyLoop is a scheduler under load: jobs come and go, and all kinds of decisions are
// made by the policy "order".
type busyLoop struct {
	*loop.Loop
	turns []turn
	stop  func()
}

// turn is what the test looks at; whole turns would grow the memory that it measures.
type turn struct {
	cycle, uses, fallbacks, refused int
	versions                        [2]string // that decided, at most two are kept
	failure                         string
	held, took                      time.Duration // before it began; from then to its end
}

func summary(t loop.Turn) turn {
	out := turn{cycle: int(t.Taken.Cycle), refused: len(t.Refused), held: time.Duration(t.Held)}
	out.took = time.Duration(clock.Real{}.Now() - t.Now)
	for _, u := range t.Taken.Policies {
		if u.Name != "order" {
			continue
		}
		out.uses++
		out.fallbacks += u.Fallbacks
		out.failure += u.Failure
		if out.versions[0] == "" || out.versions[0] == u.Version {
			out.versions[0] = u.Version
		} else {
			out.versions[1] = u.Version
		}
	}
	return out
}

func newBusyLoop(t testing.TB) *busyLoop {
	root := &spec.Queue{Name: "root", JobOrder: "order", Fairness: "order", Victims: "order"}
	for i := range leafCount {
		root.Children = append(root.Children, &spec.Queue{Name: fmt.Sprintf("q%d", i), Guaranteed: spec.GPUs(1)})
	}
	b := &busyLoop{Loop: loop.New(ledger.New(spec.Tree{Root: root}), cycle.Set{}, nil, clock.Real{})}
	b.Listen(func(t loop.Turn) { b.turns = append(b.turns, summary(t)) })
	b.Post(ledger.NodeAdded{Node: spec.Node{Name: "n", Capacity: spec.GPUs(leafCount / 2)}})
	ctx, cancel := context.WithCancel(context.Background())
	end := make(chan error, 2)
	go func() { end <- b.Run(ctx) }()
	go func() { end <- b.comeAndGo(ctx) }()
	stopped := false
	b.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		for range cap(end) {
			if err := <-end; !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}
	}
	t.Cleanup(b.stop)
	return b
}

// comeAndGo posts a job for each leaf, and takes those of four rounds ago away.
func (b *busyLoop) comeAndGo(ctx context.Context) error {
	for round := 0; ; round++ {
		for q := range leafCount {
			b.Post(ledger.JobSubmitted{Job: &spec.Job{
				ID: fmt.Sprintf("j%d-%d", round, q), Queue: fmt.Sprintf("root.q%d", q), User: "ann", Submit: spec.Time(round),
				Tasks: []spec.TaskGroup{{Name: "t", Min: 1, Size: 1, Request: spec.GPUs(1)}},
			}})
			if round >= 4 {
				b.Post(ledger.JobGone{ID: fmt.Sprintf("j%d-%d", round-4, q)})
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(500 * time.Microsecond):
		}
	}
}

// pauses are how long posts and swaps kept turns from beginning, in order.
func pauses(turns []turn) []time.Duration {
	return ordered(turns, func(t turn) time.Duration { return t.held })
}

// lengths are how long turns took, in order.
func lengths(turns []turn) []time.Duration {
	return ordered(turns, func(t turn) time.Duration { return t.took })
}

func ordered(turns []turn, of func(turn) time.Duration) []time.Duration {
	out := make([]time.Duration, len(turns))
	for i, t := range turns {
		out[i] = of(t)
	}
	slices.Sort(out)
	return out
}

func at(d []time.Duration, part float64) time.Duration { return d[int(part*float64(len(d)-1))] }

// TestTwoHundredSwaps loads 200 versions, one after the other, from a file into a loop
// that decides all the time: every version is read, compiled, checked, made active
// between two cycles, and closed.
func TestTwoHundredSwapsLoseNoCycleMixNoVersionsAndLeaveNothing(t *testing.T) {
	const swaps, warm = 200, 20
	goroutines := runtime.NumGoroutine()
	engine, err := wasm.NewRuntime("")
	if err != nil {
		t.Fatal(err)
	}
	busy := newBusyLoop(t)
	var took []time.Duration // by the calls of Swap
	h := newHost(t, func(o *reload.Options) {
		o.Compile = reload.Engine(engine)
		into := reload.Into(busy.Swap, cycle.Set{})
		o.Swap = func(s reload.Set) <-chan struct{} {
			start := time.Now()
			defer func() { took = append(took, time.Since(start)) }()
			return into(s)
		}
	})
	var before int64
	for i := range swaps + warm {
		if i == warm {
			before = resident(t)
		}
		h.write("order.wasm", module(strconv.Itoa(i)))
		h.load(file("order", "order.wasm"))
		time.Sleep(3 * time.Millisecond) // some turns for each
	}
	after := resident(t)
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	busy.stop()
	if err := engine.Close(); err != nil {
		t.Fatal(err)
	}
	versions := checkTurns(t, busy.turns)
	if versions < swaps {
		t.Errorf("only %d versions ever decided", versions)
	}
	if grown := after - before; grown > 16<<20 {
		t.Errorf("%d swaps took %d MiB of memory", swaps, grown>>20)
	}
	time.Sleep(10 * time.Millisecond) // goroutines that are on their way out
	if n := runtime.NumGoroutine(); n > goroutines {
		t.Errorf("%d goroutines, %d before", n, goroutines)
	}
	quiet := withoutSwaps(t)
	control, swapped := pauses(quiet), pauses(busy.turns)
	slices.Sort(took)
	t.Logf("%d turns, %d versions decided; memory %+d KiB over %d swaps", len(busy.turns), versions, (after-before)>>10, swaps)
	t.Logf("pause of a turn with swaps    p50 %v p99 %v max %v", at(swapped, 0.5), at(swapped, 0.99), at(swapped, 1))
	t.Logf("pause of a turn without swaps p50 %v p99 %v max %v", at(control, 0.5), at(control, 0.99), at(control, 1))
	with, without := lengths(busy.turns), lengths(quiet)
	t.Logf("a turn with swaps             p50 %v p99 %v max %v", at(with, 0.5), at(with, 0.99), at(with, 1))
	t.Logf("a turn without swaps          p50 %v p99 %v max %v", at(without, 0.5), at(without, 0.99), at(without, 1))
	t.Logf("Swap itself                   p50 %v p99 %v max %v", at(took, 0.5), at(took, 0.99), at(took, 1))
	// On a machine that does other things as well, a turn may wait for a processor; it
	// must not wait longer because policies are swapped.
	if bound := max(100*time.Microsecond, 3*at(control, 0.99)); at(swapped, 0.99) > bound {
		t.Errorf("the p99 of the pause is %v, more than %v", at(swapped, 0.99), bound)
	}
}

// checkTurns holds every cycle to one version, and returns how many decided.
func checkTurns(t *testing.T, turns []turn) int {
	t.Helper()
	seen := map[string]bool{}
	last, uses := -1, 0
	for i, turn := range turns {
		if i > 0 && turn.cycle != turns[i-1].cycle+1 {
			t.Fatalf("cycle %d comes after %d", turn.cycle, turns[i-1].cycle)
		}
		if turn.refused+turn.fallbacks > 0 {
			t.Fatalf("cycle %d: %d events refused, %d fallbacks: %s", turn.cycle, turn.refused, turn.fallbacks, turn.failure)
		}
		if turn.versions[1] != "" {
			t.Fatalf("cycle %d was decided by the versions %v", turn.cycle, turn.versions)
		}
		if uses += turn.uses; turn.uses == 0 {
			continue
		}
		n, err := strconv.Atoi(turn.versions[0])
		if err != nil || n < last {
			t.Fatalf("cycle %d: version %s after %d", turn.cycle, turn.versions[0], last)
		}
		last, seen[turn.versions[0]] = n, true
	}
	if uses < len(turns) {
		t.Errorf("%d turns asked the policy %d times only: nothing was tested", len(turns), uses)
	}
	return len(seen)
}

// withoutSwaps is the same load, with the same modules compiled beside it, and no swaps.
func withoutSwaps(t *testing.T) []turn {
	t.Helper()
	engine, err := wasm.NewRuntime("")
	if err != nil {
		t.Fatal(err)
	}
	busy := newBusyLoop(t)
	first, err := engine.Load(context.Background(), module("0"), wasm.Options{Name: "order"})
	if err != nil {
		t.Fatal(err)
	}
	busy.Swap(cycle.Set{Named: map[string]policies.Policy{"order": first}})
	for i := range 200 {
		m, err := engine.Load(context.Background(), module(strconv.Itoa(i)), wasm.Options{Name: "order"})
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Millisecond)
	}
	busy.stop()
	if err := errors.Join(first.Close(), engine.Close()); err != nil {
		t.Fatal(err)
	}
	return busy.turns
}
