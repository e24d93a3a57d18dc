package pack_test

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/musterhq/muster/builtin/pack"
	"github.com/musterhq/muster/builtin/plan"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/builtin/world"
)

func TestEveryNodeIsCountedOnceInAnExplanation(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := newField(t, rapid.SampledFrom(strategies).Draw(t, "strategy"))
		for range rapid.IntRange(0, 20).Draw(t, "steps") {
			f.step(t)
		}
		present := 0
		for n := range f.w.Nodes {
			if f.w.Nodes[n].Present {
				present++
			}
		}
		for _, j := range f.jobs {
			near := f.w.Nearby(j, 0)
			y, sum, room := f.x.Explain(j.Groups[0].Shape, 0, j, near), 0, false
			for _, e := range y.Excluded {
				sum += e.Nodes
				room = room || strings.Contains(e.By, "with room")
			}
			if y.Nodes != present || sum != present {
				t.Fatalf("%d nodes looked at and %d counted, of %d: %+v", y.Nodes, sum, present, y)
			}
			if _, ok := f.x.BestNear(j.Groups[0].Shape, 0, j, near); ok != room {
				t.Fatalf("a node has room: %v; the explanation says %+v", ok, y)
			}
		}
	})
}

func TestAnExplanationNamesEachObstacleAndTheNodeThatLacksLeast(t *testing.T) {
	w := yard()
	add := func(name string, change func(*spec.Node)) world.NodeIx {
		s := node(name, "H100", 64_000, 4)
		s.Labels = map[string]string{"zone": "1"}
		change(&s)
		return w.AddNode(s)
	}
	add("cordoned", func(s *spec.Node) { s.Unschedulable = true })
	add("other-type", func(s *spec.Node) { s.GPUType = "A100" })
	add("other-zone", func(s *spec.Node) { s.Labels = nil })
	add("tainted", func(s *spec.Node) { s.Taints = []spec.Taint{{Key: "lab"}} })
	add("small", func(s *spec.Node) { s.Capacity = node("", "", 64_000, 1).Capacity })
	reserved := add("reserved", func(*spec.Node) {})
	busy, nearly := add("busy", func(*spec.Node) {}), add("nearly", func(*spec.Node) {})
	broken, slow := add("broken", func(*spec.Node) {}), add("slow", func(*spec.Node) {})
	filler := func(id string, n world.NodeIx, dev uint64, cpu, milli int64) {
		j := submit(w, id, tasks(1, cpu, milli))
		w.Place(&j.Tasks[0], n, dev, world.Bound, 0)
	}
	filler("f1", busy, 0b1111, 0, 4000)
	filler("f2", nearly, 0b111, 0, 3000)
	for i := range 4 {
		filler("part"+string(rune('0'+i)), broken, 1<<i, 0, 100)
	}
	filler("f3", slow, 0, 60_000, 0)
	w.Reserve(reserved, submit(w, "gang", tasks(1, 0, 4000)))
	g := tasks(1, 8000, 2000, "H100")
	g.NodeSelector = map[string]string{"zone": "1"}
	j := submit(w, "j", g)
	y := index(w, pack.BinPack, nil).Explain(j.Groups[0].Shape, 0, j, nil)
	var got []string
	for _, e := range y.Excluded {
		if e.Nodes != 1 {
			got = append(got, strings.Repeat("+", e.Nodes))
		}
		got = append(got, e.By)
	}
	want := "cordoned, wrong GPU type, not selected, tainted, too small, reserved for another gang, ++, short of GPUs, GPUs too broken up, short of cpu"
	if strings.Join(got, ", ") != want || y.Nodes != 10 {
		t.Errorf("%d nodes: %s", y.Nodes, strings.Join(got, ", "))
	}
	if y.Best != "broken" && y.Best != "nearly" {
		t.Errorf("closest is %s, which lacks %s", y.Best, y.Lacks)
	}
}

func TestABannedTypeIsTold(t *testing.T) {
	w := yard()
	n := w.AddNode(node("n", "H100", 64_000, 4))
	j := submit(w, "j", tasks(1, 0, 1000))
	y := index(w, pack.BinPack, nil).Explain(j.Groups[0].Shape, pack.TypeBit(w.Nodes[n].Typed), j, nil)
	if len(y.Excluded) != 1 || y.Excluded[0].By != "GPU type over quota" {
		t.Errorf("told %+v", y)
	}
}

func TestCapacityIsHowManyTasksAnEmptyPoolTakes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := yard()
		for i := range rapid.IntRange(1, 5).Draw(t, "nodes") {
			s := drawNode(t, string(rune('a'+i)))
			s.Unschedulable = false
			w.AddNode(s)
		}
		g := drawTasks(t)
		g.Size = 200
		if a, _ := g.Request.Get("cpu"); a == 0 && len(g.Request) == 1 {
			return // asks for nothing
		}
		j := submit(w, "j", g)
		x := index(w, rapid.SampledFrom(strategies).Draw(t, "strategy"), nil)
		id := j.Groups[0].Shape
		want := int64(0)
		for n, ok := x.Best(id, 0, nil); ok && want < 200; n, ok = x.Best(id, 0, nil) {
			w.Place(&j.Tasks[want], n, x.Devices(id, n), world.Bound, 0)
			want++
		}
		if got := x.Capacity(id, 1<<40); got != want {
			t.Fatalf("capacity %d, the nodes took %d of %+v", got, want, g)
		}
		if enough := x.Capacity(id, 1); (enough >= 1) != (want >= 1) {
			t.Fatalf("asked for one: %d of %d", enough, want)
		}
	})
}

func TestWhatOnlyTheOutsideKnowsAboutNodesIsCountedInItsWords(t *testing.T) {
	w := yard()
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		n := node(name, "", 64_000, 4)
		n.Labels = map[string]string{"disk": "fast"}
		if name == "a" {
			n.Labels = nil
		}
		w.AddNode(n)
	}
	g := tasks(1, 1000, 0)
	g.Near = spec.Near{Counts: []string{"db"}, Avoids: []spec.Term{{ID: "db"}}}
	first := submit(w, "first", g)
	w.Place(&first.Tasks[0], 2, 0, world.Bound, 0)
	g.Where = picky{"disk", "b"}
	j := submit(w, "j", g)
	y := index(w, pack.BinPack, nil).Explain(j.Groups[0].Shape, 0, j, w.Nearby(j, 0))
	want := []plan.Excluded{{By: "affinity", Nodes: 1}, {By: "anti-affinity", Nodes: 1}, {By: "volume", Nodes: 1}, {By: "with room for some", Nodes: 2}}
	if !slices.Equal(y.Excluded, want) {
		t.Errorf("%+v", y.Excluded)
	}
}
