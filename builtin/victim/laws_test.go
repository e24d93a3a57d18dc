package victim

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/plan"
	"github.com/musterhq/muster/builtin/quota"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/builtin/world"
)

// evicted lists the units of an outcome as the twin has them.
func evicted(o *Outcome) (units []twinUnit) {
	for _, v := range o.Victims {
		gangs := false
		for _, g := range v.Job.Groups {
			gangs = gangs || g.Min > 0
		}
		if v.Whole && gangs {
			units = append(units, twinUnit{job: v.Job, tasks: v.Tasks, whole: true})
			continue
		}
		for _, t := range v.Tasks {
			units = append(units, twinUnit{job: v.Job, tasks: []*world.Task{t}})
		}
	}
	return units
}

func TestLawsOfPreemption(t *testing.T) {
	succeeded := 0
	rapid.Check(t, func(r *rapid.T) {
		s, j := randomScene(r, t, 40)
		rule := rapid.SampledFrom([]plan.Rule{plan.RuleReclaim, plan.RuleReclaim, plan.RulePriority}).Draw(r, "rule")
		before := s.w.Digest()
		mark := s.w.Mark()
		o, why := s.search().run(j, rule)
		if (o == nil) == (why == "") {
			r.Fatalf("outcome %v, reason %q", o, why)
		}
		if o == nil {
			if s.w.Digest() != before {
				r.Fatalf("a failed search changed the world")
			}
			return
		}
		succeeded++
		lawsOfVictims(r, s, j, o, rule)
		if j.GangMissing() != 0 || s.w.Quota.Fits(j.Chain, nil, 1).Blocked {
			r.Fatalf("the gang is not complete")
		}
		s.w.Rollback(mark)
		if s.w.Digest() != before {
			r.Fatalf("the world can't be brought back")
		}
		units := evicted(o)
		for i := range units {
			rest := slices.Delete(slices.Clone(units), i, i+1)
			if len(s.w.Shapes[j.Groups[0].Shape].Request) > 0 && twinFits(s.w, s, j, rest) {
				r.Fatalf("%s need not go", units[i].job.Spec.ID)
			}
		}
	})
	if succeeded == 0 {
		t.Error("no search succeeded")
	}
}

func lawsOfVictims(r *rapid.T, s *scene, j *world.Job, o *Outcome, rule plan.Rule) {
	tree := s.w.Quota
	straddlers := 0
	for _, v := range o.Victims {
		if v.Rule == plan.RuleStraddle {
			straddlers++
		}
		if v.Job.Spec.NonPreemptible || v.Job == j {
			r.Fatalf("%s is no victim", v.Job.Spec.ID)
		}
		if own := v.Job.Queue == j.Queue; own != (rule == plan.RulePriority) {
			r.Fatalf("%s of %s by %s", v.Job.Spec.ID, tree.Queues[v.Job.Queue].Path, rule)
		}
		if rule == plan.RulePriority && v.Job.Spec.Priority >= j.Spec.Priority {
			r.Fatalf("%s has no lower priority", v.Job.Spec.ID)
		}
		for _, g := range v.Job.Groups {
			if g.Placed > 0 && g.Placed < g.Min || v.Whole && g.Placed > 0 {
				r.Fatalf("%s is left with a part of its gang", v.Job.Spec.ID)
			}
		}
	}
	if straddlers > 0 || rule == plan.RulePriority {
		return
	}
	for _, v := range o.Victims {
		common := tree.CommonAncestor(v.Job.Queue, j.Queue)
		for q := v.Job.Queue; q != common; q = tree.Queues[q].Parent {
			for _, t := range o.Placed {
				for _, e := range s.w.Shapes[j.Groups[t.Group].Shape].Request {
					if g := tree.Guaranteed(q)[e.Dim]; g != quota.Unset && tree.Used(quota.Account(q))[e.Dim] < g {
						r.Fatalf("%s is left below its guarantee of %s", tree.Queues[q].Path, s.w.Res.Name(e.Dim))
					}
				}
			}
		}
	}
}

func TestTheChoiceDoesNotDependOnTheOrderOfArrival(t *testing.T) {
	build := func(seed int) (*scene, *world.Job) {
		r := splitmix(seed)
		s := newScene(t, queue("root", -1, queue("a", 0), queue("b", 64)))
		names := r.shuffled(8)
		for _, n := range names {
			s.w.AddNode(spec.Node{Name: fmt.Sprint("n", n), Capacity: spec.GPUs(8)})
		}
		s.w.Quota.Rescale()
		s.x.Refresh()
		for _, i := range r.shuffled(64) { // all cost the same
			n, _ := s.w.NodeNamed(fmt.Sprint("n", i/8))
			s.runOn("root.a", jobSpec(fmt.Sprintf("s%02d", (i*29)%64), 1, 1), 0, int(n))
		}
		return s, s.add("root.b", jobSpec("j", 3, 4))
	}
	want := ""
	for seed := range 20 {
		s, j := build(seed)
		o, why := s.search().Reclaim(j)
		if o == nil {
			t.Fatal(why)
		}
		if got := names(o); want != "" && got != want {
			t.Errorf("arrival %d: %s, before %s", seed, got, want)
		} else {
			want = got
		}
	}
}

func (r *splitmix) shuffled(n int) []int {
	out := make([]int, n)
	for i := range out {
		k := r.below(i + 1)
		out[i], out[k] = out[k], i
	}
	return out
}

// TestLookingAtFewNodesLosesLittle compares the search that looks at the nodes
// with the cheapest slots only with one that looks at all.
func TestLookingAtFewNodesLosesLittle(t *testing.T) {
	for seed := range 12 {
		r := splitmix(seed)
		s := newScene(t, queue("root", -1, queue("a", 100), queue("b", 900)))
		s.nodes(120, 8)
		for n := range 120 {
			for left := int64(8); left > 0; {
				size := min(left, int64(1+r.below(4)))
				id := fmt.Sprintf("s%03d-%d", n, left)
				s.runOn("root.a", jobSpec(id, 1, size), 0, n).Checkpoint = int64(r.below(int(hour)))
				left -= size
			}
		}
		j := s.add("root.b", jobSpec("j", int64(2+r.below(9)), int64(1+r.below(8))))
		search := s.search()
		search.gather()
		a, _ := search.askOf(j)
		a.rule = plan.RuleReclaim
		if !search.entitled(&a) {
			t.Fatal("not entitled")
		}
		legal, _ := search.legal(&a)
		search.f.prepare(search, &a)
		units := slices.Clone(search.atLevel(&a, legal, borrowed))
		if near := search.narrow(units); len(near) >= len(units) {
			t.Fatalf("seed %d: all %d units are near", seed, len(units))
		}
		cost := func(set []int32) (sum amount.Amount) {
			for _, u := range set {
				sum += amount.Amount(search.pool.units[u].cost)
			}
			return sum
		}
		few, _ := search.solve(&a, units, borrowed)
		got := cost(few)
		all, _ := search.among(&a, units, borrowed)
		if want := cost(all); few == nil || got > want {
			t.Errorf("seed %d: %d, among all %d", seed, got, want)
		}
	}
}
