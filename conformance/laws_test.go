package conformance

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/musterhq/muster/builtin/cycle"
	"github.com/musterhq/muster/builtin/pack"
	"github.com/musterhq/muster/builtin/plan"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/builtin/world"
	"github.com/musterhq/muster/runtime/ledger"
	"github.com/musterhq/muster/runtime/loop"
)

// How a script is played; the zero value is as it is written.
type how struct {
	shuffle uint64                      // order of the events of a step
	rename  func(string) string         // of nodes
	split   bool                        // waits in two parts
	looks   bool                        // after each part, the scheduler looks at everything anew
	audited bool                        // everything is counted anew after each turn
	tree    func(spec.Tree) spec.Tree   // of the queue tree
	between func(*Tale)                 // before the turns of each step
	after   func(*Tale)                 // after each turn
	late    func(*Tale, []ledger.Event) // takes the events of each step
}

// played is what came of a script.
type played struct {
	tale  *Tale
	plans []*plan.Plan // those that told anything
	found []string     // see witness
	eye   *witness
	err   error
}

func play(s script, h how) (p *played) {
	p = &played{tale: NewTale(context.Background(), nil)}
	p.tale.victimsTake, p.tale.set.Placement = s.victimsTake, s.placement
	p.tale.tree = h.treeOf(s.tree)
	p.eye = newWitness(p.tale)
	p.tale.After = func(t loop.Turn) {
		p.eye.look(t)
		if h.audited {
			p.eye.audit()
		}
		if !t.Taken.Empty() || len(t.Taken.Pending) > 0 || len(t.Taken.Events) > 0 {
			p.plans = append(p.plans, t.Taken)
		}
		if h.after != nil {
			h.after(p.tale)
		}
	}
	for i, st := range s.steps {
		if p.err = p.step(st, h, uint64(i)); p.err != nil {
			break
		}
	}
	p.found = p.eye.found
	return p
}

func (p *played) step(st step, h how, i uint64) error {
	waits := []spec.Duration{st.wait}
	if h.split {
		waits = []spec.Duration{st.wait / 3, st.wait - st.wait/3}
	}
	p.eye.forced = false
	for _, d := range waits {
		if err := p.tale.advance(d); err != nil {
			return err
		}
		if h.looks && rested(p.tale) {
			cycle.Forget(p.tale.world())
			if err := p.tale.settle(); err != nil {
				return err
			}
		}
	}
	if st.rules > 0 {
		p.tale.set.Admission, p.tale.set.Protection = rulesOf(st.rules), rulesOf(st.rules)
		p.tale.theLoop().Swap(p.tale.set)
	}
	events := append([]ledger.Event(nil), st.events...)
	if h.shuffle > 0 {
		r := rand.New(rand.NewPCG(h.shuffle, i))
		r.Shuffle(len(events), func(a, b int) { events[a], events[b] = events[b], events[a] })
	}
	events = flat(events)
	for i, ev := range events {
		events[i] = h.changed(ev)
		p.tale.expect(events[i])
		p.eye.expect(events[i])
		if h.late == nil {
			p.tale.post(events[i])
		}
	}
	if h.late != nil {
		h.late(p.tale, events)
	}
	if h.between != nil {
		h.between(p.tale)
	}
	return p.tale.settle()
}

// rested says whether nothing has started within the last second but just now: until then
// looking again may find victims sooner.
func rested(t *Tale) bool {
	ok := true
	t.world().EachPlaced(func(o *world.Task) { ok = ok && (o.Since == t.now() || o.Since <= t.now()-spec.Second) })
	return ok
}

// expect notes what an event means for the cluster, as the commands of the
// language do.
func (t *Tale) expect(ev ledger.Event) {
	switch e := ev.(type) {
	case ledger.JobSubmitted:
		t.jobs[e.Job.ID] = &run{lasts: e.Job.Duration}
	case ledger.JobGone:
		delete(t.jobs, e.ID)
	}
}

func (h how) treeOf(tree spec.Tree) spec.Tree {
	if h.tree != nil {
		return h.tree(tree)
	}
	return tree
}

