package world_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/quota"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/builtin/world"
)

// fataler is what both kinds of test have.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

// newWorld has the leaves root.a and root.b.
func newWorld() *world.World {
	res := amount.NewTable()
	return world.New(res, quota.New(res, spec.Tree{Root: &spec.Queue{
		Name: "root", Parent: true, Children: []*spec.Queue{{Name: "b"}, {Name: "a"}},
	}}))
}

func leaf(t fataler, w *world.World, path string) quota.Q {
	t.Helper()
	q, ok := w.Quota.Lookup(path)
	if !ok {
		t.Fatalf("no queue %s", path)
	}
	return q
}

func machine(name, gpuType string, gpus int64) spec.Node {
	return spec.Node{Name: name, GPUType: gpuType, Capacity: spec.Resources{{Name: "cpu", Amount: 64_000}}.Set(amount.GPUName, amount.Amount(gpus)*1000)}
}

func group(size, milliGPU, cpu int64) spec.TaskGroup {
	return spec.TaskGroup{Min: size, Size: size, Request: spec.Resources{{Name: "cpu", Amount: amount.Amount(cpu)}, {Name: amount.GPUName, Amount: amount.Amount(milliGPU)}}}
}

func addJob(t fataler, w *world.World, id, queue string, groups ...spec.TaskGroup) *world.Job {
	t.Helper()
	return w.AddJob(&spec.Job{ID: id, User: "u-" + id, Tasks: groups}, leaf(t, w, queue))
}

// perDevice is what a task takes from the devices of its node, in milli.
func perDevice(w *world.World, t *world.Task) int32 {
	if m := w.Shapes[t.Job.Groups[t.Group].Shape].Milli; m > 0 {
		return m
	}
	return 1000
}

// audit recomputes every count of the world from where its tasks are.
func audit(t fataler, w *world.World) {
	t.Helper()
	for n := range w.Nodes {
		auditNode(t, w, world.NodeIx(n))
	}
	auditFree(t, w)
	auditShare(t, w)
	held := make([][]amount.Amount, len(w.Quota.Queues))
	running := make([]int64, len(w.Quota.Queues))
	for q := range held {
		held[q] = make([]amount.Amount, w.R())
	}
	claiming := 0
	for _, j := range w.Jobs() {
		auditJob(t, w, j, held, running)
		if j.Claiming > 0 {
			claiming++
			if !slices.Contains(w.Claims(), j) {
				t.Fatalf("%s has claims and is not listed", j.Spec.ID)
			}
		}
	}
	if claiming != len(w.Claims()) {
		t.Fatalf("%d jobs have claims, %d are listed", claiming, len(w.Claims()))
	}
	for q := range held {
		apps, _ := w.Quota.Apps(quota.Account(q))
		if !slices.Equal(held[q], w.Quota.Used(quota.Account(q))) || apps != running[q] {
			t.Fatalf("queue %s is charged %v and %d jobs, its tasks hold %v, %d", w.Quota.Queues[q].Path, w.Quota.Used(quota.Account(q)), apps, held[q], running[q])
		}
	}
}

func auditNode(t fataler, w *world.World, n world.NodeIx) {
	t.Helper()
	sum := slices.Clone(w.Free(n))
	dev := slices.Clone(w.Dev(n))
	for _, task := range w.TasksOn(n) {
		for _, e := range w.Charge(task.Job.Groups[task.Group].Shape, w.Nodes[n].Class) {
			sum[e.Dim] += e.Amount
		}
		for i := range dev {
			if task.Dev&(1<<i) != 0 {
				dev[i] += perDevice(w, task)
			}
		}
	}
	others, held := w.ForeignUse(n)
	for _, e := range others {
		sum[e.Dim] += e.Amount
	}
	for i := range dev {
		if held&(1<<i) != 0 {
			dev[i] += 1000
		}
	}
	for d := range sum {
		if have, _ := w.Capacity(n).Get(amount.Dim(d)); sum[d] != have {
			t.Fatalf("%s: free and held are %d of %s, it has %d", w.Nodes[n].Name, sum[d], w.Res.Name(amount.Dim(d)), have)
		}
	}
	full := int32(0)
	for i, d := range dev {
		if d != 1000 {
			t.Fatalf("%s: device %d has %d milli, free and held", w.Nodes[n].Name, i, d)
		}
		if w.Dev(n)[i] == 1000 {
			full++
		}
	}
	if full != w.FullDevices(n) {
		t.Fatalf("%s has %d whole devices free and says %d", w.Nodes[n].Name, full, w.FullDevices(n))
	}
}

