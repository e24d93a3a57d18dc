package trace

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/spec"
)

// The expected figures are those of the traces' READMEs and of the recorded
// research, counted by other programs.
func TestEverySharedTraceIsReadAsItsREADMEDescribesIt(t *testing.T) {
	for _, c := range []struct {
		name, path string
		o          Options
		format     string
		nodes      int
		gpus       int64
		leaves     int
		jobs       int
		note       string
	}{
		{"openb in time", "openb-2023", Options{}, "openb", 1213, 6212, 1, 8152, ""},
		{"openb variant without times", "openb-2023/openb_pod_list_multigpu50.csv.gz", Options{}, "openb", 1213, 6212, 1, 9061, "static fill"},
		{"philly folder brings its warm-up", "philly-2017", Options{}, "philly", 88, 704, 11, 47192 + 5657 - 8, "dropped 8 jobs of virtual cluster 23dbec"},
		{"philly October alone", "philly-2017/philly_jobs_2017-10.csv.gz", Options{}, "philly", 88, 704, 11, 47192, "no max"},
		{"lublin on 256 processors", "swf-backfill/lublin_256.swf.gz", Options{}, "swf", 32, 256, 1, 10000, "request no time"},
		{"wagap on the machines of its list", "swf-backfill/wagap-2013.swf.gz", Options{}, "swf", 272, 2176, 11, 17898, "dropped 2 jobs"},
		{"shockwave 120 on 32 GPUs", "shockwave-tacc32/jobs_120_with_published_results.csv.gz", Options{}, "shockwave", 4, 32, 1, 120, ""},
		{"shockwave 900 on 256 GPUs", "shockwave-tacc32/jobs_900_trace_only.csv.gz", Options{}, "shockwave", 32, 256, 1, 900, ""},
		{"muri 1", "muri-philly64/trace1.csv.gz", Options{}, "muri", 8, 64, 1, 1494, ""},
		{"muri 2", "muri-philly64/trace2.csv.gz", Options{}, "muri", 8, 64, 1, 5755, ""},
		{"chronus with best-effort jobs", "chronus-philly-slo/trace_job_Philly_MIX1.csv.gz", Options{}, "chronus", 128, 1024, 11, 30940 - 184, "dropped 184 jobs without GPUs"},
		{"talk 1 by its prefix", "talk-scenarios/t1", Options{}, "csv", 25, 100, 2, 220, ""},
		{"talk 2 from its folder by name", "talk-scenarios", Options{Name: "t2", Format: "talk"}, "talk", 64, 512, 5, 4901, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			tr := mustLoad(t, shared(t, c.path), c.o)
			got := []any{tr.Format, len(tr.Nodes), int64(tr.MilliGPUs() / 1000), len(tr.Leaves()), len(tr.Jobs)}
			want := []any{c.format, c.nodes, c.gpus, c.leaves, c.jobs}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("format, nodes, GPUs, leaves, jobs: %s", d)
			}
			if !strings.Contains(strings.Join(tr.Notes, "\n"), c.note) {
				t.Errorf("no note says %q: %q", c.note, tr.Notes)
			}
			checkInvariants(t, tr)
		})
	}
}

// checkInvariants holds for every trace that any reader returns.
func checkInvariants(t *testing.T, tr *Trace) {
	t.Helper()
	leaves := map[string]bool{}
	for _, l := range tr.Leaves() {
		leaves[l.Path] = true
	}
	ids := map[string]bool{}
	for i, j := range tr.Jobs {
		if ids[j.ID] || !leaves[j.Queue] || j.Submit < 0 || j.Run < 0 || len(j.Tasks) != 1 {
			t.Fatalf("job %d is not well-formed: %+v", i, j)
		}
		ids[j.ID] = true
		if i > 0 && j.Submit < tr.Jobs[i-1].Submit {
			t.Fatalf("job %s comes before its submit time", j.ID)
		}
		if g := j.Tasks[0]; g.Min < 0 || g.Min > g.Size || g.Size < 1 {
			t.Fatalf("job %s has a gang of %d to %d", j.ID, g.Min, g.Size)
		}
	}
}

