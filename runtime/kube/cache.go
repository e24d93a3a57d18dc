package kube

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	storagelisters "k8s.io/client-go/listers/storage/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/musterhq/muster/runtime/kube/mirror"
	"github.com/musterhq/muster/runtime/kube/pods"
)

var _ pods.Objects = (*objects)(nil)

// objects are the informer caches of everything that pods refer to, and of pods and
// nodes themselves.
type objects struct {
	factory    informers.SharedInformerFactory
	namespaces corelisters.NamespaceLister
	claims     corelisters.PersistentVolumeClaimLister
	volumes    cache.SharedIndexInformer
	classes    storagelisters.StorageClassLister
	nodes      cache.SharedIndexInformer
	pods       cache.SharedIndexInformer
	others     []cache.SharedIndexInformer // whose objects pods refer to
}

// The indexes of volumes and nodes.
const (
	byClass = "class" // volumes that wait for a claim by storage class
	byLabel = "label" // nodes by "key=value" of labels that no two nodes share
)

func newObjects(client kubernetes.Interface, perNode []string) (*objects, error) {
	f := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithTransform(strip))
	o := &objects{
		factory:    f,
		namespaces: f.Core().V1().Namespaces().Lister(),
		claims:     f.Core().V1().PersistentVolumeClaims().Lister(),
		volumes:    f.Core().V1().PersistentVolumes().Informer(),
		classes:    f.Storage().V1().StorageClasses().Lister(),
		nodes:      f.Core().V1().Nodes().Informer(),
		pods:       f.Core().V1().Pods().Informer(),
	}
	o.others = []cache.SharedIndexInformer{
		f.Core().V1().PersistentVolumeClaims().Informer(), o.volumes, f.Storage().V1().StorageClasses().Informer(),
	}
	if err := o.volumes.AddIndexers(cache.Indexers{byClass: unclaimed}); err != nil {
		return nil, fmt.Errorf("indexing volumes: %w", err)
	}
	if err := o.nodes.AddIndexers(cache.Indexers{byLabel: func(obj any) ([]string, error) { return labelled(obj, perNode), nil }}); err != nil {
		return nil, fmt.Errorf("indexing nodes: %w", err)
	}
	return o, nil
}

// strip drops what nobody here reads and what is large.
func strip(obj any) (any, error) {
	if m, err := meta.Accessor(obj); err == nil {
		m.SetManagedFields(nil)
	}
	if n, ok := obj.(*corev1.Node); ok {
		n.Status.Images = nil
	}
	return obj, nil
}

func unclaimed(obj any) ([]string, error) {
	if v, ok := obj.(*corev1.PersistentVolume); ok && (v.Spec.ClaimRef == nil || v.Status.Phase == corev1.VolumeAvailable) {
		return []string{v.Spec.StorageClassName}, nil
	}
	return nil, nil
}

func labelled(obj any, labels []string) (keys []string) {
	n, ok := obj.(*corev1.Node)
	if !ok {
		return nil
	}
	for _, l := range labels {
		if v, has := n.Labels[l]; has {
			keys = append(keys, l+"="+v)
		}
	}
	return keys
}

// feed passes what informers report on to the mirror, and calls gone with nodes that are
// no more. It returns when all of it has been passed on once, or ctx ends.
func (o *objects) feed(ctx context.Context, m *mirror.Mirror, gone func(node string)) error {
	var synced []cache.InformerSynced
	listen := func(i cache.SharedIndexInformer, h cache.ResourceEventHandler) error {
		r, err := i.AddEventHandler(h)
		if err != nil {
			return fmt.Errorf("listening to an informer: %w", err)
		}
		synced = append(synced, r.HasSynced)
		return nil
	}
	changed := handler(func(runtimeObject) { m.ObjectsChanged() }, func(runtimeObject) { m.ObjectsChanged() })
	for _, i := range o.others {
		if err := listen(i, changed); err != nil {
			return err
		}
	}
	renamed := handler(func(runtimeObject) { m.NamespacesChanged() }, func(runtimeObject) { m.NamespacesChanged() })
	if err := listen(o.factory.Core().V1().Namespaces().Informer(), renamed); err != nil {
		return err
	}
	if err := listen(o.nodes, handler(
		func(n *corev1.Node) { m.NodeChanged(n) }, func(n *corev1.Node) { m.NodeDeleted(n.Name); gone(n.Name) })); err != nil {
		return err
	}
	if err := listen(o.pods, handler(m.PodChanged, m.PodDeleted)); err != nil {
		return err
	}
	o.factory.Start(ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), synced...) {
		return fmt.Errorf("the API server did not list everything: %w", context.Cause(ctx))
	}
	return nil
}

type runtimeObject = any

// handler calls there for what is there and gone for what is not any more. An object that
// vanished while the watch was broken comes as its last known state. One that was made anew
// under the same name meanwhile comes as an update of the other: that one is gone.
func handler[T any](there, gone func(T)) cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc: func(obj any) {
			if o, ok := obj.(T); ok {
				there(o)
			}
		},
		UpdateFunc: func(was, obj any) {
			if before, ok := was.(T); ok && another(was, obj) {
				gone(before)
			}
			if o, ok := obj.(T); ok {
				there(o)
			}
		},
		DeleteFunc: func(obj any) {
			if last, ok := obj.(cache.DeletedFinalStateUnknown); ok {
				obj = last.Obj
			}
			if o, ok := obj.(T); ok {
				gone(o)
			}
		},
	}
}

// another says that two objects of one name are not the same one.
func another(was, now any) bool {
	a, errA := meta.Accessor(was)
	b, errB := meta.Accessor(now)
	return errA == nil && errB == nil && a.GetUID() != b.GetUID()
}

func (o *objects) Namespace(name string) *corev1.Namespace { return found(o.namespaces.Get(name)) }

func (o *objects) Claim(namespace, name string) *corev1.PersistentVolumeClaim {
	return found(o.claims.PersistentVolumeClaims(namespace).Get(name))
}

func (o *objects) Class(name string) *storagev1.StorageClass { return found(o.classes.Get(name)) }

func (o *objects) Volume(name string) *corev1.PersistentVolume {
	obj, ok, err := o.volumes.GetStore().GetByKey(name)
	if v, is := obj.(*corev1.PersistentVolume); is && ok && err == nil {
		return v
	}
	return nil
}

func (o *objects) VolumesOf(class string) (list []*corev1.PersistentVolume) {
	found, err := o.volumes.GetIndexer().ByIndex(byClass, class)
	if err != nil {
		return nil
	}
	for _, obj := range found {
		if v, ok := obj.(*corev1.PersistentVolume); ok {
			list = append(list, v)
		}
	}
	return list
}

func (o *objects) NodesWith(label, value string) (names []string) {
	list, err := o.nodes.GetIndexer().ByIndex(byLabel, label+"="+value)
	if err != nil {
		return nil
	}
	for _, obj := range list {
		if n, ok := obj.(*corev1.Node); ok {
			names = append(names, n.Name)
		}
	}
	return names
}

// found turns a lister's "not found" into nil.
func found[T any](obj *T, err error) *T {
	if err != nil {
		return nil
	}
	return obj
}

func (o *objects) HasNode(name string) bool {
	_, ok, err := o.nodes.GetStore().GetByKey(name)
	return ok && err == nil
}
