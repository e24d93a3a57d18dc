package e2e_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/musterhq/muster/runtime/kube/e2e/load"
	"github.com/musterhq/muster/runtime/kube/e2e/observe"
	"github.com/musterhq/muster/runtime/kube/kubetest"
)

// table is what -figures writes; each row is also in the output of the test.
type table struct {
	t    testing.TB
	file string
}

func newTable(t testing.TB, title string, columns ...string) *table {
	t.Helper()
	f := &table{t: t, file: *figures}
	f.line("\n## %s\n\n| %s |\n|%s", title, strings.Join(columns, " | "), strings.Repeat(" --- |", len(columns)))
	return f
}

func (f *table) row(cells ...any) {
	text := make([]string, len(cells))
	for i, c := range cells {
		text[i] = fmt.Sprint(c)
		if x, ok := c.(float64); ok {
			text[i] = strconv.FormatFloat(x, 'f', 1, 64)
		}
	}
	f.line("| %s |", strings.Join(text, " | "))
}

func (f *table) line(format string, args ...any) {
	f.t.Helper()
	text := fmt.Sprintf(format, args...)
	f.t.Log(text)
	if f.file == "" {
		return
	}
	out, err := os.OpenFile(f.file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	must(f.t, err)
	_, err = fmt.Fprintln(out, text)
	must(f.t, err)
	must(f.t, out.Close())
}

// needFigures skips what is too big for every day.
func needFigures(t testing.TB) {
	t.Helper()
	if *figures == "" {
		t.Skip("this is measured at full size only: -figures FILE")
	}
}

// usage is what a process has taken so far: CPU in seconds, resident memory and its peak in MiB.
type usage struct{ cpu, rss, peak float64 }

// processUsage reads /proc (proc(5)).
func processUsage(t testing.TB, pid int) usage {
	t.Helper()
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	must(t, err)
	_, rest, _ := strings.Cut(string(stat), ") ") // a name may hold spaces
	fields := strings.Fields(rest)
	ticks := func(i int) float64 { n, _ := strconv.ParseFloat(fields[i], 64); return n / 100 }
	u := usage{cpu: ticks(11) + ticks(12)}
	status, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	must(t, err)
	for line := range strings.SplitSeq(string(status), "\n") {
		key, value, _ := strings.Cut(line, ":")
		kib, _ := strconv.ParseFloat(strings.Fields(value + " 0")[0], 64)
		switch key {
		case "VmRSS":
			u.rss = kib / 1024
		case "VmHWM":
			u.peak = kib / 1024
		}
	}
	return u
}

// size is how big a comparison is.
type size struct{ nodes, pods int }

var (
	fullSize  = size{1000, 5000}
	dailySize = size{200, 1000}
)

const queueCount = 10

func queueNames() []string {
	names := make([]string, queueCount)
	for i := range names {
		names[i] = fmt.Sprintf("root.q%d", i)
	}
	return names
}

// noKubelets is a world without kwok, whose nodes are Ready all the same: pods are bound
// and nobody runs them.
func noKubelets(t testing.TB, o kubetest.Options) *world {
	t.Helper()
	o.NoKwok = true
	w := newWorld(t, o)
	ready := []byte(`{"status":{"conditions":[{"type":"Ready","status":"True","reason":"Test"}]}}`)
	must(t, load.Each(t.Context(), w.seen.Nodes(), func(ctx context.Context, node string) error {
		_, err := w.Client.CoreV1().Nodes().Patch(ctx, node, types.StrategicMergePatchType, ready, metav1.PatchOptions{}, "status")
		return err
	}))
	return w
}

// sized is a world of a size, with or without kubelets.
func sized(t testing.TB, s size, kwok bool, o kubetest.Options) *world {
	t.Helper()
	o.Nodes = s.nodes
	if kwok {
		return newWorld(t, o)
	}
	return noKubelets(t, o)
}

// backlog is what every contender of a comparison gets: the same pods, there before it
// begins. At full size the control plane has a moment to be done with having made them,
// which would else be taken from whoever is the quickest to begin.
func backlog(w *world, s size, scheduler string) []*corev1.Pod {
	pods := load.Plain(s.pods, queueNames(), load.Shape{
		Namespace: w.namespace("load"), Scheduler: scheduler, CPU: "4", Memory: "16Gi", GPUs: 1,
	})
	must(w.t, load.Create(w.t.Context(), w.Client, pods))
	w.wait(func(pods []observe.Pod) (bool, string) {
		n := count(pods, in("load"))
		return n == s.pods, fmt.Sprintf("the watch to show %d pods; now it is %d", s.pods, n)
	})
	if s == fullSize {
		time.Sleep(5 * time.Second)
	}
	return pods
}

// rate is how fast the backlog was bound, from the first bind to the last: whatever a
// contender needs to start with is left out.
func rate(pods []observe.Pod) float64 {
	var first, last time.Time
	n := 0
	for _, p := range pods {
		if p.Namespace != "load" || p.Bound.IsZero() {
			continue
		}
		if n++; first.IsZero() || p.Bound.Before(first) {
			first = p.Bound
		}
		if p.Bound.After(last) {
			last = p.Bound
		}
	}
	return float64(n-1) / last.Sub(first).Seconds()
}

// median of what was measured, and its range for people.
func median(rates []float64) (middle float64, text string) {
	sorted := slices.Sorted(slices.Values(rates))
	middle = sorted[len(sorted)/2]
	return middle, fmt.Sprintf("%.0f (%.0f-%.0f)", middle, sorted[0], sorted[len(sorted)-1])
}

// stockRate is kube-scheduler's, with its default profile and its limits lifted.
func stockRate(t *testing.T, s size, kwok bool) float64 {
	w := sized(t, s, kwok, kubetest.Options{Baseline: true})
	w.Stop(kubetest.Scheduler)
	backlog(w, s, corev1.DefaultSchedulerName)
	w.Start(kubetest.Scheduler)
	return rate(w.bound("load", s.pods))
}

// rawRate is that of 16 workers that bind without deciding anything.
func rawRate(t *testing.T, s size, kwok bool) float64 {
	w := sized(t, s, kwok, kubetest.Options{})
	pods := backlog(w, s, "nobody")
	ctx, cancel := context.WithTimeout(t.Context(), *generous)
	defer cancel()
	must(t, load.Bind(ctx, w.Client, pods, w.seen.Nodes()))
	return rate(w.bound("load", s.pods))
}
