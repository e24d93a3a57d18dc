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