func TestPhillyQuotasAreTheQuarterOfSection34(t *testing.T) {
	tr := mustLoad(t, shared(t, "philly-2017"), Options{})
	var got []int64
	for _, l := range tr.Leaves() {
		got = append(got, int64(l.Guaranteed/1000))
	}
	if d := cmp.Diff([]int64{128, 64, 32, 128, 128, 32, 64, 32, 16, 16, 64}, got); d != "" {
		t.Error(d)
	}
	first := tr.Jobs[0]
	if !first.Warmup || first.Submit != 0 || tr.Offset != 2294959*spec.Second {
		t.Errorf("September begins at %d, offset %d, warm-up %v", first.Submit, tr.Offset, first.Warmup)
	}
	i := slices.IndexFunc(tr.Jobs, func(j Job) bool { return !j.Warmup })
	if j := tr.Jobs[i]; j.Submit-tr.Offset != 45*spec.Second || j.Queue != "root.6214e9" {
		t.Errorf("the first job of October is %s at %d", j.Queue, j.Submit-tr.Offset)
	}
}

func TestPartitionedClosesQueuesAndPooledOpensThem(t *testing.T) {
	tr := Talk1()
	for _, l := range tr.Partitioned().Leaves() {
		if l.Max != l.Guaranteed {
			t.Errorf("%s may take %d of %d guaranteed", l.Path, l.Max, l.Guaranteed)
		}
	}
	p := tr.Pooled()
	if d := cmp.Diff([]Leaf{{"root.default", 0, amount.Max}}, p.Leaves()); d != "" {
		t.Error(d)
	}
	checkInvariants(t, p)
	if d := cmp.Diff(Talk1(), tr); d != "" {
		t.Errorf("the original changed: %s", d)
	}
}

func TestAJobWiderThanANodeIsSplitIntoTheFewestEqualTasks(t *testing.T) {
	for _, c := range [][3]int64{{1, 1, 1}, {8, 1, 8}, {12, 2, 6}, {16, 2, 8}, {20, 4, 5}, {24, 3, 8}, {128, 16, 8}, {13, 13, 1}} {
		g := gangOf(c[0], 8)
		a, _ := g.Request.Get(amount.GPUName)
		if g.Min != c[1] || g.Size != c[1] || int64(a) != c[2]*1000 {
			t.Errorf("%d GPUs: %d tasks of %d, not %d of %d", c[0], g.Size, a/1000, c[1], c[2])
		}
	}
}

func TestOpenbPodsKeepFractionsModelsAndTimes(t *testing.T) {
	dir := files(t, map[string]string{
		"openb_node_list_gpu_node.csv": lines("sn,cpu_milli,memory_mib,gpu,model", "n0,64000,262144,2,P100"),
		"pods.csv": lines("name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,creation_time,deletion_time,scheduled_time",
			"a,6000,12288,1,460,P100|T4,LS,Running,100,900,300",
			"b,1000,10,0,0,,BE,Pending,50,60,"),
	})
	tr := mustLoad(t, dir+"/pods.csv", Options{})
	want := []Job{
		{Job: spec.Job{ID: "b", Queue: "root.default", Submit: 50 * spec.Second, Tasks: []spec.TaskGroup{
			{Name: "worker", Min: 1, Size: 1, Request: spec.Resources{{Name: "cpu", Amount: 1000}, {Name: "memory", Amount: 10 << 20}}},
		}}, Run: 10 * spec.Second},
		{Job: spec.Job{ID: "a", Queue: "root.default", Submit: 100 * spec.Second, Tasks: []spec.TaskGroup{
			{Name: "worker", Min: 1, Size: 1, GPUTypes: []string{"P100", "T4"}, Request: spec.Resources{
				{Name: "cpu", Amount: 6000}, {Name: "memory", Amount: 12288 << 20}, {Name: "nvidia.com/gpu", Amount: 460},
			}},
		}}, Run: 600 * spec.Second},
	}
	if d := cmp.Diff(want, tr.Jobs); d != "" {
		t.Error(d)
	}
	if n := tr.Nodes[0]; n.GPUType != "P100" || len(n.Capacity) != 3 {
		t.Errorf("node: %+v", n)
	}
	if j := mustLoad(t, dir+"/pods.csv", Options{Static: true}).Jobs[0]; j.ID != "a" || j.Submit != 0 || j.Run != 0 {
		t.Errorf("a static fill keeps the file's order and no times: %+v", j)
	}
}

