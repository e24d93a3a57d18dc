package pack_test

import (
	"fmt"
	"testing"

	"github.com/musterhq/muster/builtin/pack"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/builtin/world"
)

// BenchmarkBestAndPlace is the choice of a node and the placement of one task, in
// a pool that fills up and is emptied again when it is full.
func BenchmarkBestAndPlace(b *testing.B) {
	for _, s := range strategies {
		for _, nodes := range []int{1000, 5000, 50_000} {
			b.Run(fmt.Sprintf("%s/nodes=%d", s, nodes), func(b *testing.B) { fill(b, s, nodes) })
		}
	}
}

func fill(b *testing.B, s pack.Strategy, nodes int) {
	w := yard()
	for i := range nodes {
		w.AddNode(node(fmt.Sprintf("n%05d", i), []string{"A100", "H100"}[i%2], 128_000, 8))
	}
	j := submit(w, "j", tasks(int64(nodes)*8, 4000, 1000))
	x := index(w, s, nil)
	id := j.Groups[0].Shape
	for range 3 { // beyond that, the shape has its tree
		x.Best(id, 0, nil)
	}
	b.ReportAllocs()
	m, at := w.Mark(), 0
	for b.Loop() {
		n, ok := x.Best(id, 0, nil)
		if !ok {
			b.StopTimer()
			w.Rollback(m)
			m, at = w.Mark(), 0
			x.Best(id, 0, nil)
			b.StartTimer()
			continue
		}
		w.Place(&j.Tasks[at], n, x.Devices(id, n), world.Bound, 0)
		at++
	}
	w.Rollback(m)
}

// BenchmarkBestNear is the same for tasks that relate to each other: one to a node, or
// spread over racks of 20 nodes.
func BenchmarkBestNear(b *testing.B) {
	of := spec.Term{ID: "j", Topology: "rack"}
	for _, c := range []struct {
		name string
		near spec.Near
	}{
		{"one-to-a-node", spec.Near{Counts: []string{"j"}, Avoids: []spec.Term{{ID: "j"}}}},
		{"spread", spec.Near{Counts: []string{"j"}, Spread: []spec.Spread{{Term: of, MaxSkew: 1, Self: true}}}},
	} {
		for _, nodes := range []int{1000, 5000} {
			b.Run(fmt.Sprintf("%s/nodes=%d", c.name, nodes), func(b *testing.B) { relate(b, c.near, nodes) })
		}
	}
}

func relate(b *testing.B, near spec.Near, nodes int) {
	w := yard()
	for i := range nodes {
		n := node(fmt.Sprintf("n%05d", i), "H100", 128_000, 8)
		n.Labels = map[string]string{"rack": fmt.Sprint(i / 20)}
		w.AddNode(n)
	}
	g := tasks(int64(nodes), 4000, 1000)
	g.Near = near
	j := submit(w, "j", g)
	x := index(w, pack.Fragmentation, nil)
	id := j.Groups[0].Shape
	b.ReportAllocs()
	m, at := w.Mark(), 0
	for b.Loop() {
		n, ok := x.BestNear(id, 0, j, w.Nearby(j, 0))
		if !ok || at == len(j.Tasks)-1 {
			w.Rollback(m)
			m, at = w.Mark(), 0
			continue
		}
		w.Place(&j.Tasks[at], n, x.Devices(id, n), world.Bound, 0)
		at++
	}
	w.Rollback(m)
}
