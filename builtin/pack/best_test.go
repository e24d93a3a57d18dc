package pack_test

import (
	"fmt"
	"math/bits"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/pack"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/builtin/world"
)

var gpuTypes = []string{"", "A100", "H100"}

// field is a random world with an index beside its slow twin.
type field struct {
	w     *world.World
	x     *pack.Index
	twin  *twin
	jobs  []*world.Job
	mark  world.Mark
	tries int // changes since the mark; 0 if none is open
}

func drawNode(t *rapid.T, name string) spec.Node {
	n := node(name, rapid.SampledFrom(gpuTypes).Draw(t, "type"), 1000*rapid.Int64Range(4, 16).Draw(t, "cpu"), rapid.Int64Range(0, 4).Draw(t, "gpus"))
	n.Unschedulable = rapid.IntRange(0, 9).Draw(t, "cordoned") == 0
	if rapid.Bool().Draw(t, "labelled") {
		n.Labels = map[string]string{"zone": "1"}
	}
	return n
}

func drawTasks(t *rapid.T) spec.TaskGroup {
	g := tasks(6, 500*rapid.Int64Range(0, 8).Draw(t, "cpu"), rapid.SampledFrom([]int64{0, 200, 500, 700, 1000, 2000, 3000}).Draw(t, "milli"))
	g.GPUTypes = rapid.SampledFrom([][]string{nil, nil, {"A100"}, {"A100", "H100"}}).Draw(t, "types")
	if rapid.IntRange(0, 3).Draw(t, "selects") == 0 {
		g.NodeSelector = map[string]string{"zone": "1"}
	}
	if rapid.IntRange(0, 2).Draw(t, "picky") == 0 {
		g.Where = picky{rapid.SampledFrom([]string{"", "zone"}).Draw(t, "label"), rapid.SampledFrom([]string{"", "n9", "n8"}).Draw(t, "not")}
	}
	switch rapid.IntRange(0, 4).Draw(t, "near") {
	case 0:
		g.Near = spec.Near{Counts: []string{"x"}, Avoids: []spec.Term{{ID: "x"}}}
	case 1:
		g.Near = spec.Near{Counts: []string{"y"}, Needs: []spec.Term{{ID: "y", Topology: "zone"}}}
	case 2:
		g.Near = spec.Near{Counts: []string{"x"}, Spread: []spec.Spread{{Term: spec.Term{ID: "x"}, MaxSkew: 1, Self: true}}}
	}
	return g
}

func newField(t *rapid.T, s pack.Strategy) *field {
	f := &field{w: yard()}
	for i := range rapid.IntRange(1, 9).Draw(t, "nodes") {
		f.w.AddNode(drawNode(t, fmt.Sprintf("n%d", 9-i)))
	}
	for i := range rapid.IntRange(1, 5).Draw(t, "jobs") {
		f.jobs = append(f.jobs, submit(f.w, fmt.Sprintf("j%d", i), drawTasks(t)))
	}
	typical := pack.Typicals(f.w)
	f.x, f.twin = index(f.w, s, typical), &twin{f.w, s, typical}
	return f
}

// agree compares index and twin for every shape, with types banned and for jobs
// with reserved nodes.
func (f *field) agree(t *rapid.T) {
	banned := uint64(0)
	for d := range f.w.Res.Len() {
		if name := f.w.Res.Name(amount.Dim(d)); strings.HasSuffix(name, ":A100") {
			banned = pack.TypeBit(amount.Dim(d))
		}
	}
	for _, j := range f.jobs {
		id := j.Groups[0].Shape
		for _, ban := range []uint64{0, banned} {
			for _, job := range []*world.Job{nil, j} {
				near := f.w.Nearby(j, 0)
				n, ok := f.x.BestNear(id, ban, job, near)
				want, wantOK := f.twin.best(id, ban, job, near)
				if ok != wantOK || ok && f.w.Nodes[n].Name != want {
					got := "none"
					if ok {
						got = f.w.Nodes[n].Name
					}
					t.Fatalf("%s, banned %b: best for %s is %s, the twin says %q\n%s", f.x.Strategy(), ban, j.Spec.ID, got, want, f.w.Digest())
				}
				if ok {
					f.checkDevices(t, id, n)
				}
			}
		}
	}
}

