// Package score turns what happened in a run into figures: it integrates a
// piecewise-constant time series of the queues, takes per-job records, and
// answers with one scorecard. The formulas are stated beside each figure of
// Card; all are pure sums, so a run gives the same card on every machine.
//
// Figures are floats: nothing here decides anything.
package score

import (
	"math"
	"slices"

	"github.com/musterhq/muster/builtin/spec"
)

// Unlimited is the Max of a queue without one.
const Unlimited = math.MaxInt64

// QueueSample is the state of one queue at an instant, in milli-GPUs.
type QueueSample struct {
	Guaranteed int64
	Max        int64 // Unlimited when there is none; 0 forbids
	Used       int64 // by what runs, victims until they are gone
	// Demand is what the queue would use if it could: running and pending.
	Demand int64
	// Ideal is the share that fairness promises, used with Options.IdealGiven;
	// else it is computed from the other fields.
	Ideal int64
	// Weight of the share above the guarantee; 0 is by the guarantee.
	Weight int64
	// Measured is what those jobs hold of which it is known what their GPUs do: Busy is
	// that by the part of the time in which they compute, Idle is held by tasks whose GPUs
	// had done nothing at all since the probes looked before.
	Measured, Busy, Idle int64
}

// JobRecord is what became of one job. Times are those of the simulation.
type JobRecord struct {
	ID, Queue string
	Submit    spec.Time
	// FirstStart is when all of the job's gang first ran, End when it finished.
	// They mean nothing unless Started and Finished.
	FirstStart, End   spec.Time
	Started, Finished bool
	MilliGPUs         int64
	Run               spec.Duration // true run time alone
	// Pending is the sum of the times in which the job held nothing.
	Pending  spec.Duration
	Deadline spec.Time // 0: none
	Warmup   bool      // counts in no per-job figure
}

// Eviction is one victim unit: a gang, or the surplus of one.
type Eviction struct {
	At         spec.Time
	Job, Queue string
	Tasks      int64
	MilliGPUs  int64
	// LostGPUSeconds is work since the last checkpoint, see Card.
	LostGPUSeconds float64
	// Idle says that it went because its GPUs did nothing.
	Idle bool
}

// Options of a Recorder.
type Options struct {
	Queues []string // leaf paths, in the order of every sample
	// From and To bound the window that counts; To 0 is until Finish.
	From, To spec.Time
	// IdealGiven takes QueueSample.Ideal as it is, for trees in which the share
	// is not a matter of the leaves alone.
	IdealGiven bool
	// Measured says that it is known of some jobs what their GPUs do; else nothing is
	// told of it.
	Measured bool
}

// Recorder collects a run. It is not for concurrent use. A sample that lies
// before the one before it counts as at the same instant; a sample of fewer
// queues than Options.Queues counts the others as empty.
type Recorder struct {
	o     Options
	now   spec.Time
	began bool

	current  []QueueSample
	ideal    []float64
	capacity float64
	fragment float64
	measured bool // fragment was given at least once

	total  totals
	queues []queueTotals
	series *sampler
	jobs   []JobRecord
	lost   evictions
}

// totals are integrals over the window, in milli-GPU nanoseconds unless said
// otherwise.
type totals struct {
	use
	time, capacity, used, possible, idle, fragment float64
	jain, shareError                               float64 // value x ns
	worstError                                     float64 // milli-GPUs
}

type queueTotals struct {
	use
	used, demand, ideal, deficit float64
	under                        bool // an episode below the guarantee is open
	since                        spec.Time
	episodes                     []float64 // seconds
	evicted                      evictions
}

// use is what measured jobs held, and of that what computed and what did nothing.
type use struct{ measured, busy, unused float64 }

func (u *use) add(q *QueueSample, dt float64) {
	u.measured += float64(q.Measured) * dt
	u.busy += float64(q.Busy) * dt
	u.unused += float64(q.Idle) * dt
}

type evictions struct {
	victims, tasks  int64
	gpus, lostHours float64
	idle, withdrawn int64 // victims that went for being idle, and that did not go after all
}

// NewRecorder returns a recorder for the queues of one run.
func NewRecorder(o Options) *Recorder {
	o.Queues = slices.Clone(o.Queues)
	n := len(o.Queues)
	return &Recorder{
		o: o, current: make([]QueueSample, n), ideal: make([]float64, n),
		queues: make([]queueTotals, n), series: newSampler(n),
	}
}

// Sample says that from now on, until the next sample, the queues are in this
// state. capacity and idleFragment are in milli-GPUs of the cluster;
// idleFragment is the idle part that no typical task can use (FGD's measure),
// negative when it was not measured. The slice is not kept.
func (r *Recorder) Sample(now spec.Time, queues []QueueSample, capacity, idleFragment int64) {
	r.advance(now)
	clear(r.current)
	copy(r.current, queues)
	r.capacity = float64(capacity)
	r.measured = r.measured || idleFragment >= 0
	r.fragment = float64(max(idleFragment, 0))
	r.share()
	for i := range r.queues {
		r.episode(i)
	}
}

