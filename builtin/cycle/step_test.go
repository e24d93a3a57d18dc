package cycle_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/cycle"
	"github.com/musterhq/muster/builtin/plan"
	"github.com/musterhq/muster/builtin/quota"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/builtin/world"
	"github.com/musterhq/muster/policies"
)

// pool is a world with nodes of four GPUs and two queues, a and b, that are
// guaranteed six and two of the eight GPUs.
func pool(t *testing.T, fairness string) *world.World {
	t.Helper()
	root := &spec.Queue{Name: "root", Fairness: fairness, Children: []*spec.Queue{
		{Name: "a", Guaranteed: spec.GPUs(6)}, {Name: "b", Guaranteed: spec.GPUs(2)},
	}}
	res := amount.NewTable()
	w := world.New(res, quota.New(res, spec.Tree{Root: root}))
	for i := range 2 {
		w.AddNode(spec.Node{Name: fmt.Sprintf("n%d", i), Capacity: spec.GPUs(4)})
	}
	w.Quota.Rescale()
	return w
}

func submit(w *world.World, queue string, at spec.Time, ids ...string) {
	q, _ := w.Quota.Lookup(queue)
	for _, id := range ids {
		w.AddJob(&spec.Job{
			ID: id, Queue: queue, User: "u", Submit: at,
			Tasks: []spec.TaskGroup{{Name: "t", Min: 1, Size: 1, Request: spec.GPUs(1)}},
		}, q)
	}
}

func step(w *world.World, set cycle.Set, now spec.Time) *plan.Plan {
	m := w.Mark()
	p := cycle.Step(context.Background(), w, set, now)
	w.Keep(m)
	cycle.Accept(w, p, true)
	return p
}

func started(p *plan.Plan) (ids []string) {
	for _, b := range p.Binds {
		ids = append(ids, b.Job)
	}
	return ids
}

func TestAGuaranteeComesBackWhateverRankTheFairnessPolicyGives(t *testing.T) {
	for _, fairness := range []string{"guaranteed-fair", "yunikorn-fair"} {
		w := pool(t, fairness)
		submit(w, "root.a", 1, "a1", "a2", "a3", "a4", "a5", "a6", "a7", "a8", "a9")
		if p := step(w, cycle.Set{}, 10); len(p.Binds) != 8 {
			t.Fatalf("%s: a alone starts %v", fairness, started(p))
		}
		submit(w, "root.b", 20, "b1", "b2", "b3")
		p := step(w, cycle.Set{}, 30)
		if len(p.Evictions) != 2 || len(p.Claims) != 2 {
			t.Fatalf("%s: %d evicted, %d places kept; want 2 and 2\n%s", fairness, len(p.Evictions), len(p.Claims), p.JSON())
		}
	}
}

// broken fails at everything, after writing rubbish into its outputs.
type broken struct{ policies.Unimplemented }

func (broken) Info() policies.Info {
	return policies.Info{Name: "broken", Version: "7", Digest: "sha256:0", Kinds: policies.JobOrder | policies.QueueShares}
}

func (broken) ScoreJobs(_ context.Context, b *policies.JobBatch) error {
	for i := range b.N {
		b.Keys[0][i] = int64(-i)
	}
	b.NKeys = 1
	return &policies.CallError{Policy: "broken", Kind: policies.JobOrder, Code: policies.CodeTrap, Detail: "unreachable"}
}

func (broken) Entitle(_ context.Context, b *policies.QueueBatch) error {
	for i := range b.Rank {
		b.Rank[i] = int64(len(b.Rank) - i)
	}
	return errors.New("no idea")
}

func TestWhatAFailedPolicyLeftBehindDecidesNothing(t *testing.T) {
	var want []byte
	for _, named := range []map[string]policies.Policy{nil, {"fifo": broken{}, "guaranteed-fair": broken{}}} {
		w := pool(t, "")
		submit(w, "root.a", 1, "a1", "a2", "a3")
		submit(w, "root.b", 1, "b1", "b2", "b3")
		p := step(w, cycle.Set{Named: named}, 10)
		if named != nil {
			checkTrail(t, p)
		}
		p.Policies, p.Events = nil, nil
		if want == nil {
			want = p.JSON()
		}
		if got := p.JSON(); string(got) != string(want) {
			t.Errorf("the plan differs from the built-in's\n%s\n%s", got, want)
		}
	}
}

