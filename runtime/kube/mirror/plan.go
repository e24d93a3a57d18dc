package mirror

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/musterhq/muster/builtin/plan"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/runtime/kube/act"
	"github.com/musterhq/muster/runtime/ledger"
	"github.com/musterhq/muster/runtime/loop"
)

var _ loop.Actor = (*Mirror)(nil)

// Act turns what a turn decided into work on pods. What the plan could not know, because
// it was posted while the plan was made, overrules it: the ledger has it by the next turn.
func (m *Mirror) Act(_ spec.Time, r ledger.Result) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := r.Taken
	known := m.o.Applied()
	for _, e := range p.Evictions {
		m.evict(e, known)
	}
	for _, e := range p.Ends {
		m.end(e)
	}
	for _, e := range p.Stays {
		m.stay(e)
	}
	for _, e := range p.Events {
		m.giveUp(e, known)
	}
	for _, c := range p.Claims {
		if s := m.slot(c.Job, c.Task, known); s != nil {
			s.state, s.node = claimed, c.Node
			m.dirty[s.job] = true
		}
	}
	for i := 0; i < len(p.Binds); {
		k := i + 1
		for k < len(p.Binds) && p.Binds[k].Job == p.Binds[i].Job && p.Binds[k].Unit == p.Binds[i].Unit {
			k++
		}
		m.start(p.Binds[i:k], known)
		i = k
	}
	for i := range p.Pending {
		if j := m.jobs[p.Pending[i].Job]; j != nil {
			j.why = p.Pending[i].Why
			m.tellAll(j)
			m.tellGroup(j)
		}
	}
	for _, e := range p.Events {
		m.event(e)
	}
	m.send()
	if len(m.dirty) > 0 {
		m.wake()
	}
}

// slot finds the slot that a plan means, nil if the plan was overtaken.
func (m *Mirror) slot(id string, task int32, known uint64) *slot {
	j := m.jobs[id]
	if j == nil || int(task) >= len(j.slots) {
		return nil
	}
	if s := j.slots[task]; s.seq <= known {
		return s
	}
	return nil
}

// start asks for the binds of one unit, as far as pods exist.
func (m *Mirror) start(unit []plan.Bind, known uint64) {
	u := act.Unit{Job: unit[0].Job, Gang: len(unit) > 1}
	for _, b := range unit {
		s := m.slot(b.Job, b.Task, known)
		if s == nil {
			continue
		}
		s.state, s.node = placed, b.Node
		s.job.why = nil
		if b, ok := m.issue(s); ok {
			u.Binds = append(u.Binds, b)
		}
	}
	if len(u.Binds) > 0 {
		m.out.work.Units = append(m.out.work.Units, u)
	}
}

// issue asks for the bind of the pod that has the slot, unless it is there already.
func (m *Mirror) issue(s *slot) (act.Bind, bool) {
	p := s.pod
	n := m.nodes[s.node]
	if p == nil || p.node() != "" || s.issued == p || n == nil {
		return act.Bind{}, false
	}
	s.issued, s.issuedOn = p, n
	n.issued[p.obj.UID] = p
	if p.binding == nil {
		p.binding = map[*node]int{}
	}
	p.binding[n]++
	return act.Bind{
		Pod: p.id(), Task: s.index, Node: s.node, Claims: p.task.Bind,
		Because: fmt.Sprintf("queue %s", s.job.queue),
	}, true
}

// unissue says that the slot waits for no bind any more. One that is under way may still
// happen: until its outcome is heard it takes its place on the node.
func (s *slot) unissue() { s.issued, s.issuedOn = nil, nil }

// failed takes in that one bind of the pod to a node was not made, and says whether
// another one to that node is still under way.
func (m *Mirror) failed(p *pod, n *node) (more bool) {
	if p.binding[n] > 1 {
		p.binding[n]--
		return true
	}
	delete(p.binding, n)
	delete(n.issued, p.obj.UID)
	m.look(n)
	return false
}

// landed takes in that no bind of the pod that is under way can change where it is.
func (m *Mirror) landed(p *pod) {
	for n := range p.binding { //muster:anyorder each for itself
		delete(n.issued, p.obj.UID)
		m.look(n)
	}
	p.binding = nil
}

// issueKept binds a pod that took a slot whose place is kept.
func (m *Mirror) issueKept(s *slot) {
	s.keep = time.Time{}
	if s.state != placed {
		return
	}
	if b, ok := m.issue(s); ok {
		m.out.work.Units = append(m.out.work.Units, act.Unit{Job: s.job.id, Binds: []act.Bind{b}})
	}
}

