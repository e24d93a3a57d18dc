package policy

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/musterhq/muster/builtin/spec"
	api "github.com/musterhq/muster/runtime/kube/api/v1alpha1"
	"github.com/musterhq/muster/runtime/kube/objects"
	"github.com/musterhq/muster/runtime/reload"
	"github.com/musterhq/muster/runtime/reload/reason"
	"github.com/musterhq/muster/runtime/reload/wanted"
)

// Camel is a reason code as conditions and events have it: digest-differs is
// DigestDiffers.
func Camel(code string) string {
	var b strings.Builder
	for part := range strings.SplitSeq(code, "-") {
		if part != "" {
			b.WriteString(strings.ToUpper(part[:1]) + part[1:])
		}
	}
	return b.String()
}

// step tells one step of a policy's life on its object. It runs under the manager's
// lock: it only hands the event on.
func (c *Controller) step(e reload.Event) {
	c.mu.Lock()
	about := c.refs[e.Version.Spec]
	c.mu.Unlock()
	c.wake()
	if about == nil || e.Step.State == reload.Fetching {
		return
	}
	kind, why := corev1.EventTypeNormal, Camel(string(e.Step.State))
	if e.Step.State == reload.Refused || e.Step.State == reload.Quarantined || e.Step.Code == reason.ShadowFault {
		kind = corev1.EventTypeWarning
	}
	text := title(&e.Version)
	if e.Step.Code != reason.Done {
		text += ", " + string(e.Step.Code)
	}
	if e.Step.Text != "" {
		text += ": " + e.Step.Text
	}
	if e.Step.Hint != "" && !strings.Contains(text, e.Step.Hint) {
		text += "; " + e.Step.Hint
	}
	c.o.Events.Event(about, kind, why, objects.Cut(objects.MaxEvent, text))
}

// title names a version for people.
func title(v *reload.Version) string {
	name := strings.TrimSpace(cmp.Or(v.Name, v.Spec) + " " + v.Version)
	if v.Digest != "" {
		name += " (" + short(v.Digest) + ")"
	}
	return name
}

func short(digest string) string { return digest[:min(len(digest), len("sha256:")+12)] }

// write brings the status of an object up to date.
func (c *Controller) write(ctx context.Context, r *row, all reload.Status) {
	now := metav1.NewTime(time.Unix(0, c.clock.Now()))
	s := c.status(r, all, now)
	if _, err := objects.PatchStatus(ctx, c.o.Client.Resource(api.Policies), r.object.Name, r.status, s); err != nil {
		if !apierrors.IsNotFound(err) && ctx.Err() == nil {
			c.o.Failed(err)
		}
		return
	}
	r.status = s
}

// status is what an object's status should be.
func (c *Controller) status(r *row, all reload.Status, now metav1.Time) api.PolicyStatus {
	r.mu.Lock()
	number, err, asked, loading := r.number, r.err, r.spec, r.cancel != nil
	r.mu.Unlock()
	s := api.PolicyStatus{
		ObservedGeneration: r.object.Generation, Requests: r.status.Requests, Conditions: slices.Clone(r.status.Conditions),
	}
	slot, _ := all.Find(cmp.Or(asked.Slot(), r.object.Name))
	v := find(slot, number)
	switch {
	case v != nil:
		c.describe(&s, v, slot)
	case err != nil:
		e := reason.Of(err)
		s.State, s.Code, s.Message = "Refused", string(e.Code), e.Error()
	default:
		s.State, s.Code, s.Message = "Fetching", string(reason.Done), "it is on its way"
	}
	if loading {
		s.Message += "; another version is on its way"
	}
	if s.Since == nil {
		s.Since = r.status.Since
		if r.status.State != s.State || s.Since == nil {
			s.Since = &now
		}
	}
	s.Queues = users(c.queues(), r.object.Name)
	count := int64(len(s.Queues))
	s.QueueCount = &count
	s.Queues = s.Queues[:min(len(s.Queues), maxQueues)]
	if r.refused != nil {
		s.Message += "; the last request was refused: " + r.refused.Error()
	}
	c.strikes(r, &s)
	for _, cond := range conditions(&s, v, err) {
		cond.ObservedGeneration, cond.LastTransitionTime = r.object.Generation, now
		s.Conditions = objects.SetCondition(s.Conditions, cond)
	}
	return s
}

