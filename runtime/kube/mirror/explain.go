package mirror

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/plan"
	"github.com/musterhq/muster/runtime/kube/act"
	"github.com/musterhq/muster/runtime/kube/groups"
	"github.com/musterhq/muster/runtime/kube/pods"
)

// Reason is one thing about a job that the scheduler's core can't know.
type Reason struct{ Code, Text string }

// Explain says what keeps pods of a job from the scheduler: gates, problems, members
// that do not exist yet.
func (m *Mirror) Explain(id string) []Reason {
	m.mu.Lock()
	defer m.mu.Unlock()
	j := m.jobs[id]
	if j == nil {
		return nil
	}
	var out []Reason
	if j.trouble != nil {
		out = append(out, Reason{j.trouble.Code, j.trouble.Text})
	}
	count := map[Reason]int{}
	for p := range j.pods {
		if why := p.keeps(); why != nil && p.node() == "" {
			count[Reason{why.Code, sentence(why)}]++
		}
	}
	for _, s := range j.slots {
		if s.state == leaving && s.pod != nil {
			count[s.why.told()]++
		}
	}
	for r, n := range count { //muster:anyorder sorted below
		out = append(out, Reason{r.Code, fmt.Sprintf("%d pods: %s", n, r.Text)})
	}
	slices.SortFunc(out, func(a, b Reason) int {
		return cmp.Or(strings.Compare(a.Code, b.Code), strings.Compare(a.Text, b.Text))
	})
	if have, of := j.come(); have < of && !j.ready() {
		out = append(out, Reason{"gang-incomplete", fmt.Sprintf("%d of the %d pods that must start together exist", have, of)})
	}
	return out
}

// told is what is being done to a pod, and why.
func (e *evicting) told() Reason {
	if e.noticed {
		return Reason{"eviction-notice", "to be " + e.text}
	}
	return Reason{"evicting", e.text}
}

// come counts the gang's members that have a pod that may be scheduled.
func (j *job) come() (have, of int32) {
	for _, c := range j.chunks {
		n := int32(0)
		for _, s := range c.slots {
			if s.ended || s.pod != nil && (s.pod.offered() || s.pod.node() != "") {
				n++
			}
		}
		have += min(n, c.min)
		of += c.min
	}
	return have, of
}

// capacity has the codes of pods that more nodes would help.
var capacity = map[plan.Code]bool{plan.NoRoom: true, plan.GangNoRoom: true, plan.GangExceedsPool: true}

// waits is what to tell a pod that is not bound, if there is something.
func (m *Mirror) waits(j *job, p *pod) (act.Waiting, bool) {
	w := act.Waiting{Pod: p.id()}
	switch {
	case p.keeps() != nil:
		why := p.keeps()
		if why.Code == "gated" { // the API server says so itself
			return w, false
		}
		w.Code, w.Text = camel(why.Code), sentence(why)
	case j.trouble != nil && !j.trouble.Fatal: // it will be over before anybody has read of it
		return w, false
	case j.trouble != nil:
		w.Code, w.Text = camel(j.trouble.Code), j.trouble.Text
	case p.slot == nil:
		return w, false
	case p.slot.state == claimed:
		w.Code, w.Text, w.Nominated = camel(string(plan.WaitingForVictims)), "a place is kept; what holds it is leaving", p.slot.node
	case p.slot.state == absent && !j.ready():
		have, of := j.come()
		w.Code, w.Text = "GangIncomplete", fmt.Sprintf("%d of the %d pods that must start together exist", have, of)
	case p.slot.state == pending && j.why != nil:
		w.Capacity = capacity[j.why.Code]
		w.Code, w.Text = camel(string(j.why.Code)), j.why.Sentence()
	default:
		return w, false
	}
	return w, true
}

// sentence is a problem with where it is and what to do about it.
func sentence(p *pods.Problem) string {
	text := p.Text
	if p.Field != "" {
		text = p.Field + ": " + text
	}
	if p.Hint != "" {
		text += "; " + p.Hint
	}
	return text
}

// camel turns a stable code into Kubernetes' form of a reason.
func camel(code string) string {
	var b strings.Builder
	for part := range strings.SplitSeq(code, "-") {
		if part != "" {
			b.WriteString(strings.ToUpper(part[:1]) + part[1:])
		}
	}
	return b.String()
}

// declared is what a task of a declared group asks for, as long as no pod tells.
func (m *Mirror) declared(g groups.Group) pods.Task {
	like := &corev1.Pod{Spec: corev1.PodSpec{
		NodeSelector: g.NodeSelector, Tolerations: g.Tolerations, Affinity: g.Affinity,
		Containers: []corev1.Container{{Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{}}}},
	}}
	for _, r := range g.Request {
		q := resource.NewQuantity(int64(r.Amount), resource.BinarySI)
		if r.Name == amount.CPUName || amount.IsGPU(r.Name) {
			q = resource.NewMilliQuantity(int64(r.Amount), resource.DecimalSI)
		}
		like.Spec.Containers[0].Resources.Requests[corev1.ResourceName(r.Name)] = *q
	}
	task, _ := pods.Read(like, m.o.Objects, m.terms)
	return task
}
