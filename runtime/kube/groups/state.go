package groups

import (
	"fmt"
	"reflect"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// State is what a group object's status is to tell.
type State struct {
	// Members are the pods of the group, of which Bound have a node, and of those Running,
	// Succeeded and Failed are in that phase.
	Members, Bound, Running, Succeeded, Failed int32
	// Admitted says that queue and policy let the group run, and only nodes are missing
	// (Volcano's Inqueue).
	Admitted bool
	// Reason is why the group is not scheduled: Unschedulable (no room, no quota) or
	// SchedulerError; "" if nothing was decided yet.
	Reason string
	Text   string
	// Preempted is why the group is being preempted, "" if it is not.
	Preempted string
	// Began is when the first pod was bound, zero if none was.
	Began time.Time
}

// The reasons of State, of KEP-4671.
const (
	Unschedulable  = "Unschedulable"
	SchedulerError = "SchedulerError"
)

// apply brings an object's status up to a state, and says whether that changed it. Times
// of transition are now, and change only with what they are about.
func (s State) apply(o *unstructured.Unstructured, now time.Time) bool {
	status, _ := o.Object["status"].(map[string]any)
	before := (&unstructured.Unstructured{Object: map[string]any{"status": status}}).DeepCopy().Object["status"]
	if status == nil {
		status = map[string]any{}
	}
	w := statusOf{status: status, generation: o.GetGeneration(), now: now.UTC().Format(time.RFC3339)}
	spec := fields{o.Object, &PodGroup{}}
	switch v := o.GroupVersionKind(); API(v.Group) {
	case Native:
		s.native(w, v.Version)
	case Volcano:
		s.volcano(w, max(1, int32(spec.number("spec", "minMember"))))
	case Coscheduling:
		s.counted(w, max(1, int32(spec.number("spec", "minMember"))))
	}
	if reflect.DeepEqual(before, any(status)) || len(status) == 0 {
		return false
	}
	o.Object["status"] = status
	return true
}

// scheduled says whether the minimum of pods has been bound.
func (s State) scheduled(least int32) bool { return s.Bound >= least }

// native writes the conditions of KEP-4671. The first is sticky: a group that was
// scheduled once stays so. In v1alpha2 it has another name.
func (s State) native(w statusOf, version string) {
	kind := "PodGroupInitiallyScheduled"
	if version == "v1alpha2" {
		kind = "PodGroupScheduled"
	}
	switch {
	case w.is(kind, "True"):
	case s.Reason == "" && s.Bound > 0:
		w.condition(condition{Type: kind, Status: "True", Reason: "Scheduled", Message: s.Text})
	case s.Reason != "":
		w.condition(condition{Type: kind, Status: "False", Reason: s.Reason, Message: s.Text})
	}
	switch {
	case s.Preempted != "":
		w.condition(condition{Type: "DisruptionTarget", Status: "True", Reason: "PreemptionByScheduler", Message: s.Preempted})
	case w.is("DisruptionTarget", "True"):
		w.condition(condition{Type: "DisruptionTarget", Status: "False", Reason: "Scheduled", Message: "the preemption is over"})
	}
}

// volcano writes the phase as Volcano's scheduler does (its framework's jobStatus): a
// group runs as soon as its minimum is bound.
func (s State) volcano(w statusOf, least int32) {
	before, _ := w.status["phase"].(string)
	phase := "Pending"
	if s.Members == 0 { // its pods are yet to be made, or were removed
		if before == "" || before == phase {
			w.status["phase"] = "Inqueue"
		}
		return
	}
	switch over := s.Succeeded + s.Failed; {
	case over == s.Members && s.Succeeded > 0:
		phase = "Completed"
	case s.scheduled(least):
		phase = "Running"
	case s.Running > 0 && (before == "Running" || before == "Unknown"):
		phase = "Unknown"
	case s.Admitted, s.Members < least && s.Reason != SchedulerError: // the controller makes the rest
		phase = "Inqueue"
	}
	w.status["phase"] = phase
	w.counts(s)
	switch {
	case phase == "Running" || phase == "Completed":
		w.volcanoCondition(condition{Type: "Scheduled", Status: "True", Reason: "tasks in the gang are ready to be scheduled"})
		w.remove("Unschedulable")
	case s.Reason != "":
		w.volcanoCondition(condition{Type: "Unschedulable", Status: "True", Reason: "NotEnoughResources", Message: s.Text})
	}
}

// counted writes what coscheduling's controller does.
func (s State) counted(w statusOf, least int32) {
	phase := "Pending"
	switch {
	case s.Members < least:
	case s.Succeeded >= least:
		phase = "Finished"
	case s.Failed > 0 && s.Failed+s.Running+s.Succeeded >= least:
		phase = "Failed"
	case s.Running+s.Succeeded >= least:
		phase = "Running"
	case s.scheduled(least):
		phase = "Scheduled"
	case s.Bound > 0:
		phase = "Scheduling"
	default:
		phase = "PreScheduling"
	}
	w.status["phase"] = phase
	w.counts(s)
	if !s.Began.IsZero() {
		w.status["scheduleStartTime"] = s.Began.UTC().Format(time.RFC3339)
	}
}

// statusOf is a status that is being written.
type statusOf struct {
	status     map[string]any
	generation int64
	now        string
}

type condition struct{ Type, Status, Reason, Message string }

// counts writes the numbers; one that is 0 is written only over another, as the APIs
// leave zeros out.
func (w statusOf) counts(s State) {
	for _, c := range []struct {
		key string
		n   int32
	}{{"running", s.Running}, {"succeeded", s.Succeeded}, {"failed", s.Failed}} {
		if _, there := w.status[c.key]; c.n != 0 {
			w.status[c.key] = int64(c.n)
		} else if there {
			delete(w.status, c.key)
		}
	}
}

func (w statusOf) conditions() []any {
	list, _ := w.status["conditions"].([]any)
	return list
}

func (w statusOf) find(kind string) (int, map[string]any) {
	for i, c := range w.conditions() {
		if m, ok := c.(map[string]any); ok && m["type"] == kind {
			return i, m
		}
	}
	return -1, nil
}

func (w statusOf) is(kind, status string) bool {
	_, c := w.find(kind)
	return c != nil && c["status"] == status
}

// condition sets a condition of the native form, metav1.Condition.
func (w statusOf) condition(c condition) {
	w.set(c, map[string]any{"observedGeneration": w.generation})
}

// volcanoCondition has a transition id, which tells one transition from the next.
func (w statusOf) volcanoCondition(c condition) {
	w.set(c, map[string]any{"transitionID": fmt.Sprintf("muster-%s-%s", c.Type, w.now)})
}

// set replaces the condition of a type if it says something else. Its time, and its
// transition id, stay where the status does.
func (w statusOf) set(c condition, more map[string]any) {
	next := map[string]any{"type": c.Type, "status": c.Status, "reason": c.Reason, "lastTransitionTime": w.now}
	if c.Message != "" {
		next["message"] = c.Message
	}
	for k, v := range more { //muster:anyorder fills a map
		next[k] = v
	}
	i, old := w.find(c.Type)
	if old == nil {
		w.status["conditions"] = append(slices.Clone(w.conditions()), next)
		return
	}
	said := func(m map[string]any) [3]any {
		text, _ := m["message"].(string)
		return [3]any{m["status"], m["reason"], text}
	}
	if said(old) == said(next) {
		return
	}
	if old["status"] == next["status"] {
		for _, keep := range []string{"lastTransitionTime", "transitionID"} {
			if v, ok := old[keep]; ok {
				next[keep] = v
			}
		}
	}
	list := slices.Clone(w.conditions())
	list[i] = next
	w.status["conditions"] = list
}

func (w statusOf) remove(kind string) {
	if i, _ := w.find(kind); i >= 0 {
		w.status["conditions"] = slices.Delete(slices.Clone(w.conditions()), i, i+1)
	}
}
