// Package observe judges a scheduler by what the API server says, and by nothing that
// the scheduler says of itself: when pods were bound and where, whether a node was ever
// given more than it has, whether gangs were ever started in part.
package observe

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	resourcehelper "k8s.io/component-helpers/resource"
)

// Observer watches all nodes and pods of a cluster. Times are those at which its watch
// delivered a change, by the clock of this process: some milliseconds late, the same for
// every scheduler.
type Observer struct {
	mu      sync.Mutex
	changed chan struct{} // closed and renewed at each change
	pods    map[types.UID]*Pod
	nodes   map[string]corev1.ResourceList // allocatable
	used    map[string]map[corev1.ResourceName]int64
	broken  []string
}

// Pod is what became of one pod. Times are zero for what has not happened.
type Pod struct {
	Name, Namespace string
	UID             types.UID
	Labels          map[string]string
	Annotations     map[string]string // newest
	Node            string            // "" until it is bound
	Phase           corev1.PodPhase
	Reason          string // of the status: OutOfcpu is one
	// Conditions are the newest; Disrupted is the first condition DisruptionTarget that it
	// had: the Eviction API writes its own over it.
	Conditions []corev1.PodCondition
	Disrupted  *corev1.PodCondition
	Created    time.Time
	Bound      time.Time
	Deleted    time.Time // its deletion was asked for
	Gone       time.Time // it is no longer there
	// AnnotatedBefore are the annotations that it had when its deletion was asked for.
	AnnotatedBefore map[string]string

	requests corev1.ResourceList // what it holds on its node; nil if it holds nothing
}

// Runs says whether the pod holds a place: bound, not ended, still there.
func (p *Pod) Runs() bool { return p.Node != "" && p.requests != nil }

// Waits says whether the pod has no node and may still get one.
func (p *Pod) Waits() bool { return p.Node == "" && p.Deleted.IsZero() && p.Gone.IsZero() }

// Condition returns the pod's condition of a type, nil if it has none.
func (p *Pod) Condition(of corev1.PodConditionType) *corev1.PodCondition {
	for i := range p.Conditions {
		if p.Conditions[i].Type == of {
			return &p.Conditions[i]
		}
	}
	return nil
}

// Watch begins to observe, and returns when it has seen what is there. It ends with the
// context.
func Watch(ctx context.Context, client kubernetes.Interface) (*Observer, error) {
	o := &Observer{
		changed: make(chan struct{}),
		pods:    map[types.UID]*Pod{},
		nodes:   map[string]corev1.ResourceList{},
		used:    map[string]map[corev1.ResourceName]int64{},
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	// Nodes first: a bind to a node that is not known would be a violation.
	nodes := factory.Core().V1().Nodes().Informer()
	if err := listen(nodes, o.node, func(*corev1.Node) {}); err != nil {
		return nil, err
	}
	if err := start(ctx, factory, nodes); err != nil {
		return nil, err
	}
	pods := factory.Core().V1().Pods().Informer()
	if err := listen(pods, o.pod, o.gone); err != nil {
		return nil, err
	}
	return o, start(ctx, factory, pods)
}

func start(ctx context.Context, factory informers.SharedInformerFactory, informer cache.SharedIndexInformer) error {
	factory.Start(ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
		return fmt.Errorf("observing: %w", context.Cause(ctx))
	}
	return nil
}

// listen calls see with every version of an object that the watch brings, in order.
func listen[T any](informer cache.SharedIndexInformer, see, gone func(T)) error {
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { see(obj.(T)) },
		UpdateFunc: func(_, obj any) { see(obj.(T)) },
		DeleteFunc: func(obj any) {
			if last, ok := obj.(cache.DeletedFinalStateUnknown); ok {
				obj = last.Obj
			}
			gone(obj.(T))
		},
	})
	return err
}

func (o *Observer) node(n *corev1.Node) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.nodes[n.Name] = n.Status.Allocatable
	o.tell()
}

