package loop_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/musterhq/muster/builtin/cycle"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/builtin/world"
	"github.com/musterhq/muster/policies"
	"github.com/musterhq/muster/runtime/clock"
	"github.com/musterhq/muster/runtime/ledger"
	"github.com/musterhq/muster/runtime/loop"
)

// leaves is a tree with the leaves root.a and root.b, whose jobs the policy
// "mine" orders.
func leaves() spec.Tree {
	return spec.Tree{Root: &spec.Queue{Name: "root", JobOrder: "mine", Children: []*spec.Queue{{Name: "a"}, {Name: "b"}}}}
}

func one(id, queue string) ledger.Event {
	return ledger.JobSubmitted{Job: &spec.Job{
		ID: id, Queue: queue, User: "ann", Tasks: []spec.TaskGroup{{Min: 1, Size: 1, Request: spec.GPUs(1)}},
	}}
}

func gpuNode(name string, gpus int64) ledger.Event {
	return ledger.NodeAdded{Node: spec.Node{Name: name, Capacity: spec.GPUs(gpus)}}
}

// running is a loop that runs until the test stops it.
type running struct {
	*loop.Loop
	turns chan loop.Turn
	stop  func() error
}

// run starts a loop in the background. Its turns must be received.
func run(t *testing.T, tree spec.Tree, c clock.Clock) *running {
	t.Helper()
	r := &running{Loop: loop.New(ledger.New(tree), cycle.Set{}, nil, c), turns: make(chan loop.Turn, 1024)}
	r.Listen(func(turn loop.Turn) { r.turns <- turn })
	ctx, cancel := context.WithCancel(context.Background())
	end := make(chan error, 1)
	go func() { end <- r.Run(ctx) }()
	var once sync.Once
	var err error
	r.stop = func() error {
		once.Do(func() {
			cancel()
			err = <-end
		})
		return err
	}
	t.Cleanup(func() { _ = r.stop() }) // its error is looked at where it matters
	return r
}

// next waits for a turn.
func (r *running) next(t *testing.T) loop.Turn {
	t.Helper()
	select {
	case turn := <-r.turns:
		return turn
	case <-time.After(10 * time.Second):
		t.Fatal("no turn came")
		return loop.Turn{}
	}
}

func TestRunEndsWithItsContextAndSaysSo(t *testing.T) {
	r := run(t, leaves(), clock.NewVirtual(0))
	r.Post(gpuNode("n", 8))
	r.next(t)
	if err := r.stop(); !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
}

func TestWhatIsPostedIsDecidedWithoutFurtherAsking(t *testing.T) {
	r := run(t, leaves(), clock.NewVirtual(7))
	r.Post(gpuNode("n", 8), one("j", "root.a"))
	turn := r.next(t)
	if turn.Events != 2 || turn.Now != 7 || len(turn.Taken.Binds) != 1 || len(turn.Refused) != 0 {
		t.Errorf("turn %+v, plan %s", turn, turn.Taken.JSON())
	}
}

func TestEventsThatMakeNoSenseAreToldAndTheOthersTakenIn(t *testing.T) {
	r := run(t, leaves(), clock.NewVirtual(0))
	r.Post(ledger.JobGone{ID: "x"}, gpuNode("n", 8), one("j", "nowhere"), one("k", "root.a"))
	turn := r.next(t)
	if len(turn.Refused) != 2 || len(turn.Taken.Binds) != 1 {
		t.Errorf("refused %v, started %s", turn.Refused, turn.Taken.JSON())
	}
}

