package world_test

import (
	"strings"
	"testing"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/quota"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/builtin/world"
)

func used(w *world.World, path, resource string) amount.Amount {
	q, _ := w.Quota.Lookup(path)
	d, _ := w.Res.Lookup(resource)
	return w.Quota.Used(quota.Account(q))[d]
}

func TestATypedNodeChargesItsGPUsAlsoUnderTheirType(t *testing.T) {
	w := newWorld()
	n := w.AddNode(machine("n", "H100", 8))
	j := addJob(t, w, "j", "a", group(2, 1000, 500))
	w.Place(&j.Tasks[0], n, 0b1, world.Bound, 0)
	for resource, want := range map[string]amount.Amount{"nvidia.com/gpu": 1000, "nvidia.com/gpu:H100": 1000, "cpu": 500} {
		if got := used(w, "root.a", resource); got != want {
			t.Errorf("%s: charged %d, want %d", resource, got, want)
		}
	}
	w.Release(&j.Tasks[0])
	if got := used(w, "root.a", "nvidia.com/gpu:H100"); got != 0 {
		t.Errorf("still charged %d after the release", got)
	}
}

func TestALabelThatArrivesLateMovesTheChargeToItsType(t *testing.T) {
	w := newWorld()
	n := w.AddNode(machine("n", "", 8))
	j := addJob(t, w, "j", "a", group(2, 2000, 0))
	w.Place(&j.Tasks[0], n, 0b11, world.Bound, 0)
	w.Place(&j.Tasks[1], n, 0b1100, world.Bound, 0)
	w.Evict(&j.Tasks[1])
	w.AddNode(machine("n", "H100", 8))
	audit(t, w)
	if got := used(w, "root.a", "nvidia.com/gpu:H100"); got != 2000 {
		t.Errorf("the type is known now: charged %d, want 2000 (the victim is not charged)", got)
	}
	w.Release(&j.Tasks[0])
	w.Release(&j.Tasks[1])
	audit(t, w)
	if w.FullDevices(n) != 8 {
		t.Errorf("%d of 8 devices are free", w.FullDevices(n))
	}
}

func TestADevicePluginThatRestartsLosesNoDeviceAndFreesNoneTwice(t *testing.T) {
	w := newWorld()
	n := w.AddNode(machine("n", "A100", 4))
	j := addJob(t, w, "j", "a", group(1, 2000, 0))
	w.Place(&j.Tasks[0], n, 0b1100, world.Bound, 0)
	w.AddNode(machine("n", "A100", 0))
	if got := w.FreeOf(n, amount.GPU); got != -2000 {
		t.Errorf("two GPUs are held that are not there: free is %d", got)
	}
	if got := used(w, "root.a", "nvidia.com/gpu:A100"); got != 2000 {
		t.Errorf("whoever sits on a failed A100 is charged %d A100s, want 2000", got)
	}
	w.AddNode(machine("n", "A100", 4))
	audit(t, w)
	if w.FullDevices(n) != 2 {
		t.Errorf("two devices are held, %d are free", w.FullDevices(n))
	}
	w.Release(&j.Tasks[0])
	audit(t, w)
	if w.FullDevices(n) != 4 {
		t.Errorf("%d of 4 devices are free", w.FullDevices(n))
	}
}

func TestATaskOnADeviceThatWasRemovedCanStillLeave(t *testing.T) {
	w := newWorld()
	n := w.AddNode(machine("n", "", 4))
	j := addJob(t, w, "j", "a", group(1, 1000, 0))
	w.Place(&j.Tasks[0], n, 0b1000, world.Bound, 0)
	w.AddNode(machine("n", "", 2))
	audit(t, w)
	w.Release(&j.Tasks[0])
	audit(t, w)
	if w.FullDevices(n) != 2 || w.FreeOf(n, amount.GPU) != 2000 {
		t.Errorf("two GPUs are left and idle: %s", w.Describe(n))
	}
}

func TestANodeThatGoesTakesItsTasksItsReservationAndItsCapacity(t *testing.T) {
	w := newWorld()
	n, m := w.AddNode(machine("n", "H100", 4)), w.AddNode(machine("m", "H100", 4))
	j, k := addJob(t, w, "j", "a", group(2, 1000, 0)), addJob(t, w, "k", "b", group(1, 1000, 0))
	w.Place(&j.Tasks[0], n, 1, world.Bound, 0)
	w.Place(&j.Tasks[1], m, 1, world.Bound, 0)
	w.Place(&k.Tasks[0], n, 2, world.Claimed, 0)
	w.Reserve(n, k)
	lost := w.RemoveNode(n)
	if len(lost) != 2 || lost[0] != &j.Tasks[0] || lost[1] != &k.Tasks[0] || lost[0].State != world.Pending {
		t.Fatalf("lost %v", lost)
	}
	if k.Reserved != 0 || w.Usable(n, j) || j.Placed != 1 {
		t.Errorf("k keeps %d nodes, n is usable: %v", k.Reserved, w.Usable(n, j))
	}
	if got := w.Quota.Capacity()[amount.GPU]; got != 4000 {
		t.Errorf("the pool has %d", got)
	}
	audit(t, w)
	if back := w.AddNode(machine("n", "H100", 4)); back != n || !w.Usable(n, j) || w.FullDevices(n) != 4 {
		t.Errorf("the node came back as %d: %s", back, w.Describe(back))
	}
	if got := w.Quota.Capacity()[amount.GPU]; got != 8000 {
		t.Errorf("the pool has %d", got)
	}
	audit(t, w)
}

