package gang_test

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/gang"
	"github.com/musterhq/muster/builtin/pack"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/builtin/world"
)

// rack adds nodes of so many GPUs each to a rack.
func (y *yard) rack(name string, gpus ...int64) {
	for i, n := range gpus {
		y.w.AddNode(spec.Node{
			Name: fmt.Sprintf("%s%d", name, i), Labels: map[string]string{"rack": name},
			Capacity: spec.Resources{{Name: "cpu", Amount: 64_000}}.Set(amount.GPUName, amount.Amount(n)*1000),
		})
	}
	y.x.Refresh()
}

// together are workers that must be in one rack.
func together(id string, n, milliGPU int64) spec.TaskGroup {
	g := workers(n, n, milliGPU)
	g.Near = spec.Near{Counts: []string{id}, Needs: []spec.Term{{ID: id, Topology: "rack"}}}
	return g
}

// at is the rack that holds all of a job, "" if none does.
func (y *yard) at(j *world.Job) (rack string) {
	for i := range j.Tasks {
		if j.Tasks[i].Node == world.NoNode {
			return ""
		}
		r := y.w.Nodes[j.Tasks[i].Node].Spec.Labels["rack"]
		if i > 0 && r != rack {
			return "several"
		}
		rack = r
	}
	return rack
}

func TestAGangThatMustStayInOneRackTakesTheTightestThatHoldsIt(t *testing.T) {
	for _, c := range []struct {
		strategy pack.Strategy
		want     string
	}{{pack.Fragmentation, "c"}, {pack.BinPack, "c"}, {pack.Spread, "d"}} {
		y := newYard(c.strategy, nil)
		y.rack("a", 2)       // the node that is best for one task
		y.rack("b", 1, 1, 1) // enough in sum, in pieces too small
		y.rack("c", 2, 4)
		y.rack("d", 8)
		j := y.job("j", together("j", 2, 2000))
		placed, fail := gang.Place(y.x, y.w, j, world.Bound, 0)
		if got := y.at(j); placed == nil || got != c.want {
			t.Errorf("%s: in %q, %+v", c.strategy, got, fail)
		}
	}
}

func TestAGangThatNoRackCanHoldTellsHowFarItGot(t *testing.T) {
	y := newYard(pack.Fragmentation, nil)
	y.rack("a", 2, 1)
	y.rack("b", 3)
	j := y.job("j", together("j", 4, 1000))
	before := y.w.Digest()
	placed, fail := gang.Place(y.x, y.w, j, world.Bound, 0)
	if placed != nil || fail.Placed != 3 || fail.Of != 4 || !fail.Within || fail.Topology != "rack" {
		t.Errorf("placed %d, %+v", len(placed), fail)
	}
	if y.w.Digest() != before {
		t.Error("the tries left something behind")
	}
	y.rack("b", 3, 1) // the rack gets one more
	if placed, _ := gang.Place(y.x, y.w, j, world.Bound, 0); len(placed) != 4 || y.at(j) != "b" {
		t.Errorf("placed %d in %s", len(placed), y.at(j))
	}
}

func TestTheRestOfAGangGoesWhereItsFirstPartIs(t *testing.T) {
	y := newYard(pack.Fragmentation, nil)
	y.rack("a", 8)
	y.rack("b", 4)
	j := y.job("j", together("j", 3, 1000))
	n, _ := y.w.NodeNamed("a0")
	y.w.Place(&j.Tasks[1], n, 1, world.Bound, 0)
	if placed, _ := gang.Place(y.x, y.w, j, world.Bound, 0); len(placed) != 2 || y.at(j) != "a" {
		t.Errorf("placed %d, all in %q", len(placed), y.at(j))
	}
}

// Equal tasks of one GPU or two: a gang fits into a rack if its slots are enough.
func TestAGangFindsARackIfAndOnlyIfThereIsOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		y := newYard(rapid.SampledFrom([]pack.Strategy{pack.Fragmentation, pack.BinPack, pack.Spread}).Draw(t, "strategy"), nil)
		need := rapid.Int64Range(1, 6).Draw(t, "tasks")
		each := rapid.Int64Range(1, 2).Draw(t, "GPUs each")
		fits := false
		for _, r := range []string{"a", "b", "c"} {
			gpus := rapid.SliceOfN(rapid.Int64Range(0, 5), 1, 3).Draw(t, "rack")
			slots := int64(0)
			for _, g := range gpus {
				slots += g / each
			}
			fits = fits || slots >= need
			y.rack(r, gpus...)
		}
		j := y.job("j", together("j", need, each*1000))
		before := y.w.Digest()
		placed, fail := gang.Place(y.x, y.w, j, world.Bound, 0)
		if (placed != nil) != fits {
			t.Fatalf("some rack holds the gang: %v; %+v", fits, fail)
		}
		if placed == nil && y.w.Digest() != before {
			t.Fatal("the tries left something behind")
		}
		if rack := y.at(j); placed != nil && (rack == "" || rack == "several") {
			t.Fatalf("the gang is in %q", rack)
		}
	})
}
