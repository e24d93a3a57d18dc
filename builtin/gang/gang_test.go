package gang_test

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/gang"
	"github.com/musterhq/muster/builtin/pack"
	"github.com/musterhq/muster/builtin/quota"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/builtin/world"
)

// yard is a world with one leaf, root.ml.
type yard struct {
	w *world.World
	x *pack.Index
}

func newYard(s pack.Strategy, leaf *spec.Queue) *yard {
	if leaf == nil {
		leaf = &spec.Queue{}
	}
	leaf.Name = "ml"
	res := amount.NewTable()
	w := world.New(res, quota.New(res, spec.Tree{Root: &spec.Queue{Name: "root", Children: []*spec.Queue{leaf}}}))
	return &yard{w, pack.NewIndex(w, s)}
}

func (y *yard) node(name, gpuType string, gpus int64) world.NodeIx {
	n := y.w.AddNode(spec.Node{Name: name, GPUType: gpuType, Capacity: spec.Resources{{Name: "cpu", Amount: 64_000}}.Set(amount.GPUName, amount.Amount(gpus)*1000)})
	y.x.Refresh()
	return n
}

func (y *yard) job(id string, groups ...spec.TaskGroup) *world.Job {
	q, _ := y.w.Quota.Lookup("ml")
	j := y.w.AddJob(&spec.Job{ID: id, User: "ann", Tasks: groups}, q)
	y.x.Refresh()
	return j
}

func workers(least, size, milliGPU int64) spec.TaskGroup {
	return spec.TaskGroup{Name: "w", Min: least, Size: size, Request: spec.Resources{{Name: amount.GPUName, Amount: amount.Amount(milliGPU)}}}
}

func cpus(n, milli int64) spec.TaskGroup {
	return spec.TaskGroup{Name: "c", Min: n, Size: n, Request: spec.Resources{{Name: "cpu", Amount: amount.Amount(milli)}}}
}

func TestAGangStartsWholeOrNotAtAll(t *testing.T) {
	y := newYard(pack.Fragmentation, nil)
	y.node("a", "", 4)
	y.node("b", "", 4)
	j := y.job("j", workers(9, 9, 1000))
	before := y.w.Digest()
	placed, fail := gang.Place(y.x, y.w, j, world.Bound, 5)
	if placed != nil || fail.Placed != 8 || fail.Of != 9 || fail.Group != 0 {
		t.Errorf("nine GPUs of eight: placed %d, failure %+v", len(placed), fail)
	}
	if got := y.w.Digest(); got != before {
		t.Errorf("the failed try left\n%s", got)
	}
	y.node("c", "", 1)
	placed, _ = gang.Place(y.x, y.w, j, world.Bound, 5)
	if len(placed) != 9 || j.GangMissing() != 0 || j.Waiting != 0 {
		t.Fatalf("nine GPUs of nine: placed %d", len(placed))
	}
	for _, task := range placed {
		if task.State != world.Bound || task.Since != 5 || task.Node == world.NoNode {
			t.Errorf("task %+v", task)
		}
	}
}

func TestAllGroupsOfAJobStartTogether(t *testing.T) {
	y := newYard(pack.BinPack, nil)
	y.node("gpu", "", 8)
	j := y.job("j", cpus(1, 4000), workers(2, 2, 4000), cpus(3, 20_000))
	if placed, _ := gang.Place(y.x, y.w, j, world.Claimed, 0); len(placed) != 6 || j.Claiming != 6 {
		t.Fatalf("placed %d of 6", len(placed))
	}
	k := y.job("k", workers(1, 1, 1000), cpus(1, 1000))
	before := y.w.Digest()
	placed, fail := gang.Place(y.x, y.w, k, world.Bound, 0)
	if placed != nil || fail.Group != 0 || fail.Of != 2 || y.w.Digest() != before {
		t.Errorf("the GPUs are taken, so nothing of k may start: %d, %+v", len(placed), fail)
	}
}

