package groups

import (
	"cmp"
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
	r.kaiTopology(from, field)
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
	n := r.count(annotationsField, KeyGangMin, text)
	if n > 1 && r.m.Dialect == "pod" {
		r.problem("ignored-annotation", at(annotationsField, KeyGangMin), "have a Job, a JobSet or a PodGroup make the gang",
			"nothing says which pods belong to this one; it starts alone")
		return
	}
	if n > 0 {
		r.m.Info.Min = n
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
