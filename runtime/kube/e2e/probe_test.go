package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/musterhq/muster/deploy"
	"github.com/musterhq/muster/runtime/kube/e2e/load"
	"github.com/musterhq/muster/runtime/kube/e2e/observe"
	"github.com/musterhq/muster/runtime/kube/kubetest"
)

// What `muster-probe simulate` plays.
const (
	useAnnotation   = "muster.dev/gpu-use"
	faultAnnotation = "muster.dev/gpu-faults"
)

var probeBinary = sync.OnceValues(func() (string, error) {
	muster, err := binary()
	if err != nil {
		return "", err
	}
	out := filepath.Join(filepath.Dir(muster), "muster-probe")
	text, err := exec.Command("go", "build", "-o", out, "github.com/musterhq/muster/cmd/muster-probe").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("building muster-probe: %w\n%s", err, text)
	}
	return out, nil
})

// probes plays the probes of all nodes, with tokens that the API server binds to them,
// until the returned function is called.
func (w *world) probes(scheduler string) (stop func()) {
	w.t.Helper()
	bin, err := probeBinary()
	must(w.t, err)
	log, err := os.Create(filepath.Join(w.t.TempDir(), "probes.log"))
	must(w.t, err)
	cmd := exec.Command(bin, "simulate", "--kubeconfig="+w.Kubeconfig, "--scheduler="+scheduler,
		"--account="+deploy.Namespace+"/muster-probe", "--interval=1s", "--jitter=-1s")
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	must(w.t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	stop = sync.OnceFunc(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := <-ended; err != nil {
			w.t.Errorf("the probes did not end as they should: %v", err)
		}
		if text, err := os.ReadFile(log.Name()); err == nil && w.t.Failed() {
			w.t.Logf("the probes: %s", text)
		}
	})
	w.t.Cleanup(stop)
	return stop
}

// gpu is a part of what /api/v1/gpus tells.
type gpu struct {
	Node   string `json:"node"`
	Health string `json:"health"`
	Uses   []struct {
		Pod       string `json:"pod"`
		Job       string `json:"job"`
		IdleMS    *int64 `json:"idle_ms"`
		WatchedMS int64  `json:"watched_ms"`
	} `json:"uses"`
}

// gpus waits until what is known of the GPUs is as wanted.
func (w *world) gpus(s *scheduler, what string, wanted func([]gpu) bool) {
	w.t.Helper()
	kubetest.Eventually(w.t, func(ctx context.Context) error {
		_, text, err := s.get(ctx, "/api/v1/gpus")
		if err != nil {
			return err
		}
		var answer struct {
			GPUs []gpu `json:"items"`
		}
		if err := json.Unmarshal([]byte(text), &answer); err != nil {
			return fmt.Errorf("%w in %s", err, text)
		}
		if !wanted(answer.GPUs) {
			return fmt.Errorf("not yet: %s; now it is %s", what, text)
		}
		return nil
	})
}

// idle says that all GPUs of pods with a prefix are known to have done nothing for a time,
// and were watched all of it.
func idle(pods string, count int, atLeast time.Duration) func([]gpu) bool {
	return func(all []gpu) bool {
		n := 0
		for _, g := range all {
			for _, u := range g.Uses {
				enough := u.IdleMS != nil && *u.IdleMS >= atLeast.Milliseconds() && u.WatchedMS >= atLeast.Milliseconds()
				if strings.HasPrefix(u.Pod, pods) && enough {
					n++
				}
			}
		}
		return n == count
	}
}

func prefixed(p string) which {
	return func(o observe.Pod) bool { return strings.HasPrefix(o.Name, p) }
}

