package sim

import (
	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/pack"
	"github.com/musterhq/muster/builtin/quota"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/builtin/world"
	"github.com/musterhq/muster/runtime/sim/score"
	"github.com/musterhq/muster/runtime/sim/trace"
)

// recorder feeds the scorecard from the world after each instant.
type recorder struct {
	rec     *score.Recorder
	leaves  []trace.Leaf
	places  map[string]int // of the leaves, by path
	samples []score.QueueSample
	// slow says that victims take time to be gone, even those that are not told before.
	slow bool
	// frag measures the idle GPUs that the trace's typical tasks can't use.
	typicals []pack.Typical
	frag     *pack.Index
}

func newRecorder(tr *trace.Trace, o Options) *recorder {
	r := &recorder{leaves: tr.Leaves(), typicals: TypicalsOf(tr), slow: o.EvictionTime > 0}
	names := make([]string, len(r.leaves))
	r.places = make(map[string]int, len(r.leaves))
	for i, l := range r.leaves {
		names[i], r.places[l.Path] = l.Path, i
	}
	r.samples = make([]score.QueueSample, len(names))
	r.rec = score.NewRecorder(score.Options{Queues: names, From: o.From, To: o.Until, Measured: tr.Measured()})
	return r
}

// sample records the GPUs of every leaf: what it holds and what it asks for, and what
// those jobs do with them that are watched.
func (r *recorder) sample(now spec.Time, w *world.World, watched []*job) {
	t := w.Quota
	for i, l := range r.leaves {
		q, ok := t.Lookup(l.Path)
		if !ok {
			continue
		}
		used := t.Used(quota.Account(q))[amount.GPU]
		s := &r.samples[i]
		s.Guaranteed = max(0, int64(t.Guaranteed(q)[amount.GPU]))
		s.Max = int64(t.MaxOf(quota.Account(q))[amount.GPU])
		s.Used, s.Demand = int64(used), int64(used.Add(pendingGPUs(w, q)))
		s.Weight = t.Queues[q].Spec.Weight
	}
	if r.slow || len(w.Notices) > 0 {
		r.hold(w)
	}
	r.measure(now, w, watched)
	r.rec.Sample(now, r.samples, int64(t.Capacity()[amount.GPU]), r.fragments(w))
}

// hold corrects the samples while victims are on their way out: they hold their GPUs
// until they are gone, and whoever gets these next holds nothing before.
func (r *recorder) hold(w *world.World) {
	for i := range r.samples {
		r.samples[i].Used, r.samples[i].Demand = 0, 0
	}
	add := func(t *world.Task) {
		i, ok := r.places[w.Quota.Queues[t.Job.Queue].Path]
		if !ok {
			return
		}
		gpus := int64(w.GPUs(t))
		r.samples[i].Demand += gpus
		if t.State == world.Bound || t.State == world.Releasing {
			r.samples[i].Used += gpus
		}
	}
	w.EachPlaced(add)
	for _, l := range r.leaves {
		q, ok := w.Quota.Lookup(l.Path)
		if !ok {
			continue
		}
		for _, j := range w.PendingIn(q) {
			for i := range j.Tasks {
				if t := &j.Tasks[i]; t.State == world.Pending {
					add(t)
				}
			}
		}
	}
}

// measure adds what is known now of the GPUs of some jobs.
func (r *recorder) measure(now spec.Time, w *world.World, watched []*job) {
	for i := range r.samples {
		s := &r.samples[i]
		s.Measured, s.Busy, s.Idle = 0, 0, 0
	}
	for _, j := range watched {
		wj := w.Job(j.t.ID)
		if wj == nil {
			continue
		}
		i, ok := r.places[w.Quota.Queues[wj.Queue].Path]
		for t := range wj.Tasks {
			busy, idle, known := w.UseOf(&wj.Tasks[t], now)
			if !ok || !known {
				continue
			}
			gpus := w.GPUs(&wj.Tasks[t])
			s := &r.samples[i]
			s.Measured += int64(gpus)
			s.Busy += int64(gpus.Scale(amount.Amount(busy), amount.Amount(amount.One)))
			if idle >= sweep {
				s.Idle += int64(gpus)
			}
		}
	}
}

// fragments is F of the whole pool, in milli-GPUs.
func (r *recorder) fragments(w *world.World) int64 {
	if r.frag == nil {
		r.frag = pack.NewIndex(w, pack.Fragmentation)
		r.frag.PinTypicals(r.typicals)
	}
	return r.frag.PoolFragmentation() / 1_000_000
}

func pendingGPUs(w *world.World, q quota.Q) (sum amount.Amount) {
	for _, j := range w.PendingIn(q) {
		for i := range j.Groups {
			g := &j.Groups[i]
			each, _ := w.Shapes[g.Shape].Request.Get(amount.GPU)
			sum = sum.Add(each.Mul(int64(g.Size - g.Placed - g.Finished)))
		}
	}
	return sum
}

// job hands over what became of a job.
func (r *recorder) job(j *job, now spec.Time) {
	pending := j.pending
	if !j.running && !j.ended {
		pending += max(0, now-j.idleAt)
	}
	r.rec.Job(score.JobRecord{
		ID: j.t.ID, Queue: j.t.Queue, Submit: j.t.Submit, FirstStart: j.first, End: j.end,
		Started: j.started, Finished: j.ended, MilliGPUs: int64(j.t.MilliGPUs()), Run: j.t.Run,
		Pending: pending, Deadline: j.t.Deadline, Warmup: j.t.Warmup,
	})
}
