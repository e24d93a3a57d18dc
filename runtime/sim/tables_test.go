package sim_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/csv"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/musterhq/muster/builtin/cycle"
	"github.com/musterhq/muster/builtin/pack"
	"github.com/musterhq/muster/runtime/sim"
	"github.com/musterhq/muster/runtime/sim/trace"
)

// The benchmarks of this file make the tables of docs/benchmarks.md. They need the
// shared traces, which lie beside the repository, and skip without them.

func shared(tb testing.TB, path ...string) string {
	p := filepath.Join(append([]string{"..", "..", "..", "shared", "traces"}, path...)...)
	if _, err := os.Stat(p); err != nil {
		tb.Skip("the shared traces are not beside this checkout")
	}
	return p
}

var openbVariants = []string{
	"default", "cpu050", "cpu100", "cpu250", "gpushare40", "gpushare80", "gpushare100",
	"gpuspec10", "gpuspec20", "gpuspec33", "multigpu20", "multigpu30", "multigpu50",
}

// BenchmarkOpenb is the FGD experiment: 13 variants of the openb workload filled to
// 130 % of the GPUs, seeds 42 to 51, and beside each mean the published one.
func BenchmarkOpenb(b *testing.B) {
	published := publishedAllocation(b)
	for _, v := range openbVariants {
		tr, err := trace.Load(shared(b, "openb-2023", "openb_pod_list_"+v+".csv.gz"), trace.Options{Static: true})
		if err != nil {
			b.Fatal(err)
		}
		for _, s := range []struct {
			pack.Strategy
			peer string
		}{{pack.Fragmentation, "06-FGD"}, {pack.BinPack, "05-BestFit"}} {
			b.Run(v+"/"+s.String(), func(b *testing.B) {
				var sum, first, runs float64
				for range b.N {
					for seed := uint64(42); seed <= 51; seed++ {
						r, err := sim.Fill(context.Background(), tr.Fill(1300, seed), tr, cycle.Set{Placement: s.Strategy}, seed, nil)
						if err != nil {
							b.Fatal(err)
						}
						sum += r.AllocatedPercent
						first += r.FirstRefusalPercent
						runs++
					}
				}
				b.ReportMetric(sum/runs, "allocated-%")
				b.ReportMetric(first/runs, "first-refusal-%")
				b.ReportMetric(published["openb_pod_list_"+v+" "+s.peer], "published-%")
				b.ReportMetric(b.Elapsed().Seconds()/runs, "s/run")
			})
		}
	}
}

// publishedAllocation reads the published allocation at 130 % arrived: mean over
// the seeds, by workload and policy.
func publishedAllocation(b *testing.B) map[string]float64 {
	packed, err := os.ReadFile(shared(b, "openb-2023", "published_fgd_allo_by_arrived_pct.csv.gz"))
	if err != nil {
		b.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		b.Fatal(err)
	}
	rows, err := csv.NewReader(z).ReadAll()
	if err != nil {
		b.Fatal(err)
	}
	sum, n := map[string]float64{}, map[string]float64{}
	for _, r := range rows[1:] {
		v, err := strconv.ParseFloat(r[len(r)-1], 64)
		if err != nil {
			b.Fatal(err)
		}
		sum[r[0]+" "+r[1]] += v
		n[r[0]+" "+r[1]]++
	}
	for k := range sum {
		sum[k] /= n[k]
	}
	return sum
}

// BenchmarkPhilly is the queue-sharing table: October 2017 at quarter scale, 704
// GPUs, 11 queues. Waits of shared runs are compared with the private partitions.
func BenchmarkPhilly(b *testing.B) {
	tr, err := trace.Load(shared(b, "philly-2017"), trace.Options{})
	if err != nil {
		b.Fatal(err)
	}
	saving := *tr
	saving.Jobs = append([]trace.Job(nil), tr.Jobs...)
	for i := range saving.Jobs {
		saving.Jobs[i].CheckpointEvery = 1800e9
	}
	private, err := sim.Run(context.Background(), tr.Partitioned(), sim.Options{From: tr.Offset})
	if err != nil {
		b.Fatal(err)
	}
	for _, run := range []struct {
		name string
		tr   *trace.Trace
	}{
		{"partitions-fifo", tr.Partitioned()},
		{"pool-fifo", tr.Pooled()},
		{"guaranteed-fair", tr},
		{"guaranteed-fair-checkpoint-30m", &saving},
	} {
		b.Run(run.name, func(b *testing.B) {
			var res *sim.Result
			for range b.N {
				if res, err = sim.Run(context.Background(), run.tr, sim.Options{From: tr.Offset}); err != nil {
					b.Fatal(err)
				}
			}
			res.Card.Against(private.Card)
			j := res.Card.Jobs
			b.ReportMetric(j.WaitMean, "wait-mean-s")
			b.ReportMetric(j.WaitP50, "wait-p50-s")
			b.ReportMetric(j.WaitP99, "wait-p99-s")
			b.ReportMetric(j.JCTMean, "jct-mean-s")
			b.ReportMetric(100*j.WaitedHour, "waited-1h-%")
			b.ReportMetric(float64(*res.Card.QueuesWorseOff), "queues-worse-off")
			b.ReportMetric(float64(res.Card.Victims), "victims")
			b.ReportMetric(res.Card.LostGPUHours, "lost-GPU-h")
			b.ReportMetric(res.Card.GuaranteeDeficit, "deficit-GPU-h")
		})
	}
}
