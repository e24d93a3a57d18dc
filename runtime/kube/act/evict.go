package act

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const (
	budgetPause    = time.Second // before a budget is asked again
	budgetPauseMax = 5 * time.Second
)

// eviction is the pods of one job that one Work wants evicted.
type eviction struct {
	job  string
	pods []Evict

	mu      sync.Mutex
	evicted []*Evict
}

// evictions splits the pods by job, in the order given. Pods without a job have nothing
// to do with each other.
func evictions(list []Evict) []*eviction {
	var out []*eviction
	byJob := map[string]*eviction{}
	for _, e := range list {
		g := byJob[e.Job]
		if g == nil || e.Job == "" {
			g = &eviction{job: e.Job}
			byJob[e.Job] = g
			out = append(out, g)
		}
		g.pods = append(g.pods, e)
	}
	return out
}

// evictJob evicts the job's pods: leaders, and whoever was named last, only when it is
// settled what became of the others.
func (a *Actor) evictJob(ctx context.Context, g *eviction) {
	last := len(g.pods) - 1
	var followers, leaders []*Evict
	for i := range g.pods {
		if e := &g.pods[i]; e.Leader || i == last {
			leaders = append(leaders, e)
		} else {
			followers = append(followers, e)
		}
	}
	each(ctx, len(followers), a.opts.EvictWorkers, func(i int) { a.evictPod(ctx, g, followers[i]) })
	for _, e := range leaders {
		if ctx.Err() == nil {
			a.evictPod(ctx, g, e)
		}
	}
	if ctx.Err() == nil {
		a.tellPreemptors(g)
	}
}

// evictPod evicts one pod and reports it if that fails.
func (a *Actor) evictPod(ctx context.Context, g *eviction, e *Evict) {
	defer a.stats.queuedEvicts.Add(-1)
	overridden, err := a.evict(ctx, e)
	switch {
	case errors.Is(err, errStopped):
		return
	case err != nil:
		a.stats.evictFailed.Add(1)
		a.opts.Log.Warn("pod not evicted", "pod", e.Pod.NamespacedName, "job", e.Job, "err", err)
		a.out.EvictFailed(e.Job, e.Pod, err)
		return
	}
	a.stats.evicted.Add(1)
	a.marks.forget(e.Pod.UID)
	text := e.Text
	if overridden {
		a.stats.overrides.Add(1)
		text += fmt.Sprintf(" (its PodDisruptionBudget still refused after %v and was overridden)", a.opts.EvictionPatience)
	}
	a.events.put(e.told(text))
	g.mu.Lock()
	g.evicted = append(g.evicted, e)
	g.mu.Unlock()
}

// evict ends the pod, by the Eviction API as long as patience with its budgets lasts.
func (a *Actor) evict(ctx context.Context, e *Evict) (overridden bool, err error) {
	late, _ := a.marks.lane.waiting(e.Pod.UID)
	if over := a.marks.lane.drop(e.Pod.UID); over != nil {
		select {
		case <-over:
		case <-ctx.Done():
			return false, errStopped
		}
	}
	if !a.marks.fresh(e.Pod.UID, a.clock.Now()) {
		err := a.again(ctx, a.opts.Patience, func() error {
			if late.notice != nil { // its time was over before its turn came
				if err := a.announce(ctx, late.notice); err != nil {
					return err
				}
			}
			return a.disrupt(ctx, e.Pod, e.condition(), e.Text)
		})
		switch fateOf(err) {
		case gone, conflict:
			return false, nil // it is gone, or another pod has its name
		case stopped:
			return false, err
		case refused:
			a.opts.Log.Warn("the pod's condition can't be set", "pod", e.Pod.NamespacedName, "err", err)
		}
	}
	return a.evictByAPI(ctx, e)
}

