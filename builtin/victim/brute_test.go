package victim

import (
	"cmp"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/gang"
	"github.com/musterhq/muster/builtin/plan"
	"github.com/musterhq/muster/builtin/quota"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/builtin/world"
	"github.com/musterhq/muster/policies"
)

// The twin: the same rules written down once more, plainly, tried on all subsets.

// twinUnit is a unit of the twin; cost is what the story's pricer says.
type twinUnit struct {
	job   *world.Job
	tasks []*world.Task
	whole bool
	free  bool // its side of the common ancestor is guaranteed nothing
}

// costOf is the price of the twin's and the search's units in these tests: known
// from the job alone, with many ties.
func costOf(j *world.Job, tasks int) int64 { return j.Spec.Priority + int64(tasks) }

func flatPricer() Pricer {
	return func(_ quota.Q, b *policies.VictimBatch) string {
		for i := range b.N {
			b.Cost[i], b.Veto[i] = b.Priority[i]+b.Tasks[i], 0
		}
		return "flat"
	}
}

func twinUnits(w *world.World, j *world.Job, rule plan.Rule, now spec.Time) (units []twinUnit) {
	tree := w.Quota
	for _, v := range w.Jobs() {
		q := v.Queue
		if v == j || v.Spec.NonPreemptible || tree.Queues[q].VictimsDisabled || w.Frozen(j.Spec.ID, v.Spec.ID) {
			continue
		}
		side := q
		if rule == plan.RulePriority {
			if q != j.Queue || v.Spec.Priority >= j.Spec.Priority {
				continue
			}
		} else {
			if q == j.Queue {
				continue
			}
			common := tree.CommonAncestor(q, j.Queue)
			if outsideFence(tree, j.Queue, common) {
				continue
			}
			side = tree.Below(q, common)
		}
		ripe := func(t *world.Task) bool {
			return t.State == world.Bound && t.Since < now && now-t.Since >= tree.Queues[side].MinRuntime
		}
		var all []*world.Task
		allRipe, gangs := true, false
		for gi, g := range v.Groups {
			var bound []*world.Task
			for i := range v.Tasks {
				if t := &v.Tasks[i]; t.State == world.Bound && int(t.Group) == gi {
					bound = append(bound, t)
					allRipe = allRipe && ripe(t)
				}
			}
			all = append(all, bound...)
			gangs = gangs || g.Min > 0
			for _, t := range bound[min(len(bound), int(g.Min)):] {
				if ripe(t) {
					units = append(units, twinUnit{v, []*world.Task{t}, false, !tree.HasGuarantee(side)})
				}
			}
		}
		if gangs && allRipe && len(all) > 0 {
			units = append(units, twinUnit{v, all, true, !tree.HasGuarantee(side)})
		}
	}
	slices.SortStableFunc(units, func(a, b twinUnit) int {
		return cmp.Or(cmp.Compare(a.job.Spec.ID, b.job.Spec.ID), cmp.Compare(a.tasks[0].Index, b.tasks[0].Index))
	})
	return units
}

func outsideFence(tree *quota.Tree, from, common quota.Q) bool {
	for q := from; q != common; q = tree.Queues[q].Parent {
		if tree.Queues[q].Fenced {
			return true
		}
	}
	return false
}

// twinKeeps says whether the set leaves every queue between the victims and the
// common ancestor its guarantee, or at most one straddler per queue.
func twinKeeps(w *world.World, j *world.Job, set []twinUnit, straddle bool) bool {
	tree := w.Quota
	freed := func(q quota.Q, d amount.Dim, but int) (sum amount.Amount) {
		for i, u := range set {
			if i == but || !slices.Contains(tree.Path(u.job.Queue), q) {
				continue
			}
			for _, t := range u.tasks {
				a, _ := w.Charge(u.job.Groups[t.Group].Shape, w.Nodes[t.Node].Class).Get(d)
				sum += a
			}
		}
		return sum
	}
	request := gang.Missing(w, j, make([]amount.Amount, w.R()))
	left := func(q quota.Q, d amount.Dim, but int) amount.Amount {
		return tree.Used(quota.Account(q))[d] - freed(q, d, but) - max(0, tree.Guaranteed(q)[d])
	}
	seen := map[quota.Q]bool{}
	for _, u := range set {
		common := tree.CommonAncestor(u.job.Queue, j.Queue)
		for q := u.job.Queue; q != common; q = tree.Queues[q].Parent {
			if seen[q] {
				continue
			}
			seen[q] = true
			fine := func(but int) bool {
				for _, e := range request {
					if tree.Guaranteed(q)[e.Dim] != quota.Unset && left(q, e.Dim, but) < 0 {
						return false
					}
				}
				return true
			}
			if fine(-1) {
				continue
			}
			if !straddle || !twinStraddler(tree, set, q, request, fine, left) {
				return false
			}
		}
	}
	return true
}