func TestTheSecondTrySmallestFirstFindsWhatTheFirstMisses(t *testing.T) {
	// Spreading, the two GPUs of the largest task go to the node with the most cpu,
	// which the other two tasks can't do without.
	y := newYard(pack.Spread, nil)
	for name, size := range map[string][2]amount.Amount{"a": {20_000, 4000}, "b": {64_000, 2000}} {
		y.w.AddNode(spec.Node{Name: name, Capacity: spec.Resources{{Name: "cpu", Amount: size[0]}, {Name: amount.GPUName, Amount: size[1]}}})
	}
	y.x.Refresh()
	busy := workers(2, 2, 1000)
	busy.Request = busy.Request.Set("cpu", 32_000)
	alone := y.job("alone", workers(1, 1, 2000))
	if n, _ := y.x.Best(alone.Groups[0].Shape, 0, alone); y.w.Nodes[n].Name != "b" {
		t.Fatalf("the story needs the largest task to prefer b, not %s", y.w.Nodes[n].Name)
	}
	j := y.job("j", workers(1, 1, 2000), busy)
	if placed, fail := gang.Place(y.x, y.w, j, world.Bound, 0); len(placed) != 3 {
		t.Errorf("there is a packing, the largest on a: placed %d, %+v", len(placed), fail)
	}
}

func TestSurplusJoinsOneByOneInOrderOfDeclaration(t *testing.T) {
	y := newYard(pack.Fragmentation, nil)
	y.node("a", "", 4)
	j := y.job("j", workers(1, 2, 1000), workers(0, 5, 1000))
	if placed, _ := gang.Place(y.x, y.w, j, world.Bound, 0); len(placed) != 1 {
		t.Fatalf("the gang is one task, placed %d", len(placed))
	}
	var order []int
	for g := gang.NextSurplus(j); g >= 0; g = gang.NextSurplus(j) {
		task, fail := gang.One(y.x, y.w, j, g, world.Bound, 0)
		if task == nil {
			if fail.Group != 1 || fail.Of != 1 {
				t.Errorf("no room: %+v", fail)
			}
			break
		}
		order = append(order, g)
	}
	if fmt.Sprint(order) != "[0 1 1]" || j.Placed != 4 || j.Waiting != 3 {
		t.Errorf("groups %v, placed %d, waiting %d", order, j.Placed, j.Waiting)
	}
}

func TestTasksThatAreDoneAreNoLongerNeededForTheGang(t *testing.T) {
	y := newYard(pack.Fragmentation, nil)
	y.node("a", "", 4)
	j := y.job("j", workers(3, 5, 1000))
	y.w.Finish(&j.Tasks[0])
	if placed, _ := gang.Place(y.x, y.w, j, world.Bound, 0); len(placed) != 2 {
		t.Errorf("one of three is done, two must start together, placed %d", len(placed))
	}
}

func TestAJobWithAllItsTasksHasNoSurplus(t *testing.T) {
	y := newYard(pack.Fragmentation, nil)
	y.node("a", "", 4)
	j := y.job("j", workers(2, 2, 1000))
	gang.Place(y.x, y.w, j, world.Bound, 0)
	if g := gang.NextSurplus(j); g != -1 {
		t.Errorf("group %d has surplus", g)
	}
	if task, _ := gang.One(y.x, y.w, j, 0, world.Bound, 0); task != nil {
		t.Errorf("a third task of two: %+v", task)
	}
}

func TestAFullTypeIsLeftForTheNextAndToldWhenThereIsNone(t *testing.T) {
	leaf := &spec.Queue{Max: spec.Resources{{Name: amount.TypedGPU("A100"), Amount: 2000}, {Name: amount.TypedGPU("H100"), Amount: 1000}}}
	y := newYard(pack.Fragmentation, leaf)
	a, h := y.node("a", "A100", 8), y.node("h", "H100", 8)
	j := y.job("j", workers(3, 4, 1000))
	placed, fail := gang.Place(y.x, y.w, j, world.Bound, 0)
	on := map[world.NodeIx]int{}
	for _, task := range placed {
		on[task.Node]++
	}
	if on[a] != 2 || on[h] != 1 {
		t.Fatalf("two A100 and one H100 are allowed, took %d and %d: %+v", on[a], on[h], fail)
	}
	task, fail := gang.One(y.x, y.w, j, 0, world.Bound, 0)
	if task != nil || fail.Banned == 0 || !fail.Typed.Blocked || fail.Typed.Need != 1000 || fail.Typed.Used != fail.Typed.Max {
		t.Errorf("both types are full: %+v, %+v", task, fail)
	}
}