// maxQueues is how many queues a status lists.
const maxQueues = 20

// find finds the version of a load.
func find(p reload.PolicyStatus, number int) *reload.Version {
	for _, v := range []*reload.Version{p.Active, p.Shadow, p.Incoming, p.Standby} {
		if v != nil && v.Number == number && number != 0 {
			return v
		}
	}
	for i := range p.Past {
		if p.Past[i].Number == number && number != 0 {
			return &p.Past[i]
		}
	}
	return nil
}

// describe takes over what is known of the version that the object asks for, and of
// those beside it.
func (c *Controller) describe(s *api.PolicyStatus, v *reload.Version, slot reload.PolicyStatus) {
	s.State, s.Code = Camel(string(v.State)), string(v.Code)
	if v.Code == reason.RolledBack && v.State == reload.Retired {
		s.State = "RolledBack"
	}
	s.Message = cmp.Or(v.Text, "it "+states[v.State])
	if v.Hint != "" && !strings.Contains(s.Message, v.Hint) {
		s.Message += "; " + v.Hint
	}
	since := metav1.NewTime(time.Unix(0, v.Since).Truncate(time.Second))
	s.Since = &since
	s.PolicyName, s.Version, s.Kinds, s.KindsText = v.Name, v.Version, v.Kinds, strings.Join(v.Kinds, ",")
	s.Digest, s.DigestShort, s.Origin, s.Signers = v.Digest, short(v.Digest), v.Origin, v.Signers
	if a := slot.Active; a != nil && a.Number != v.Number {
		s.Active = versionOf(a)
		switch v.State {
		case reload.Refused, reload.Retired:
			s.Message += "; " + title(a) + " decides"
		}
	}
	if slot.Standby != nil && slot.Standby.Number != v.Number {
		s.Standby = versionOf(slot.Standby)
	}
	if n := v.Calls; n != nil {
		s.Calls = &api.PolicyCalls{
			Calls: int64(n.Calls), Faults: int64(n.Faults), Declined: int64(n.Declined), Skipped: int64(n.Skipped),
			LastCode: string(n.LastCode), LastText: objects.Cut(objects.MaxEvent, n.LastText),
		}
	}
	if rep := v.Shadow; rep != nil {
		s.Shadow = &api.ShadowSummary{
			Beside: rep.Active.String(), Compared: int64(rep.Compared()), Differs: int64(rep.Differs()), Failures: int64(rep.Failures()),
		}
		if len(rep.Examples) > 0 {
			s.Shadow.Example = rep.Examples[0].Text
		}
	}
}

// states in words, where a step has none.
var states = map[reload.State]string{
	reload.Fetching: "is being fetched", reload.Fetched: "was fetched", reload.Verified: "was verified", reload.Compiled: "was compiled",
	reload.Checked: "was checked", reload.Shadow: "is compared", reload.Active: "decides where queues name it",
	reload.Quarantined: "is not asked", reload.Retired: "is out of use", reload.Refused: "was refused",
}

func versionOf(v *reload.Version) *api.PolicyVersion {
	return &api.PolicyVersion{Name: cmp.Or(v.Name, v.Spec), Version: v.Version, Digest: v.Digest}
}

// strikes tells of faults that are new.
func (c *Controller) strikes(r *row, s *api.PolicyStatus) {
	if s.Calls == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	n := uint64(s.Calls.Faults)
	if more := n - r.faults; n > r.faults {
		text := fmt.Sprintf("%d calls failed since last told, %d in all; the built-in answered. The last one: %s: %s", more, n, s.Calls.LastCode, s.Calls.LastText)
		c.o.Events.Event(objects.Reference(api.PolicyKind, r.object), corev1.EventTypeWarning, "Fault", objects.Cut(objects.MaxEvent, text))
	}
	r.faults = n
}

