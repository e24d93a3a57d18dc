package conformance

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/gang"
	"github.com/musterhq/muster/builtin/pack"
	"github.com/musterhq/muster/builtin/quota"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/builtin/world"
)

// A gang of equal tasks is placed if and only if brute force finds a place for it.
func TestTwinGangOfOneShapeIsPlacedExactlyWhenItFits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawPicture(t)
		j := drawGang(w, t, 1)
		want := fits(w, j)
		if got := tryGang(t, w, j); got != want {
			t.Fatalf("gang.Place says %v, brute force %v\n%s", got, want, w.Digest())
		}
	})
}

// A gang of several shapes that is placed fits; where one fits that is not placed,
// the greedy choice has missed it, which is counted and must be rare.
func TestTwinGangOfSeveralShapesThatIsPlacedFits(t *testing.T) {
	fitting, missed := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		w := drawPicture(t)
		j := drawGang(w, t, 3)
		want := fits(w, j)
		got := tryGang(t, w, j)
		if got && !want {
			t.Fatalf("placed though brute force finds no place\n%s", w.Digest())
		}
		if want {
			fitting++
			if !got {
				missed++
			}
		}
	})
	t.Logf("greedy missed %d of %d gangs of up to three shapes that fit", missed, fitting)
	if missed*10 > fitting {
		t.Errorf("greedy missed %d of %d", missed, fitting)
	}
}

// drawPicture is a world of up to four nodes on which some tasks run.
func drawPicture(t *rapid.T) *world.World {
	res := amount.NewTable()
	w := world.New(res, quota.New(res, spec.Tree{}))
	for i := range rapid.IntRange(1, 4).Draw(t, "nodes") {
		w.AddNode(spec.Node{Name: fmt.Sprint("n", i), GPUType: rapid.SampledFrom(gpuTypes[:2]).Draw(t, "type"), Capacity: spec.Resources{
			{Name: "cpu", Amount: amount.Amount(rapid.Int64Range(2, 12).Draw(t, "cpu") * 1000)},
			{Name: amount.GPUName, Amount: amount.Amount(rapid.Int64Range(0, 4).Draw(t, "gpus") * 1000)},
		}})
	}
	w.Quota.Rescale()
	for i := range rapid.IntRange(0, 3).Draw(t, "running") {
		j := addGang(w, fmt.Sprint("old", i), []spec.TaskGroup{drawShape(t)})
		gang.Place(pack.NewIndex(w, pack.Spread), w, j, world.Bound, 0)
	}
	return w
}

func drawShape(t *rapid.T) spec.TaskGroup {
	g := spec.TaskGroup{Size: 1, Min: 1, Request: spec.Resources{
		{Name: "cpu", Amount: amount.Amount(rapid.SampledFrom([]int64{0, 1, 1, 3}).Draw(t, "cpu") * 1000)},
		{Name: amount.GPUName, Amount: amount.Amount(rapid.SampledFrom([]int64{0, 300, 500, 600, 1000, 1000, 2000, 3000}).Draw(t, "milli"))},
	}}
	if rapid.IntRange(1, 4).Draw(t, "typed") == 1 {
		g.GPUTypes = []string{"H100"}
	}
	return g
}

func addGang(w *world.World, id string, groups []spec.TaskGroup) *world.Job {
	leaf, _ := w.Quota.Lookup("default")
	return w.AddJob(&spec.Job{ID: id, Queue: "root.default", User: "ann", Tasks: groups}, leaf)
}

// drawGang has at most five tasks.
func drawGang(w *world.World, t *rapid.T, shapes int) *world.Job {
	left := int64(5)
	var groups []spec.TaskGroup
	for range rapid.IntRange(min(2, shapes), shapes).Draw(t, "shapes") {
		g := drawShape(t)
		g.Size = rapid.Int64Range(1, max(1, left-1)).Draw(t, "tasks")
		g.Min = g.Size
		left -= g.Size
		groups = append(groups, g)
		if left <= 0 {
			break
		}
	}
	return addGang(w, "gang", groups)
}

// tryGang places the gang, checks that the places are good, and takes it back.
func tryGang(t *rapid.T, w *world.World, j *world.Job) bool {
	t.Helper()
	strategy := rapid.SampledFrom([]pack.Strategy{pack.Fragmentation, pack.BinPack, pack.Spread}).Draw(t, "strategy")
	before := w.Digest()
	m := w.Mark()
	placed, _ := gang.Place(pack.NewIndex(w, strategy), w, j, world.Bound, 0)
	if placed != nil && len(placed) != len(j.Tasks) {
		t.Fatalf("%d of %d tasks are placed", len(placed), len(j.Tasks))
	}
	for n := range w.Nodes {
		for d, free := range w.Free(world.NodeIx(n)) {
			if free < 0 {
				t.Fatalf("%s has %d of %s free", w.Nodes[n].Name, free, w.Res.Name(amount.Dim(d)))
			}
		}
		if slices.ContainsFunc(w.Dev(world.NodeIx(n)), func(d int32) bool { return d < 0 }) {
			t.Fatalf("a device is over-committed: %s", w.Describe(world.NodeIx(n)))
		}
	}
	w.Rollback(m)
	if after := w.Digest(); before != after {
		t.Fatalf("before\n%s\nafter\n%s", before, after)
	}
	return placed != nil
}

// room is what is free on one node, as brute force sees it.
type room struct {
	cpu amount.Amount
	dev []int32
}

// fits tries every way of giving each task a node, and each part of a GPU a
// device.
func fits(w *world.World, j *world.Job) bool {
	rooms := make([]room, len(w.Nodes))
	for n := range rooms {
		rooms[n] = room{w.FreeOf(world.NodeIx(n), amount.CPU), slices.Clone(w.Dev(world.NodeIx(n)))}
	}
	return fitFrom(w, j, 0, rooms)
}

func fitFrom(w *world.World, j *world.Job, task int, rooms []room) bool {
	if task == len(j.Tasks) {
		return true
	}
	id := j.Groups[j.Tasks[task].Group].Shape
	s := &w.Shapes[id]
	cpu, _ := s.Request.Get(amount.CPU)
	for n := range rooms {
		if !w.Feasible(id, w.Nodes[n].Class) || rooms[n].cpu < cpu {
			continue
		}
		for _, dev := range waysOn(s, rooms[n].dev) {
			old := rooms[n]
			rooms[n] = room{old.cpu - cpu, dev}
			if fitFrom(w, j, task+1, rooms) {
				return true
			}
			rooms[n] = old
		}
	}
	return false
}

// waysOn lists what the devices may be left with after a task: whole GPUs are all
// alike, a part of one may be of any.
func waysOn(s *world.Shape, dev []int32) (ways [][]int32) {
	if s.Milli > 0 {
		for i, free := range dev {
			if free >= s.Milli {
				after := slices.Clone(dev)
				after[i] -= s.Milli
				ways = append(ways, after)
			}
		}
		return ways
	}
	after, left := slices.Clone(dev), s.Whole
	for i := range after {
		if left > 0 && after[i] == 1000 {
			after[i] = 0
			left--
		}
	}
	if left > 0 {
		return nil
	}
	return [][]int32{after}
}
