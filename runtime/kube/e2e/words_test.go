package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/musterhq/muster/runtime/kube/e2e/observe"
)

// which says something of a pod; several are joined by and.
type which func(observe.Pod) bool

func count(pods []observe.Pod, all ...which) int { return len(only(pods, all...)) }

// only returns the pods for which all holds.
func only(pods []observe.Pod, all ...which) []observe.Pod {
	var out []observe.Pod
pods:
	for _, p := range pods {
		for _, holds := range all {
			if !holds(p) {
				continue pods
			}
		}
		out = append(out, p)
	}
	return out
}

func in(namespace string) which { return func(p observe.Pod) bool { return p.Namespace == namespace } }

func labelled(key, value string) which {
	return func(p observe.Pod) bool { return p.Labels[key] == value }
}

func runs(p observe.Pod) bool   { return p.Runs() }
func waits(p observe.Pod) bool  { return p.Waits() }
func leaves(p observe.Pod) bool { return !p.Deleted.IsZero() }

func not(a which) which        { return func(p observe.Pod) bool { return !a(p) } }
func named(n string) which     { return func(p observe.Pod) bool { return p.Name == n } }
func there(p observe.Pod) bool { return p.Gone.IsZero() }

// told says that a pod waits and has been told why.
func told(p observe.Pod) bool {
	c := p.Condition(corev1.PodScheduled)
	return p.Waits() && c != nil && c.Status == corev1.ConditionFalse
}

// queue is one leaf below root, in YuniKorn's words; amounts are GPUs, "" is none.
type queue struct{ name, guaranteed, max, more string }

// tree is a queues.yaml.
func tree(queues ...queue) string {
	var b strings.Builder
	b.WriteString("partitions:\n  - name: default\n    queues:\n      - name: root\n        queues:\n")
	for _, q := range queues {
		fmt.Fprintf(&b, "          - name: %s\n", q.name)
		if q.guaranteed != "" || q.max != "" {
			b.WriteString("            resources:\n")
		}
		if q.guaranteed != "" {
			fmt.Fprintf(&b, "              guaranteed: {nvidia.com/gpu: %s}\n", q.guaranteed)
		}
		if q.max != "" {
			fmt.Fprintf(&b, "              max: {nvidia.com/gpu: %s}\n", q.max)
		}
		for line := range strings.Lines(q.more) {
			b.WriteString("            " + line)
		}
		if q.more != "" {
			b.WriteString("\n")
		}
	}
	return b.String()
}

// nodesFile describes equal nodes with so many GPUs each.
func nodesFile(t testing.TB, count, gpus int) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "nodes.yaml")
	text := fmt.Sprintf("nodes: [{count: %d, name: gpu, product: H100, capacity: {nvidia.com/gpu: \"%d\"}}]\n", count, gpus)
	must(t, os.WriteFile(file, []byte(text), 0o600))
	return file
}
