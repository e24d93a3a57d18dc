package mirror

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/musterhq/muster/builtin/plan"
	"github.com/musterhq/muster/runtime/kube/groups"
)

// quotaHolds has the codes of jobs that queue and policy hold back, not nodes.
var quotaHolds = map[plan.Code]bool{
	plan.QueueMax: true, plan.TypedMax: true, plan.UserLimit: true, plan.GroupLimit: true, plan.MaxApps: true,
	plan.OutsideGuarantee: true, plan.AdmissionRefused: true, plan.GangExceedsMax: true, plan.BehindBlocked: true,
}

// tellGroup says how the group object of a job stands, if it has one.
func (m *Mirror) tellGroup(j *job) {
	if m.o.Group == nil {
		return
	}
	key := j.group()
	if key == nil || key.API == groups.Ray {
		return
	}
	m.o.Group(*key, m.stateOf(j))
}

// noteEmpty remembers the groups of Volcano that exist, for whoever comes to lead.
func (m *Mirror) noteEmpty(key groups.Key) {
	switch {
	case key.API != groups.Volcano:
	case m.o.Groups.PodGroup(key.API, key.Namespace, key.Name) == nil:
		delete(m.volcano, key)
	default:
		m.volcano[key] = true
	}
}

// tellEmpty says of a group without pods that they may come: the controller of Volcano's
// Jobs makes them when the group's phase is no longer Pending, and not before.
func (m *Mirror) tellEmpty(key groups.Key) {
	if m.o.Group != nil && m.volcano[key] && len(m.refers[key]) == 0 {
		m.o.Group(key, groups.State{})
	}
}

// group is the object that the job's pods are read by.
func (j *job) group() *groups.Key {
	for p := range j.pods { //muster:anyorder members of a group refer to one object
		if p.member.Refers != nil {
			return p.member.Refers
		}
	}
	return nil
}

func (m *Mirror) stateOf(j *job) groups.State {
	s := groups.State{Succeeded: j.succeeded, Failed: j.failed}
	for p := range j.pods {
		s.Members++
		if p.node() == "" || p.over() {
			continue
		}
		s.Bound++
		if p.obj.Status.Phase == corev1.PodRunning {
			s.Running++
		}
		if t := time.Unix(0, m.since(p)); s.Began.IsZero() || t.Before(s.Began) {
			s.Began = t
		}
	}
	s.Members += s.Succeeded + s.Failed
	s.Bound += s.Succeeded + s.Failed
	switch {
	case j.trouble != nil:
		s.Reason, s.Text = groups.SchedulerError, j.trouble.Text
	case !j.ready() && s.Bound < j.min():
		s.Reason, s.Text = groups.Unschedulable, "its pods have not all come yet"
	case j.why != nil && s.Bound < max(1, j.min()):
		s.Reason, s.Text = groups.Unschedulable, j.why.Sentence()
		s.Admitted = !quotaHolds[j.why.Code]
	}
	for _, sl := range j.slots {
		if sl.state == leaving {
			s.Preempted = sl.why.text
		}
	}
	return s
}