func TestFillReaches130PercentOnceAndTheSameForOneSeed(t *testing.T) {
	tr := mustLoad(t, shared(t, "openb-2023"), Options{Static: true})
	a, b, c := tr.Fill(1300, 42), tr.Fill(1300, 42), tr.Fill(1300, 43)
	if d := cmp.Diff(a, b); d != "" {
		t.Errorf("one seed, two fills: %s", d)
	}
	if a.Jobs[0].ID == c.Jobs[0].ID && a.Jobs[1].ID == c.Jobs[1].ID {
		t.Error("two seeds begin alike")
	}
	var sum amount.Amount
	for i := range a.Jobs {
		sum += a.Jobs[i].MilliGPUs()
	}
	limit := tr.MilliGPUs().Scale(1300, 1000)
	if sum > limit || sum < limit-8000 {
		t.Errorf("%d milli-GPUs asked for, limit %d", sum, limit)
	}
	checkInvariants(t, a)
	small := tr.Fill(500, 1)
	checkInvariants(t, small)
	if len(small.Jobs) >= len(tr.Jobs) || len(small.Jobs) == 0 {
		t.Errorf("half the GPUs take %d of %d jobs", len(small.Jobs), len(tr.Jobs))
	}
}

func TestChronusDeadlinesAreAbsoluteAndBestEffortHasNone(t *testing.T) {
	dir := files(t, map[string]string{"x.csv": lines(
		"job_id,user,num_gpu,submit_time,duration,expect_time_list,expect_value_list,best_effort,job_type",
		"0,vc_a,1,100,50,80,10,0,strict", "1,vc_b,2,10,50,70-90,10-5,0,soft", "2,vc_a,1,5,50,5,10,1,best")})
	tr := mustLoad(t, dir+"/x.csv", Options{PerfectEstimates: true})
	got := map[string]spec.Time{}
	for _, j := range tr.Jobs {
		got[j.ID] = j.Deadline / spec.Second
		if j.Duration != j.Run {
			t.Errorf("job %s declares %d of %d", j.ID, j.Duration, j.Run)
		}
	}
	if d := cmp.Diff(map[string]spec.Time{"j0": 180, "j1": 80, "j2": 0}, got); d != "" {
		t.Error(d)
	}
}

func TestSplitmix64IsTheReferenceSequence(t *testing.T) {
	r := NewRand(1234567) // the published test vector of the algorithm
	for _, want := range []uint64{6457827717110365317, 3203168211198807973, 9817491932198370423} {
		if got := r.Uint64(); got != want {
			t.Fatalf("%d, not %d", got, want)
		}
	}
	if NewRand(1).Below(0) != 0 || NewRand(1).Below(1) != 0 {
		t.Error("nothing is below 1 but 0")
	}
}

func TestTheLimitsLeaveRoomForSums(t *testing.T) {
	if maxSeconds*spec.Second > math.MaxInt64/4 {
		t.Error("submit + offset + deadline may overflow")
	}
	if amount.Amount(maxGPUs*1000).Mul(maxCount) > amount.Limit {
		t.Error("one job may ask for more than amount.Limit")
	}
}
