package observe

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"k8s.io/client-go/kubernetes"
)

// Throughput is how fast pods got their nodes.
type Throughput struct {
	Bound int
	// Took is the time from the first pod's creation to the last bind.
	Took time.Duration
	// FirstBind is the time from the first pod's creation to the first bind.
	FirstBind time.Duration
}

// PerSecond is pods by second, 0 if nothing was bound.
func (t Throughput) PerSecond() float64 {
	if t.Took <= 0 {
		return 0
	}
	return float64(t.Bound) / t.Took.Seconds()
}

func (t Throughput) String() string {
	return fmt.Sprintf("%d pods in %.1f s, %.0f pods/s, first after %.2f s", t.Bound, t.Took.Seconds(), t.PerSecond(), t.FirstBind.Seconds())
}

// ThroughputOf measures the pods for which ours is true. since, if not zero, counts as
// the time of creation of pods that are older: they waited for something else before.
func ThroughputOf(pods []Pod, since time.Time, ours func(Pod) bool) Throughput {
	var t Throughput
	var created, first, last time.Time
	for _, p := range pods {
		if !ours(p) || p.Bound.IsZero() {
			continue
		}
		t.Bound++
		if created.IsZero() || p.Created.Before(created) {
			created = p.Created
		}
		if first.IsZero() || p.Bound.Before(first) {
			first = p.Bound
		}
		if p.Bound.After(last) {
			last = p.Bound
		}
	}
	if created.Before(since) {
		created = since
	}
	t.Took, t.FirstBind = last.Sub(created), first.Sub(created)
	return t
}

// Gang counts the members of one gang.
type Gang struct{ Runs, Waits int }

// Gangs counts by gang; of says which one a pod belongs to, "" for none.
func Gangs(pods []Pod, of func(Pod) string) map[string]Gang {
	out := map[string]Gang{}
	for _, p := range pods {
		name := of(p)
		if name == "" {
			continue
		}
		g := out[name]
		switch {
		case p.Runs():
			g.Runs++
		case p.Waits():
			g.Waits++
		}
		out[name] = g
	}
	return out
}

// Torn names the gangs of which some members run, but fewer than must.
func Torn(gangs map[string]Gang, min func(gang string) int) []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(gangs)) {
		if g := gangs[name]; g.Runs > 0 && g.Runs < min(name) {
			out = append(out, fmt.Sprintf("%s runs %d of at least %d", name, g.Runs, min(name)))
		}
	}
	return out
}

// Bindings asks the API server how many pods/binding requests it has answered since it
// started, by status code: 201 is a bind, 409 one of a pod that already had a node.
func Bindings(ctx context.Context, client kubernetes.Interface) (map[string]int, error) {
	text, err := client.CoreV1().RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the API server's metrics: %w", err)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(string(text)))
	if err != nil {
		return nil, fmt.Errorf("reading the API server's metrics: %w", err)
	}
	out := map[string]int{}
	for _, m := range families["apiserver_request_total"].GetMetric() {
		l := labels(m)
		if l["resource"] == "pods" && l["subresource"] == "binding" {
			out[l["code"]] += int(m.GetCounter().GetValue())
		}
	}
	return out, nil
}

func labels(m *dto.Metric) map[string]string {
	out := map[string]string{}
	for _, l := range m.GetLabel() {
		out[l.GetName()] = l.GetValue()
	}
	return out
}

// Latest returns the n pods that were bound last, in that order.
func Latest(pods []Pod, n int) []Pod {
	bound := slices.Clone(pods)
	slices.SortStableFunc(bound, func(a, b Pod) int { return a.Bound.Compare(b.Bound) })
	return bound[max(0, len(bound)-n):]
}