func (a *Actor) evictByAPI(ctx context.Context, e *Evict) (overridden bool, err error) {
	budget, other := a.tries(a.opts.EvictionPatience), a.tries(a.opts.Patience)
	budget.pause, budget.max = budgetPause, budgetPauseMax
	for {
		err := a.call(ctx, a.evicts.draw(), func(ctx context.Context) error { return a.postEviction(ctx, e) })
		t := other
		switch f := fateOf(err); {
		case f == done, f == gone:
			return false, nil
		case f == stopped:
			return false, err
		case byBudget(err):
			a.stats.budgetRefusals.Add(1)
			t = budget
			if t.over() && !a.opts.RespectBudgets {
				return true, a.deletePod(ctx, e)
			}
		case f == refused:
			return false, err
		case f == conflict:
			if over, err := a.ending(ctx, e.Pod); over || err != nil {
				return false, err
			}
		}
		if t.over() {
			return false, err
		}
		a.stats.retries.Add(1)
		if err := t.rest(ctx); err != nil {
			return false, err
		}
	}
}

// condition is the reason of the pod's DisruptionTarget.
func (e *Evict) condition() string {
	if e.Broken {
		return e.Reason
	}
	return corev1.PodReasonPreemptionByScheduler
}

// told is the event of the pod that went.
func (e *Evict) told(text string) event {
	ev := event{about: podReference(e.Pod), related: e.For, kind: corev1.EventTypeNormal, reason: "Preempted", action: "Preempting", text: e.Reason + ": " + text}
	if e.Broken {
		ev.kind, ev.reason, ev.action, ev.text = corev1.EventTypeWarning, e.Reason, "Evicting", text
	}
	return ev
}

func (a *Actor) postEviction(ctx context.Context, e *Evict) error {
	return a.api.PolicyV1().Evictions(e.Pod.Namespace).Evict(ctx, &policyv1.Eviction{
		ObjectMeta:    metav1.ObjectMeta{Namespace: e.Pod.Namespace, Name: e.Pod.Name},
		DeleteOptions: deleteOptions(e.Pod),
	})
}

func deleteOptions(p Pod) *metav1.DeleteOptions {
	return &metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &p.UID}}
}

func (a *Actor) deletePod(ctx context.Context, e *Evict) error {
	// The eviction API may have set the condition to its own reason.
	if err := a.disrupt(ctx, e.Pod, e.condition(), e.Text); fateOf(err) == stopped {
		return err
	}
	err := a.persist(ctx, a.evicts.draw, func(ctx context.Context) error {
		return a.api.CoreV1().Pods(e.Pod.Namespace).Delete(ctx, e.Pod.Name, *deleteOptions(e.Pod))
	})
	if f := fateOf(err); f == gone || f == conflict { // no such pod, or another one
		return nil
	}
	return err
}

// ending says that the pod is being deleted, or is no more.
func (a *Actor) ending(ctx context.Context, p Pod) (over bool, err error) {
	var pod *corev1.Pod
	err = a.persist(ctx, a.evicts.draw, func(ctx context.Context) (err error) {
		pod, err = a.api.CoreV1().Pods(p.Namespace).Get(ctx, p.Name, metav1.GetOptions{})
		return err
	})
	if apierrors.IsNotFound(err) {
		return true, nil
	}
	return err == nil && (pod.UID != p.UID || pod.DeletionTimestamp != nil), err
}

// tellPreemptors tells each preemptor, in one event, who went for it.
func (a *Actor) tellPreemptors(g *eviction) {
	var order []types.UID
	victims := map[types.UID][]*Evict{}
	for _, e := range g.evicted {
		if e.For == nil {
			continue
		}
		if victims[e.For.UID] == nil {
			order = append(order, e.For.UID)
		}
		victims[e.For.UID] = append(victims[e.For.UID], e)
	}
	for _, uid := range order {
		list := victims[uid]
		a.events.put(event{about: *list[0].For, kind: corev1.EventTypeNormal, reason: "Preempts", action: "Preempting", text: victimsText(g.job, list)})
	}
}

func victimsText(job string, list []*Evict) string {
	const named = 5
	var names []string
	for _, e := range list {
		names = append(names, e.Pod.Namespace+"/"+e.Pod.Name)
	}
	slices.Sort(names)
	more := ""
	if len(names) > named {
		more = fmt.Sprintf(" and %d more", len(names)-named)
		names = names[:named]
	}
	text := fmt.Sprintf("Evicted %d pods", len(list))
	if len(list) == 1 {
		text = "Evicted 1 pod"
	}
	if job != "" {
		text += " of " + job
	}
	return fmt.Sprintf("%s (%s): %s%s", text, list[0].Reason, strings.Join(names, ", "), more)
}