func (h how) changed(ev ledger.Event) ledger.Event {
	switch e := ev.(type) {
	case ledger.NodeAdded:
		if h.rename != nil {
			e.Node.Name = h.rename(e.Node.Name)
		}
		return e
	case ledger.NodeUsed:
		if h.rename != nil {
			e.Name = h.rename(e.Name)
		}
		return e
	case ledger.NodeRemoved:
		if h.rename != nil {
			e.Name = h.rename(e.Name)
		}
		return e
	case ledger.TaskRunning:
		if h.rename != nil {
			e.Node = h.rename(e.Node)
		}
		return e
	case ledger.TaskClaimed:
		if h.rename != nil {
			e.Node = h.rename(e.Node)
		}
		return e
	case ledger.QueuesChanged:
		e.Tree = h.treeOf(e.Tree)
		return e
	}
	return ev
}

// bytes are all plans, without what a comparison is to overlook.
func (p *played) bytes(strip func(*plan.Plan)) string {
	var b strings.Builder
	for _, pl := range p.plans {
		c := *pl
		if strip != nil {
			strip(&c)
			if c.Empty() && len(c.Pending) == 0 && len(c.Events) == 0 {
				continue // a wake-up at which nothing was decided
			}
		}
		b.Write(c.JSON())
		b.WriteByte('\n')
	}
	return b.String()
}

// decisions keeps what is done, and when.
func decisions(p *plan.Plan) {
	*p = plan.Plan{Now: p.Now, Binds: p.Binds, Claims: p.Claims, Evictions: p.Evictions, Ends: p.Ends, Stays: p.Stays, Reserved: p.Reserved}
}

// failer is what *testing.T and *rapid.T have in common.
type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

func same(t failer, what, a, b string) {
	t.Helper()
	if a == b {
		return
	}
	at := 0
	for at < len(a) && at < len(b) && a[at] == b[at] {
		at++
	}
	t.Fatalf("%s: plans differ\n  %s\n  %s", what, around(a, at), around(b, at))
}

// around is the text near a position, from the time of its plan on.
func around(s string, at int) string {
	line := strings.LastIndex(s[:at], "\n") + 1
	head := s[line:min(len(s), line+40)]
	return head + " … " + s[max(line, at-150):min(len(s), at+250)]
}

func healthy(t *rapid.T, p *played) {
	t.Helper()
	if p.err != nil {
		t.Fatal(p.err)
	}
	if len(p.found) > 0 {
		t.Fatalf("%s", strings.Join(p.found, "\n"))
	}
}

// At every instant: usage within max, parents the sums of their children, gangs
// whole or absent, no device or node over-committed, no queue below its guarantee
// by reclaim.
func TestLawEveryInstantIsSound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { healthy(t, play(drawScript(t), how{audited: true})) })
}

// A cycle on a frozen world that is discarded leaves it as it was, and what comes
// after is the same as if nobody had asked.
func TestLawWhatIfChangesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSteadyScript(t)
		asked := play(s, how{audited: true, between: func(tale *Tale) {
			led := tale.theLoop().Ledger()
			before := led.World().Digest()
			cycle.Step(tale.ctx, led.Freeze(), tale.set, tale.now())
			if errs := led.Discard(); len(errs) > 0 {
				t.Fatal(errs)
			}
			if after := led.World().Digest(); before != after {
				t.Fatalf("before\n%s\nafter\n%s", before, after)
			}
		}})
		healthy(t, asked)
		same(t, "with and without what-if", play(s, how{}).bytes(decisions), asked.bytes(decisions))
	})
}

// The order of the events of one instant, the machine's processors and the names
// of nodes (but for their order) mean nothing.
func TestLawPlansDoNotDependOnOrderNamesOrProcessors(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawScript(t)
		plain := play(s, how{})
		healthy(t, plain)
		seed := rapid.Uint64Range(1, 1<<40).Draw(t, "shuffle")
		same(t, "shuffled", plain.bytes(nil), play(s, how{shuffle: seed}).bytes(nil))
		renamed := play(s, how{rename: func(n string) string { return "zz" + n }}).bytes(nil)
		same(t, "renamed", plain.bytes(nil), strings.ReplaceAll(renamed, "zz", ""))
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
		one := play(s, how{}).bytes(nil)
		runtime.GOMAXPROCS(2)
		same(t, "one or two processors", one, play(s, how{}).bytes(nil))
	})
}

