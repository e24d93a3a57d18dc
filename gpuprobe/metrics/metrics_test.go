package metrics

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/musterhq/muster/gpuprobe/agent"
	"github.com/musterhq/muster/gpuprobe/wire"
)

var rewrite = flag.Bool("rewrite", false, "write testdata/names.txt anew")

func to[T any](v T) *T { return &v }

var at = time.Unix(1000, 0)

func full() *agent.State {
	return &agent.State{
		At: at, Sweep: 3, Counts: agent.Counts{SweepTime: 300 * time.Millisecond, ArmedPIDs: 1, LostEvents: 2, Garbage: 3, Unowned: 4, Dropped: 5},
		Sources: []agent.Source{{Name: agent.SourceNVML, Up: true}, {Name: agent.SourceEBPF, Reason: "KernelTooOld"}},
		GPUs: []agent.GPU{{
			UUID: "GPU-1", Product: "NVIDIA H100", At: at.Add(-2 * time.Second), Busy: to(uint32(730)), SM: to(uint32(410)),
			MemoryUsed: to(uint64(5 << 30)), MemoryTotal: to(uint64(80 << 30)), PowerMW: to(uint32(412_500)), TemperatureC: to(uint32(61)),
			Health: wire.Health_FAILED, XIDs: []agent.XIDCount{{XID: 31, Count: 2}, {XID: 79, Count: 1}},
		}},
		Uses: []agent.Use{{
			Owner: "uid-a", GPU: "GPU-1", Namespace: "team", Pod: "a", Busy: to(uint32(700)), Basis: wire.Basis_PROCESS, Memory: to(uint64(4 << 30)),
			LastActive: at.Add(-time.Minute), WatchedSince: at.Add(-30 * time.Second), NoLaunchSince: at.Add(-time.Hour), Assigned: to(true),
		}},
	}
}

func collector(s *agent.State) *Collector {
	return New(func() *agent.State { return s }, func() time.Time { return at.Add(time.Second) })
}

func TestSeriesOfAState(t *testing.T) {
	c := collector(full())
	for name, want := range map[string]string{
		"muster_gpu_busy_ratio":       `muster_gpu_busy_ratio{gpu="GPU-1"} 0.73`,
		"muster_gpu_power_watts":      `muster_gpu_power_watts{gpu="GPU-1"} 412.5`,
		"muster_gpu_age_seconds":      `muster_gpu_age_seconds{gpu="GPU-1"} 3`,
		"muster_gpu_xid_total":        "muster_gpu_xid_total{gpu=\"GPU-1\",xid=\"31\"} 2\nmuster_gpu_xid_total{gpu=\"GPU-1\",xid=\"79\"} 1",
		"muster_pod_gpu_assigned":     `muster_pod_gpu_assigned{gpu="GPU-1",namespace="team",pod="a",pod_uid="uid-a"} 1`,
		"muster_pod_gpu_busy_ratio":   `muster_pod_gpu_busy_ratio{basis="process",gpu="GPU-1",namespace="team",pod="a",pod_uid="uid-a"} 0.7`,
		"muster_pod_gpu_idle_seconds": `muster_pod_gpu_idle_seconds{gpu="GPU-1",namespace="team",pod="a",pod_uid="uid-a"} 61`,
		"muster_probe_source_up":      "muster_probe_source_up{reason=\"\",source=\"nvml\"} 1\nmuster_probe_source_up{reason=\"KernelTooOld\",source=\"ebpf\"} 0",
		"muster_probe_sweep_seconds":  "muster_probe_sweep_seconds_sum 0.3\nmuster_probe_sweep_seconds_count 3",
		"muster_gpu_health": `muster_gpu_health{gpu="GPU-1",state="degraded"} 0
muster_gpu_health{gpu="GPU-1",state="failed"} 1
muster_gpu_health{gpu="GPU-1",state="healthy"} 0
muster_gpu_health{gpu="GPU-1",state="unknown"} 0
muster_gpu_health{gpu="GPU-1",state="unresponsive"} 0`,
	} {
		kind := "gauge"
		switch {
		case strings.HasSuffix(name, "_total"):
			kind = "counter"
		case name == "muster_probe_sweep_seconds":
			kind = "summary"
		}
		text := "# HELP " + name + " " + helpOf(t, name) + "\n# TYPE " + name + " " + kind + "\n" + want + "\n"
		if err := testutil.CollectAndCompare(c, strings.NewReader(text), name); err != nil {
			t.Error(err)
		}
	}
}