func twinStraddler(tree *quota.Tree, set []twinUnit, q quota.Q, request amount.List,
	fine func(int) bool, left func(quota.Q, amount.Dim, int) amount.Amount,
) bool {
	var members []int
	for i, u := range set {
		if slices.Contains(tree.Path(u.job.Queue), q) {
			members = append(members, i)
		}
	}
	for _, i := range members {
		if len(members) > 1 && !fine(i) {
			continue
		}
		for _, e := range request {
			if tree.Guaranteed(q)[e.Dim] != quota.Unset && left(q, e.Dim, i) > 0 && left(q, e.Dim, i) > left(q, e.Dim, -1) {
				return true
			}
		}
	}
	return false
}

// twinFits says whether the job finds room and quota with the set gone.
func twinFits(w *world.World, s *scene, j *world.Job, set []twinUnit) bool {
	mark := w.Mark()
	defer w.Rollback(mark)
	for _, u := range set {
		for _, t := range u.tasks {
			w.Release(t)
		}
	}
	request := gang.Missing(w, j, make([]amount.Amount, w.R()))
	if w.Quota.Fits(j.Chain, request, 1).Blocked || w.Quota.AppsFit(j.Chain).Blocked {
		return false
	}
	placed, _ := gang.Place(s.x, w, j, world.Claimed, hour)
	return placed != nil
}

// twinBest is the best set over all subsets, level by level.
func twinBest(w *world.World, s *scene, j *world.Job, rule plan.Rule) (best []twinUnit, found bool) {
	units := twinUnits(w, j, rule, hour)
	for level := range 3 {
		var bestKey []int64
		for bits := range 1 << len(units) {
			var set []twinUnit
			usable := true
			for i, u := range units {
				if bits&(1<<i) == 0 {
					continue
				}
				set = append(set, u)
				usable = usable && (level > 0 || u.free)
			}
			k := twinKey(units, bits)
			if !usable || found && slices.Compare(k, bestKey) >= 0 || bothWays(set) {
				continue
			}
			if rule == plan.RuleReclaim && !twinKeeps(w, j, set, level == 2) || !twinFits(w, s, j, set) {
				continue
			}
			best, bestKey, found = set, k, true
		}
		if found {
			return best, true
		}
	}
	return nil, false
}

// bothWays says whether a job is taken whole and by its surplus at once.
func bothWays(set []twinUnit) bool {
	for i := 1; i < len(set); i++ {
		for k := range i {
			if set[i].job == set[k].job && set[i].whole != set[k].whole {
				return true
			}
		}
	}
	return false
}

func twinKey(units []twinUnit, bits int) []int64 {
	k := []int64{0, 0, 0, 0}
	for i, u := range units {
		if bits&(1<<i) == 0 {
			continue
		}
		k[0] += costOf(u.job, len(u.tasks))
		k[1] += int64(len(u.tasks))
		k[2]++
		for _, t := range u.tasks {
			if u.job.Spec.Tasks[t.Group].Leader {
				k[3]++
				break
			}
		}
		k = append(k, int64(i))
	}
	return k
}

func twinNames(set []twinUnit) string {
	o := &Outcome{}
	for _, u := range set {
		o.addVictim(&unit{job: u.job, tasks: u.tasks}, plan.RuleReclaim)
	}
	for i := range o.Victims {
		v := &o.Victims[i]
		slices.SortFunc(v.Tasks, func(a, b *world.Task) int { return cmp.Compare(a.Index, b.Index) })
		v.Whole = int(v.Job.Placed) == len(v.Tasks)
	}
	return names(o)
}