func (o *Observer) pod(p *corev1.Pod) {
	o.mu.Lock()
	defer o.mu.Unlock()
	defer o.tell()
	now := time.Now() //nolint:forbidigo // it measures what really happens
	seen := o.pods[p.UID]
	if seen == nil {
		seen = &Pod{Name: p.Name, Namespace: p.Namespace, UID: p.UID, Created: now}
		o.pods[p.UID] = seen
	}
	if p.DeletionTimestamp != nil && seen.Deleted.IsZero() {
		seen.Deleted, seen.AnnotatedBefore = now, p.Annotations
	}
	seen.Labels, seen.Annotations = p.Labels, p.Annotations
	seen.Phase, seen.Reason, seen.Conditions = p.Status.Phase, p.Status.Reason, p.Status.Conditions
	if c := seen.Condition(corev1.DisruptionTarget); c != nil && seen.Disrupted == nil {
		seen.Disrupted = c
	}
	o.place(seen, p, now)
}

// place accounts for where a pod is.
func (o *Observer) place(seen *Pod, p *corev1.Pod, now time.Time) {
	if seen.Node != "" && seen.Node != p.Spec.NodeName {
		o.breach("pod %s/%s moved from node %s to %q", p.Namespace, p.Name, seen.Node, p.Spec.NodeName)
	}
	if seen.Node == "" && p.Spec.NodeName != "" {
		seen.Node, seen.Bound = p.Spec.NodeName, now
	}
	ended := p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
	switch {
	case seen.Node == "":
	case ended:
		o.charge(seen, nil)
	default:
		requests := resourcehelper.PodRequests(p, resourcehelper.PodResourcesOptions{UseStatusResources: false})
		requests[corev1.ResourcePods] = onePod
		o.charge(seen, requests)
	}
}

// gone is told when a pod is no longer there.
func (o *Observer) gone(p *corev1.Pod) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if seen := o.pods[p.UID]; seen != nil && seen.Gone.IsZero() {
		seen.Gone = time.Now()     //nolint:forbidigo // it measures what really happens
		if seen.Deleted.IsZero() { // without grace there is no moment in between
			seen.Deleted, seen.AnnotatedBefore = seen.Gone, p.Annotations
		}
		o.charge(seen, nil)
	}
	o.tell()
}

// tell wakes whoever waits. The caller holds the lock.
func (o *Observer) tell() {
	close(o.changed)
	o.changed = make(chan struct{})
}

// Pods returns what became of all pods that were ever there, oldest first.
func (o *Observer) Pods() []Pod {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.sorted()
}

func (o *Observer) sorted() []Pod {
	out := make([]Pod, 0, len(o.pods))
	for _, p := range o.pods {
		out = append(out, *p)
	}
	slices.SortFunc(out, func(a, b Pod) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return out
}

// Violations are the rules that were broken so far.
func (o *Observer) Violations() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.broken)
}

// pace is how long to wait before so many pods are looked at again: looking must not take
// from the scheduler what it measures.
func pace(pods int) time.Duration {
	return 20*time.Millisecond + time.Duration(pods)*50*time.Microsecond
}

// Nodes are the names of all nodes, sorted.
func (o *Observer) Nodes() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Sorted(maps.Keys(o.nodes))
}

// Wait returns when the pods are as wanted. Wanted is asked when something has changed,
// and once more when the context ends; what it says it waits for is in the error then.
func (o *Observer) Wait(ctx context.Context, wanted func(pods []Pod) (ok bool, what string)) error {
	for {
		o.mu.Lock()
		changed, pods := o.changed, o.sorted()
		o.mu.Unlock()
		if ok, _ := wanted(pods); ok {
			return nil
		}
		select {
		case <-ctx.Done():
			ok, what := wanted(o.Pods())
			if ok {
				return nil
			}
			return fmt.Errorf("waiting for %s: %w", what, context.Cause(ctx))
		case <-changed:
		}
		select {
		case <-ctx.Done():
		case <-time.After(pace(len(pods))): //nolint:forbidigo // it measures what really happens
		}
	}
}
