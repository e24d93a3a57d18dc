package groups

import (
	"cmp"
	"slices"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Table holds group objects, the Workloads that native ones were made from, and priority
// classes. It implements Objects and Classes. The zero value is empty and ready; all methods may be called at
// any time from any goroutine. What it hands out is not to be changed.
type Table struct {
	mu     sync.RWMutex
	groups map[Key]*PodGroup
	// classes by name.
	classes map[string]*PriorityClass
	// workloads have metadata only.
	workloads map[types.NamespacedName]metav1.Object
	// made are the native groups of a workload.
	made map[types.NamespacedName]map[Key]bool
}

// PodGroup finds a group, nil if there is none. What a native group leaves open comes
// from its Workload.
func (t *Table) PodGroup(api API, namespace, name string) *PodGroup {
	t.mu.RLock()
	defer t.mu.RUnlock()
	g := t.groups[Key{api, namespace, name}]
	if g == nil || g.Workload == "" {
		return g
	}
	w, ok := t.workloads[types.NamespacedName{Namespace: namespace, Name: g.Workload}]
	if !ok {
		return g
	}
	return g.withWorkload(w)
}

// Put adds or replaces a group.
func (t *Table) Put(g *PodGroup) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.drop(g.Key())
	if t.groups == nil {
		t.groups, t.made = map[Key]*PodGroup{}, map[types.NamespacedName]map[Key]bool{}
	}
	t.groups[g.Key()] = g
	if g.Workload != "" {
		of := types.NamespacedName{Namespace: g.Namespace, Name: g.Workload}
		if t.made[of] == nil {
			t.made[of] = map[Key]bool{}
		}
		t.made[of][g.Key()] = true
	}
}

// Drop removes a group.
func (t *Table) Drop(k Key) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.drop(k)
}

func (t *Table) drop(k Key) {
	g := t.groups[k]
	if g == nil {
		return
	}
	delete(t.groups, k)
	of := types.NamespacedName{Namespace: g.Namespace, Name: g.Workload}
	delete(t.made[of], k)
	if len(t.made[of]) == 0 {
		delete(t.made, of)
	}
}

// PutWorkload adds or replaces a Workload, of which the metadata is read. It returns the
// groups that were made from it, sorted.
func (t *Table) PutWorkload(o metav1.Object) []Key {
	name := types.NamespacedName{Namespace: o.GetNamespace(), Name: o.GetName()}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.workloads == nil {
		t.workloads = map[types.NamespacedName]metav1.Object{}
	}
	t.workloads[name] = &metav1.ObjectMeta{
		Namespace: o.GetNamespace(), Name: o.GetName(), Labels: o.GetLabels(), Annotations: o.GetAnnotations(),
	}
	return t.madeFrom(name)
}

// DropWorkload removes a Workload and returns the groups that were made from it.
func (t *Table) DropWorkload(name types.NamespacedName) []Key {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.workloads, name)
	return t.madeFrom(name)
}

func (t *Table) madeFrom(name types.NamespacedName) []Key {
	var out []Key
	for k := range t.made[name] { //muster:anyorder sorted below
		out = append(out, k)
	}
	slices.SortFunc(out, func(a, b Key) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// Keys lists the groups of an API, sorted by namespace and name.
func (t *Table) Keys(api API) []Key {
	t.mu.RLock()
	defer t.mu.RUnlock()
	var out []Key
	for k := range t.groups { //muster:anyorder sorted below
		if k.API == api {
			out = append(out, k)
		}
	}
	slices.SortFunc(out, func(a, b Key) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return out
}
