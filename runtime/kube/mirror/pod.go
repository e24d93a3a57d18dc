package mirror

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"

	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/runtime/kube/act"
	"github.com/musterhq/muster/runtime/kube/groups"
	"github.com/musterhq/muster/runtime/kube/pods"
)

// pod is one pod that exists, or that existed until the next flush.
type pod struct {
	obj  *corev1.Pod
	ours bool
	gone bool // deleted from the API

	// Of pods that are ours:
	member groups.Member
	task   pods.Task
	key    string // of its shape: pods with equal keys are exchangeable
	job    *job
	slot   *slot // nil: it has none (yet)
	// problem keeps it from being offered to the scheduler; nil if nothing does.
	problem *pods.Problem
	told    []pods.Problem // that are passed over, told once
	// bad counts binds that failed for the pod itself. After some it rests: resting says
	// why, until when (0: it does not). That is no problem of what it asks for, so reading
	// it again neither ends nor prolongs it.
	bad     int
	resting *pods.Problem
	until   int64
	// binding has the nodes to which binds are under way, and how many: more than one if
	// it was decided anew before the outcome of the last one was heard. Each node has the
	// pod among its issued.
	binding map[*node]int

	used spec.Resources // what it takes of its node
	use  *measured      // what it does with its GPUs, nil if nobody has said
	// unrequested says that it was told to use a GPU that it did not ask for.
	unrequested bool
	on          *node // where it counts
}

func (p *pod) id() act.Pod {
	return act.Pod{NamespacedName: types.NamespacedName{Namespace: p.obj.Namespace, Name: p.obj.Name}, UID: p.obj.UID}
}

// over says that the pod runs no more, or will never.
func (p *pod) over() bool { return p.gone || pods.Terminal(p.obj) || p.doomed() }

// doomed says that the pod was deleted before it was bound, and that a finalizer keeps
// it: the API server binds such pods no more.
func (p *pod) doomed() bool { return p.node() == "" && pods.Terminating(p.obj) }

// node is where the API says it is, "" if nowhere.
func (p *pod) node() string { return p.obj.Spec.NodeName }

// offered says whether the scheduler may decide about the pod.
func (p *pod) offered() bool { return !p.over() && p.problem == nil && p.resting == nil }

// keeps is what keeps the pod from being offered, nil if nothing of its own does.
func (p *pod) keeps() *pods.Problem {
	if p.problem != nil {
		return p.problem
	}
	return p.resting
}

// PodChanged takes in a pod that was added or updated.
func (m *Mirror) PodChanged(obj *corev1.Pod) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.pods[obj.UID]
	if p == nil {
		p = &pod{ours: m.ours(obj)}
		m.pods[obj.UID] = p
		m.names[types.NamespacedName{Namespace: obj.Namespace, Name: obj.Name}] = p
	}
	was := p.obj
	p.obj = obj
	m.note(p)
	if !m.begun {
		return
	}
	switch {
	case p.ours && (was == nil || rereads(p, was)):
		m.read(p)
	case was != nil && p.on != nil && !p.over() && resized(was, obj):
		m.resize(p)
	}
	m.settlePod(p)
}

// resized says whether a pod takes more or less of its node than it did (KEP-1287): what
// its containers ask for, or what the kubelet has given them so far, has changed.
func resized(was, now *corev1.Pod) bool {
	same := equality.Semantic.DeepEqual
	return !slices.EqualFunc(was.Spec.Containers, now.Spec.Containers, sameResources) ||
		!slices.EqualFunc(was.Spec.InitContainers, now.Spec.InitContainers, sameResources) ||
		!slices.EqualFunc(was.Status.ContainerStatuses, now.Status.ContainerStatuses, sameAllocated) ||
		!slices.EqualFunc(was.Status.InitContainerStatuses, now.Status.InitContainerStatuses, sameAllocated) ||
		!same(was.Spec.Resources, now.Spec.Resources) || !same(was.Status.Resources, now.Status.Resources) ||
		!same(was.Status.AllocatedResources, now.Status.AllocatedResources)
}

func sameResources(a, b corev1.Container) bool {
	return equality.Semantic.DeepEqual(a.Resources.Requests, b.Resources.Requests)
}

func sameAllocated(a, b corev1.ContainerStatus) bool {
	return a.Name == b.Name && equality.Semantic.DeepEqual(a.AllocatedResources, b.AllocatedResources) &&
		equality.Semantic.DeepEqual(a.Resources, b.Resources)
}

// resize takes in what a bound pod takes of its node now.
func (m *Mirror) resize(p *pod) {
	if p.ours {
		m.read(p)
	} else {
		p.used, _, _ = pods.Foreign([]*corev1.Pod{p.obj}, m.terms)
	}
	m.look(p.on)
}

// rereads says whether a change of the object may change what the pod asks for. A bound
// pod asks for nothing any more.
func rereads(p *pod, was *corev1.Pod) bool {
	if p.node() != "" || p.over() {
		return false
	}
	now := p.obj
	return p.problem != nil || !equality.Semantic.DeepEqual(was.Labels, now.Labels) ||
		!equality.Semantic.DeepEqual(was.Annotations, now.Annotations) ||
		!equality.Semantic.DeepEqual(was.Spec, now.Spec)
}

// PodDeleted takes in that a pod is gone.
func (m *Mirror) PodDeleted(obj *corev1.Pod) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.pods[obj.UID]
	if p == nil {
		return
	}
	p.gone = true
	m.landed(p)
	delete(m.pods, obj.UID)
	if name := p.id().NamespacedName; m.names[name] == p {
		delete(m.names, name)
	}
	delete(m.waiting, p)
	delete(m.measured, p)
	delete(m.noticed, p)
	m.refer(p, nil)
	m.terms.Forget(obj)
	if p.ours && m.o.Forget != nil {
		m.o.Forget(p.id())
	}
	m.settlePod(p)
}

