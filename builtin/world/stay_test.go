package world_test

import (
	"testing"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/quota"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/builtin/world"
)

// twoTasks is a job of two one-GPU tasks that run on a node of two, in a queue that may
// have no more than two GPUs and one job.
func twoTasks(t *testing.T) (*world.World, *world.Job) {
	t.Helper()
	res := amount.NewTable()
	w := world.New(res, quota.New(res, spec.Tree{Root: &spec.Queue{Name: "root", Children: []*spec.Queue{{Name: "a", Max: spec.GPUs(2), MaxApps: 1}}}}))
	w.AddNode(spec.Node{Name: "n", Capacity: spec.GPUs(2)})
	j := w.AddJob(&spec.Job{ID: "j", User: "u", Tasks: []spec.TaskGroup{{Min: 2, Size: 2, Request: spec.GPUs(1)}}}, 1)
	for i := range j.Tasks {
		w.Place(&j.Tasks[i], 0, 1<<i, world.Bound, 5)
	}
	return w, j
}

func TestTheQuotaOfWhoMayStayIsNobodyElses(t *testing.T) {
	w, j := twoTasks(t)
	full := func() (gpus, apps bool) {
		return w.Quota.Fits(j.Chain, spec1(w), 1).Blocked, w.Quota.AppsFit(j.Chain).Blocked
	}
	for i := range j.Tasks {
		w.EvictRevocably(&j.Tasks[i])
	}
	if gpus, apps := full(); !gpus || !apps || w.Quota.Used(1)[amount.GPU] != 0 {
		t.Fatalf("while they may stay: GPUs full %v, jobs full %v, used %d", gpus, apps, w.Quota.Used(1)[amount.GPU])
	}
	m := w.Mark()
	for i := range j.Tasks {
		w.Vacate(&j.Tasks[i])
	}
	if gpus, apps := full(); !gpus || !apps || w.FreeOf(0, amount.GPU) != 2000 {
		t.Error("a trial has given their quota away")
	}
	w.Rollback(m)
	for i := range j.Tasks {
		w.Condemn(&j.Tasks[i])
	}
	if gpus, apps := full(); gpus || apps {
		t.Error("who can't stay any more keeps its quota")
	}
}

func spec1(w *world.World) amount.List { return w.List(spec.GPUs(1)) }

func TestWhoStaysRunsAsIfNothingHadBeen(t *testing.T) {
	w, j := twoTasks(t)
	before := w.Digest()
	for i := range j.Tasks {
		w.EvictRevocably(&j.Tasks[i])
	}
	n := &world.Notice{Job: j, Tasks: []*world.Task{&j.Tasks[0], &j.Tasks[1]}}
	if lost, ok := w.StayAll(n); !ok || len(lost) != 0 || w.Digest() != before {
		t.Errorf("lost %v, %v\n%s\nbefore\n%s", lost, ok, w.Digest(), before)
	}
}

func TestTheRestOfABrokenGangDoesNotStay(t *testing.T) {
	w, j := twoTasks(t)
	for i := range j.Tasks {
		w.EvictRevocably(&j.Tasks[i])
	}
	w.Release(&j.Tasks[0]) // its node died, say
	if _, ok := w.StayAll(&world.Notice{Job: j, Tasks: []*world.Task{&j.Tasks[1]}}); ok || j.Tasks[1].State != world.Releasing {
		t.Errorf("half a gang stays: %s", w.Digest())
	}
}

func TestAClaimOnALostDeviceIsNeverSettled(t *testing.T) {
	w, j := twoTasks(t)
	w.Release(&j.Tasks[1])
	w.Place(&j.Tasks[1], 0, 0b10, world.Claimed, 6)
	if !w.Settled(&j.Tasks[1]) {
		t.Fatal("its device is free")
	}
	w.AddNode(spec.Node{Name: "n", Capacity: spec.GPUs(1)})
	if w.Settled(&j.Tasks[1]) {
		t.Error("it could start on a device that is not there")
	}
	w.AddNode(spec.Node{Name: "n", Capacity: spec.GPUs(2)})
	if !w.Settled(&j.Tasks[1]) {
		t.Error("the device is back")
	}
}