// randomScene is a small pool, full to a random degree, and a job that waits.
func randomScene(t *rapid.T, tb testing.TB, most int) (*scene, *world.Job) {
	guarantee := func(name string) int64 { return rapid.Int64Range(-1, 12).Draw(t, name) }
	team := queue("team", guarantee("team"), queue("x", guarantee("x")), queue("y", guarantee("y")))
	a := queue("a", guarantee("a"))
	b := queue("b", rapid.Int64Range(4, 32).Draw(t, "b"))
	team.MinRuntime = rapid.Int64Range(0, hour/2).Draw(t, "minRuntime")
	if rapid.Bool().Draw(t, "fenced") {
		team.Preemption = spec.PreemptionFence
	}
	if rapid.IntRange(0, 3).Draw(t, "cap") == 0 {
		b.Max = spec.GPUs(rapid.Int64Range(2, 16).Draw(t, "max"))
		b.MaxApps = rapid.Int64Range(0, 3).Draw(t, "apps")
	}
	s := newScene(tb, queue("root", -1, a, b, team, queue("free", -1)))
	s.price = flatPricer()
	for range rapid.IntRange(1, 4).Draw(t, "nodes") {
		s.w.AddNode(spec.Node{
			Name:     fmt.Sprintf("n%d", len(s.w.Nodes)),
			Capacity: spec.GPUs(rapid.SampledFrom([]int64{2, 4, 4, 8}).Draw(t, "gpus")).Set("cpu", amount.Amount(rapid.Int64Range(2, 8).Draw(t, "cpu"))*1000),
		})
	}
	s.w.Quota.Rescale()
	s.x.Refresh()
	leaves := []string{"root.a", "root.b", "root.free", "root.team.x", "root.team.y"}
	units := 0
	for i := range rapid.IntRange(0, most).Draw(t, "jobs") {
		js := randomJob(t, fmt.Sprintf("v%02d", i))
		units += 1 + int(js.Tasks[0].Size-js.Tasks[0].Min)
		if units > most {
			break
		}
		job := s.add(rapid.SampledFrom(leaves).Draw(t, "leaf"), js)
		if placed, _ := gang.Place(s.x, s.w, job, world.Bound, rapid.Int64Range(0, hour-1).Draw(t, "since")); placed == nil {
			continue
		}
		for range js.Tasks[0].Size - js.Tasks[0].Min {
			gang.One(s.x, s.w, job, 0, world.Bound, rapid.Int64Range(0, hour).Draw(t, "since"))
		}
	}
	js := randomJob(t, "j")
	js.Tasks[0].Min = js.Tasks[0].Size
	js.Priority += 2
	js.NonPreemptible = false
	return s, s.add(rapid.SampledFrom([]string{"root.b", "root.b", "root.b", "root.a", "root.team.x"}).Draw(t, "of"), js)
}

func randomJob(t *rapid.T, id string) spec.Job {
	size := rapid.Int64Range(1, 3).Draw(t, "size")
	milli := rapid.SampledFrom([]amount.Amount{250, 500, 1000, 1000, 2000, 2000, 4000}).Draw(t, "milli")
	req := spec.Resources{}.Set(amount.GPUName, milli)
	if rapid.Bool().Draw(t, "cpus") {
		req = req.Set("cpu", amount.Amount(rapid.Int64Range(1, 3).Draw(t, "cpu"))*1000)
	}
	j := spec.Job{
		ID: id, User: "u", Priority: rapid.Int64Range(0, 5).Draw(t, "priority"),
		NonPreemptible: rapid.IntRange(0, 9).Draw(t, "rock") == 0,
		Tasks: []spec.TaskGroup{{
			Min: rapid.Int64Range(0, size).Draw(t, "min"), Size: size, Request: req, Leader: rapid.IntRange(0, 5).Draw(t, "leader") == 0,
		}},
	}
	if rapid.IntRange(0, 3).Draw(t, "second group") == 0 {
		j.Tasks = append(j.Tasks, spec.TaskGroup{Name: "head", Min: 1, Size: 1, Request: spec.Resources{}.Set("cpu", 1000)})
	}
	return j
}

func TestTheSearchAgreesWithTryingAllSubsets(t *testing.T) {
	found := map[string]int{}
	rapid.Check(t, func(r *rapid.T) {
		s, j := randomScene(r, t, 12)
		rule := rapid.SampledFrom([]plan.Rule{plan.RuleReclaim, plan.RulePriority}).Draw(r, "rule")
		search := s.search()
		if rule == plan.RuleReclaim {
			a, _ := search.askOf(j)
			if !search.entitled(&a) || a.scope != search.fence(j.Queue) {
				return // the twin knows victims, not preemptors
			}
			if tree := s.w.Quota; a.floor != j.Queue && tree.Queues[a.floor].Depth <= 1 && tree.Queues[j.Queue].Depth > 1 {
				return // siblings are out of reach for a leaf that is guaranteed nothing
			}
		}
		if twinFits(s.w, s, j, nil) {
			return
		}
		best, ok := twinBest(s.w, s, j, rule)
		before := s.w.Digest()
		mark := s.w.Mark()
		want := "nobody"
		if ok {
			want = twinNames(best)
		}
		o, why := search.run(j, rule)
		if got := names(o); got != want {
			r.Fatalf("search evicts %s (%q), the twin %s\n%s", got, why, want, before)
		}
		found[fmt.Sprint(ok, rule)]++
		s.w.Rollback(mark)
		if after := s.w.Digest(); after != before {
			r.Fatalf("the world changed\n%s\n%s", before, after)
		}
	})
	t.Log(found)
}