// settlePod counts the pod where it belongs, and has its job and node looked at.
func (m *Mirror) settlePod(p *pod) {
	m.place(p)
	if p.job != nil {
		m.mark(p.job)
	}
}

// read takes in what the pod asks for and which job it belongs to.
func (m *Mirror) read(p *pod) {
	if !p.ours {
		m.place(p)
		return
	}
	if p.over() && p.job == nil { // ended before we came: it matters to nobody
		return
	}
	task, problems := pods.Read(p.obj, m.o.Objects, m.terms)
	member, more := groups.Read(p.obj, m.o.Groups, m.o.GroupOptions)
	for _, g := range more {
		problems = append(problems, pods.Problem{Code: g.Code, Field: g.Field, Text: g.Text, Hint: g.Hint, Fatal: g.Fatal})
	}
	if member.Wait != "" {
		problems = append(problems, pods.Problem{Code: "waiting-for-group", Text: member.Wait, Fatal: true})
	}
	m.refer(p, member.Refers)
	p.task, p.member = task, member
	p.used = task.Request
	p.key = shapeKey(&task)
	p.problem, p.told = sift(problems)
	if p.problem == nil && pods.Gated(p.obj) {
		p.problem = &pods.Problem{Code: "gated", Field: "spec.schedulingGates", Text: "the pod's scheduling gates are not lifted", Fatal: true}
	}
	if p.problem != nil && p.problem.Wait {
		m.waiting[p] = true
	} else {
		delete(m.waiting, p)
	}
	m.join(p)
	m.place(p)
}

// sift parts what keeps a pod from being scheduled from what is only told.
func sift(problems []pods.Problem) (fatal *pods.Problem, told []pods.Problem) {
	for i := range problems {
		if pr := &problems[i]; !pr.Fatal {
			told = append(told, *pr)
		} else if fatal == nil || fatal.Wait && !pr.Wait { // what will not end by itself first
			fatal = pr
		}
	}
	return fatal, told
}

// NamespacesChanged says that a namespace came, changed or went.
func (m *Mirror) NamespacesChanged() {
	m.mu.Lock()
	m.renamed = true
	m.mu.Unlock()
	m.ObjectsChanged()
}

// QueuesChanged says that queues have other names or rules: jobs may have another one.
func (m *Mirror) QueuesChanged() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, j := range m.jobs {
		m.mark(j)
	}
}

// QueuesGrown says that queues have come and none has gone: jobs that have none may have
// one now.
func (m *Mirror) QueuesGrown() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, j := range m.jobs {
		if j.trouble != nil {
			m.mark(j)
		}
	}
}

// Queues lists the queues that jobs are in, by path, and the namespaces of these jobs,
// sorted. What Queue had answered before the call has been posted when it returns.
func (m *Mirror) Queues() map[string][]string {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := map[string][]string{}
	for _, j := range m.jobs {
		if j.queue != "" {
			out[j.queue] = insert(out[j.queue], j.namespace)
		}
	}
	return out
}

// Unbound names the pods of ours that are bound nowhere, as far as is known.
func (m *Mirror) Unbound() (list []types.UID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.pods {
		if p.ours && p.node() == "" && !p.over() {
			list = append(list, p.obj.UID)
		}
	}
	return list
}

// ObjectsChanged says that something pods refer to (a claim, a volume, a PodGroup, a
// namespace) came, changed or went: those that wait for such are read again by the next
// flush. Thousands of claims come at once, for thousands of pods.
func (m *Mirror) ObjectsChanged() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.referred = true
	m.wake()
}

// readWaiting reads the pods again that wait for objects, if some have changed.
func (m *Mirror) readWaiting() {
	if !m.referred {
		return
	}
	m.referred = false
	for _, p := range sortedKeys(m.waiting, func(p *pod) string { return string(p.obj.UID) }) {
		if p.node() != "" || p.over() {
			delete(m.waiting, p)
			continue
		}
		m.read(p)
		m.settlePod(p)
	}
}

// refer notes which group object the pod is read by.
func (m *Mirror) refer(p *pod, to *groups.Key) {
	if was := p.member.Refers; was != nil {
		delete(m.refers[*was], p)
		if len(m.refers[*was]) == 0 {
			delete(m.refers, *was)
		}
	}
	if to == nil || p.gone {
		return
	}
	if m.refers[*to] == nil {
		m.refers[*to] = map[*pod]bool{}
	}
	m.refers[*to][p] = true
}

// GroupChanged says that a group object came, changed or went: its members are read
// again.
func (m *Mirror) GroupChanged(key groups.Key) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.noteEmpty(key)
	if !m.begun {
		return
	}
	m.tellEmpty(key)
	for _, p := range sortedKeys(m.refers[key], func(p *pod) string { return string(p.obj.UID) }) {
		m.read(p)
		m.settlePod(p)
	}
}

func sortedPods(all map[types.UID]*pod) []*pod {
	list := make([]*pod, 0, len(all))
	for _, p := range all {
		list = append(list, p)
	}
	slices.SortFunc(list, older)
	return list
}

// older is the order in which pods were made, then by name.
func older(a, b *pod) int {
	if c := a.obj.CreationTimestamp.Compare(b.obj.CreationTimestamp.Time); c != 0 {
		return c
	}
	if c := strings.Compare(a.obj.Namespace, b.obj.Namespace); c != 0 {
		return c
	}
	return strings.Compare(a.obj.Name, b.obj.Name)
}