// Job takes what became of a job: once for each, when it ended or when the run
// is over.
func (r *Recorder) Job(j JobRecord) { r.jobs = append(r.jobs, j) }

// counts says whether an instant is in the window.
func (r *Recorder) counts(at spec.Time) bool {
	return at >= r.o.From && (r.o.To == 0 || at < r.o.To)
}

// Withdrawn takes an eviction that was announced and did not happen.
func (r *Recorder) Withdrawn(at spec.Time, queue string) {
	if !r.counts(at) {
		return
	}
	r.lost.withdrawn++
	if i := slices.Index(r.o.Queues, queue); i >= 0 {
		r.queues[i].evicted.withdrawn++
	}
}

// Evicted takes one eviction; those outside the window do not count.
func (r *Recorder) Evicted(e Eviction) {
	if !r.counts(e.At) {
		return
	}
	r.lost.add(e)
	if i := slices.Index(r.o.Queues, e.Queue); i >= 0 {
		r.queues[i].evicted.add(e)
	}
}

func (v *evictions) add(e Eviction) {
	v.victims++
	v.tasks += e.Tasks
	v.gpus += float64(e.MilliGPUs) / 1000
	v.lostHours += e.LostGPUSeconds / 3600
	if e.Idle {
		v.idle++
	}
}

// Finish ends the series at an instant: the last sample holds until then.
func (r *Recorder) Finish(now spec.Time) { r.advance(now) }

// advance integrates the current state up to now.
func (r *Recorder) advance(now spec.Time) {
	if !r.began {
		r.began, r.now = true, now
		return
	}
	from, to := r.now, max(now, r.now)
	r.now = to
	from = max(from, r.o.From)
	if r.o.To > 0 {
		to = min(to, r.o.To)
	}
	if to <= from {
		return
	}
	r.integrate(float64(to - from))
	r.series.add(from, to, r.current, r.ideal, r.capacity)
}

func (r *Recorder) integrate(dt float64) {
	t := &r.total
	var used, demand, worst float64
	for i := range r.current {
		q, acc := &r.current[i], &r.queues[i]
		u := float64(q.Used)
		used += u
		demand += min(float64(q.Demand), float64(q.Max))
		worst = max(worst, math.Abs(u-r.ideal[i]))
		acc.used += u * dt
		acc.demand += float64(q.Demand) * dt
		acc.ideal += r.ideal[i] * dt
		acc.deficit += max(0, float64(min(q.Demand, q.Guaranteed)-q.Used)) * dt
		acc.use.add(q, dt)
		t.use.add(q, dt)
	}
	t.time += dt
	t.capacity += r.capacity * dt
	t.used += used * dt
	t.possible += min(demand, r.capacity) * dt
	t.idle += max(0, r.capacity-used) * dt
	t.fragment += r.fragment * dt
	t.jain += jainOfShares(r.current, r.ideal) * dt
	t.shareError += worst * dt
	t.worstError = max(t.worstError, worst)
}

// share fills r.ideal for the current state.
func (r *Recorder) share() {
	if r.o.IdealGiven {
		for i := range r.current {
			r.ideal[i] = float64(r.current[i].Ideal)
		}
		return
	}
	claims := make([]Claim, len(r.current))
	for i, q := range r.current {
		claims[i] = Claim{Guaranteed: float64(q.Guaranteed), Max: float64(q.Max), Demand: float64(q.Demand), Weight: float64(q.Weight)}
	}
	copy(r.ideal, Ideal(r.capacity, claims))
}

// episode opens and closes the times in which queue i waits for its guarantee:
// from demand >= guaranteed > used until used >= min(demand, guaranteed).
func (r *Recorder) episode(i int) {
	q, acc := &r.current[i], &r.queues[i]
	switch {
	case !acc.under && q.Demand >= q.Guaranteed && q.Used < q.Guaranteed:
		acc.under, acc.since = true, r.now
	case acc.under && q.Used >= min(q.Demand, q.Guaranteed):
		acc.under = false
		acc.close(r.now, r.o)
	}
}

// close keeps an episode that reaches into the window, with its whole length,
// unless it began and ended in one instant: nobody waited.
func (q *queueTotals) close(now spec.Time, o Options) {
	if now > q.since && now > o.From && (o.To == 0 || q.since < o.To) {
		q.episodes = append(q.episodes, seconds(now-q.since))
	}
}

func seconds(d spec.Duration) float64 { return float64(d) / float64(spec.Second) }
