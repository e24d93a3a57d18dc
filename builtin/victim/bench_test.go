package victim

import (
	"fmt"
	"testing"

	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/builtin/world"
)

// crowd is a pool of 8-GPU nodes full of one-GPU jobs of a, each with another
// checkpoint, and a job of b that wants some back.
func crowd(b testing.TB, nodes int, ask spec.Job) (*scene, *world.Job) {
	s := newScene(b, queue("root", -1, queue("a", 8), queue("b", int64(nodes)*8-8)))
	s.nodes(nodes, 8)
	r := splitmix(1)
	for n := range nodes {
		for i := range 8 {
			s.runOn("root.a", jobSpec(fmt.Sprintf("s%04d-%d", n, i), 1, 1), 0, n).Checkpoint = int64(r.below(int(hour)))
		}
	}
	return s, s.add("root.b", ask)
}

// BenchmarkDecision is one decision of a cycle that has made others before: the
// candidates are gathered and priced.
func BenchmarkDecision(b *testing.B) {
	for _, ask := range []struct {
		name string
		job  spec.Job
	}{
		{"1x8", jobSpec("j", 1, 8)},
		{"1x1", jobSpec("j", 1, 1)},
		{"16x8", jobSpec("j", 16, 8)},
		{"64x1", jobSpec("j", 64, 1)},
	} {
		for _, nodes := range []int{100, 500, 1000, 2000} {
			b.Run(fmt.Sprintf("ask=%s/nodes=%d", ask.name, nodes), func(b *testing.B) {
				s, j := crowd(b, nodes, ask.job)
				search := s.search()
				benchDecision(b, s, search, j)
			})
		}
	}
}

func benchDecision(b *testing.B, s *scene, search *Search, j *world.Job) {
	b.ReportAllocs()
	for b.Loop() {
		mark := s.w.Mark()
		if o, why := search.Reclaim(j); o == nil {
			b.Fatal(why)
		}
		s.w.Rollback(mark)
	}
}

// BenchmarkGather is what the first decision of a cycle costs more.
func BenchmarkGather(b *testing.B) {
	s, _ := crowd(b, 2000, jobSpec("j", 1, 8))
	search := s.search()
	search.gather()
	b.ReportAllocs()
	for b.Loop() {
		search.Reset(s.w, s.x, s.price, hour)
		search.gather()
	}
}

// BenchmarkFortyReclaims is the talk's first scenario: forty one-GPU jobs, one
// after the other, among a hundred candidates, in one cycle.
func BenchmarkFortyReclaims(b *testing.B) {
	s := newScene(b, queue("root", -1, queue("a", 60), queue("b", 40)))
	s.nodes(25, 4)
	for i := range 100 {
		s.runOn("root.a", jobSpec(fmt.Sprintf("a%03d", i), 1, 1), 0, i/4)
	}
	var jobs []*world.Job
	for i := range 40 {
		jobs = append(jobs, s.add("root.b", jobSpec(fmt.Sprintf("b%02d", i), 1, 1)))
	}
	search := s.search()
	b.ReportAllocs()
	for b.Loop() {
		search.Reset(s.w, s.x, s.price, hour)
		mark := s.w.Mark()
		for _, j := range jobs {
			if o, why := search.Reclaim(j); o == nil {
				b.Fatal(why)
			}
		}
		s.w.Rollback(mark)
	}
}

// BenchmarkMixedGangs is one decision among gangs of 1 to 64 GPUs on 128 nodes.
func BenchmarkMixedGangs(b *testing.B) {
	for _, seed := range []int{5, 32, 188} {
		b.Run(fmt.Sprintf("seed=%d", seed), func(b *testing.B) {
			d := drawScene(b, seed)
			benchDecision(b, d.scene, New(d.w, d.x, d.price, 10*hour), d.job)
		})
	}
}

// twentyGangs is a hard case for the exact search: twenty gangs spread over the
// nodes so that hardly two are alike, and a gang that needs several whole nodes.
func twentyGangs(b testing.TB, seed int, per, ask int64) (*scene, *world.Job) {
	r := splitmix(seed)
	s := newScene(b, queue("root", -1, queue("a", 8), queue("b", 150)))
	s.nodes(20, 8)
	free := make([]int, 20)
	for i := range free {
		free[i] = 8
	}
	for g := range 20 {
		at := drawPlaces(&r, free, int(8/per), int(per), r.below(20))
		if at == nil {
			break
		}
		s.runOn("root.a", jobSpec(fmt.Sprintf("g%02d", g), 8/per, per), 0, at...).Checkpoint = int64(r.below(int(hour)))
	}
	return s, s.add("root.b", jobSpec("j", ask, 8))
}

// BenchmarkExact is the exact search at its limit of units.
func BenchmarkExact(b *testing.B) {
	for _, per := range []int64{1, 2, 4} {
		for _, ask := range []int64{2, 5, 10} {
			for seed := range 2 {
				b.Run(fmt.Sprintf("per=%d/ask=%dx8/seed=%d", per, ask, seed), func(b *testing.B) {
					s, j := twentyGangs(b, seed, per, ask)
					benchDecision(b, s, s.search(), j)
				})
			}
		}
	}
}
