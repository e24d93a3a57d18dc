package mirror

import (
	"fmt"
	"maps"
	"reflect"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/runtime/kube/act"
	"github.com/musterhq/muster/runtime/kube/pods"
	"github.com/musterhq/muster/runtime/ledger"
)

// node is one node, or the name of one that pods are on though it is not there (any
// more).
type node struct {
	name    string
	obj     *corev1.Node // nil: not there
	read    *corev1.Node // as it was last looked at
	names   []string     // besides its own, as "label=value"
	posted  *spec.Node   // as the ledger knows it, nil if it does not
	foreign ledger.NodeUsed
	// problems are why it takes no new pods.
	problems []pods.Problem
	pods     map[types.UID]*pod // that run here, ours and others'
	issued   map[types.UID]*pod // that we are about to bind here, by pod.binding
}

func (m *Mirror) nodeNamed(name string) *node {
	n := m.nodes[name]
	if n == nil {
		n = &node{name: name, pods: map[types.UID]*pod{}, issued: map[types.UID]*pod{}, foreign: ledger.NodeUsed{Name: name}}
		m.nodes[name] = n
	}
	return n
}

// NodeChanged takes in a node that was added or updated.
func (m *Mirror) NodeChanged(obj *corev1.Node) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.nodeNamed(obj.Name)
	m.namesOf(n, obj)
	n.obj = obj
	m.look(n)
}

// namesOf notes what else the node is called: pods that ask for a node by such a name
// were read by the names that there were.
func (m *Mirror) namesOf(n *node, obj *corev1.Node) {
	var names []string
	if obj != nil {
		for _, l := range m.perNode {
			if v, ok := obj.Labels[l]; ok && v != obj.Name {
				names = append(names, l+"="+v)
			}
		}
	}
	if !slices.Equal(names, n.names) {
		n.names, m.called = names, true
	}
}

// readByName reads the pods again that ask for nodes by name, if nodes are called
// otherwise than before.
func (m *Mirror) readByName() {
	if !m.called {
		return
	}
	m.called = false
	for _, p := range sortedPods(m.pods) {
		if p.ours && p.node() == "" && p.task.Where != nil && p.task.Where.ByName() {
			m.read(p)
		}
	}
}

// NodeDeleted takes in that a node is gone.
func (m *Mirror) NodeDeleted(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if n := m.nodes[name]; n != nil {
		m.namesOf(n, nil)
		n.obj = nil
		m.look(n)
	}
}

func (m *Mirror) look(n *node) {
	m.stale[n] = true
	m.wake()
}

// place counts a pod on the node where it is, and off the one where it was.
func (m *Mirror) place(p *pod) {
	var to *node
	if p.node() != "" && !p.over() {
		to = m.nodeNamed(p.node())
	}
	if p.node() != "" || p.over() {
		m.landed(p) // wherever binds of it are under way: they change nothing any more
	}
	if to != nil && p.used == nil && !p.ours {
		p.used, _, _ = pods.Foreign([]*corev1.Pod{p.obj}, m.terms)
	}
	if to == p.on {
		return
	}
	if p.on != nil {
		delete(p.on.pods, p.obj.UID)
		m.look(p.on)
	}
	if to != nil {
		to.pods[p.obj.UID] = p
		m.look(to)
	}
	p.on = to
}

// reconcileNode posts what has changed about a node.
func (m *Mirror) reconcileNode(n *node) {
	switch {
	case n.obj == nil && n.posted != nil:
		m.clear(n)
		m.post(ledger.NodeRemoved{Name: n.name})
		n.posted, n.read, n.foreign = nil, nil, ledger.NodeUsed{Name: n.name}
	case n.obj != nil:
		m.postNode(n)
	}
	if n.obj == nil && len(n.pods) == 0 && len(n.issued) == 0 {
		delete(m.nodes, n.name)
		return
	}
	if n.posted != nil {
		m.postForeign(n)
		m.evictFailed(n)
	}
}

func (m *Mirror) postNode(n *node) {
	handed := m.handing(n)
	if n.obj == n.read {
		return
	}
	n.read = n.obj
	s, problems := pods.Node(m.usable(n), m.o.PodOptions)
	if handed != nil {
		problems, s.Unschedulable = append(problems, *handed), true
	}
	n.problems = problems
	if n.posted != nil && reflect.DeepEqual(*n.posted, s) {
		return
	}
	fresh := n.posted == nil
	if err := s.Validate(); err != nil {
		m.out.work.Events = append(m.out.work.Events, act.Event{
			About: corev1.ObjectReference{Kind: "Node", Name: n.name, UID: types.UID(n.name)}, Type: corev1.EventTypeWarning,
			Reason: "NodeRefused", Text: fmt.Sprintf("Muster can't use this node: %v", err),
		})
		return
	}
	m.post(ledger.NodeAdded{Node: s})
	n.posted = &s
	if fresh { // pods on it can be told now
		for _, p := range n.pods {
			if p.job != nil {
				m.dirty[p.job] = true
			}
		}
	}
}

// clear takes everything of ours off a node that is gone, pod by pod: the rest of their
// gangs runs on elsewhere, whatever becomes of it.
func (m *Mirror) clear(n *node) {
	for _, j := range m.jobs {
		for _, s := range j.slots {
			if s.node == n.name && s.state.holds() {
				m.absent(s)
				m.dirty[j] = true
			}
		}
	}
}

// postForeign says what pods that are not ours take of the node.
func (m *Mirror) postForeign(n *node) {
	var others []*corev1.Pod
	for _, p := range n.pods {
		if !p.ours || p.job == nil || p.job.trouble != nil && p.slot == nil {
			others = append(others, p.obj)
		}
	}
	now := ledger.NodeUsed{Name: n.name}
	if len(others) > 0 {
		now.Used, now.Counts, now.Avoids = pods.Foreign(others, m.terms)
	}
	if slices.Equal(now.Used, n.foreign.Used) && maps.Equal(now.Counts, n.foreign.Counts) && maps.Equal(now.Avoids, n.foreign.Avoids) {
		return
	}
	n.foreign = now
	m.post(now)
}

// recount tells the ledger who counts for which terms after a term has come or gone.
func (m *Mirror) recount() {
	if m.renamed { // namespaces may have other labels
		m.renamed = false
		m.terms.Relabelled()
	}
	if m.terms.Version() == m.version {
		return
	}
	m.version = m.terms.Version()
	for _, p := range m.pods {
		if p.ours && p.job != nil {
			p.task.Near.Counts = m.terms.Counts(p.obj)
		}
	}
	for _, j := range sortedJobs(m.jobs) {
		m.recountJob(j)
	}
	for _, n := range m.nodes {
		if len(n.pods) > 0 {
			m.stale[n] = true
		}
	}
}

// Admit says whether a node has room for a pod that is about to be bound there, by what
// the API says now: others may have come between the decision and the bind.
func (m *Mirror) Admit(b act.Bind) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, p := m.nodes[b.Node], m.pods[b.Pod.UID]
	if n == nil || n.posted == nil || p == nil {
		return fmt.Errorf("node %s or the pod is not there any more", b.Node)
	}
	for _, want := range p.used {
		have, _ := n.posted.Capacity.Get(want.Name)
		for _, others := range []map[types.UID]*pod{n.pods, n.issued} {
			for _, o := range others { //muster:anyorder a sum
				if o != p {
					a, _ := o.used.Get(want.Name)
					have = have.Sub(a)
				}
			}
		}
		if have < want.Amount {
			return fmt.Errorf("node %s has no room left for %s of %s: another pod came first", b.Node, want.Name, b.Pod.Name)
		}
	}
	return nil
}
