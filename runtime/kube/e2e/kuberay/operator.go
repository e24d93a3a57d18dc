package kuberay

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	utilrand "k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"
)

// CRD defines the RayCluster, without a schema of its fields.
//
//go:embed crd.yaml
var CRD []byte

// Operator keeps the pods of all RayClusters as these say.
type Operator struct {
	Client  kubernetes.Interface
	Dynamic dynamic.Interface
}

// resync is how often all clusters are looked at, whatever the watches bring: KubeRay
// replaces a lost pod within about a second.
const resync = time.Second

// Run works until the context ends. Single requests that fail are tried again.
func (o *Operator) Run(ctx context.Context) {
	for ctx.Err() == nil {
		wake, stop := o.watch(ctx)
		for woken := true; woken; {
			_ = o.Reconcile(ctx) // what failed is tried at the next look
			woken = wait(ctx, wake)
		}
		stop()
	}
}

// watch opens watches of clusters and pods; the channels are closed when one ends.
func (o *Operator) watch(ctx context.Context) (wake []<-chan watch.Event, stop func()) {
	var all []watch.Interface
	if w, err := o.Dynamic.Resource(Resource).Watch(ctx, metav1.ListOptions{}); err == nil {
		all = append(all, w)
	}
	if w, err := o.Client.CoreV1().Pods("").Watch(ctx, metav1.ListOptions{LabelSelector: LabelCluster}); err == nil {
		all = append(all, w)
	}
	for _, w := range all {
		wake = append(wake, w.ResultChan())
	}
	for len(wake) < 2 {
		wake = append(wake, nil)
	}
	return wake, func() {
		for _, w := range all {
			w.Stop()
		}
	}
}

// wait returns when something may have changed, and false if the watches must be opened
// anew.
func wait(ctx context.Context, wake []<-chan watch.Event) bool {
	again := time.NewTimer(resync) //nolint:forbidigo // it plays a part of the real world
	defer again.Stop()
	ok := true
	select {
	case <-ctx.Done():
		return false
	case _, ok = <-wake[0]:
	case _, ok = <-wake[1]:
	case <-again.C:
		ok = wake[0] != nil && wake[1] != nil
	}
	for { // what came in the meantime is dealt with by the same look
		select {
		case _, more := <-wake[0]:
			ok = ok && more
		case _, more := <-wake[1]:
			ok = ok && more
		default:
			return ok
		}
		if !ok {
			return false
		}
	}
}

// Reconcile looks once at all clusters.
func (o *Operator) Reconcile(ctx context.Context) error {
	list, err := o.Dynamic.Resource(Resource).List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("listing RayClusters: %w", err)
	}
	pods, err := o.Client.CoreV1().Pods("").List(ctx, metav1.ListOptions{LabelSelector: LabelCluster})
	if err != nil {
		return fmt.Errorf("listing pods of RayClusters: %w", err)
	}
	mine := map[string][]corev1.Pod{}
	for _, p := range pods.Items {
		key := p.Namespace + "/" + p.Labels[LabelCluster]
		mine[key] = append(mine[key], p)
	}
	var errs []error
	for _, item := range list.Items {
		cluster, err := Read(&item)
		if err == nil {
			key := cluster.Namespace + "/" + cluster.Name
			err = o.cluster(ctx, cluster, mine[key])
			delete(mine, key)
		}
		errs = append(errs, err)
	}
	for _, orphans := range mine { // their cluster was deleted
		errs = append(errs, o.remove(ctx, orphans))
	}
	return errors.Join(errs...)
}

