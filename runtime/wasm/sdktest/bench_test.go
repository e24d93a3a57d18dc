package sdktest

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/musterhq/muster/policies"
)

// jobs returns n jobs drawn from a fixed seed; each eighth declares no duration.
func jobs(n int) *policies.JobBatch {
	r, b := rand.New(rand.NewPCG(1, uint64(n))), blank(n)
	for i := range n {
		b.Wait[i], b.Duration[i] = r.Int64N(1<<45), r.Int64N(1<<45)
		if r.IntN(8) == 0 {
			b.Duration[i] = policies.Unset
		}
	}
	return b
}

// BenchmarkAgedSJF is one call of the example in each language and in native Go, copies
// into and out of the guest included, sorting not. Module sizes come with it.
func BenchmarkAgedSJF(b *testing.B) {
	for _, n := range []int{100, 1000, 10_000} {
		batch := jobs(n)
		run := func(name string, size int, p policies.Policy) {
			b.Run(fmt.Sprintf("%d/%s", n, name), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if err := p.ScoreJobs(b.Context(), batch); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/row")
				if size > 0 {
					b.ReportMetric(float64(size), "module-bytes")
				}
			})
		}
		run("native", 0, native(b, nil))
		for _, language := range Languages() {
			bin, err := Example(root, language)
			if err != nil {
				b.Log(err)
				continue
			}
			run(language, len(bin), example(b, language, nil))
		}
	}
}
