package e2e_test

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/musterhq/muster/runtime/kube/e2e/load"
	"github.com/musterhq/muster/runtime/kube/e2e/observe"
	"github.com/musterhq/muster/runtime/kube/kubetest"
)

// volcanoCRD is Volcano's PodGroup without a schema.
const volcanoCRD = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: podgroups.scheduling.volcano.sh}
spec:
  group: scheduling.volcano.sh
  scope: Namespaced
  names: {kind: PodGroup, listKind: PodGroupList, plural: podgroups, singular: podgroup}
  versions:
    - name: v1beta1
      served: true
      storage: true
      subresources: {status: {}}
      schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
`

const urgentGroup = `
apiVersion: scheduling.k8s.io/v1
kind: PriorityClass
metadata: {name: urgent}
value: 1000
---
apiVersion: scheduling.volcano.sh/v1beta1
kind: PodGroup
metadata: {name: g, namespace: group}
spec: {minMember: 2, queue: root.q, priorityClassName: urgent}
`

// TestAVolcanoGroupGoesByItsPriorityClass: its pods have no priority of their own, as
// Volcano's users leave them, and their queue is full of pods that have none either.
func TestAVolcanoGroupGoesByItsPriorityClass(t *testing.T) {
	w := auditedWorld(t, kubetest.Options{Products: "H100=1"})
	w.install(tree(queue{name: "q", more: "preemption: {delay: 1s}"}))
	w.define([]byte(volcanoCRD))
	w.scheduler("a").ready()
	shape := func(ns string) load.Shape {
		return load.Shape{Namespace: w.namespace(ns), Scheduler: "muster", CPU: "1", GPUs: 4}
	}
	must(t, load.Create(t.Context(), w.Client, load.Plain(2, []string{"root.q"}, shape("before"))))
	w.bound("before", 2)

	member := shape("group")
	member.Annotations = map[string]string{"scheduling.k8s.io/group-name": "g"}
	w.apply([]byte(urgentGroup))
	must(t, load.Create(t.Context(), w.Client, []*corev1.Pod{member.Pod("m0"), member.Pod("m1")}))
	w.wait(func(pods []observe.Pod) (bool, string) {
		group, before := count(pods, in("group"), runs), count(pods, in("before"), there, not(leaves))
		return group == 2 && before == 0, fmt.Sprintf("the group in the place of the pods before it; now %d of it run and %d of these", group, before)
	})
}
