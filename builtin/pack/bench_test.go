package pack_test

import (
	"fmt"
	"testing"

	"github.com/musterhq/muster/builtin/pack"
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
