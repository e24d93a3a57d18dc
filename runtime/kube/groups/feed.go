package groups

import (
	"context"
	"reflect"
	"sync"

	schedulingv1beta1 "k8s.io/api/scheduling/v1beta1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
)

// feed follows the PodGroups of one API, and the Workloads of the native one.
type feed struct {
	cancel context.CancelFunc
	ended  sync.WaitGroup

	mu     sync.Mutex
	lost   bool // the API has gone, or is forbidden
	listed []func() bool
	done   bool // synced was true
}

func (f *feed) stop() {
	f.cancel()
	f.ended.Wait()
}

// broken feeds have given up.
func (f *feed) broken() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.lost
}

// synced feeds have told of all that was there when they began, or never will.
func (f *feed) synced() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.done || f.lost {
		return true
	}
	for _, listed := range f.listed {
		if !listed() {
			return false
		}
	}
	f.done = true
	return true
}

// start begins to follow an API.
func (w *Watch) start(ctx context.Context, c candidate) *feed {
	ctx, cancel := context.WithCancel(ctx)
	f := &feed{cancel: cancel}
	groups := w.informer(c, c.objects())
	w.attach(ctx, f, groups, cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { w.put(o) },
		UpdateFunc: func(_, o any) { w.put(o) },
		DeleteFunc: func(o any) { w.drop(keyOf(c.api, o)) },
	})
	if c.api == Native {
		w.attach(ctx, f, w.informer(c, "workloads"), cache.ResourceEventHandlerFuncs{
			AddFunc:    func(o any) { w.workload(o) },
			UpdateFunc: func(_, o any) { w.workload(o) },
			DeleteFunc: func(o any) { w.tellAll(w.DropWorkload(nameOf(o))) },
		})
	}
	f.ended.Go(func() { // what went while nobody followed
		if cache.WaitForCacheSync(ctx.Done(), groups.HasSynced) {
			w.forget(c.api, groups.GetStore())
		}
	})
	return f
}

// attach runs an informer until the feed ends. Errors that will not pass by themselves
// end the feed: the next look finds out what has become of the API.
func (w *Watch) attach(ctx context.Context, f *feed, informer cache.SharedIndexInformer, h cache.ResourceEventHandler) {
	// Both fail only after the informer was started.
	_ = informer.SetTransform(slim)
	_ = informer.SetWatchErrorHandlerWithContext(func(_ context.Context, _ *cache.Reflector, err error) {
		if !apierrors.IsForbidden(err) && !apierrors.IsNotFound(err) && !apierrors.IsMethodNotSupported(err) && !meta.IsNoMatchError(err) {
			w.o.Log.Debug("following group objects", "error", err)
			return
		}
		f.mu.Lock()
		f.lost = true
		f.mu.Unlock()
		f.cancel()
		w.mu.Lock()
		w.want(w.o.Every)
		w.mu.Unlock()
	})
	handle, err := informer.AddEventHandler(h)
	if err != nil { // only a stopped informer refuses
		return
	}
	f.listed = append(f.listed, handle.HasSynced)
	f.ended.Go(func() { informer.RunWithContext(ctx) })
}

// slim leaves out what nobody reads and what is large.
func slim(o any) (any, error) {
	if m, err := meta.Accessor(o); err == nil {
		m.SetManagedFields(nil)
	}
	u, ok := o.(*unstructured.Unstructured)
	switch {
	case !ok:
	case u.GetKind() == kindOf(LeaderWorkerSet):
		delete(u.Object, "status")
		unstructured.RemoveNestedField(u.Object, "spec", "leaderWorkerTemplate", "leaderTemplate")
		unstructured.RemoveNestedField(u.Object, "spec", "leaderWorkerTemplate", "workerTemplate")
	case u.GetKind() == kindOf(Ray):
		delete(u.Object, "status")
		unstructured.RemoveNestedField(u.Object, "spec", "headGroupSpec")
		list, _, _ := unstructured.NestedFieldNoCopy(u.Object, "spec", "workerGroupSpecs")
		for _, g := range asList(list) {
			if m, ok := g.(map[string]any); ok {
				delete(m, "template")
			}
		}
	}
	return o, nil
}

