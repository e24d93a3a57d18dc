package pods

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/musterhq/muster/builtin/spec"
)

// Foreign sums up the pods of others on one node: what they take, for which terms they
// count, and how many of them keep a term out of its domain. Ended pods are left out. Each
// pod holds its terms in t until Forget.
func Foreign(pods []*corev1.Pod, t *Terms) (used spec.Resources, counts map[string]int32, avoids map[spec.Term]int32) {
	counts, avoids = map[string]int32{}, map[spec.Term]int32{}
	for _, pod := range pods {
		if Terminal(pod) {
			t.Forget(pod)
			continue
		}
		request, _ := requestOf(pod)
		used = sumInto(used, request)
		for _, term := range t.keptOut(pod) {
			avoids[term]++
		}
	}
	for _, pod := range pods { // now that all terms are known
		if Terminal(pod) {
			continue
		}
		for _, id := range t.Counts(pod) {
			counts[id]++
		}
	}
	return used, counts, avoids
}

// keptOut registers and returns the terms that a pod has none of near it.
func (t *Terms) keptOut(pod *corev1.Pod) []spec.Term {
	n := nearness{pod: pod, terms: t}
	_, avoid := requiredOf(pod)
	n.avoids(avoid)
	n.onNode()
	t.hold(uid(pod), n.used)
	return n.avoided()
}