// Read converts an object.
func Read(item *unstructured.Unstructured) (*Cluster, error) {
	cluster := &Cluster{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(item.Object, cluster); err != nil {
		return nil, fmt.Errorf("RayCluster %s/%s: %w", item.GetNamespace(), item.GetName(), err)
	}
	return cluster, nil
}

// cluster makes one cluster's pods what they should be.
func (o *Operator) cluster(ctx context.Context, c *Cluster, pods []corev1.Pod) error {
	if ptr.Deref(c.Spec.Suspend, false) || c.DeletionTimestamp != nil {
		return o.remove(ctx, pods)
	}
	groups := map[string][]corev1.Pod{}
	for _, p := range pods {
		groups[p.Labels[LabelGroup]] = append(groups[p.Labels[LabelGroup]], p)
	}
	if len(groups[HeadGroupName]) == 0 {
		if err := o.create(ctx, c.Head()); err != nil {
			return err
		}
	}
	for _, g := range c.Spec.WorkerGroupSpecs {
		if err := o.workers(ctx, c, g, groups[g.GroupName]); err != nil {
			return err
		}
	}
	return nil
}

// workers makes the group's pods as many as it wants. Those that its scale strategy names
// go first, then the youngest.
func (o *Operator) workers(ctx context.Context, c *Cluster, g WorkerGroup, pods []corev1.Pod) error {
	var named, kept []corev1.Pod
	for _, p := range pods {
		if slices.Contains(g.ScaleStrategy.WorkersToDelete, p.Name) {
			named = append(named, p)
		} else {
			kept = append(kept, p)
		}
	}
	if surplus := len(kept) - g.size(); surplus > 0 {
		slices.SortFunc(kept, func(a, b corev1.Pod) int { return b.CreationTimestamp.Compare(a.CreationTimestamp.Time) })
		named = append(named, kept[:surplus]...)
		kept = kept[surplus:]
	}
	if err := o.remove(ctx, named); err != nil {
		return err
	}
	return o.fill(ctx, c, g, kept)
}

// fill makes the workers that are missing, each host of a replica by itself.
func (o *Operator) fill(ctx context.Context, c *Cluster, g WorkerGroup, pods []corev1.Pod) error {
	taken := map[[2]string]bool{}
	slices := map[string]string{}
	for _, p := range pods {
		replica := p.Labels["ray.io/worker-group-replica-index"]
		taken[[2]string{replica, p.Labels["ray.io/replica-host-index"]}] = true
		slices[replica] = p.Labels["ray.io/worker-group-replica-name"]
	}
	missing := g.size() - len(pods)
	for replica := 0; missing > 0; replica++ {
		slice := slices[strconv.Itoa(replica)]
		if slice == "" {
			slice = utilrand.String(5)
		}
		for host := range g.hosts() {
			p := c.Worker(g, replica, host, slice)
			if taken[[2]string{strconv.Itoa(replica), p.Labels["ray.io/replica-host-index"]}] || missing == 0 {
				continue
			}
			if err := o.create(ctx, p); err != nil {
				return err
			}
			missing--
		}
	}
	return nil
}

func (o *Operator) create(ctx context.Context, p *corev1.Pod) error {
	_, err := o.Client.CoreV1().Pods(p.Namespace).Create(ctx, p, metav1.CreateOptions{})
	return err
}

// remove deletes pods that are not being deleted already.
func (o *Operator) remove(ctx context.Context, pods []corev1.Pod) error {
	var errs []error
	for _, p := range pods {
		if p.DeletionTimestamp != nil {
			continue
		}
		err := o.Client.CoreV1().Pods(p.Namespace).Delete(ctx, p.Name, metav1.DeleteOptions{})
		if !apierrors.IsNotFound(err) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Set changes a cluster by a merge patch of its spec.
func (o *Operator) Set(ctx context.Context, namespace, name, spec string) error {
	patch := []byte(`{"spec":` + spec + `}`)
	_, err := o.Dynamic.Resource(Resource).Namespace(namespace).Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{})
	return err
}

// New makes a RayCluster as KubeRay's users do: gang-scheduled by YuniKorn, one head, and
// groups of workers.
func New(namespace, name, queue string, head corev1.PodSpec, groups ...WorkerGroup) *unstructured.Unstructured {
	c := Cluster{
		TypeMeta: metav1.TypeMeta{APIVersion: Resource.GroupVersion().String(), Kind: "RayCluster"},
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{
			labelGang: "true", labelApp: name, labelQueue: queue,
		}},
		Spec: Spec{HeadGroupSpec: HeadGroup{Template: corev1.PodTemplateSpec{Spec: head}}, WorkerGroupSpecs: groups},
	}
	object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&c)
	if err != nil {
		panic(err) // no such value is possible
	}
	return &unstructured.Unstructured{Object: object}
}
