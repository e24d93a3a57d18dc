package kubetest_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/musterhq/muster/runtime/kube/kubetest"
)

const namespace = metav1.NamespaceDefault

// TestAClusterLives is one story on one cluster, whose steps build on each other: what
// a scheduler's tests do to it.
func TestAClusterLives(t *testing.T) {
	c := kubetest.Start(t, kubetest.Options{Nodes: 100, Products: "H100=60,A100=30,L40S=10", Jobs: true})
	pods := c.Client.CoreV1().Pods(namespace)

	t.Run("its nodes are Ready and have GPUs", func(t *testing.T) { nodesAreReady(t, c) })
	t.Run("a pod waits for a scheduler, and runs once it is bound", func(t *testing.T) {
		create(t, c, "bound", nil)
		if got := get(t, c, "bound"); got.Status.Phase != corev1.PodPending || got.Spec.NodeName != "" {
			t.Fatalf("before it is bound it is %s on %q", got.Status.Phase, got.Spec.NodeName)
		}
		bind(t, c, "bound", "h100-0000")
		waitPhase(t, c, "bound", corev1.PodRunning)
	})
	t.Run("a pod runs as long as it says", func(t *testing.T) {
		create(t, c, "short", map[string]string{kubetest.RunFor: "2s"})
		bind(t, c, "short", "a100-0000")
		waitPhase(t, c, "short", corev1.PodSucceeded)
		end := get(t, c, "short").Status.ContainerStatuses[0].State.Terminated
		if ran := end.FinishedAt.Sub(end.StartedAt.Time); ran < time.Second { // the API's times are whole seconds
			t.Errorf("it ran %s instead of 2s", ran)
		}
	})
	t.Run("a pod fails if it says so", func(t *testing.T) {
		create(t, c, "failing", map[string]string{kubetest.RunFor: "10ms", kubetest.ExitCode: "3"})
		bind(t, c, "failing", "a100-0000")
		waitPhase(t, c, "failing", corev1.PodFailed)
		if end := get(t, c, "failing").Status.ContainerStatuses[0].State.Terminated; end.ExitCode != 3 {
			t.Errorf("it returned %d", end.ExitCode)
		}
	})
	t.Run("a deleted pod goes at once, or after its checkpoint", func(t *testing.T) {
		create(t, c, "saving", map[string]string{kubetest.CheckpointFor: "3s"})
		bind(t, c, "saving", "l40s-0000")
		waitPhase(t, c, "saving", corev1.PodRunning)
		for _, name := range []string{"saving", "bound"} {
			if err := pods.Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		waitGone(t, c, "bound")
		if saving := get(t, c, "saving"); saving.DeletionTimestamp == nil || saving.Status.Phase != corev1.PodRunning {
			t.Errorf("while it saves its work it is %s, deleted at %v", saving.Status.Phase, saving.DeletionTimestamp)
		}
		waitGone(t, c, "saving")
	})
	t.Run("a Job makes pods and completes", func(t *testing.T) { jobCompletes(t, c) })
	t.Run("a service account may do nothing until RBAC says so", func(t *testing.T) { accountIsForbidden(t, c) })
	t.Run("the API server comes back with all that it had", func(t *testing.T) {
		for _, away := range []func(string){c.Stop, c.Kill} {
			away(kubetest.APIServer)
			if _, err := pods.List(t.Context(), metav1.ListOptions{}); err == nil {
				t.Fatal("it answers although it is away")
			}
			c.Start(kubetest.APIServer)
			get(t, c, "short")
		}
	})
	t.Run("a slow etcd makes requests late, and loses nothing", func(t *testing.T) {
		c.Pause(kubetest.Etcd)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := pods.Create(ctx, pod("late", nil), metav1.CreateOptions{})
		if err == nil {
			t.Fatal("a pod was made without etcd")
		}
		c.Resume(kubetest.Etcd)
		kubetest.Eventually(t, func(ctx context.Context) error {
			_, err := pods.Create(ctx, pod("after", nil), metav1.CreateOptions{})
			return err
		})
		get(t, c, "short")
	})
	t.Run("a new kwok plays on at once", func(t *testing.T) {
		c.Kill(kubetest.Kwok)
		bind(t, c, "after", "h100-0001")
		c.Start(kubetest.Kwok)
		waitPhase(t, c, "after", corev1.PodRunning)
	})
	t.Run("nodes may join", func(t *testing.T) {
		c.AddNodes(3, "T4=3")
		if n := len(nodes(t, c)); n != 103 {
			t.Errorf("there are %d nodes", n)
		}
	})
}

// TestAClusterForComparison has what the first one had not: the stock scheduler, the
// native API of gangs, and pods without a controller manager.
func TestAClusterForComparison(t *testing.T) {
	c := kubetest.Start(t, kubetest.Options{Products: "CPU=2", Baseline: true, NativeGangs: true})
	p := pod("stock", nil)
	p.Spec.SchedulerName = corev1.DefaultSchedulerName
	if _, err := c.Client.CoreV1().Pods(namespace).Create(t.Context(), p, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	waitPhase(t, c, "stock", corev1.PodRunning)

	served, err := c.Client.Discovery().ServerResourcesForGroupVersion("scheduling.k8s.io/v1alpha2")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, r := range served.APIResources {
		names = append(names, r.Name)
	}
	for _, want := range []string{"workloads", "podgroups"} {
		if !slices.Contains(names, want) {
			t.Errorf("%s are not served, only %v", want, names)
		}
	}
}

func nodesAreReady(t *testing.T, c *kubetest.Cluster) {
	count := map[string]int{}
	for _, n := range nodes(t, c) {
		count[n.Labels["nvidia.com/gpu.product"]]++
		gpus := n.Status.Allocatable["nvidia.com/gpu"]
		if gpus.Value() != 8 || n.Labels[corev1.LabelTopologyZone] == "" || n.Labels["muster.dev/rack"] == "" {
			t.Errorf("node %s has %s GPUs and labels %v", n.Name, gpus.String(), n.Labels)
		}
		ready := slices.ContainsFunc(n.Status.Conditions, func(k corev1.NodeCondition) bool {
			return k.Type == corev1.NodeReady && k.Status == corev1.ConditionTrue
		})
		if !ready || len(n.Spec.Taints) > 0 {
			t.Errorf("node %s is not ready for pods: %v %v", n.Name, n.Status.Conditions, n.Spec.Taints)
		}
	}
	if count["H100"] != 60 || count["A100"] != 30 || count["L40S"] != 10 {
		t.Errorf("the nodes are %v", count)
	}
}

func jobCompletes(t *testing.T, c *kubetest.Cluster) {
	two := int32(2)
	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "job"}, Spec: batchv1.JobSpec{Completions: &two, Parallelism: &two}}
	job.Spec.Template.Spec = pod("", nil).Spec
	job.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyNever
	if _, err := c.Client.BatchV1().Jobs(namespace).Create(t.Context(), job, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	kubetest.Eventually(t, func(ctx context.Context) error {
		list, err := c.Client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: "job-name=job"})
		if err != nil {
			return err
		}
		for _, p := range list.Items {
			if p.Spec.NodeName == "" {
				bind(t, c, p.Name, "h100-0002")
			}
		}
		j, err := c.Client.BatchV1().Jobs(namespace).Get(ctx, "job", metav1.GetOptions{})
		if err == nil && j.Status.Succeeded < 2 {
			err = fmt.Errorf("the job has %d pods, of which %d succeeded", len(list.Items), j.Status.Succeeded)
		}
		return err
	})
}

