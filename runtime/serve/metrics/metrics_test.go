package metrics_test

import (
	"flag"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"github.com/musterhq/muster/runtime/reload"
	"github.com/musterhq/muster/runtime/reload/guard"
	"github.com/musterhq/muster/runtime/serve/metrics"
	"github.com/musterhq/muster/runtime/serve/servetest"
	"github.com/musterhq/muster/runtime/serve/view"
	"github.com/musterhq/muster/runtime/usage"
)

var rewrite = flag.Bool("rewrite", false, "write testdata anew")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// whole is everything that can be told.
func whole(t *testing.T) (*servetest.Cluster, metrics.Options) {
	t.Helper()
	version := &reload.Version{Name: "mine", Version: "1.0", Digest: "sha256:1", Calls: &guard.Stats{Faults: 3}, Until: 1}
	probes := &servetest.Probes{}
	c := servetest.Busy(t, probes.Into(view.Options{Policies: func() reload.Status {
		return reload.Status{Policies: []reload.PolicyStatus{{Name: "order", Active: version}, {Name: "coming"}}}
	}}))
	probes.Report(c, func(job string, task int32) servetest.Doing {
		switch {
		case job == "train" && task == 0:
			return servetest.Doing{Idle: 3_600_000, Watched: 7_200_000}
		case job == "train" && task == 1:
			return servetest.Doing{Unknown: true}
		}
		return servetest.Doing{Busy: 750}
	})
	return c, metrics.Options{Version: "0.3.0", Revision: "abc", Probed: func() usage.Stats {
		return usage.Stats{Reports: 7, Refused: map[string]uint64{"other-node": 2}}
	}, Used: func() metrics.Used {
		return metrics.Used{Measured: 11, Strangers: 4, Unrequested: 1, Evicted: 3, HandedOut: 2}
	}, Acted: func() metrics.Acted {
		return metrics.Acted{Binds: 5, BindSeconds: metrics.Histogram{Count: 5, Sum: 0.5, Buckets: map[float64]uint64{0.1: 3, 1: 5}}}
	}}
}