// checkDevices compares the devices that a task would take with their rule.
func (f *field) checkDevices(t *rapid.T, id world.ShapeID, n world.NodeIx) {
	s, got := &f.w.Shapes[id], f.x.Devices(id, n)
	choices := f.twin.choices(s, n)
	want := choices[0]
	for _, c := range choices[1:] {
		if f.better(s, n, c, want) {
			want = c
		}
	}
	if got != want {
		t.Fatalf("%s takes devices %b of %v, want %b", f.x.Strategy(), got, f.w.Dev(n), want)
	}
}

func (f *field) better(s *world.Shape, n world.NodeIx, a, b uint64) bool {
	free := func(mask uint64) int32 { return f.w.Dev(n)[bits.TrailingZeros64(mask)] }
	switch f.x.Strategy() {
	case pack.Fragmentation:
		return f.twin.fragScore(s, n, a) > f.twin.fragScore(s, n, b)
	case pack.BinPack:
		return free(a) < free(b)
	default:
		return free(a) > free(b)
	}
}

// step changes something at random.
func (f *field) step(t *rapid.T) {
	j := rapid.SampledFrom(f.jobs).Draw(t, "job")
	switch rapid.SampledFrom([]string{"place", "place", "place", "release", "evict", "reserve", "try", "node", "remove"}).Draw(t, "step") {
	case "place":
		task := j.NextPending(0)
		if n, ok := f.x.BestNear(j.Groups[0].Shape, 0, j, f.w.Nearby(j, 0)); ok && task != nil {
			f.w.Place(task, n, f.x.Devices(j.Groups[0].Shape, n), world.Bound, 0)
		}
	case "release":
		if task := &j.Tasks[rapid.IntRange(0, len(j.Tasks)-1).Draw(t, "task")]; task.Node != world.NoNode {
			f.w.Release(task)
		}
	case "evict":
		if task := &j.Tasks[rapid.IntRange(0, len(j.Tasks)-1).Draw(t, "task")]; task.State == world.Bound {
			f.w.Evict(task)
		}
	case "reserve":
		if n := f.node(t); f.w.Nodes[n].Present {
			f.w.Reserve(n, rapid.SampledFrom(append([]*world.Job{nil}, f.jobs...)).Draw(t, "for"))
		}
	case "try":
		f.try()
	case "node":
		f.outside(func() { f.w.AddNode(drawNode(t, fmt.Sprintf("n%d", rapid.IntRange(0, 12).Draw(t, "name")))) })
	case "remove":
		f.outside(func() {
			if n := f.node(t); f.w.Nodes[n].Present {
				f.w.RemoveNode(n)
			}
		})
	}
}

func (f *field) node(t *rapid.T) world.NodeIx {
	return world.NodeIx(rapid.IntRange(0, len(f.w.Nodes)-1).Draw(t, "node"))
}

// try opens a what-if, or takes back the open one.
func (f *field) try() {
	if f.tries > 0 {
		f.w.Rollback(f.mark)
		f.tries = 0
		return
	}
	f.mark, f.tries = f.w.Mark(), 1
}

func (f *field) outside(change func()) {
	if f.tries == 0 {
		change()
		f.x.Refresh()
	}
}

func TestTheIndexChoosesWhatALookAtEveryNodeWouldChoose(t *testing.T) {
	for _, s := range strategies {
		t.Run(s.String(), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				f := newField(t, s)
				f.agree(t)
				for range rapid.IntRange(1, 25).Draw(t, "steps") {
					f.step(t)
					if rapid.Bool().Draw(t, "look") {
						f.agree(t)
					}
				}
				if f.tries > 0 {
					f.try()
				}
				f.agree(t)
			})
		})
	}
}

func TestTheChoiceDoesNotDependOnTheOrderInWhichNodesArrived(t *testing.T) {
	for _, s := range strategies {
		t.Run(s.String(), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				var nodes []spec.Node
				for i := range rapid.IntRange(1, 8).Draw(t, "nodes") {
					nodes = append(nodes, drawNode(t, fmt.Sprintf("n%d", i)))
				}
				groups := rapid.SliceOfN(rapid.Custom(drawTasks), 1, 4).Draw(t, "jobs")
				first, second := story(s, nodes, groups), story(s, rapid.Permutation(nodes).Draw(t, "arrival"), groups)
				if first != second {
					t.Fatalf("one order gives\n%s\nthe other\n%s", first, second)
				}
			})
		})
	}
}

