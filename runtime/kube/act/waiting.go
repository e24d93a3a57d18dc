package act

import (
	"context"
	"strings"
	"sync"
	"time"
	"unicode"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// againLater is when something is tried again that the API server did not take.
const againLater = time.Second

// waits tells pods why they wait.
type waits struct {
	lane *lane[Waiting]

	mu      sync.Mutex
	told    map[types.UID]told
	binding map[types.UID]bool // a bind of the pod is under way: nothing is told
}

// told is what a pod's status says.
type told struct {
	reason, text, nominated string
	since                   metav1.Time // lastTransitionTime of the condition
	at                      int64       // when it was written, 0 if not by us
}

func (t *told) sameAs(w *Waiting) bool {
	return t.reason == conditionReason(w) && t.text == w.Text && t.nominated == nominated(w)
}

// tell has the pod told, at once if what others act on has changed, and no more than once
// in Options.Retell if only the words have.
func (a *Actor) tell(w Waiting) {
	a.waits.mu.Lock()
	defer a.waits.mu.Unlock()
	uid := w.Pod.UID
	if a.waits.binding[uid] {
		return
	}
	due := a.clock.Now()
	old, known := a.waits.told[uid]
	switch {
	case known && old.sameAs(&w) && a.waits.lane.cancel(uid):
		return
	case known && old.reason == conditionReason(&w) && old.nominated == nominated(&w):
		if old.at > 0 {
			due = max(due, old.at+int64(a.opts.Retell))
		}
	case w.Capacity || w.Nominated != "" || known && old.nominated != "":
		due = 0 // autoscalers wait for it: before everybody else
	}
	a.waits.lane.put(uid, due, w)
}

// conditionReason is the reason of PodScheduled=False. Autoscalers act on Unschedulable;
// SchedulingGated belongs to the API server.
func conditionReason(w *Waiting) string {
	if w.Capacity {
		return corev1.PodReasonUnschedulable
	}
	reason := camelCase(w.Code)
	switch reason {
	case "", corev1.PodReasonUnschedulable, corev1.PodReasonSchedulingGated:
		return "Waiting"
	}
	return reason
}

// camelCase makes "queue-max" QueueMax and leaves QueueMax as it is.
func camelCase(code string) string {
	var b strings.Builder
	up := true
	for _, r := range code {
		switch {
		case !unicode.IsLetter(r) && !unicode.IsDigit(r):
			up = true
		case up:
			b.WriteRune(unicode.ToUpper(r))
			up = false
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// nominated is the node to show: none while capacity is missing, as autoscalers pass over
// pods that have one.
func nominated(w *Waiting) string {
	if w.Capacity {
		return ""
	}
	return w.Nominated
}

// Seen tells the actor what a pending pod's status says already, so that after a restart
// pods are not told again what they know.
func (a *Actor) Seen(pod *corev1.Pod) {
	a.waits.mu.Lock()
	defer a.waits.mu.Unlock()
	if _, known := a.waits.told[pod.UID]; known || pod.Spec.NodeName != "" {
		return
	}
	for i := range pod.Status.Conditions {
		c := &pod.Status.Conditions[i]
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			a.waits.told[pod.UID] = told{c.Reason, c.Message, pod.Status.NominatedNodeName, c.LastTransitionTime, 0}
		}
	}
}

// Forget drops what is known and still to be told of a pod that is no more.
func (a *Actor) Forget(pod Pod) {
	a.waits.lane.drop(pod.UID)
	a.marks.lane.drop(pod.UID)
	a.waits.mu.Lock()
	delete(a.waits.told, pod.UID)
	a.waits.mu.Unlock()
	a.marks.forget(pod.UID)
}

// bindingBegins keeps everything but the bind away from the pod.
func (w *waits) bindingBegins(uid types.UID) {
	w.mu.Lock()
	w.binding[uid] = true
	w.mu.Unlock()
	w.lane.drop(uid)
}

// settled ends that; over says that the pod does not wait any more.
func (w *waits) settled(uid types.UID, over bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.binding, uid)
	if over {
		delete(w.told, uid)
	}
}

// untold waits until nothing is being told to the pod: a condition written after the bind
// would say that a bound pod is not scheduled.
func (a *Actor) untold(ctx context.Context, uid types.UID) error {
	over := a.waits.lane.drop(uid)
	if over == nil {
		return nil
	}
	select {
	case <-over:
		return nil
	case <-ctx.Done():
		return errStopped
	}
}

// tellPods is the loop that does it.
func (a *Actor) tellPods(ctx context.Context) {
	for {
		uid, w, err := a.waits.lane.next(ctx)
		if err != nil {
			return
		}
		if a.sleepUntil(ctx, a.waitPace.slot(a.slowness())) != nil {
			return
		}
		if w, wanted := a.waits.lane.latest(uid, w); wanted {
			a.tellPod(ctx, w)
		} else {
			a.waits.lane.finish(uid)
		}
	}
}

// slowness is how much slower things are told while pods are being bound.
func (a *Actor) slowness() int64 {
	if a.binds.idle() {
		return 1
	}
	return 10
}

func (a *Actor) tellPod(ctx context.Context, w Waiting) {
	uid := w.Pod.UID
	a.waits.mu.Lock()
	old, known := a.waits.told[uid]
	a.waits.mu.Unlock()
	if known && old.sameAs(&w) {
		a.waits.lane.finish(uid)
		return
	}
	now := a.clock.Now()
	is := told{conditionReason(&w), w.Text, nominated(&w), old.since, now}
	if is.since.IsZero() {
		is.since = a.when(now)
	}
	err := a.patchStatus(ctx, a.low.draw, w.Pod, map[string]any{
		"nominatedNodeName": orNull(is.nominated),
		"conditions": []any{map[string]any{
			"type": corev1.PodScheduled, "status": corev1.ConditionFalse, "reason": is.reason,
			"message": cut(is.text, conditionMax), "lastTransitionTime": is.since,
		}},
	})
	a.told(w, old, is, err)
}

// told takes down what the pod's status says now.
func (a *Actor) told(w Waiting, old, is told, err error) {
	uid := w.Pod.UID
	a.waits.mu.Lock()
	defer a.waits.mu.Unlock()
	wanted, newer := a.waits.lane.finish(uid)
	switch fateOf(err) {
	case done:
		a.stats.told.Add(1)
		if old.reason != is.reason || old.text != is.text {
			a.events.put(event{about: podReference(w.Pod), kind: corev1.EventTypeWarning, reason: "FailedScheduling", action: "Scheduling", text: is.text})
		}
		fallthrough
	case refused: // asking again would not help
		if wanted {
			a.waits.told[uid] = is
		}
	case gone, conflict, stopped:
	default:
		if wanted && !newer {
			a.waits.lane.put(uid, is.at+int64(againLater), w)
		}
	}
}

func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}
