package groups

import (
	"cmp"
	"slices"
	"strconv"
	"time"
)

// Muster's own keys, on any pod or on a group object. Queue may be a label or an
// annotation, all others are annotations.
const (
	KeyQueue           = "muster.dev/queue"
	KeyNotice          = "muster.dev/notice"
	KeyCheckpointEvery = "muster.dev/checkpoint-every"
	KeyRestartCost     = "muster.dev/restart-cost"
	KeyDuration        = "muster.dev/duration"
	KeyDeadline        = "muster.dev/deadline"
	KeyNonPreemptible  = "muster.dev/non-preemptible"
	KeyGangMin         = "muster.dev/gang-min"
)

const (
	kaiQueue          = "kai.scheduler/queue"
	kaiQueueOld       = "runai/queue"
	kaiPreemptibility = "kai.scheduler/preemptibility"
	kaiPriorityClass  = "priorityClassName"
)

// annotations takes over Muster's own from a pod or its group object; where both have
// one the later call, the pod's, counts.
func (r *reader) annotations(from map[string]string, field string) {
	i := &r.m.Info
	for _, d := range []struct {
		key  string
		into *time.Duration
	}{{KeyNotice, &i.Notice}, {KeyCheckpointEvery, &i.Checkpoint}, {KeyRestartCost, &i.RestartCost}, {KeyDuration, &i.Duration}} {
		if text, ok := from[d.key]; ok {
			r.duration(at(field, d.key), text, d.into)
		}
	}
	if text, ok := from[KeyDeadline]; ok {
		t, err := time.Parse(time.RFC3339, text)
		if err != nil {
			r.problem("bad-time", at(field, KeyDeadline), "write 2026-11-30T18:00:00Z", "%q is not a time", text)
		} else {
			i.Deadline = t
		}
	}
	if text, ok := from[KeyNonPreemptible]; ok {
		yes, err := strconv.ParseBool(text)
		if err != nil {
			r.problem("bad-bool", at(field, KeyNonPreemptible), "write true or false", "%q is neither true nor false", text)
		} else {
			i.NonPreemptible = yes
		}
	}
}

func (r *reader) duration(field, text string, into *time.Duration) {
	d, err := time.ParseDuration(text)
	switch {
	case err != nil:
		r.problem("bad-duration", field, "write 90s, 10m or 2h30m", "%q is not a duration", text)
	case d < 0:
		r.problem("bad-duration", field, "leave it out if there is none", "%s is negative", text)
	default:
		*into = d
	}
}

// gangMin has a job without any other declaration run so many of its pods together.
func (r *reader) gangMin() {
	text, ok := r.pod.Annotations[KeyGangMin]
	if !ok {
		return
	}
	if r.declared {
		r.problem("ignored-annotation", at(annotationsField, KeyGangMin), "change it there, or leave the annotation out",
			"the gang is declared by %s", r.m.Dialect)
		return
	}
	if n := r.count(annotationsField, KeyGangMin, text); n > 0 {
		r.m.Info.Min = n
	}
}

// kai makes pods with KAI's queue label KAI's: grouped by owner, as its podgrouper
// does, in the queue of the label.
func (r *reader) kai() {
	queue := cmp.Or(r.label(kaiQueue), r.label(kaiQueueOld))
	if queue == "" || !slices.Contains([]string{"kuberay", "spark", "job", "owner", "pod"}, r.m.Dialect) {
		return
	}
	r.m.Dialect, r.m.Info.Queue = "kai", queue
	r.m.Info.PriorityClass = r.label(kaiPriorityClass)
}

// kaiUnmovable is the priority from which on KAI does not preempt a job that says nothing
// about it: that of its class build.
const kaiUnmovable = 100

func (r *reader) kaiMayMove() {
	if r.m.Dialect != "kai" {
		return
	}
	switch text := r.label(kaiPreemptibility); text {
	case "":
		priority := r.m.Info.Priority
		if priority == nil {
			priority = r.pod.Spec.Priority
		}
		r.m.Info.NonPreemptible = priority != nil && *priority >= kaiUnmovable
	case "preemptible", "semi-preemptible": // of a semi-preemptible job the gang is spared; surplus goes first here anyway
	case "non-preemptible":
		r.m.Info.NonPreemptible = true
	default:
		r.problem("bad-preemptibility", at(labelsField, kaiPreemptibility), "write preemptible or non-preemptible", "%q is not known", text)
	}
}

// strayQueue is the queue of a pod whose dialect names none: Muster's own key, then
// that of any other scheduler.
func (r *reader) strayQueue() string {
	old, kueue := "", ""
	if r.pod.Spec.SchedulerName == ykScheduler { // a label "queue" may mean anything elsewhere
		old = r.label(ykQueueOld)
	}
	if r.opt.KueueQueues {
		kueue = r.label(kueueQueue)
	}
	return cmp.Or(queueIn(r.pod.Labels, r.pod.Annotations), old, kueue)
}

// queueIn finds the queue that labels and annotations of any object name.
func queueIn(labels, annotations map[string]string) string {
	for _, key := range []string{KeyQueue, ykQueue, volcanoQueue, volcanoQueueOld, kaiQueue} {
		if q := cmp.Or(labels[key], annotations[key]); q != "" {
			return q
		}
	}
	return ""
}
