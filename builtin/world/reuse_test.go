package world_test

import (
	"fmt"
	"testing"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/quota"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/builtin/world"
)

func TestNodesThatComeAndGoUnderNewNamesTakeNoMoreRoom(t *testing.T) {
	res := amount.NewTable()
	w := world.New(res, quota.New(res, spec.Tree{}))
	w.AddNode(spec.Node{Name: "stays", Capacity: spec.GPUs(8)})
	for i := range 100 {
		n := w.AddNode(spec.Node{Name: fmt.Sprintf("spot-%d", i), Capacity: spec.GPUs(int64(1 + i%8))})
		if got := int(w.FullDevices(n)); got != 1+i%8 || len(w.Dev(n)) != got {
			t.Fatalf("node %d has %d free devices, %d in all; want %d", i, got, len(w.Dev(n)), 1+i%8)
		}
		w.RemoveNode(n)
		if _, known := w.NodeNamed(fmt.Sprintf("spot-%d", i)); known {
			t.Fatalf("node %d is gone and still found", i)
		}
	}
	if len(w.Nodes) != 2 {
		t.Errorf("%d indexes for at most 2 nodes at a time", len(w.Nodes))
	}
	if free := w.Quota.Capacity()[amount.GPU]; free != 8000 {
		t.Errorf("the pool has %d milli-GPUs, want 8000", free)
	}
}