// story places all tasks and says where they went.
func story(s pack.Strategy, nodes []spec.Node, groups []spec.TaskGroup) string {
	w := yard()
	for _, n := range nodes {
		w.AddNode(n)
	}
	var b strings.Builder
	x := pack.NewIndex(w, s)
	for i, g := range groups {
		j := submit(w, fmt.Sprintf("j%d", i), g)
		x.Refresh()
		for task := j.NextPending(0); task != nil; task = j.NextPending(0) {
			n, ok := x.Best(j.Groups[0].Shape, 0, j)
			if !ok {
				break
			}
			w.Place(task, n, x.Devices(j.Groups[0].Shape, n), world.Bound, 0)
			fmt.Fprintf(&b, "%s/%d on %s %b\n", j.Spec.ID, task.Index, w.Nodes[n].Name, task.Dev)
		}
	}
	return b.String()
}

func TestEqualNodesFillOneAfterTheOtherAndSpreadTakesThemInTurn(t *testing.T) {
	for s, want := range map[pack.Strategy]string{
		pack.Fragmentation: "a:1 a:10 b:1 b:10 ",
		pack.BinPack:       "a:1 a:10 b:1 b:10 ",
		pack.Spread:        "a:1 b:1 a:10 b:10 ",
	} {
		t.Run(s.String(), func(t *testing.T) {
			w := yard()
			for _, name := range []string{"b", "a"} {
				w.AddNode(node(name, "", 64_000, 2))
			}
			j := submit(w, "j", tasks(5, 1000, 1000))
			x, got := index(w, s, nil), ""
			for range 4 {
				got += take(t, x, w, j) + " "
			}
			if got != want {
				t.Errorf("took %s, want %s", got, want)
			}
			if where := take(t, x, w, j); where != "" {
				t.Errorf("the fifth of four GPUs is %s", where)
			}
		})
	}
}

func TestTasksWithoutGPUsKeepOffGPUNodesWhileTheyCan(t *testing.T) {
	for _, s := range strategies {
		w := yard()
		w.AddNode(node("a-gpu", "", 64_000, 8))
		w.AddNode(node("z-cpu", "", 2000, 0))
		j := submit(w, "j", tasks(3, 1000, 0))
		x := index(w, s, nil)
		if got := take(t, x, w, j) + take(t, x, w, j) + take(t, x, w, j); got != "z-cpu:0z-cpu:0a-gpu:0" {
			t.Errorf("%s: took %s", s, got)
		}
	}
}

func TestAFilterHasTheLastWordAlsoOnReservedNodes(t *testing.T) {
	for _, s := range strategies {
		w := yard()
		for _, name := range []string{"a", "b", "c"} {
			w.AddNode(node(name, "", 64_000, 8))
		}
		j := submit(w, "j", tasks(4, 1000, 1000))
		n, _ := w.NodeNamed("a")
		w.Reserve(n, j)
		x := index(w, s, nil)
		asked := map[string]int{}
		x.Filter = func(_ world.ShapeID, n world.NodeIx) bool {
			asked[w.Nodes[n].Name]++
			return w.Nodes[n].Name == "c"
		}
		for range 4 { // by scan at first, by tree later
			if n, ok := x.Best(j.Groups[0].Shape, 0, j); !ok || w.Nodes[n].Name != "c" {
				t.Fatalf("%s: the filter allows c only, got %v, %v; asked %v", s, n, ok, asked)
			}
		}
		x.Filter = func(world.ShapeID, world.NodeIx) bool { return false }
		if n, ok := x.Best(j.Groups[0].Shape, 0, j); ok {
			t.Errorf("%s: the filter refuses all nodes, got %s", s, w.Nodes[n].Name)
		}
	}
}

func TestStrategiesAreKnownByName(t *testing.T) {
	for _, s := range strategies {
		if got, err := pack.ParseStrategy(s.String()); err != nil || got != s {
			t.Errorf("%s reads as %v, %v", s, got, err)
		}
	}
	if s, err := pack.ParseStrategy(""); err != nil || s != pack.Fragmentation {
		t.Errorf("no name is %v, %v", s, err)
	}
	if _, err := pack.ParseStrategy("best-fit"); err == nil || !strings.Contains(err.Error(), "spread") {
		t.Errorf("an unknown name: %v", err)
	}
}