// TestWhatGPUsReallyDoDecides: two gangs of a queue above its guarantee, of the same age,
// one of which only holds its GPUs.
func TestWhatGPUsReallyDoDecides(t *testing.T) {
	w := auditedWorld(t, kubetest.Options{NodesFile: nodesFile(t, 2, 8)})
	const rule = "preemption: {idleAfter: 8s, idleGrace: 6s}"
	const long = 15 * time.Second // what decides is what was measured, up to a sweep ago
	w.install(tree(queue{"a", "4", "16", rule}, queue{"b", "12", "16", ""}))
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "muster-probe"}}
	_, err := w.Client.CoreV1().ServiceAccounts(deploy.Namespace).Create(t.Context(), account, metav1.CreateOptions{})
	must(t, err)
	listen := freeAddress(t)
	m := w.scheduler("a", "--probe-listen="+listen).ready()
	stop := w.probes(listen)
	gang := func(name, ns, use string, pods int) {
		t.Helper()
		must(t, load.Create(t.Context(), w.Client, load.YuniKornGang(name, "root."+ns, pods, pods, load.Shape{
			Namespace: w.namespace(ns), Scheduler: "muster", CPU: "1", GPUs: 2, Annotations: map[string]string{useAnnotation: use},
		})))
	}

	w.run("the idle gang goes when another queue reclaims, the busy one stays", func(t *testing.T, w *world) {
		gang("sleeps", "a", "idle", 4)
		w.bound("a", 4)
		gang("works", "a", "busy", 4) // it is the younger one, and without the rule the cheaper victim
		w.bound("a", 8)
		w.gpus(m, "4 pods that sleep, watched for longer than the rule says", idle("a/sleeps", 8, long))
		gang("owed", "b", "busy", 4)
		w.bound("b", 4)
		pods := w.seen.Pods()
		if n := count(pods, in("a"), prefixed("works"), leaves); n > 0 {
			t.Errorf("%d busy pods were evicted", n)
		}
		if n := count(pods, in("a"), prefixed("sleeps"), leaves); n != 4 {
			t.Errorf("%d idle pods were evicted, not 4", n)
		}
		w.allExplained("a", 4)
	})
	w.run("a wake-up saves a gang whose eviction was announced", func(t *testing.T, w *world) {
		w.delete(only(w.seen.Pods(), in("a"), there)...)
		w.wait(func(pods []observe.Pod) (bool, string) {
			n := count(pods, in("a"), there)
			return n == 0, fmt.Sprintf("the pods of a to go; %d are there", n)
		})
		gang("dozes", "a", "idle", 2)
		w.bound("a", 2)
		gang("labours", "a", "busy", 2) // the younger one again
		w.bound("a", 4)
		w.gpus(m, "2 pods that doze, watched for longer than the rule says", idle("a/dozes", 4, long))
		gang("more", "b", "busy", 2)
		warned := only(w.wait(func(pods []observe.Pod) (bool, string) {
			n := count(pods, prefixed("dozes"), announced)
			return n > 0, fmt.Sprintf("an eviction to be announced; now it is %d", n)
		}), prefixed("dozes"), announced)
		deadline := w.deadline(m, "a/yunikorn/dozes")
		before := 2 * time.Second // a machine that tests is a busy one
		if *figures != "" {
			before = 150 * time.Millisecond // of which the API server and the watch take a third
		}
		time.Sleep(time.Until(deadline.Add(-before)))
		for _, p := range only(w.seen.Pods(), prefixed("dozes")) {
			patch := []byte(`{"metadata":{"annotations":{"` + useAnnotation + `":"busy"}}}`)
			_, err := w.Client.CoreV1().Pods("a").Patch(t.Context(), p.Name, types.MergePatchType, patch, metav1.PatchOptions{})
			must(t, err)
		}
		t.Logf("told to wake up %s before the deadline", time.Until(deadline))
		w.wait(func(pods []observe.Pod) (bool, string) {
			n := count(pods, prefixed("dozes"), runs, announced)
			return n == 0, fmt.Sprintf("what was announced to be taken back; now it is %d", n)
		})
		w.bound("b", 6)             // by the other one's place
		time.Sleep(8 * time.Second) // past the deadline
		if n := count(w.seen.Pods(), prefixed("dozes"), leaves); n > 0 {
			t.Errorf("%d pods that woke up were evicted", n)
		}
		w.reasons("a", "EvictionWithdrawn", len(warned))
	})
	w.run("a GPU fails: its capacity leaves, its pod is evicted and comes back elsewhere", func(t *testing.T, w *world) {
		stop()
		victim := only(w.seen.Pods(), prefixed("dozes"), runs)[0]
		patch := []byte(`{"metadata":{"annotations":{"` + faultAnnotation + `":"xid=79 gpu 0 at 8s"}}}`)
		_, err := w.Client.CoreV1().Nodes().Patch(t.Context(), victim.Node, types.MergePatchType, patch, metav1.PatchOptions{})
		must(t, err)
		stop = w.probes(listen)
		w.gpus(m, "a GPU of "+victim.Node+" that has failed", func(all []gpu) bool {
			return slices.ContainsFunc(all, func(g gpu) bool { return g.Node == victim.Node && strings.EqualFold(g.Health, "failed") })
		})
		w.wait(func(pods []observe.Pod) (bool, string) {
			n := count(pods, leaves, func(p observe.Pod) bool {
				return p.Node == victim.Node && p.Disrupted != nil && strings.Contains(p.Disrupted.Message, "GPU")
			})
			return n > 0, fmt.Sprintf("a pod to be evicted from the GPU that failed; now it is %d", n)
		})
		kubetest.Eventually(t, func(ctx context.Context) error {
			_, text, err := m.get(ctx, "/api/v1/nodes")
			if err == nil && !strings.Contains(text, `"nvidia.com/gpu":7000`) {
				err = fmt.Errorf("no node has 7 GPUs: %s", text)
			}
			return err
		})
	})
}

// deadline is when the last eviction that was announced to a job is due.
func (w *world) deadline(s *scheduler, job string) time.Time {
	w.t.Helper()
	var answer struct {
		Items []struct {
			Job      string    `json:"job"`
			Deadline time.Time `json:"deadline"`
		} `json:"items"`
	}
	kubetest.Eventually(w.t, func(ctx context.Context) error {
		_, text, err := s.get(ctx, "/api/v1/evictions?limit=1&job="+url.QueryEscape(job))
		if err == nil {
			err = json.Unmarshal([]byte(text), &answer)
		}
		if err == nil && (len(answer.Items) == 0 || answer.Items[0].Deadline.IsZero()) {
			err = fmt.Errorf("no eviction with a deadline: %s", text)
		}
		return err
	})
	return answer.Items[0].Deadline
}

func announced(p observe.Pod) bool { return p.Annotations["muster.dev/evict-at"] != "" }