// conditions say how far the version came that the object asks for.
func conditions(s *api.PolicyStatus, v *reload.Version, err error) []metav1.Condition {
	out := []metav1.Condition{
		reached(api.PolicyFetched, v, err, reload.Fetched),
		reached(api.PolicyVerified, v, err, reload.Verified),
		reached(api.PolicyChecked, v, err, reload.Checked),
	}
	truth := func(kind string, yes bool, why, text string) {
		c := metav1.Condition{Type: kind, Status: metav1.ConditionFalse, Reason: cmp.Or(why, "Done"), Message: text}
		if yes {
			c.Status = metav1.ConditionTrue
		}
		out = append(out, c)
	}
	truth(api.PolicyActive, s.State == "Active", Camel(s.Code), s.Message)
	if s.State == "Quarantined" {
		truth(api.PolicyQuarantined, true, Camel(s.Code), s.Message)
	} else {
		truth(api.PolicyQuarantined, false, "NotQuarantined", "")
	}
	if len(s.Queues) > 0 {
		truth(api.PolicyInUse, true, "Named", "queues name it: "+strings.Join(s.Queues, ", "))
	} else {
		truth(api.PolicyInUse, false, "NotNamed", "no queue names it in policies.jobOrder, fairness or victims; it decides nothing yet")
	}
	return out
}

// reached says whether a version has taken a step. The step after the last one is the
// one that it was refused at.
func reached(kind string, v *reload.Version, err error, state reload.State) metav1.Condition {
	c := metav1.Condition{Type: kind, Status: metav1.ConditionUnknown, Reason: "Pending", Message: "not so far yet"}
	if v == nil {
		if err != nil {
			e := reason.Of(err)
			c.Reason, c.Message = Camel(string(e.Code)), e.Error()
		}
		return c
	}
	order := []reload.State{reload.Fetched, reload.Verified, reload.Compiled, reload.Checked}
	far := -1
	for _, st := range v.History {
		switch at := slices.Index(order, st.State); {
		case st.State == state:
			c.Status, c.Reason, c.Message = metav1.ConditionTrue, "Done", cmp.Or(st.Text, "done")
			return c
		case at >= 0:
			far = at
		case st.State == reload.Refused:
			c.Reason, c.Message = Camel(string(st.Code)), st.Text
			if stands := order[far+1]; stands == state || stands == reload.Compiled && state == reload.Checked {
				c.Status = metav1.ConditionFalse
			}
		}
	}
	return c
}

func (c *Controller) queues() *spec.Tree {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tree
}

// users lists the queues that name a policy, by path.
func users(t *spec.Tree, name string) (out []string) {
	if t == nil || t.Root == nil {
		return nil
	}
	var walk func(q *spec.Queue, path string)
	walk = func(q *spec.Queue, path string) {
		if slices.Contains([]string{q.JobOrder, q.Fairness, q.Victims}, name) {
			out = append(out, path)
		}
		for _, child := range q.Children {
			walk(child, path+"."+child.Name)
		}
	}
	walk(t.Root, t.Root.Name)
	return out
}

// requests are the operations that an annotation asks for, in the order of answering.
var requests = []struct{ annotation, op string }{
	{api.RollbackAnnotation, reload.OpRollback},
	{api.PromoteAnnotation, reload.OpPromote},
	{api.ReloadAnnotation, reload.OpReload},
}

// answer carries out what operators ask for by annotations: each new value once. What
// was answered is in the status, so that a scheduler that starts anew doesn't repeat it.
func (c *Controller) answer(ctx context.Context, r *row, s wanted.Spec, seen string) {
	for _, q := range requests {
		value := r.object.Annotations[q.annotation]
		if value == "" || r.status.Requests[q.op] == value {
			continue
		}
		next := r.status.DeepCopy()
		if next.Requests == nil {
			next.Requests = map[string]string{}
		}
		next.Requests = maps.Clone(next.Requests)
		next.Requests[q.op] = value
		// It is noted before it is done: done twice is worse than asked twice.
		if _, err := objects.PatchStatus(ctx, c.o.Client.Resource(api.Policies), r.object.Name, r.status, *next); err != nil {
			c.o.Failed(err)
			return
		}
		r.status = *next
		var err error
		if q.op == reload.OpReload {
			c.load(ctx, r, s, seen)
		} else {
			err = c.manager.Do(ctx, reload.Request{Op: q.op, Name: s.Slot(), By: value})
		}
		r.refused = err
		if err != nil {
			c.o.Events.Event(objects.Reference(api.PolicyKind, r.object), corev1.EventTypeWarning, Camel(q.op)+"Refused", objects.Cut(objects.MaxEvent, err.Error()))
		}
	}
}