func TestALoopWakesWhenItsPlanAskedToBeWoken(t *testing.T) {
	tree := leaves()
	tree.Root.ReserveAfter = 60 * spec.Second
	c := clock.NewVirtual(1000 * spec.Second)
	r := run(t, tree, c)
	r.Post(gpuNode("n", 2), one("s", "root.a"))
	r.next(t)
	big := spec.Job{ID: "big", Queue: "root.a", User: "ann", Submit: 1, Tasks: []spec.TaskGroup{{Min: 2, Size: 2, Request: spec.GPUs(1)}}}
	r.Post(ledger.JobSubmitted{Job: &big})
	turn := r.next(t)
	if turn.Taken.Wake != 1060*spec.Second {
		t.Fatalf("the gang waits, woken at %d", turn.Taken.Wake)
	}
	c.Advance(1059 * spec.Second)
	select {
	case turn := <-r.turns:
		t.Fatalf("a turn before its time: %s", turn.Taken.JSON())
	case <-time.After(20 * time.Millisecond):
	}
	c.Advance(1060 * spec.Second)
	if turn := r.next(t); turn.Events != 0 || turn.Now != 1060*spec.Second || turn.Taken.Cycle != 3 {
		t.Errorf("it was time for a cycle: %s", turn.Taken.JSON())
	}
}

func TestPostingFromManyGoroutinesLosesNothing(t *testing.T) {
	const posters, each = 16, 200
	r := run(t, leaves(), clock.Real{})
	r.Post(gpuNode("n0", 64))
	var wg sync.WaitGroup
	for p := range posters {
		wg.Go(func() {
			for i := range each {
				id := fmt.Sprintf("j%d-%d", p, i)
				r.Post(one(id, []string{"root.a", "root.b"}[i%2]))
				r.Post(ledger.JobGone{ID: id})
				if i%50 == 0 {
					r.Swap(cycle.Set{})
					r.Listen(func(loop.Turn) {})
				}
				_ = r.Busy()
			}
		})
	}
	events, refused := 0, 0
	for events < 1+2*posters*each {
		turn := r.next(t)
		events += turn.Events
		refused += len(turn.Refused)
	}
	wg.Wait()
	if err := r.stop(); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if n := r.Ledger().World().JobCount(); n != 0 || refused != 0 || events != 1+2*posters*each {
		t.Errorf("%d events, %d refused, %d jobs left", events, refused, n)
	}
}

// spy is a job order that notes which set asked it, and can do something while a
// cycle runs.
type spy struct {
	policies.Unimplemented
	name  string
	asked *[]string
	do    func()
}

func (s *spy) Info() policies.Info { return policies.Info{Name: s.name, Kinds: policies.JobOrder} }

func (s *spy) ScoreJobs(_ context.Context, b *policies.JobBatch) error {
	*s.asked = append(*s.asked, s.name+" orders "+b.Queue)
	b.NKeys = 1
	if s.do != nil {
		s.do()
	}
	return nil
}

func TestASwapTakesEffectBetweenCyclesOnly(t *testing.T) {
	var asked []string
	set := func(name string, do func()) cycle.Set {
		return cycle.Set{Named: map[string]policies.Policy{"mine": &spy{name: name, asked: &asked, do: do}}}
	}
	var p *loop.Loop
	once := sync.OnceFunc(func() { p.Swap(set("new", nil)) })
	p = loop.New(ledger.New(leaves()), set("old", once), nil, clock.NewVirtual(0))
	p.Post(one("j", "root.a"), one("k", "root.b"))
	p.Turn(context.Background())
	p.Turn(context.Background())
	want := "[old orders root.a old orders root.b new orders root.a new orders root.b]"
	if got := fmt.Sprint(asked); got != want {
		t.Errorf("asked %s, want %s", got, want)
	}
}

// A turn without events starts a job: it uses GPUs from then on, not since the last
// event.
func TestUsageCountsFromTheTurnThatStartsAJob(t *testing.T) {
	c := clock.NewVirtual(0)
	closed := cycle.Set{Filter: func(world.ShapeID, world.NodeIx) bool { return false }}
	p := loop.New(ledger.New(leaves()), closed, nil, c)
	p.Post(gpuNode("n", 1), one("j", "root.a"))
	p.Turn(context.Background())
	c.Advance(100 * spec.Second)
	p.Swap(cycle.Set{})
	if turn := p.Turn(context.Background()); len(turn.Taken.Binds) != 1 {
		t.Fatalf("plan %s", turn.Taken.JSON())
	}
	used := make([]int64, 3)
	p.Ledger().World().Quota.Decayed(110*spec.Second, used)
	if used[0] < 9_990 || used[0] > 10_000 {
		t.Errorf("one GPU for 10 s is %d GPU-ms", used[0])
	}
}