// Looking more often changes no decision: whatever time alone brings about, the
// last plan has asked to be woken for.
func TestLawSplittingTimeChangesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSteadyScript(t)
		plain := play(s, how{}).bytes(decisions)
		same(t, "split", plain, play(s, how{split: true}).bytes(decisions))
		same(t, "split, with a look in between", plain, play(s, how{split: true, looks: true}).bytes(decisions))
	})
}

// What cycles remember is a cache: losing it changes no decision. (What fragmentation is
// measured against is not: it depends on when it was counted.)
func TestLawMemoryDecidesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSteadyScript(t)
		s.placement = max(s.placement, pack.BinPack)
		forgetful := play(s, how{after: func(tale *Tale) { tale.world().Index = nil }})
		same(t, "with and without memory", play(s, how{}).bytes(decisions), forgetful.bytes(decisions))
	})
}

// A queue tree that is told again changes nothing: the world over it is the same.
func TestLawTheSameTreeAgainChangesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSteadyScript(t)
		s.placement = max(s.placement, pack.BinPack)
		again := play(s, how{audited: true, after: func(tale *Tale) {
			old := tale.world().Quota
			before := tale.world().Digest()
			tree := spec.Tree{Root: old.Queues[0].Spec, UsageHalfLife: old.HalfLife, UseMaxAge: old.UseMaxAge}
			if err := tale.theLoop().Ledger().Apply(tale.now(), ledger.QueuesChanged{Tree: tree}); err != nil {
				t.Fatal(err)
			}
			if after := tale.world().Digest(); before != after {
				t.Fatalf("before\n%s\nafter\n%s", before, after)
			}
		}})
		healthy(t, again)
		same(t, "told once and told again", play(s, how{}).bytes(decisions), again.bytes(decisions))
	})
}

// Events that make no sense are refused with a code and change nothing.
func TestLawRefusedEventsChangeNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		play(drawScript(t), how{between: func(tale *Tale) {
			led := tale.theLoop().Ledger()
			before := led.World().Digest()
			for _, ev := range nonsense(led.World()) {
				err := led.Apply(tale.now(), ev)
				var refused *ledger.Error
				var problems spec.Problems
				if !errors.As(err, &refused) && !errors.As(err, &problems) {
					t.Fatalf("%T %+v: %v", ev, ev, err)
				}
			}
			if after := led.World().Digest(); before != after {
				t.Fatalf("before\n%s\nafter\n%s", before, after)
			}
			if found := led.World().Audit(); len(found) > 0 {
				t.Fatal(strings.Join(found, "\n"))
			}
		}})
	})
}