func accountIsForbidden(t *testing.T, c *kubetest.Cluster) {
	client, err := kubernetes.NewForConfig(c.ConfigFor("muster/muster"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "system:serviceaccount:muster:muster") {
		t.Errorf("listing nodes gives %v", err)
	}
}

func pod(name string, annotations map[string]string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: annotations},
		Spec: corev1.PodSpec{
			SchedulerName: "muster",
			Containers:    []corev1.Container{{Name: "main", Image: "image"}},
		},
	}
}

func create(t *testing.T, c *kubetest.Cluster, name string, annotations map[string]string) {
	t.Helper()
	if _, err := c.Client.CoreV1().Pods(namespace).Create(t.Context(), pod(name, annotations), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func bind(t *testing.T, c *kubetest.Cluster, name, node string) {
	t.Helper()
	b := &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: name}, Target: corev1.ObjectReference{Kind: "Node", Name: node}}
	if err := c.Client.CoreV1().Pods(namespace).Bind(t.Context(), b, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, c *kubetest.Cluster, name string) *corev1.Pod {
	t.Helper()
	p, err := c.Client.CoreV1().Pods(namespace).Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func nodes(t *testing.T, c *kubetest.Cluster) []corev1.Node {
	t.Helper()
	list, err := c.Client.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return list.Items
}

func waitPhase(t *testing.T, c *kubetest.Cluster, name string, want corev1.PodPhase) {
	t.Helper()
	kubetest.Eventually(t, func(ctx context.Context) error {
		p, err := c.Client.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
		if err == nil && p.Status.Phase != want {
			err = fmt.Errorf("pod %s is %s and not %s", name, p.Status.Phase, want)
		}
		return err
	})
}

func waitGone(t *testing.T, c *kubetest.Cluster, name string) {
	t.Helper()
	kubetest.Eventually(t, func(ctx context.Context) error {
		_, err := c.Client.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			return nil
		case err == nil:
			return errors.New("pod " + name + " is still there")
		}
		return err
	})
}
