package act

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// The annotations of a pod that will be evicted.
const (
	EvictAtAnnotation     = "muster.dev/evict-at" // RFC 3339
	EvictReasonAnnotation = "muster.dev/evict-reason"
)

// conditionFresh is for how long a DisruptionTarget condition can be relied on: the
// disruption controller takes it back after two minutes if the pod still runs.
const conditionFresh = 90 * time.Second

// mark is what a pod is to be told of its eviction: notice, or nil to take it back.
type mark struct {
	pod    Pod
	notice *Notice
	text   string
}

// marks gives notices and takes them back; of one pod's only the newest counts.
type marks struct {
	lane *lane[mark]

	mu      sync.Mutex
	noticed map[types.UID]int64 // when the condition was set
}

func (m *marks) set(uid types.UID, now int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.noticed[uid] = now
}

func (m *marks) forget(uid types.UID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.noticed, uid)
}

// fresh says that the pod has the condition, set not long ago.
func (m *marks) fresh(uid types.UID, now int64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	at, ok := m.noticed[uid]
	return ok && now-at < int64(conditionFresh)
}

// Withdraw takes a notice back: the pod is not evicted after all.
func (a *Actor) Withdraw(pod Pod) { a.Do(Work{Withdraws: []Withdraw{{Pod: pod}}}) }

// markPods is the loop that carries marks out.
func (a *Actor) markPods(ctx context.Context) {
	for {
		uid, m, err := a.marks.lane.next(ctx)
		if err != nil {
			return
		}
		err = a.markPod(ctx, m)
		wanted, newer := a.marks.lane.finish(uid)
		switch fateOf(err) {
		case done, gone, conflict, stopped:
		case refused:
			a.opts.Log.Warn("the pod can't be told of its eviction", "pod", m.pod.NamespacedName, "err", err)
		default:
			a.stats.retries.Add(1)
			if wanted && !newer {
				a.marks.lane.put(uid, a.clock.Now()+int64(againLater), m)
			}
		}
	}
}

// markPod writes the annotation first: who waits for the condition finds the deadline.
func (a *Actor) markPod(ctx context.Context, m mark) error {
	if m.notice == nil {
		return a.unmarkPod(ctx, m)
	}
	n := m.notice
	if err := a.announce(ctx, n); err != nil {
		return err
	}
	if err := a.disrupt(ctx, n.Pod, corev1.PodReasonPreemptionByScheduler, n.Text); err != nil {
		return err
	}
	a.stats.noticed.Add(1)
	a.events.put(event{
		about: podReference(n.Pod), kind: corev1.EventTypeWarning, reason: "PreemptionNotice", action: "Preempting",
		text: fmt.Sprintf("Will be evicted at %s (%s): %s", n.at(), n.Reason, n.Text),
	})
	return nil
}

func (n *Notice) at() string { return n.Deadline.UTC().Format(time.RFC3339) }

// announce writes on the pod when it will be evicted.
func (a *Actor) announce(ctx context.Context, n *Notice) error {
	return a.patchAnnotations(ctx, a.evicts.draw, n.Pod, map[string]any{EvictAtAnnotation: n.at(), EvictReasonAnnotation: n.Reason})
}

func (a *Actor) unmarkPod(ctx context.Context, m mark) error {
	err := a.patchAnnotations(ctx, a.evicts.draw, m.pod, map[string]any{EvictAtAnnotation: nil, EvictReasonAnnotation: nil})
	if err != nil {
		return err
	}
	a.marks.forget(m.pod.UID)
	err = a.patchStatus(ctx, a.evicts.draw, m.pod, map[string]any{
		"conditions": []any{map[string]any{"type": corev1.DisruptionTarget, "$patch": "delete"}},
	})
	if err != nil {
		return err
	}
	a.stats.withdrawn.Add(1)
	text := "Stays after all"
	if m.text != "" {
		text += ": " + m.text
	}
	a.events.put(event{about: podReference(m.pod), kind: corev1.EventTypeNormal, reason: "EvictionWithdrawn", action: "Preempting", text: text})
	return nil
}

// disrupt sets the condition that tells controllers (KEP-3329) why the pod will fail.
func (a *Actor) disrupt(ctx context.Context, pod Pod, reason, text string) error {
	now := a.clock.Now()
	err := a.patchStatus(ctx, a.evicts.draw, pod, map[string]any{
		"conditions": []any{map[string]any{
			"type": corev1.DisruptionTarget, "status": corev1.ConditionTrue,
			"reason": reason, "message": cut(text, conditionMax),
			"lastTransitionTime": a.when(now),
		}},
	})
	if err == nil {
		a.marks.set(pod.UID, now)
	}
	return err
}