func TestMissingIsTheSumOfWhatTheGangStillNeeds(t *testing.T) {
	y := newYard(pack.Fragmentation, nil)
	y.node("a", "", 8)
	j := y.job("j", workers(3, 9, 2000), cpus(2, 500))
	row := make([]amount.Amount, y.w.R())
	if got := fmt.Sprint(gang.Missing(y.w, j, row)); got != "[{0 1000} {2 6000}]" {
		t.Errorf("three times two GPUs and twice half a core: %s", got)
	}
	gang.One(y.x, y.w, j, 0, world.Bound, 0)
	y.w.Finish(&j.Tasks[j.Groups[1].First])
	if got := fmt.Sprint(gang.Missing(y.w, j, row)); got != "[{0 500} {2 4000}]" {
		t.Errorf("one worker runs, one core is done: %s", got)
	}
}

// slots is how many tasks of one shape fit the nodes, counted node by node.
func slots(free []int64, each int64) (n int64) {
	for _, f := range free {
		n += f / each
	}
	return n
}

func TestEqualTasksAreStartedExactlyWhenTheNodesHaveRoomForThem(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		y := newYard(rapid.SampledFrom([]pack.Strategy{pack.Fragmentation, pack.BinPack, pack.Spread}).Draw(t, "strategy"), nil)
		var free []int64
		for i := range rapid.IntRange(1, 6).Draw(t, "nodes") {
			gpus, held := rapid.Int64Range(0, 8).Draw(t, "gpus"), int64(0)
			n := y.node(fmt.Sprintf("n%d", i), "", gpus)
			if held = rapid.Int64Range(0, gpus).Draw(t, "held"); held > 0 {
				o := y.job(fmt.Sprintf("o%d", i), workers(1, 1, held*1000))
				y.w.Place(&o.Tasks[0], n, 1<<held-1, world.Bound, 0)
			}
			free = append(free, gpus-held)
		}
		each, size := rapid.Int64Range(1, 4).Draw(t, "each"), rapid.Int64Range(1, 12).Draw(t, "size")
		j := y.job("j", workers(size, size, each*1000))
		before := y.w.Digest()
		placed, fail := gang.Place(y.x, y.w, j, world.Bound, 0)
		room := slots(free, each)
		if (placed != nil) != (room >= size) {
			t.Fatalf("%d tasks of %d GPUs on %v: placed %v, %+v", size, each, free, placed != nil, fail)
		}
		if placed == nil && (int64(fail.Placed) != room || y.w.Digest() != before) {
			t.Fatalf("room for %d, told %+v", room, fail)
		}
		checkSeats(t, y.w, placed)
	})
}

// checkSeats sees that no device is held twice and each task has what it asks.
func checkSeats(t *rapid.T, w *world.World, placed []*world.Task) {
	for _, task := range placed {
		for _, other := range w.TasksOn(task.Node) {
			if other != task && other.Dev&task.Dev != 0 {
				t.Fatalf("%s/%d and %s/%d share a device", task.Job.Spec.ID, task.Index, other.Job.Spec.ID, other.Index)
			}
		}
	}
	for n := range w.Nodes {
		if f := w.FreeOf(world.NodeIx(n), amount.GPU); f < 0 {
			t.Fatalf("%s is overfull by %d", w.Nodes[n].Name, -f)
		}
	}
}

func TestAGangOfAThousandStartsOrLeavesNoTrace(t *testing.T) {
	y := newYard(pack.Fragmentation, nil)
	for i := range 124 {
		y.node(fmt.Sprintf("n%03d", i), "H100", 8)
	}
	j := y.job("j", workers(1000, 1000, 1000))
	before := y.w.Digest()
	if placed, fail := gang.Place(y.x, y.w, j, world.Bound, 0); placed != nil || fail.Placed != 992 || y.w.Digest() != before {
		t.Fatalf("992 GPUs: %d placed, %+v", len(placed), fail)
	}
	y.node("n124", "H100", 8)
	if placed, fail := gang.Place(y.x, y.w, j, world.Bound, 0); len(placed) != 1000 {
		t.Fatalf("1000 GPUs: %d placed, %+v", len(placed), fail)
	}
	if used := y.w.Quota.Used(quota.Account(quota.Root))[amount.GPU]; used != 1_000_000 {
		t.Errorf("charged %d", used)
	}
}

func BenchmarkPlaceAThousand(b *testing.B) {
	y := newYard(pack.Fragmentation, nil)
	for i := range 1000 {
		y.node(fmt.Sprintf("n%04d", i), "H100", 8)
	}
	j := y.job("j", workers(1000, 1000, 1000))
	b.ReportAllocs()
	for b.Loop() {
		m := y.w.Mark()
		if placed, _ := gang.Place(y.x, y.w, j, world.Bound, 0); placed == nil {
			b.Fatal("there is room")
		}
		y.w.Rollback(m)
	}
}
