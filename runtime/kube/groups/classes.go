package groups

import (
	"cmp"
	"context"
	"slices"

	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
)

// PriorityClass is a class as far as jobs are read by it. Pods have had theirs resolved by
// the API server; the PodGroups of Volcano, RayClusters and KAI's label name one only.
type PriorityClass struct {
	Name          string
	Value         int32
	NeverPreempts bool
	// AllowPreemption is YuniKorn's annotation of the class, which holds for its pods that
	// have none of their own.
	AllowPreemption string
}

// Classes finds priority classes, nil where there is none (yet). Objects that are Classes
// too are asked.
type Classes interface {
	PriorityClass(name string) *PriorityClass
}

// classNamed finds a class, nil if there is none or it is not known.
func (r *reader) classNamed(name string) *PriorityClass {
	classes, ok := r.objects.(Classes)
	if !ok || name == "" {
		return nil
	}
	return classes.PriorityClass(name)
}

// priority resolves the class that the job names.
func (r *reader) priority() {
	i := &r.m.Info
	if i.PriorityClass == "" || i.Priority != nil {
		return
	}
	c := r.classNamed(i.PriorityClass)
	if c == nil {
		field := at(labelsField, kaiPriorityClass)
		if r.m.Refers != nil && r.m.Dialect != "kai" {
			field = r.m.Refers.String() + " priorityClassName"
		}
		r.problem("no-priority-class", field, "create the PriorityClass, or name one that is there",
			"there is no PriorityClass %s; the priority of the pods counts", i.PriorityClass)
		return
	}
	i.Priority, i.NeverPreempts = &c.Value, i.NeverPreempts || c.NeverPreempts
}

// FromClass reads a PriorityClass.
func FromClass(o *schedulingv1.PriorityClass) *PriorityClass {
	return &PriorityClass{
		Name: o.Name, Value: o.Value, AllowPreemption: o.Annotations[ykPreempt],
		NeverPreempts: o.PreemptionPolicy != nil && string(*o.PreemptionPolicy) == "Never",
	}
}

// PriorityClass finds a class, nil if there is none.
func (t *Table) PriorityClass(name string) *PriorityClass {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.classes[name]
}

// PutClass adds or replaces a class. It returns the groups that name it, sorted; none if it
// was known like that.
func (t *Table) PutClass(c *PriorityClass) []Key {
	t.mu.Lock()
	defer t.mu.Unlock()
	if old := t.classes[c.Name]; old != nil && *old == *c {
		return nil
	}
	if t.classes == nil {
		t.classes = map[string]*PriorityClass{}
	}
	t.classes[c.Name] = c
	return t.ofClass(c.Name)
}

// DropClass removes a class and returns the groups that name it.
func (t *Table) DropClass(name string) []Key {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.classes, name)
	return t.ofClass(name)
}

func (t *Table) ofClass(name string) []Key {
	var out []Key
	for k, g := range t.groups { //muster:anyorder sorted below
		if g.PriorityClass == name {
			out = append(out, k)
		}
	}
	slices.SortFunc(out, func(a, b Key) int { return cmp.Compare(a.String(), b.String()) })
	return out
}

// followClasses sees to it that PriorityClasses are followed. It is false if that could not
// be found out.
func (w *Watch) followClasses(ctx context.Context) bool {
	w.mu.Lock()
	old := w.classes
	w.mu.Unlock()
	if old != nil && !old.broken() {
		return true
	}
	api := w.o.Client.SchedulingV1().PriorityClasses()
	_, err := api.List(ctx, metav1.ListOptions{Limit: 1})
	switch {
	case apierrors.IsForbidden(err):
		w.denyClasses(err)
		return true
	case err != nil:
		w.o.Log.Debug("priority classes could not be asked after", "error", err)
		return false
	}
	if old != nil {
		old.stop()
	}
	ctx, cancel := context.WithCancel(ctx)
	f := &feed{cancel: cancel}
	informer := cache.NewSharedIndexInformer(
		cache.ToListWatcherWithWatchListSemantics(listWatch(api.List, api.Watch), w.o.Client), &schedulingv1.PriorityClass{}, 0, cache.Indexers{})
	w.attach(ctx, f, informer, cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { w.class(o) },
		UpdateFunc: func(_, o any) { w.class(o) },
		DeleteFunc: func(o any) { w.tellAll(w.DropClass(nameOf(o).Name)) },
	})
	w.mu.Lock()
	w.classes, w.deniedClasses = f, false
	w.mu.Unlock()
	return true
}

func (w *Watch) class(o any) {
	if c, ok := o.(*schedulingv1.PriorityClass); ok {
		w.tellAll(w.PutClass(FromClass(c)))
	}
}

// denyClasses tells once that classes are not read.
func (w *Watch) denyClasses(err error) {
	w.mu.Lock()
	told := w.deniedClasses
	w.deniedClasses = true
	w.mu.Unlock()
	if !told {
		w.o.Log.Warn("priority classes may not be read; those that groups name count for nothing", "error", err,
			"hint", "allow list and watch of priorityclasses")
	}
}