func checkTrail(t *testing.T, p *plan.Plan) {
	t.Helper()
	for _, kind := range []string{"job_order", "queue_shares"} {
		i := slices.IndexFunc(p.Policies, func(u plan.PolicyUse) bool { return u.Kind == kind })
		if i < 0 || p.Policies[i].Name != "broken" || p.Policies[i].Fallbacks == 0 || p.Policies[i].Fallback == "" || p.Policies[i].Failure == "" {
			t.Errorf("the trail does not say that the built-in answered %s: %+v", kind, p.Policies)
		}
	}
	if len(p.Events) == 0 || p.Events[0].Code != plan.EventPolicyFallback {
		t.Errorf("no event tells of the fallback: %+v", p.Events)
	}
}

func TestACycleWithNothingChangedDecidesNothingAndAsksNobody(t *testing.T) {
	w := pool(t, "")
	submit(w, "root.a", 1, "a1", "a2", "a3", "a4", "a5", "a6", "a7", "a8", "a9")
	step(w, cycle.Set{}, 10)
	step(w, cycle.Set{}, 11)
	p := step(w, cycle.Set{}, 12)
	if !p.Empty() || len(p.Policies) != 0 {
		t.Fatalf("an idle cycle did something: %s", p.JSON())
	}
	submit(w, "root.b", 13, "b1")
	if p := step(w, cycle.Set{}, 14); len(p.Policies) == 0 {
		t.Fatal("a new job did not wake the cycle")
	}
}

// measuring fails if the batch's columns do not fit each other.
type measuring struct{ policies.Unimplemented }

func (measuring) Info() policies.Info {
	return policies.Info{Name: "measuring", Digest: "sha256:1", Kinds: policies.QueueShares}
}

func (measuring) Entitle(_ context.Context, b *policies.QueueBatch) error {
	if len(b.Resources) != b.R || len(b.Used) != b.N*b.R || len(b.Entitled) != b.N*b.R {
		return fmt.Errorf("%d names for %d resources", len(b.Resources), b.R)
	}
	copy(b.Entitled, b.Demand)
	return nil
}

func TestANameThatOnlyARefusedConfigurationKnewIsInNoBatch(t *testing.T) {
	w := pool(t, "")
	submit(w, "root.a", 1, "a1")
	w.Res.Intern("example.com/fpga") // as quota.New does before the tree is refused
	p := step(w, cycle.Set{Named: map[string]policies.Policy{"guaranteed-fair": measuring{}}}, 10)
	if len(p.Binds) != 1 || p.Policies[0].Failure != "" {
		t.Fatalf("%s", p.JSON())
	}
}

func TestWhatQueuesAreEntitledToIsToldBetweenCycles(t *testing.T) {
	w := pool(t, "")
	if got := cycle.Entitlements(w); got != nil {
		t.Fatalf("before any cycle: %v", got)
	}
	submit(w, "root.a", 1, "a1", "a2", "a3", "a4", "a5", "a6", "a7", "a8", "a9")
	submit(w, "root.b", 1, "b1")
	step(w, cycle.Set{}, 10)
	if first := cycle.Entitlements(w); first[1].Rank != 0 || first[2].Rank != 0 {
		t.Errorf("nobody was owed anything: %+v", first)
	}
	step(w, cycle.Set{}, 11)
	told := cycle.Entitlements(w)
	step(w, cycle.Set{}, 12) // looks at nobody, and forgets nothing
	for name, want := range map[string]cycle.Entitlement{
		"root.a": {Entitled: []amount.Amount{7000}, Rank: 1}, "root.b": {Entitled: []amount.Amount{1000}, Rank: 1},
	} {
		q, _ := w.Quota.Lookup(name)
		for _, got := range []cycle.Entitlement{told[q], cycle.Entitlements(w)[q]} {
			if e := got.Entitled[amount.GPU]; e != want.Entitled[0] || got.Rank != want.Rank {
				t.Errorf("%s: %+v, want %+v", name, got, want)
			}
		}
	}
}
