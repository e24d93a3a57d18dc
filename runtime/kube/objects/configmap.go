package objects

import (
	"context"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// ConfigMap follows one ConfigMap. It lists and watches no other, so that a right to that
// one name is enough (RBAC resourceNames).
type ConfigMap struct {
	Namespace, Name string

	informer cache.SharedIndexInformer
	changed  func()

	mu  sync.Mutex
	err error // of the last list or watch
}

// NewConfigMap returns a follower of a ConfigMap that need not be there yet. changed is
// called on every change, and when reading it begins to fail; it must not block.
func NewConfigMap(client kubernetes.Interface, namespace, name string, changed func()) (*ConfigMap, error) {
	c := &ConfigMap{Namespace: namespace, Name: name, changed: changed}
	maps := client.CoreV1().ConfigMaps(namespace)
	only := fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()
	c.informer = cache.NewSharedIndexInformer(cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.FieldSelector = only
			return maps.List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.FieldSelector = only
			w, err := maps.Watch(ctx, o)
			if err == nil {
				c.works()
			}
			return w, err
		},
	}, client), &corev1.ConfigMap{}, 0, cache.Indexers{})
	if err := c.informer.SetWatchErrorHandlerWithContext(c.failed); err != nil {
		return nil, err
	}
	told := cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { c.again() },
		UpdateFunc: func(_, _ any) { c.again() },
		DeleteFunc: func(any) { c.again() },
	}
	_, err := c.informer.AddEventHandler(told)
	return c, err
}

func (c *ConfigMap) again() {
	c.mu.Lock()
	c.err = nil
	c.mu.Unlock()
	c.changed()
}

// works takes in that the ConfigMap is watched, whether or not there is one: a watch that
// begins well tells of nothing by itself.
func (c *ConfigMap) works() {
	c.mu.Lock()
	was := c.err
	c.err = nil
	c.mu.Unlock()
	if was != nil {
		c.changed()
	}
}

func (c *ConfigMap) failed(_ context.Context, _ *cache.Reflector, err error) {
	c.mu.Lock()
	c.err = err
	c.mu.Unlock()
	c.changed()
}

// Failed says whether the last try to read it went wrong.
func (c *ConfigMap) Failed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err != nil
}

// Run follows the ConfigMap until ctx ends.
func (c *ConfigMap) Run(ctx context.Context) {
	var both sync.WaitGroup
	defer both.Wait()
	both.Go(func() { // that there is none is news, too
		if cache.WaitForCacheSync(ctx.Done(), c.informer.HasSynced) {
			c.changed()
		}
	})
	c.informer.RunWithContext(ctx)
}

// Get returns the ConfigMap as it is, which must not be changed; nil if there is none.
// The error says that it is not known, or known no longer.
func (c *ConfigMap) Get() (*corev1.ConfigMap, error) {
	o, ok, err := c.informer.GetStore().GetByKey(c.Namespace + "/" + c.Name)
	if err != nil {
		return nil, err
	}
	if ok {
		return o.(*corev1.ConfigMap), nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.err != nil:
		return nil, fmt.Errorf("ConfigMap %s/%s can't be read: %w", c.Namespace, c.Name, c.err)
	case !c.informer.HasSynced():
		return nil, fmt.Errorf("ConfigMap %s/%s was not read yet", c.Namespace, c.Name)
	}
	return nil, nil
}