func asList(v any) []any {
	list, _ := v.([]any)
	return list
}

// informer lists and watches a resource of all namespaces: typed where there are types.
func (w *Watch) informer(c candidate, resource string) cache.SharedIndexInformer {
	var lw *cache.ListWatch
	var example runtime.Object
	var client any = w.o.Client
	typed := w.o.Client.SchedulingV1beta1()
	switch {
	case c == candidate{Native, "v1beta1"} && resource == "podgroups":
		lw, example = listWatch(typed.PodGroups("").List, typed.PodGroups("").Watch), &schedulingv1beta1.PodGroup{}
	case c == candidate{Native, "v1beta1"}:
		lw, example = listWatch(typed.Workloads("").List, typed.Workloads("").Watch), &schedulingv1beta1.Workload{}
	default:
		r := w.o.Dynamic.Resource(c.resource(resource))
		lw, example, client = listWatch(r.List, r.Watch), &unstructured.Unstructured{}, w.o.Dynamic
	}
	return cache.NewSharedIndexInformer(cache.ToListWatcherWithWatchListSemantics(lw, client), example, 0, cache.Indexers{})
}

func listWatch[L runtime.Object](
	list func(context.Context, metav1.ListOptions) (L, error),
	follow func(context.Context, metav1.ListOptions) (watch.Interface, error),
) *cache.ListWatch {
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			return list(ctx, o)
		},
		WatchFuncWithContext: follow,
	}
}

// probe asks for one object, to see whether that is allowed.
func (w *Watch) probe(ctx context.Context, c candidate) error {
	resources := []schema.GroupVersionResource{c.resource(c.objects())}
	if c.api == Native {
		resources = append(resources, c.resource("workloads"))
	}
	for _, r := range resources {
		if _, err := w.o.Dynamic.Resource(r).List(ctx, metav1.ListOptions{Limit: 1}); err != nil {
			return err
		}
	}
	return nil
}

// put takes over a group that came or changed, and tells if scheduling reads a change.
func (w *Watch) put(o any) {
	var g *PodGroup
	switch o := o.(type) {
	case *schedulingv1beta1.PodGroup:
		g = FromNative(o)
	case *unstructured.Unstructured:
		g = FromObject(o)
	}
	if g == nil {
		return
	}
	w.telling.Lock()
	defer w.telling.Unlock()
	if old := w.raw(g.Key()); old != nil && reflect.DeepEqual(old, g) {
		return // its status, mostly
	}
	w.Put(g)
	w.tell(g.Key())
}

// raw is a group as it was put, without what its Workload adds.
func (t *Table) raw(k Key) *PodGroup {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.groups[k]
}

func (w *Watch) drop(k Key) {
	w.telling.Lock()
	defer w.telling.Unlock()
	if w.raw(k) == nil {
		return
	}
	w.Drop(k)
	w.tell(k)
}

func (w *Watch) tell(k Key) { w.o.OnChange(k, w.Table.PodGroup(k.API, k.Namespace, k.Name)) }

func (w *Watch) workload(o any) {
	if m, err := meta.Accessor(o); err == nil {
		w.tellAll(w.PutWorkload(m))
	}
}

func (w *Watch) tellAll(keys []Key) {
	w.telling.Lock()
	defer w.telling.Unlock()
	for _, k := range keys {
		w.tell(k)
	}
}

// forget drops the groups of an API that are not in a store; with none, all.
func (w *Watch) forget(api API, store cache.Store) {
	for _, k := range w.Keys(api) {
		if store != nil {
			if _, there, err := store.GetByKey(k.Namespace + "/" + k.Name); err != nil || there {
				continue
			}
		}
		w.drop(k)
	}
}

// keyOf names the object of an informer's event, a tombstone too.
func keyOf(api API, o any) Key {
	n := nameOf(o)
	return Key{api, n.Namespace, n.Name}
}

func nameOf(o any) types.NamespacedName {
	key, err := cache.DeletionHandlingObjectToName(o)
	if err != nil {
		return types.NamespacedName{}
	}
	return types.NamespacedName{Namespace: key.Namespace, Name: key.Name}
}
