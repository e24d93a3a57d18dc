// Package policy drives the life cycle of policies (runtime/reload) by Policy objects:
// what is applied with kubectl is fetched, verified, compiled, checked and used between
// two cycles of the running loop, and its object tells how far it came and why.
//
// It works by level: every pass compares the objects with what was loaded. Loads run
// beside it, one at a time per object, so that a registry that hangs holds up nothing.
package policy

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/runtime/clock"
	api "github.com/musterhq/muster/runtime/kube/api/v1alpha1"
	"github.com/musterhq/muster/runtime/kube/objects"
	"github.com/musterhq/muster/runtime/reload"
	"github.com/musterhq/muster/runtime/reload/reason"
	"github.com/musterhq/muster/runtime/reload/wanted"
)

// Options say what the controller stands between.
type Options struct {
	Client dynamic.Interface
	// Core reads the ConfigMaps that policies name, each by its own list and watch.
	Core      kubernetes.Interface
	Namespace string // of ConfigMaps that give none
	// Life are the options of the life cycle (Swap, Check, Guard …). Log is called as
	// well; Source.ConfigMap is set by New.
	Life reload.Options
	// Trust says whom to believe; nil believes everything.
	Trust  *wanted.Trust
	Events objects.Recorder
	// Every is how often counters and shadow reports are written at most; 0 is 5 s.
	Every time.Duration
	// Failed hears of a status that could not be written; it is tried again.
	Failed func(error)
}

// Controller has the policies of one scheduler.
type Controller struct {
	o        Options
	clock    clock.Clock
	manager  *reload.Manager
	informer cache.SharedIndexInformer
	knock    chan struct{}
	loads    sync.WaitGroup

	rows map[string]*row // by the object's name; of the goroutine of Run

	mu     sync.Mutex
	refs   map[string]*corev1.ObjectReference // what events are about
	maps   map[string]*follower               // by namespace/name
	tree   *spec.Tree
	synced error
}

// New makes a controller, and the manager that it drives.
func New(o Options) (*Controller, error) {
	if o.Events == nil {
		o.Events = objects.NoEvents{}
	}
	if o.Failed == nil {
		o.Failed = func(error) {}
	}
	if o.Every == 0 {
		o.Every = 5 * time.Second
	}
	if o.Life.Clock == nil {
		o.Life.Clock = clock.Real{}
	}
	c := &Controller{
		o: o, clock: o.Life.Clock, knock: make(chan struct{}, 1), rows: map[string]*row{},
		refs: map[string]*corev1.ObjectReference{}, maps: map[string]*follower{}, synced: errors.New("the Policy objects were not read yet"),
	}
	log := o.Life.Log
	o.Life.Log = func(e reload.Event) {
		if log != nil {
			log(e)
		}
		c.step(e)
	}
	o.Life.Source.ConfigMap = c.configMap
	var err error
	if c.manager, err = reload.New(o.Life); err != nil {
		return nil, err
	}
	if err := c.manager.Trust(o.Trust); err != nil {
		return nil, errors.Join(err, c.manager.Close())
	}
	c.informer = dynamicinformer.NewFilteredDynamicInformer(o.Client, api.Policies, "", 0, cache.Indexers{}, nil).Informer()
	return c, c.listen()
}

func (c *Controller) listen() error {
	if err := c.informer.SetWatchErrorHandlerWithContext(func(_ context.Context, _ *cache.Reflector, err error) {
		c.setSynced(fmt.Errorf("the Policy objects can't be read: %w", err))
	}); err != nil {
		return err
	}
	_, err := c.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { c.wake() },
		UpdateFunc: func(before, now any) {
			if changed(before, now) { // not our own status
				c.wake()
			}
		},
		DeleteFunc: func(any) { c.wake() },
	})
	return err
}

func changed(before, now any) bool {
	a, okA := before.(*unstructured.Unstructured)
	b, okB := now.(*unstructured.Unstructured)
	return !okA || !okB || a.GetGeneration() != b.GetGeneration() || a.GetUID() != b.GetUID() ||
		!maps.Equal(a.GetAnnotations(), b.GetAnnotations())
}