// nonsense is events about what is not there, or can't be so.
func nonsense(w *world.World) []ledger.Event {
	list := []ledger.Event{
		ledger.NodeRemoved{Name: "nowhere"},
		ledger.NodeAdded{},
		ledger.NodeUsed{Name: "nowhere"},
		ledger.NodeAdded{Node: spec.Node{Name: "n", Capacity: spec.GPUs(65)}},
		ledger.JobGone{ID: "none"},
		ledger.JobPriority{ID: "none"},
		ledger.Saved{Job: "none"},
		ledger.JobNear{ID: "none"},
		ledger.TaskFinished{Job: "none"},
		ledger.TaskLost{Job: "none"},
		ledger.TaskReleased{Job: "none"},
		ledger.TaskAbsent{Job: "none"},
		ledger.TaskAgain{Job: "none"},
		ledger.TaskRunning{Job: "none"},
		ledger.TaskClaimed{Job: "none"},
		ledger.UseMeasured{Job: "none"},
		ledger.Evicted{Job: "none", Tasks: []int32{0}},
		ledger.BindFailed{Job: "none", Tasks: []int32{0}},
		ledger.JobGang{ID: "none"},
		ledger.JobGrown{ID: "none"},
		ledger.JobSubmitted{Job: &spec.Job{ID: "new", Queue: "root.no", Tasks: []spec.TaskGroup{{Size: 1, Request: spec.Resources{{Name: "unheard/of", Amount: 1}}}}}},
	}
	for _, j := range w.Jobs() {
		id, past := j.Spec.ID, int32(len(j.Tasks))
		list = append(list, ledger.JobSubmitted{Job: j.Own},
			ledger.TaskFinished{Job: id, Task: past}, ledger.TaskLost{Job: id, Task: -1}, ledger.TaskReleased{Job: id, Task: past}, ledger.TaskAbsent{Job: id, Task: past},
			ledger.TaskAgain{Job: id, Task: -1}, ledger.TaskRunning{Job: id, Task: past}, ledger.TaskClaimed{Job: id, Node: "nowhere"}, ledger.TaskRunning{Job: id, Node: "nowhere"},
			ledger.UseMeasured{Job: id, Task: past}, ledger.Evicted{Job: id}, ledger.Evicted{Job: id, Tasks: []int32{0, past}}, ledger.BindFailed{Job: id, Tasks: []int32{-1}},
			ledger.JobGang{ID: id, Group: -1}, ledger.JobGang{ID: id, Min: 1 << 40}, ledger.JobGrown{ID: id, Tasks: []spec.TaskGroup{{}}},
			ledger.JobNear{ID: id, Counts: []string{"b", "a"}},
			ledger.QueuesChanged{Tree: spec.Tree{Root: &spec.Queue{Name: "root", Children: []*spec.Queue{{Name: "other", Max: spec.Resources{{Name: "never/seen", Amount: 1}}}}}}},
		)
		if t := &j.Tasks[0]; t.State == world.Bound {
			list = append(list, ledger.TaskRunning{Job: id, Node: w.Nodes[t.Node].Name}, ledger.TaskClaimed{Job: id, Node: w.Nodes[t.Node].Name})
		}
	}
	return list
}

// When all jobs and nodes are gone, nothing is left of them.
func TestLawNothingIsLeft(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := play(drawScript(t), how{})
		led, now := p.tale.theLoop().Ledger(), p.tale.now()
		for _, j := range led.World().Jobs() {
			if err := led.Apply(now, ledger.JobGone{ID: j.Spec.ID}); err != nil {
				t.Fatal(err)
			}
		}
		for _, n := range slices.Clone(led.World().Nodes) {
			if n.Present {
				if err := led.Apply(now, ledger.NodeRemoved{Name: n.Name}); err != nil {
					t.Fatal(err)
				}
			}
		}
		if found := led.World().Audit(); len(found) > 0 {
			t.Fatal(strings.Join(found, "\n"))
		}
		for line := range strings.Lines(led.World().Digest()) {
			if !strings.HasPrefix(line, "queue ") {
				t.Errorf("left: %s", line)
			}
		}
		for d, have := range led.World().Quota.Capacity() {
			if used := led.World().Quota.Used(0)[d]; have != 0 || used != 0 {
				t.Errorf("%d of %d are used of what is left", used, have)
			}
		}
	})
}

// A queue without jobs and without a guarantee changes nothing for the others.
func TestLawIdleQueueChangesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawScript(t)
		name := rapid.SampledFrom([]string{"0", "zzz"}).Draw(t, "idle queue")
		with := play(s, how{tree: func(tree spec.Tree) spec.Tree {
			root := *tree.Root
			root.Children = append([]*spec.Queue{{Name: name}}, root.Children...)
			tree.Root = &root
			return tree
		}})
		healthy(t, with)
		same(t, "with an idle queue", play(s, how{}).bytes(decisions), with.bytes(decisions))
	})
}

// When nothing arrives any more, evictions come to an end: nobody evicts in
// circles.
func TestLawEvictionsEnd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawScript(t)
		tasks := 0
		for _, st := range s.steps {
			for _, ev := range flat(st.events) {
				switch e := ev.(type) {
				case ledger.JobSubmitted:
					tasks += int(tasksOfSpec(e.Job))
				case ledger.JobGrown:
					tasks += int(tasksOfSpec(&spec.Job{Tasks: e.Tasks}))
				}
			}
		}
		s.steps = append(s.steps, step{wait: 24 * 3600 * spec.Second})
		p := play(s, how{})
		healthy(t, p)
		last := p.tale.now() - 24*3600*spec.Second
		evicted := 0
		for _, pl := range p.plans {
			if pl.Now > last {
				evicted += len(pl.Evictions)
			}
		}
		if evicted > tasks {
			t.Fatalf("%d evictions of %d tasks in a day in which nothing arrived", evicted, tasks)
		}
	})
}

