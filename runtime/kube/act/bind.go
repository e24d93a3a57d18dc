package act

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// result is how a bind ended: bound if err is nil.
type result struct {
	err  error
	gone bool
}

// bind binds one pod. It ends when the API server has said that the pod is bound there,
// or that it can't be.
func (r *unitRun) bind(ctx context.Context, b *Bind) result {
	a := r.a
	if err := a.untold(ctx, b.Pod.UID); err != nil {
		return result{err: err}
	}
	binding := &corev1.Binding{
		ObjectMeta: metav1.ObjectMeta{Namespace: b.Pod.Namespace, Name: b.Pod.Name, UID: b.Pod.UID},
		Target:     corev1.ObjectReference{Kind: "Node", Name: b.Node},
	}
	post := func(ctx context.Context) error {
		start := a.clock.Now()
		err := a.api.CoreV1().Pods(b.Pod.Namespace).Bind(ctx, binding, metav1.CreateOptions{})
		a.stats.bindLatency.observe(time.Duration(a.clock.Now() - start))
		return err
	}
	for t, read := a.tries(a.opts.Patience), false; ; {
		if read {
			// The answer to the last attempt was lost, or was no: only the pod knows.
			if res, settled := r.look(ctx, b); settled {
				return res
			}
		}
		if err := a.sleepUntil(ctx, a.bindPace.slot(1)); err != nil {
			return result{err: err}
		}
		if a.opts.Admit != nil { // at the last moment: others bind pods, too
			if err := a.opts.Admit(*b); err != nil {
				return result{err: err}
			}
		}
		err := a.call(ctx, r.turn(), post)
		switch fateOf(err) {
		case done, stopped:
			return result{err: err}
		case gone:
			return result{err, true}
		case refused:
			return result{err: err}
		case busy, away:
			read = false
		case conflict, unsure, lost:
			if res, settled := r.look(ctx, b); settled {
				return res
			}
			read = true
		}
		// Now it is known that the pod is not bound.
		if cause := r.err(); cause != nil {
			return result{err: givenUp(r.unit, cause)}
		}
		if t.over() {
			return result{err: err}
		}
		a.stats.retries.Add(1)
		if e := t.rest(ctx); e != nil {
			return result{err: e}
		}
	}
}

// look reads the pod and says how the bind ended, if it has. It asks until it gets an
// answer: whoever hears that a pod is not bound may give its place to another.
func (r *unitRun) look(ctx context.Context, b *Bind) (res result, settled bool) {
	var pod *corev1.Pod
	err := r.a.again(ctx, forever, func() error {
		return r.a.call(ctx, r.turn(), func(ctx context.Context) (err error) {
			pod, err = r.a.api.CoreV1().Pods(b.Pod.Namespace).Get(ctx, b.Pod.Name, metav1.GetOptions{})
			return err
		})
	})
	switch {
	case apierrors.IsNotFound(err):
		return result{err, true}, true
	case err != nil:
		return result{err: err}, true
	}
	return judge(pod, b)
}

// judge says what the pod's state makes of the bind; not settled is a pod that can still
// be bound.
func judge(pod *corev1.Pod, b *Bind) (res result, settled bool) {
	switch {
	case pod.UID != b.Pod.UID:
		return result{fmt.Errorf("pod %s is another one now (UID %s)", b.Pod.NamespacedName, pod.UID), true}, true
	case pod.Spec.NodeName == b.Node:
		return result{}, true
	case pod.Spec.NodeName != "":
		return result{err: fmt.Errorf("pod %s is already bound to node %s", b.Pod.NamespacedName, pod.Spec.NodeName)}, true
	case pod.DeletionTimestamp != nil:
		return result{fmt.Errorf("pod %s is being deleted", b.Pod.NamespacedName), true}, true
	case len(pod.Spec.SchedulingGates) > 0:
		return result{err: fmt.Errorf("pod %s has scheduling gates (%s)", b.Pod.NamespacedName, pod.Spec.SchedulingGates[0].Name)}, true
	}
	return result{}, false
}

// settle reports what became of a bind, and tells the pod.
func (a *Actor) settle(r *unitRun, b *Bind, res result) {
	a.waits.settled(b.Pod.UID, res.err == nil || res.gone)
	a.stats.queuedBinds.Add(-1)
	if res.err != nil {
		a.stats.bindFailed.Add(1)
		a.opts.Log.Info("pod not bound", "pod", b.Pod.NamespacedName, "node", b.Node, "job", r.unit.Job, "err", res.err)
		a.out.BindFailed(r.unit.Job, b.Task, b.Pod, b.Node, res.err, res.gone)
		return
	}
	a.stats.bound.Add(1)
	a.stats.bindWait.observe(time.Duration(a.clock.Now() - r.since))
	a.events.put(event{about: podReference(b.Pod), kind: corev1.EventTypeNormal, reason: "Scheduled", action: "Binding", text: scheduledText(b)})
	a.out.Bound(r.unit.Job, b.Task, b.Pod, b.Node)
}

// scheduledText begins with the words of kube-scheduler, which tools look for.
func scheduledText(b *Bind) string {
	text := fmt.Sprintf("Successfully assigned %s/%s to %s", b.Pod.Namespace, b.Pod.Name, b.Node)
	if b.Because != "" {
		text += ": " + b.Because
	}
	return text
}

func podReference(p Pod) corev1.ObjectReference {
	return corev1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: p.Namespace, Name: p.Name, UID: p.UID}
}