// auditShare sees that the queues share what others leave of each node.
func auditShare(t fataler, w *world.World) {
	t.Helper()
	want := make([]amount.Amount, w.R())
	for n := range w.Nodes {
		others, _ := w.ForeignUse(world.NodeIx(n))
		for _, e := range w.Capacity(world.NodeIx(n)) {
			used, _ := others.Get(e.Dim)
			want[e.Dim] += max(0, e.Amount-used)
		}
	}
	if !slices.Equal(want, w.Quota.Capacity()) {
		t.Fatalf("the queues share %v, the nodes have %v", w.Quota.Capacity(), want)
	}
}

// auditFree compares the index of free GPUs with a look at every node.
func auditFree(t fataler, w *world.World) {
	t.Helper()
	for c := range w.Classes {
		for k := int32(0); k <= w.Classes[c].Devices+1; k++ {
			var want, got []world.NodeIx
			for n := range w.Nodes {
				if nd := &w.Nodes[n]; nd.Present && nd.Class == world.ClassID(c) && w.FullDevices(world.NodeIx(n)) >= k {
					want = append(want, world.NodeIx(n))
				}
			}
			w.EachFree(world.ClassID(c), k, func(n world.NodeIx) { got = append(got, n) })
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Fatalf("class %d: nodes %v are listed with %d free GPUs, %v have them", c, got, k, want)
			}
		}
	}
}

func auditJob(t fataler, w *world.World, j *world.Job, held [][]amount.Amount, running []int64) {
	t.Helper()
	var placed, waiting, claiming int32
	groups, absent, finished := make([]int32, len(j.Groups)), make([]int32, len(j.Groups)), make([]int32, len(j.Groups))
	for i := range j.Tasks {
		task := &j.Tasks[i]
		switch task.State {
		case world.Pending:
			waiting++
		case world.Absent:
			absent[task.Group]++
		case world.Done:
			finished[task.Group]++
		case world.Claimed, world.Bound:
			placed++
			groups[task.Group]++
			if task.State == world.Claimed {
				claiming++
			}
			for _, q := range w.Quota.Path(j.Queue) {
				for _, e := range w.Charge(j.Groups[task.Group].Shape, w.Nodes[task.Node].Class) {
					held[q][e.Dim] += e.Amount
				}
			}
		}
	}
	if placed != j.Placed || waiting != j.Waiting || claiming != j.Claiming || j.Running() != (placed > 0) {
		t.Fatalf("%s counts %d placed, %d waiting, %d claiming; it has %d, %d, %d", j.Spec.ID, j.Placed, j.Waiting, j.Claiming, placed, waiting, claiming)
	}
	for g := range groups {
		if got := j.Groups[g]; groups[g] != got.Placed || absent[g] != got.Absent || finished[g] != got.Finished {
			t.Fatalf("%s: group %d counts %d placed, %d absent, %d finished; it has %d, %d, %d",
				j.Spec.ID, g, got.Placed, got.Absent, got.Finished, groups[g], absent[g], finished[g])
		}
		auditNext(t, j, g)
	}
	if placed > 0 {
		for _, q := range w.Quota.Path(j.Queue) {
			running[q]++
		}
	}
	if listed := slices.Contains(w.PendingIn(j.Queue), j); waiting > 0 && !listed {
		t.Fatalf("%s waits and is not listed", j.Spec.ID)
	}
}

func auditNext(t fataler, j *world.Job, g int) {
	t.Helper()
	var want *world.Task
	for i := range j.Tasks {
		if task := &j.Tasks[i]; task.Group == int32(g) && task.State == world.Pending {
			want = task
			break
		}
	}
	if got := j.NextPending(g); got != want {
		t.Fatalf("%s: the next task of group %d is %+v, want %+v", j.Spec.ID, g, got, want)
	}
}

func sameDigest(t fataler, w *world.World, want, when string) {
	t.Helper()
	if got := w.Digest(); got != want {
		t.Fatalf("%s the world is\n%s\nit was\n%s", when, got, want)
	}
}

// ids names jobs in their order.
func ids(jobs []*world.Job) string {
	out := make([]string, len(jobs))
	for i, j := range jobs {
		out[i] = j.Spec.ID
	}
	return fmt.Sprint(out)
}

var _ fataler = testing.TB(nil)