// A driver that hangs: its last values must not stand for what is now.
func TestValuesThatAreTooOldAreLeftOut(t *testing.T) {
	s := full()
	s.GPUs[0].At, s.Uses[0].At = at.Add(-oldAfter), at.Add(-oldAfter)
	c := collector(s)
	for _, name := range []string{
		"muster_gpu_busy_ratio", "muster_gpu_sm_ratio", "muster_gpu_memory_used_bytes", "muster_gpu_power_watts",
		"muster_gpu_temperature_celsius", "muster_pod_gpu_busy_ratio", "muster_pod_gpu_memory_used_bytes",
	} {
		if n := testutil.CollectAndCount(c, name); n != 0 {
			t.Errorf("%s is told of a driver that has not answered for two minutes", name)
		}
		if n := testutil.CollectAndCount(collector(full()), name); n != 1 {
			t.Errorf("%s is not told", name)
		}
	}
	for _, name := range []string{"muster_gpu_age_seconds", "muster_gpu_memory_size_bytes", "muster_gpu_xid_total"} {
		if testutil.CollectAndCount(c, name) == 0 {
			t.Errorf("%s is what it was", name)
		}
	}
}

func helpOf(t *testing.T, name string) string {
	t.Helper()
	for _, d := range all {
		if _, rest, ok := strings.Cut(d.String(), `fqName: "`+name+`", help: "`); ok {
			help, _, _ := strings.Cut(rest, `", `)
			return help
		}
	}
	t.Fatalf("no metric %s", name)
	return ""
}

func TestNamesAreAsPrometheusWantsThem(t *testing.T) {
	problems, err := testutil.CollectAndLint(collector(full()))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// Dashboards and alerts are written against these names.
func TestTheNamesAndLabelsStayAsTheyAre(t *testing.T) {
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(collector(full()))
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for _, f := range families {
		var labels []string
		for _, l := range f.GetMetric()[0].GetLabel() {
			labels = append(labels, l.GetName())
		}
		fmt.Fprintf(&got, "%s{%s} %s\n", f.GetName(), strings.Join(labels, ","), strings.ToLower(f.GetType().String()))
	}
	if len(families) != len(all) {
		t.Errorf("%d of %d series are there", len(families), len(all))
	}
	if *rewrite {
		if err := os.WriteFile("testdata/names.txt", []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/names.txt")
	if err != nil || got.String() != string(want) {
		t.Errorf("go test -rewrite writes them anew; got\n%s", got.String())
	}
}

// What is not known has no series; what is gone has none any more.
func TestUnknownHasNoSeries(t *testing.T) {
	s := &agent.State{At: at, GPUs: []agent.GPU{{UUID: "GPU-1"}}, Uses: []agent.Use{{Owner: "uid-a", GPU: "GPU-1"}}}
	c := collector(s)
	for _, name := range []string{"muster_gpu_busy_ratio", "muster_gpu_memory_used_bytes", "muster_gpu_age_seconds", "muster_gpu_xid_total"} {
		if n := testutil.CollectAndCount(c, name); n != 0 {
			t.Errorf("%s: %d series", name, n)
		}
	}
	if n := podSeries(t, c); n != 0 {
		t.Errorf("%d series of a pod of which nothing is known", n)
	}
}

func TestSeriesVanishWithTheirPod(t *testing.T) {
	s := full()
	c := New(func() *agent.State { return s }, func() time.Time { return at })
	if n := podSeries(t, c); n != 6 {
		t.Fatalf("%d series of a pod", n)
	}
	s = &agent.State{At: at, GPUs: s.GPUs}
	if n := podSeries(t, c); n != 0 {
		t.Fatalf("%d series of a pod that is gone", n)
	}
}

func podSeries(t *testing.T, c prometheus.Collector) (n int) {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(c)
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if strings.HasPrefix(f.GetName(), "muster_pod_") {
			n += len(f.GetMetric())
		}
	}
	return n
}
