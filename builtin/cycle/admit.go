package cycle

import (
	"fmt"
	"slices"

	"github.com/musterhq/muster/builtin/quota"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/builtin/world"
)

// judgement is what a job was before this step's verdict on it.
type judgement struct {
	job             *world.Job
	spec            *spec.Job
	queue           quota.Q
	judged, refused string
	only            *world.Only
}

// admit judges the jobs that this set's rules have not judged yet: those that hold
// nothing, since a job that runs keeps its verdict as long as it does. It comes before
// anything else in a step, so that a job judged holds nothing before the step either,
// and a step that is taken back can take back its verdicts (see Withdraw).
func (c *cycle) admit() {
	c.judgements, c.digest = c.judgements[:0], ""
	if c.set.Admission != nil {
		c.digest = c.set.Admission.Digest()
	}
	for q := range c.w.Quota.Queues {
		for _, j := range c.w.PendingIn(quota.Q(q)) {
			if j.Judged != c.digest && j.HoldsNothing() {
				c.judgements = append(c.judgements, judgement{j, j.Spec, j.Queue, j.Judged, j.Refused, j.Only})
			}
		}
	}
	if len(c.judgements) == 0 {
		return
	}
	for i, v := range c.judge() {
		c.apply(c.judgements[i].job, v)
	}
}

// judge asks the rules about all jobs at once. They see each as it says itself to be,
// not as older rules have left it. Without rules, that is what the jobs are again.
func (c *cycle) judge() []Verdict {
	verdicts := make([]Verdict, len(c.judgements))
	if c.set.Admission == nil {
		return verdicts
	}
	specs := make([]*spec.Job, len(c.judgements))
	for i := range specs {
		specs[i] = c.judgements[i].job.Own
	}
	for i := copy(verdicts, c.set.Admission.Judge(c.ctx, specs)); i < len(verdicts); i++ {
		verdicts[i].Refused = "no answer from the rules"
	}
	return verdicts
}

// apply carries out one verdict, and undoes what an older one said and this one does
// not.
func (c *cycle) apply(j *world.Job, v Verdict) {
	if v.Refused != "" { // where it would have gone does not matter
		v = Verdict{Refused: v.Refused}
	}
	j.Judged, j.Refused, j.Spec = c.digest, v.Refused, j.Own
	if v.Priority != nil && *v.Priority != j.Own.Priority {
		changed := *j.Own
		changed.Priority = *v.Priority
		j.Spec = &changed
	}
	c.w.Narrow(j, v.only())
	path, by := j.Own.Queue, "the job"
	if v.Queue != nil {
		path, by = *v.Queue, "admission"
	}
	q, ok := c.w.Quota.Lookup(path)
	if !ok || !c.w.Quota.Queues[q].Leaf {
		j.Refused = fmt.Sprintf("%s names queue %q, which is no leaf of the tree", by, path)
		return
	}
	if q != j.Queue {
		c.w.Move(j, q)
	}
}

func (v *Verdict) only() *world.Only {
	if v.GPUTypes == nil && len(v.NodeLabels) == 0 {
		return nil
	}
	only := &world.Only{Rule: v.Rule, Types: slices.Clone(v.GPUTypes), Labels: v.NodeLabels}
	if v.GPUTypes != nil && only.Types == nil { // none is not any
		only.Types = []string{}
	}
	if only.Rule == "" {
		only.Rule = "the rules"
	}
	return only
}

// unjudged says whether a job must wait for its verdict: it held something when
// verdicts were given, and holds nothing that runs now.
func (c *cycle) unjudged(j *world.Job) bool { return j.Judged != c.digest && j.Placed == 0 }

// Withdraw takes back the verdicts of a step that is taken back. The world must have
// been rolled back before.
func Withdraw(w *world.World) {
	c, ok := w.Index.(*cycle)
	if !ok {
		return
	}
	for i := len(c.judgements) - 1; i >= 0; i-- {
		was := &c.judgements[i]
		j := was.job
		w.Narrow(j, was.only)
		j.Spec, j.Judged, j.Refused = was.spec, was.judged, was.refused
		if j.Queue != was.queue {
			w.Move(j, was.queue)
		}
	}
	c.judgements = c.judgements[:0]
}
