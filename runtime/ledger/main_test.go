package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"go.uber.org/goleak"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/cycle"
	"github.com/musterhq/muster/builtin/plan"
	"github.com/musterhq/muster/builtin/quota"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/builtin/world"
	"github.com/musterhq/muster/runtime/ledger"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fataler is what both kinds of test have.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

// two is a tree with the leaves root.a, guaranteed so many GPUs, and root.b.
func two(gpus int64) spec.Tree {
	return spec.Tree{Root: &spec.Queue{Name: "root", Parent: true, Children: []*spec.Queue{
		{Name: "a", Guaranteed: spec.GPUs(gpus)}, {Name: "b"},
	}}}
}

func gpuNode(name string, gpus int64) spec.Node {
	return spec.Node{Name: name, Capacity: spec.GPUs(gpus)}
}

func gangOf(id, queue string, least, size, gpus int64) *spec.Job {
	return &spec.Job{ID: id, Queue: queue, User: "ann", Tasks: []spec.TaskGroup{{Name: "w", Min: least, Size: size, Request: spec.GPUs(gpus)}}}
}

// pool is a ledger that a story drives.
type pool struct {
	t   fataler
	l   *ledger.Ledger
	set cycle.Set
	now spec.Time
}

func newPool(t fataler, tree spec.Tree, nodes ...spec.Node) *pool {
	t.Helper()
	p := &pool{t: t, l: ledger.New(tree)}
	for _, n := range nodes {
		p.apply(ledger.NodeAdded{Node: n})
	}
	return p
}

func (p *pool) apply(evs ...ledger.Event) {
	p.t.Helper()
	for _, ev := range evs {
		if err := p.l.Apply(p.now, ev); err != nil {
			p.t.Fatalf("%T: %v", ev, err)
		}
	}
}

// refused expects an event to be refused with a code, and nothing to change.
func (p *pool) refused(ev ledger.Event, code string) {
	p.t.Helper()
	before := p.l.World().Digest()
	err := p.l.Apply(p.now, ev)
	if got := codeOf(err); got != code {
		p.t.Fatalf("%T: %v, want %s", ev, err, code)
	}
	if p.l.World().Digest() != before {
		p.t.Fatalf("%T was refused and changed\n%s\nto\n%s", ev, before, p.l.World().Digest())
	}
}

func codeOf(err error) string {
	var refused *ledger.Error
	var problems spec.Problems
	switch {
	case err == nil:
		return ""
	case errors.As(err, &refused):
		return refused.Code
	case errors.As(err, &problems):
		return problems[0].Code
	default:
		return "unknown error: " + err.Error()
	}
}

// step decides on a frozen world; the events come while it does.
func (p *pool) step(late ...ledger.Event) ledger.Result {
	p.t.Helper()
	w := p.l.Freeze()
	decided := cycle.Step(context.Background(), w, p.set, p.now)
	p.apply(late...)
	return p.l.Commit(decided)
}

func (p *pool) job(id string) *world.Job {
	p.t.Helper()
	j := p.l.World().Job(id)
	if j == nil {
		p.t.Fatalf("no job %s", id)
	}
	return j
}

func started(p *plan.Plan) string {
	count := map[string]int{}
	var order []string
	for _, b := range p.Binds {
		if count[b.Job] == 0 {
			order = append(order, b.Job)
		}
		count[b.Job]++
	}
	out := ""
	for _, id := range order {
		out += fmt.Sprintf("%s×%d ", id, count[id])
	}
	return out
}

func (p *pool) expect(r ledger.Result, starts, stale string) {
	p.t.Helper()
	got := ""
	for _, s := range r.Stale {
		got += s.Job + ": " + s.Reason + "; "
	}
	if started(r.Taken) != starts || got != stale {
		p.t.Fatalf("started %q, stale %q; want %q and %q", started(r.Taken), got, starts, stale)
	}
	p.audit()
}

// audit sees that nothing is held twice and that queues hold what their tasks do.
func (p *pool) audit() {
	p.t.Helper()
	w := p.l.World()
	held := make([]amount.Amount, len(w.Quota.Queues))
	for _, j := range w.Jobs() {
		for i := range j.Tasks {
			if t := &j.Tasks[i]; t.State == world.Bound || t.State == world.Claimed {
				for _, q := range w.Quota.Path(j.Queue) {
					held[q] += w.GPUs(t)
				}
			}
		}
		if j.Placed > 0 && j.GangMissing() > 0 {
			p.t.Fatalf("%s runs %d tasks and misses %d of its gang", j.Spec.ID, j.Placed, j.GangMissing())
		}
	}
	for q := range held {
		if got := w.Quota.Used(quota.Account(q))[amount.GPU]; got != held[q] {
			p.t.Fatalf("%s is charged %d, its tasks hold %d", w.Quota.Queues[q].Path, got, held[q])
		}
	}
	for n := range w.Nodes {
		sum := w.FreeOf(world.NodeIx(n), amount.GPU)
		for _, t := range w.TasksOn(world.NodeIx(n)) {
			sum += w.GPUs(t)
		}
		others, _ := w.ForeignUse(world.NodeIx(n))
		foreign, _ := others.Get(amount.GPU)
		sum += foreign
		if have, _ := w.Capacity(world.NodeIx(n)).Get(amount.GPU); sum != have {
			p.t.Fatalf("%s: free and held are %d of %d", w.Nodes[n].Name, sum, have)
		}
	}
}