// Manager is what the objects drive: its status and reports are for everybody to read.
func (c *Controller) Manager() *reload.Manager { return c.manager }

// SetQueues says which queues there are, and so which policies are in use. It never
// blocks.
func (c *Controller) SetQueues(t *spec.Tree) {
	c.mu.Lock()
	c.tree = t
	c.mu.Unlock()
	c.wake()
}

// Ready is nil once the Policy objects were read and each was loaded or refused at least
// once; until then built-ins may decide in place of policies.
func (c *Controller) Ready() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.synced
}

func (c *Controller) setSynced(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.synced != nil {
		c.synced = err
	}
}

func (c *Controller) wake() {
	select {
	case c.knock <- struct{}{}:
	default:
	}
}

// Run drives the policies until ctx ends, and then takes them all out of use.
func (c *Controller) Run(ctx context.Context) error {
	var working sync.WaitGroup
	working.Go(func() { c.informer.RunWithContext(ctx) })
	if cache.WaitForCacheSync(ctx.Done(), c.informer.HasSynced) {
		for ctx.Err() == nil {
			next := c.pass(ctx)
			select {
			case <-ctx.Done():
			case <-c.knock:
			case <-c.clock.Wake(next):
			}
		}
	}
	c.loads.Wait()
	working.Wait()
	for _, f := range c.maps {
		f.stop()
	}
	return errors.Join(ctx.Err(), c.manager.Close())
}

// pass compares the objects with what was loaded, starts what is to be loaded and writes
// what has become of it. It returns when to look again without being told.
func (c *Controller) pass(ctx context.Context) (next int64) {
	now := c.list()
	c.follow(ctx, now)
	c.drop(now)
	next = c.clock.Now() + int64(c.o.Every)
	busy := false // with what decides: what is compared with it comes after it
	for _, p := range now {
		r := c.take(p)
		if r.object.Spec.Mode == wanted.Shadow && busy {
			continue
		}
		if then := c.bring(ctx, r); then != 0 {
			next = min(next, then)
		}
		busy = busy || r.open()
	}
	if !busy {
		c.setSynced(nil)
	}
	status := c.manager.Status()
	for _, p := range now {
		c.write(ctx, c.rows[p.Name], status)
	}
	return next
}

// list reads the objects: those that decide, then shadows, each by name.
func (c *Controller) list() (out []*api.Policy) {
	for _, o := range c.informer.GetStore().List() {
		p := &api.Policy{}
		u, ok := o.(*unstructured.Unstructured)
		if !ok || runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, p) != nil {
			continue // the schema of the CRD lets no such object in
		}
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b *api.Policy) int {
		if a, b := a.Spec.Mode == wanted.Shadow, b.Spec.Mode == wanted.Shadow; a != b {
			if a {
				return 1
			}
			return -1
		}
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return out
}

// take keeps the newest version of an object.
func (c *Controller) take(p *api.Policy) *row {
	r := c.rows[p.Name]
	if r == nil {
		r = &row{status: *p.Status.DeepCopy()}
		c.rows[p.Name] = r
	}
	if r.object != nil && r.object.UID != p.UID { // deleted and created anew
		r.status = *p.Status.DeepCopy()
	}
	r.object = p
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refs[p.Name] = objects.Reference(api.PolicyKind, p)
	return r
}

// drop takes out of use what has no object any more. There is no finalizer to wait for:
// whatever keeps a policy in use is in this process.
func (c *Controller) drop(now []*api.Policy) {
	for _, name := range slices.Sorted(maps.Keys(c.rows)) {
		if slices.ContainsFunc(now, func(p *api.Policy) bool { return p.Name == name }) {
			continue
		}
		r := c.rows[name]
		if r.stop() {
			continue // until its load has ended
		}
		c.remove(name)
		delete(c.rows, name)
		c.mu.Lock()
		delete(c.refs, name)
		c.mu.Unlock()
	}
}

func (c *Controller) remove(name string) {
	if err := c.manager.Remove(name); err != nil && reason.Of(err).Code != reason.NotFound {
		c.o.Failed(err)
	}
}
