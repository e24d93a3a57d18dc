package e2e_test

import (
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