// Events that come while a cycle decides leave a consistent world, and are not
// lost: a plan is taken only as far as it still holds.
func TestLawLateEventsAreConsistent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawScript(t)
		late := how{audited: true, late: (*Tale).lateTurn}
		healthy(t, play(s, late))
	})
}

// lateTurn takes a turn in which half of the events come after the freeze.
func (t *Tale) lateTurn(inbox []ledger.Event) {
	led := t.theLoop().Ledger()
	for _, ev := range inbox[:len(inbox)/2] {
		_ = led.Apply(t.now(), ev) // the script has events that make no sense
	}
	p := cycle.Step(t.ctx, led.Freeze(), t.set, t.now())
	for _, ev := range inbox[len(inbox)/2:] {
		_ = led.Apply(t.now(), ev)
	}
	r := led.Commit(p)
	t.Act(t.now(), r)
	if t.After != nil {
		t.After(loop.Turn{Now: t.now(), Result: r})
	}
}

// The world of the 60/40 story with gangs, priorities and nodes of two types gives
// the same plan bytes for 100 orders of its events, on one processor and on two.
func TestDeterminismOver100Shuffles(t *testing.T) {
	s := richScript()
	want := play(s, how{}).bytes(nil)
	if len(want) < 10_000 {
		t.Fatalf("the world decides too little to tell anything: %d bytes", len(want))
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for seed := uint64(1); seed <= 100; seed++ {
		runtime.GOMAXPROCS(1 + int(seed%2))
		if got := play(s, how{shuffle: seed}).bytes(nil); got != want {
			same(t, fmt.Sprintf("shuffle %d, GOMAXPROCS %d (repeat: go test ./conformance -run %s)", seed, 1+seed%2, t.Name()), want, got)
		}
	}
}

func richScript() script {
	s := script{tree: spec.Tree{Root: &spec.Queue{Name: "root", Children: []*spec.Queue{
		{Name: "a", Guaranteed: spec.GPUs(60), JobOrder: "priority-fifo"},
		{Name: "b", Guaranteed: spec.GPUs(40), Max: spec.GPUs(90), JobOrder: "fair"},
	}}}}
	var nodes step
	for i := range 25 {
		nodes.events = append(nodes.events, ledger.NodeAdded{Node: spec.Node{
			Name: fmt.Sprintf("n%02d", i), Capacity: spec.GPUs(4), GPUType: gpuTypes[1+i%2],
		}})
	}
	s.steps = append(s.steps, nodes)
	for k, queue := range []string{"a", "b", "a", "b"} {
		st := step{wait: 300 * spec.Second}
		for i := range 40 {
			size := int64(1 + (i*7+k)%5)
			j := &spec.Job{
				ID: fmt.Sprintf("%s%d-%02d", queue, k, i), Queue: "root." + queue, User: []string{"ann", "bob", "eve"}[i%3],
				Priority: int64(i % 4), Submit: spec.Time(k+1) * 300 * spec.Second,
				Tasks: []spec.TaskGroup{{Size: size, Min: size - int64(i%2)*(size-1), Request: spec.GPUs(1 + int64(i%2))}},
			}
			st.events = append(st.events, ledger.JobSubmitted{Job: j})
		}
		s.steps = append(s.steps, st)
	}
	for i := range 10 {
		s.steps = append(s.steps, step{wait: 60 * spec.Second, events: []ledger.Event{
			ledger.NodeRemoved{Name: fmt.Sprintf("n%02d", i)},
			ledger.JobGone{ID: fmt.Sprintf("a0-%02d", 3*i)},
			ledger.JobPriority{ID: fmt.Sprintf("b1-%02d", i), Priority: 9},
		}})
	}
	return s
}