func TestASwapAloneWakesTheLoop(t *testing.T) {
	r := run(t, leaves(), clock.NewVirtual(0))
	r.Swap(cycle.Set{})
	if turn := r.next(t); turn.Events != 0 {
		t.Errorf("turn %+v", turn)
	}
}

func TestAFloodIsTakenInByPartsSoThatDecisionsComeInBetween(t *testing.T) {
	p := loop.New(ledger.New(leaves()), cycle.Set{}, nil, clock.NewVirtual(0))
	flood := make([]ledger.Event, loop.MaxDrain+5)
	for i := range flood {
		flood[i] = ledger.Saved{Job: "x"}
	}
	p.Post(flood...)
	if first := p.Turn(context.Background()); first.Events != loop.MaxDrain || !p.Busy() {
		t.Errorf("the first turn took %d, busy %v", first.Events, p.Busy())
	}
	if second := p.Turn(context.Background()); second.Events != 5 || p.Busy() {
		t.Errorf("the second turn took %d, busy %v", second.Events, p.Busy())
	}
}

func TestALoopThatIsFloodedGoesOnUntilAllIsTakenIn(t *testing.T) {
	r := run(t, leaves(), clock.NewVirtual(0))
	flood := make([]ledger.Event, 2*loop.MaxDrain+5)
	for i := range flood {
		flood[i] = ledger.Saved{Job: "x"}
	}
	r.Post(flood...)
	if a, b, c := r.next(t).Events, r.next(t).Events, r.next(t).Events; a != loop.MaxDrain || b != loop.MaxDrain || c != 5 {
		t.Errorf("three turns took %d, %d and %d", a, b, c)
	}
}

// poster is an actor that answers a plan with events, as an adapter does.
type poster struct{ p *loop.Loop }

func (a *poster) Act(_ spec.Time, r ledger.Result) {
	for _, b := range r.Taken.Binds {
		a.p.Post(ledger.TaskFinished{Job: b.Job, Task: b.Task}, ledger.JobGone{ID: b.Job})
	}
}

func TestAnActorMayPostWhatCameOfAPlan(t *testing.T) {
	a := &poster{}
	a.p = loop.New(ledger.New(leaves()), cycle.Set{}, a, clock.NewVirtual(0))
	a.p.Post(gpuNode("n", 1), one("j", "root.a"), one("k", "root.a"))
	starts := 0
	for range 4 {
		starts += len(a.p.Turn(context.Background()).Taken.Binds)
	}
	if starts != 2 || a.p.Busy() || a.p.Ledger().World().JobCount() != 0 {
		t.Errorf("%d of 2 jobs ran one after the other, %d are left", starts, a.p.Ledger().World().JobCount())
	}
}

func TestACycleWithNothingNewDecidesNothing(t *testing.T) {
	p := loop.New(ledger.New(leaves()), cycle.Set{}, nil, clock.NewVirtual(0))
	p.Post(gpuNode("n", 1), one("j", "root.a"), one("k", "root.a"))
	p.Turn(context.Background())
	p.Turn(context.Background())
	if turn := p.Turn(context.Background()); !turn.Taken.Empty() || len(turn.Taken.Pending) != 0 {
		t.Errorf("plan %s", turn.Taken.JSON())
	}
}

func TestAVisitorSeesTheWorldBetweenTwoTurnsAndOnce(t *testing.T) {
	r := run(t, leaves(), clock.NewVirtual(0))
	r.Post(gpuNode("n", 8), one("j", "root.a"))
	r.next(t)
	seen := make(chan int32, 2)
	r.Visit(func(w *world.World) { seen <- w.Job("j").Placed }) // nothing else wakes the loop
	r.next(t)
	if placed := <-seen; placed != 1 {
		t.Errorf("the visitor sees %d tasks of j", placed)
	}
	r.Post(one("k", "root.a"))
	r.next(t)
	if err := r.stop(); len(seen) != 0 {
		t.Errorf("the visitor came again (%v)", err)
	}
}