func TestNamesUnitsAndHelpAreAsPrometheusWantsThem(t *testing.T) {
	c, o := whole(t)
	problems, err := testutil.GatherAndLint(metrics.New(c.Source, o))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// Dashboards and alerts are written against these names.
func TestTheNamesAndLabelsStayAsTheyAre(t *testing.T) {
	c, o := whole(t)
	families, err := metrics.New(c.Source, o).Gather()
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), "muster_") {
			continue
		}
		var labels []string
		for _, l := range f.GetMetric()[0].GetLabel() {
			labels = append(labels, l.GetName())
		}
		lines = append(lines, f.GetName()+"{"+strings.Join(labels, ",")+"} "+strings.ToLower(f.GetType().String()))
	}
	got := strings.Join(lines, "\n") + "\n"
	if *rewrite {
		if err := os.WriteFile("testdata/names.txt", []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/names.txt")
	if err != nil || got != string(want) {
		t.Errorf("go test -rewrite writes them anew; got\n%s", got)
	}
}

func TestQueuesAreToldInWholeGPUs(t *testing.T) {
	c, o := whole(t)
	want := `
# HELP muster_queue_guaranteed Guarantee of a queue as configured.
# TYPE muster_queue_guaranteed gauge
muster_queue_guaranteed{queue="root.research",resource="nvidia.com/gpu"} 16
muster_queue_guaranteed{queue="root.research.llm",resource="nvidia.com/gpu"} 12
muster_queue_guaranteed{queue="root.research.llm",resource="nvidia.com/gpu:H100"} 12
muster_queue_guaranteed{queue="root.research.vision",resource="nvidia.com/gpu"} 4
muster_queue_guaranteed{queue="root.research.vision",resource="nvidia.com/gpu:A100"} 4
muster_queue_guaranteed{queue="root.serving",resource="nvidia.com/gpu"} 8
# HELP muster_preemptions_total Victim units evicted, by rule: reclaim, straddle, priority.
# TYPE muster_preemptions_total counter
muster_preemptions_total{rule="reclaim"} 6
# HELP muster_policy_strikes_total Calls of the active version of a policy that the host had to stop.
# TYPE muster_policy_strikes_total counter
muster_policy_strikes_total{name="order"} 3
# HELP muster_queue_gpus_allocated GPUs that a queue uses, as far as its quota goes.
# TYPE muster_queue_gpus_allocated gauge
muster_queue_gpus_allocated{queue="root"} 32
muster_queue_gpus_allocated{queue="root.batch"} 20
muster_queue_gpus_allocated{queue="root.research"} 12
muster_queue_gpus_allocated{queue="root.research.llm"} 12
muster_queue_gpus_allocated{queue="root.research.vision"} 0
muster_queue_gpus_allocated{queue="root.serving"} 0
# HELP muster_queue_gpus_busy GPUs of a queue that do something, as if of such as always do.
# TYPE muster_queue_gpus_busy gauge
muster_queue_gpus_busy{queue="root"} 18
muster_queue_gpus_busy{queue="root.batch"} 15
muster_queue_gpus_busy{queue="root.research"} 3
muster_queue_gpus_busy{queue="root.research.llm"} 3
muster_queue_gpus_busy{queue="root.research.vision"} 0
muster_queue_gpus_busy{queue="root.serving"} 0
# HELP muster_queue_gpus_idle GPUs of a queue that have done nothing for five minutes or longer.
# TYPE muster_queue_gpus_idle gauge
muster_queue_gpus_idle{queue="root"} 4
muster_queue_gpus_idle{queue="root.batch"} 0
muster_queue_gpus_idle{queue="root.research"} 4
muster_queue_gpus_idle{queue="root.research.llm"} 4
muster_queue_gpus_idle{queue="root.research.vision"} 0
muster_queue_gpus_idle{queue="root.serving"} 0
# HELP muster_queue_gpus_unknown GPUs of a queue of which nobody knows what they do.
# TYPE muster_queue_gpus_unknown gauge
muster_queue_gpus_unknown{queue="root"} 4
muster_queue_gpus_unknown{queue="root.batch"} 0
muster_queue_gpus_unknown{queue="root.research"} 4
muster_queue_gpus_unknown{queue="root.research.llm"} 4
muster_queue_gpus_unknown{queue="root.research.vision"} 0
muster_queue_gpus_unknown{queue="root.serving"} 0
# HELP muster_probe_nodes Nodes with GPUs by the state of their probe: connected, stale, none.
# TYPE muster_probe_nodes gauge
muster_probe_nodes{state="connected"} 4
muster_probe_nodes{state="none"} 0
muster_probe_nodes{state="stale"} 0
# HELP muster_probe_reports_refused_total Reports and streams of probes that were refused.
# TYPE muster_probe_reports_refused_total counter
muster_probe_reports_refused_total{reason="other-node"} 2
# HELP muster_pod_measurements_total Measurements of a pod's GPUs that were taken in.
# TYPE muster_pod_measurements_total counter
muster_pod_measurements_total 11
# HELP muster_pod_measurements_of_strangers_total Measurements that were passed over, as their pod is not known: not yet, or not any more.
# TYPE muster_pod_measurements_of_strangers_total counter
muster_pod_measurements_of_strangers_total 4
# HELP muster_pods_unrequested_gpu_total Pods that were found to use a GPU which they did not ask for.
# TYPE muster_pods_unrequested_gpu_total counter
muster_pods_unrequested_gpu_total 1
# HELP muster_failed_gpu_evictions_total Pods evicted from GPUs that failed.
# TYPE muster_failed_gpu_evictions_total counter
muster_failed_gpu_evictions_total 3
# HELP muster_failed_gpu_handouts_total Times that a node gave pods a GPU that was known to have failed.
# TYPE muster_failed_gpu_handouts_total counter
muster_failed_gpu_handouts_total 2
`
	names := []string{
		"muster_queue_guaranteed", "muster_preemptions_total", "muster_policy_strikes_total", "muster_queue_gpus_allocated", "muster_queue_gpus_busy",
		"muster_queue_gpus_idle", "muster_queue_gpus_unknown", "muster_probe_nodes", "muster_probe_reports_refused_total",
		"muster_pod_measurements_total", "muster_pod_measurements_of_strangers_total", "muster_pods_unrequested_gpu_total",
		"muster_failed_gpu_evictions_total", "muster_failed_gpu_handouts_total",
	}
	if err := testutil.GatherAndCompare(metrics.New(c.Source, o), strings.NewReader(want), names...); err != nil {
		t.Error(err)
	}
}

// A label per job or user would make a series for each: the server would choke on them.
func TestNoSeriesIsAboutAJobANodeOrAUser(t *testing.T) {
	c, o := whole(t)
	families, err := metrics.New(c.Source, o).Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if v := l.GetValue(); slices.Contains([]string{"train", "late", "batch-00", "ann", "h-1"}, v) {
					t.Errorf("%s has %s=%q", f.GetName(), l.GetName(), v)
				}
			}
		}
	}
}

func TestAProcessThatStandsByTellsItsCountersAlone(t *testing.T) {
	c := servetest.Busy(t, view.Options{})
	s := view.NewSource(c.Loop, c.Recorder, view.Options{Leader: func() view.Leadership { return view.Leadership{} }})
	w := httptest.NewRecorder()
	metrics.Handler(metrics.New(s, metrics.Options{})).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	text := w.Body.String()
	if w.Code != 200 || !strings.Contains(text, "muster_leader 0\n") || strings.Contains(text, "muster_queue_used") || !strings.Contains(text, "go_goroutines") {
		t.Errorf("%d\n%s", w.Code, text)
	}
}

// An alert on idle GPUs must take silence neither for work nor for idleness.
func TestWithoutProbesNothingIsSaidOfWhatGPUsDo(t *testing.T) {
	probes := &servetest.Probes{}
	for name, o := range map[string]view.Options{"nobody asks": {}, "nobody answers": probes.Into(view.Options{})} {
		w := httptest.NewRecorder()
		metrics.Handler(metrics.New(servetest.Busy(t, o).Source, metrics.Options{})).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
		if text := w.Body.String(); strings.Contains(text, "muster_queue_gpus") || !strings.Contains(text, `muster_probe_nodes{state="none"} 4`) {
			t.Errorf("%s:\n%s", name, text)
		}
	}
}