func TestACordonedNodeKeepsItsTasksAndTakesNoMore(t *testing.T) {
	w := newWorld()
	s := machine("n", "", 2)
	n := w.AddNode(s)
	j := addJob(t, w, "j", "a", group(1, 1000, 0))
	w.Place(&j.Tasks[0], n, 1, world.Bound, 0)
	s.Unschedulable = true
	w.AddNode(s)
	if w.Usable(n, j) || j.Tasks[0].Node != n {
		t.Errorf("usable %v, the task is on %d", w.Usable(n, j), j.Tasks[0].Node)
	}
	audit(t, w)
}

func TestNodesOfOneKindAreOneClassWhateverTheOrderOfTheirLabels(t *testing.T) {
	w := newWorld()
	a := machine("a", "H100", 8)
	a.Labels = map[string]string{"zone": "1", "rack": "7"}
	b := machine("b", "H100", 8)
	b.Labels = map[string]string{"rack": "7", "zone": "1"}
	c := machine("c", "H100", 8)
	c.Taints = []spec.Taint{{Key: "gpu", Value: "yes"}}
	na, nb, nc := w.AddNode(a), w.AddNode(b), w.AddNode(c)
	if w.Nodes[na].Class != w.Nodes[nb].Class || w.Nodes[na].Class == w.Nodes[nc].Class {
		t.Errorf("classes %d, %d, %d", w.Nodes[na].Class, w.Nodes[nb].Class, w.Nodes[nc].Class)
	}
	if got := w.Classes[w.Nodes[na].Class].Nodes; got != 2 {
		t.Errorf("the class has %d nodes", got)
	}
	w.AddNode(a) // an update that changes nothing
	w.RemoveNode(nb)
	if got := w.Classes[w.Nodes[na].Class].Nodes; got != 1 {
		t.Errorf("the class has %d nodes", got)
	}
}

func TestNodesAreInOrderOfNamesWhateverTheOrderOfArrival(t *testing.T) {
	w := newWorld()
	for _, name := range []string{"m", "z", "a"} {
		w.AddNode(spec.Node{Name: name})
	}
	var names []string
	for i, n := range w.Order() {
		names = append(names, w.Nodes[n].Name)
		if int(w.Position(n)) != i {
			t.Errorf("%s stands at %d and says %d", w.Nodes[n].Name, i, w.Position(n))
		}
	}
	if strings.Join(names, "") != "amz" {
		t.Errorf("order %v", names)
	}
}

func TestEachChangeOfANodeIsSeenOnceByEachWatcher(t *testing.T) {
	w := newWorld()
	n, m := w.AddNode(machine("n", "", 4)), w.AddNode(machine("m", "", 4))
	j := addJob(t, w, "j", "a", group(4, 1000, 0))
	w.Order()
	var c world.Cursor
	w.Touched(&c, func(world.NodeIx) {})
	watch := func() (seen []world.NodeIx, ok bool) {
		ok = w.Touched(&c, func(n world.NodeIx) { seen = append(seen, n) })
		return seen, ok
	}
	mark := w.Mark()
	w.Place(&j.Tasks[0], m, 1, world.Bound, 0)
	if seen, ok := watch(); !ok || len(seen) != 1 || seen[0] != m {
		t.Errorf("after placing on m: %v, %v", seen, ok)
	}
	w.Rollback(mark)
	w.Reserve(n, j)
	if seen, ok := watch(); !ok || len(seen) != 2 || seen[0] != m || seen[1] != n {
		t.Errorf("after the rollback and a reservation of n: %v, %v", seen, ok)
	}
	if seen, ok := watch(); !ok || len(seen) != 0 {
		t.Errorf("nothing happened: %v, %v", seen, ok)
	}
	for range 10_000 { // more than the list holds
		w.Reserve(n, nil)
	}
	if _, ok := watch(); ok {
		t.Error("the list no longer reaches back, and did not say so")
	}
	if _, ok := watch(); !ok {
		t.Error("the watcher has caught up, and is told that it has not")
	}
}