var ruleReason = map[plan.Rule]string{plan.RuleReclaim: "Reclaimed", plan.RuleStraddle: "Reclaimed", plan.RulePriority: "PriorityPreempted"}

// evict warns or evicts the pods of one victim unit, leaders last.
func (m *Mirror) evict(e plan.Eviction, known uint64) {
	why := evicting{reason: ruleReason[e.Rule], forJob: e.For, text: evictionText(&e), noticed: e.Notify, idle: e.Idle > 0}
	var victims []*slot
	for _, t := range e.Tasks {
		if s := m.slot(e.Job, t, known); s != nil {
			victims = append(victims, s)
		}
	}
	sortLeadersLast(victims)
	for _, s := range victims {
		s.state, s.why, s.keep = leaving, why, time.Time{}
		m.awaited[s.node] = true
		switch {
		case s.pod == nil: // its place was held for nobody
			m.absent(s)
		case e.Notify:
			m.out.work.Notices = append(m.out.work.Notices, act.Notice{
				Pod: s.pod.id(), Job: e.Job, Deadline: time.Unix(0, e.Deadline), Reason: why.reason, Text: why.text,
			})
		default:
			m.drive(s)
		}
	}
}

// drive evicts the pod of a slot. One that is not bound yet is just not bound.
func (m *Mirror) drive(s *slot) {
	if s.pod.node() == "" && s.issued == nil {
		m.absent(s)
		m.dirty[s.job] = true
		return
	}
	s.why.noticed = false
	m.awaited[s.node] = true
	m.out.work.Evicts = append(m.out.work.Evicts, act.Evict{
		Pod: s.pod.id(), Job: s.job.id, Leader: s.chunk.leader, Reason: s.why.reason, Text: s.why.text, For: m.referenceTo(s.why.forJob),
		Broken: s.why.broken,
	})
}

// end evicts victims whose notice is over.
func (m *Mirror) end(e plan.End) {
	j := m.jobs[e.Job]
	if j == nil {
		return
	}
	var victims []*slot
	for _, t := range e.Tasks {
		if int(t) < len(j.slots) && j.slots[t].state == leaving && j.slots[t].pod != nil {
			victims = append(victims, j.slots[t])
		}
	}
	sortLeadersLast(victims)
	for _, s := range victims {
		m.drive(s)
	}
}

func evictionText(e *plan.Eviction) string {
	what := map[plan.Rule]string{
		plan.RuleReclaim:  "to give back what its queue had borrowed",
		plan.RuleStraddle: "as its queue was above its guarantee with it",
		plan.RulePriority: "for a job of higher priority in its queue",
	}[e.Rule]
	if e.Idle > 0 {
		what += fmt.Sprintf(", and as its GPUs had been idle for %s", time.Duration(e.Idle).Round(time.Second))
	}
	return fmt.Sprintf("evicted for %s, %s (%d candidates, policy %s, %s of GPU work lost)",
		e.For, what, e.Candidates, cmp.Or(e.Policy, "none"), (time.Duration(e.LostMS) * time.Millisecond).Round(time.Second))
}

// event tells an event of the plan on the job's object, or on its oldest pod.
func (m *Mirror) event(e plan.Event) {
	about := m.referenceTo(e.Job)
	if about == nil {
		m.o.Log.Info(e.Text, "code", e.Code, "job", e.Job)
		return
	}
	if e.Code == plan.EventWithdrawn && about.Kind == "Pod" { // whose notice it was, is told so
		return
	}
	m.out.work.Events = append(m.out.work.Events, act.Event{About: *about, Type: corev1.EventTypeNormal, Reason: camel(e.Code), Text: e.Text})
}

func (m *Mirror) referenceTo(id string) *corev1.ObjectReference {
	j := m.jobs[id]
	if j == nil || len(j.pods) == 0 {
		return nil
	}
	if j.info.Object != nil {
		return j.info.Object
	}
	first := slices.MinFunc(j.members(), older)
	r := reference(first)
	return &r
}

func reference(p *pod) corev1.ObjectReference {
	return corev1.ObjectReference{
		APIVersion: "v1", Kind: "Pod", Namespace: p.obj.Namespace, Name: p.obj.Name, UID: p.obj.UID, ResourceVersion: p.obj.ResourceVersion,
	}
}
