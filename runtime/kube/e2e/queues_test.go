package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/musterhq/muster/deploy"
	"github.com/musterhq/muster/runtime/kube/e2e/load"
	"github.com/musterhq/muster/runtime/kube/kubetest"
)

// yunikornDefault is what YuniKorn does without any configuration.
const yunikornDefault = `
partitions:
  - name: default
    placementrules:
      - {name: tag, value: namespace, create: true}
    queues:
      - name: root
        submitacl: '*'
`

// teams has a queue for each namespace, by a template, for ada and those of the group ml.
const teams = `
partitions:
  - name: default
    placementrules:
      - {name: tag, value: namespace, create: true, parent: {name: fixed, value: root.teams}}
    queues:
      - name: root
        queues:
          - name: teams
            parent: true
            submitacl: ada ml
            childtemplate: {resources: {max: {nvidia.com/gpu: 2}}}
`

// TestQueuesThatPlacementRulesCreate shares one cluster of two nodes with 8 GPUs each.
func TestQueuesThatPlacementRulesCreate(t *testing.T) {
	t.Parallel() // it waits most of the time
	w := auditedWorld(t, kubetest.Options{Products: "H100=2"})
	w.install(yunikornDefault)
	m, all := w.scheduler("a").ready(), w
	submit := func(w *world, namespace, user string, n int) {
		w.t.Helper()
		s := load.Shape{Namespace: w.namespace(namespace), Scheduler: "yunikorn", CPU: "1", GPUs: 1}
		if user != "" {
			s.Annotations = map[string]string{"yunikorn.apache.org/user.info": user}
		}
		pods := make([]*corev1.Pod, n)
		for i := range pods {
			pods[i] = s.Pod(fmt.Sprintf("%s-%d", namespace, i))
		}
		must(w.t, load.Create(w.t.Context(), w.Client, pods))
	}

	w.run("YuniKorn's default: each namespace has a queue of its own while it has jobs", func(t *testing.T, w *world) {
		submit(w, "red", "", 3)
		submit(w, "blue", "", 2)
		w.bound("red", 3)
		w.bound("blue", 2)
		w.queuesAre(m, "root", "root.blue", "root.red")
		w.remove("red")
		w.queuesAre(m, "root", "root.blue")
	})
	w.run("another leader has the same queues, from the pods alone", func(t *testing.T, w *world) {
		m.kill()
		m = all.scheduler("b").ready()
		w.queuesAre(m, "root", "root.blue")
		w.remove("blue")
		w.queuesAre(m, "root")
	})
	w.run("a queue has what its parent's template says", func(t *testing.T, w *world) {
		w.queues(teams)
		w.queuesAre(m, "root", "root.teams")
		submit(w, "green", `{"user":"ada"}`, 4)
		for _, p := range w.waitTold("green", 2, 2) {
			if c := p.Condition(corev1.PodScheduled); c.Reason != "QueueMax" {
				t.Errorf("%s waits for %s: %s", p.Name, c.Reason, c.Message)
			}
		}
		w.queuesAre(m, "root", "root.teams", "root.teams.green")
	})
	w.run("or its namespace, which may change its mind", func(t *testing.T, w *world) {
		w.annotate("green", `{"nvidia.com/gpu": "3"}`)
		w.bound("green", 3)
		w.annotate("green", `{"nvidia.com/gpu": "three"}`)
		w.event("green", "green", `BadNamespaceQuota: .*"three"`)
		w.annotate("green", `{"nvidia.com/gpu": "8"}`)
		w.bound("green", 4)
	})
	w.run("who may not submit to a queue is told so, and to which", func(t *testing.T, w *world) {
		submit(w, "grey", `{"user":"eve","groups":["web"]}`, 1)
		if c := w.waitTold("grey", 0, 1)[0].Condition(corev1.PodScheduled); c.Reason != "AclDenied" {
			t.Errorf("eve's pod waits for %s: %s", c.Reason, c.Message)
		}
		w.event("grey", "grey-0", `user "eve" \(groups web\) may not submit to queue root.teams, below which root.teams.grey would be created`)
		submit(w, "white", "", 1)
		w.event("white", "white-0", `user "nobody" may not submit to queue root.teams,`)
		submit(w, "pink", `{"user":"bob","groups":["ml"]}`, 1)
		w.bound("pink", 1)
		w.queuesAre(m, "root", "root.teams", "root.teams.green", "root.teams.pink")
	})
	w.run("queues below a parent that goes stay until nothing runs there", func(t *testing.T, w *world) {
		w.queues(yunikornDefault)
		w.event(deploy.Namespace, deploy.QueuesConfigMap, `QueuesRefused: .*root\.teams\.(green|pink)`)
		w.remove("green")
		w.remove("pink")
		w.bound("grey", 1)
		w.bound("white", 1)
		w.queuesAre(m, "root", "root.grey", "root.white")
	})
}

// queuesAre waits until the scheduler has these queues and no others.
func (w *world) queuesAre(m *scheduler, want ...string) {
	w.t.Helper()
	kubetest.Eventually(w.t, func(ctx context.Context) error {
		code, text, err := m.get(ctx, "/api/v1/queues")
		if err != nil {
			return err
		}
		var answer struct {
			Items []struct{ Path string }
		}
		if err := json.Unmarshal([]byte(text), &answer); err != nil || code != http.StatusOK {
			return fmt.Errorf("%d %s: %w", code, text, err)
		}
		var have []string
		for _, q := range answer.Items {
			have = append(have, q.Path)
		}
		slices.Sort(have)
		if !slices.Equal(have, want) {
			return fmt.Errorf("the queues are %q, want %q", have, want)
		}
		return nil
	})
}

// remove deletes all pods of a namespace.
func (w *world) remove(namespace string) {
	w.t.Helper()
	must(w.t, w.Client.CoreV1().Pods(namespace).DeleteCollection(w.t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{}))
}

// annotate says what the queue of a namespace may have.
func (w *world) annotate(namespace, quota string) {
	w.t.Helper()
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]string{"yunikorn.apache.org/namespace.quota": quota}}})
	must(w.t, err)
	_, err = w.Client.CoreV1().Namespaces().Patch(w.t.Context(), namespace, types.MergePatchType, patch, metav1.PatchOptions{})
	must(w.t, err)
}
