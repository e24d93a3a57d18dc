package score

import (
	"slices"

	"github.com/musterhq/muster/builtin/spec"
)

// gpuHour is a GPU-hour in milli-GPU nanoseconds.
const gpuHour = 1000 * 3600 * float64(spec.Second)

// Result computes the scorecard. Call it after Finish and after all jobs.
func (r *Recorder) Result() *Card {
	t := &r.total
	c := &Card{
		WindowHours: t.time / (3600 * float64(spec.Second)), CapacityGPUs: ratio(t.capacity, t.time) / 1000,
		AllocationRatio: ratio(t.used, t.capacity), DemandUtilisation: ratio(t.used, t.possible),
		UsedGPUHours: t.used / gpuHour, Goodput: ratio(t.used-r.lost.lostHours*gpuHour, t.capacity),
		Jain: ratio(t.jain, t.time), ShareErrorMean: ratio(t.shareError, t.time) / 1000, ShareErrorMax: t.worstError / 1000,
		Victims: r.lost.victims, VictimTasks: r.lost.tasks, VictimGPUs: r.lost.gpus, LostGPUHours: r.lost.lostHours,
		Jobs: r.figures(""),
	}
	if r.measured {
		ofAll, ofIdle := ratio(t.fragment, t.capacity), ratio(t.fragment, t.idle)
		c.FragmentRatio, c.FragmentOfIdle = &ofAll, &ofIdle
	}
	if r.o.Measured {
		c.Use = t.use.figures(&r.lost)
	}
	var episodes []float64
	for i := range r.queues {
		e, open := r.episodesOf(i)
		episodes = append(episodes, e...)
		if open {
			c.EpisodesOpen++
		}
		q := r.queueCard(i, e)
		c.GuaranteeDeficit += q.Deficit
		c.Queues = append(c.Queues, q)
	}
	slices.Sort(episodes)
	c.Episodes = len(episodes)
	c.TimeToGuaranteeP50, c.TimeToGuaranteeP99 = Percentile(episodes, 50), Percentile(episodes, 99)
	c.TimeToGuaranteeMax = Percentile(episodes, 100)
	return c
}

// episodesOf are the closed episodes of a queue and the open one so far.
func (r *Recorder) episodesOf(i int) (all []float64, open bool) {
	q := r.queues[i] // a copy: Result may be called again
	q.episodes = slices.Clone(q.episodes)
	if q.under {
		closed := len(q.episodes)
		q.close(r.now, r.o)
		open = len(q.episodes) > closed
	}
	slices.Sort(q.episodes)
	return q.episodes, open
}

func (r *Recorder) queueCard(i int, episodes []float64) QueueCard {
	q, acc, time := &r.current[i], &r.queues[i], r.total.time
	c := QueueCard{
		Name: r.o.Queues[i], Guaranteed: float64(q.Guaranteed) / 1000, UsedAtEnd: float64(q.Used) / 1000,
		Used: ratio(acc.used, time) / 1000, Demand: ratio(acc.demand, time) / 1000, Ideal: ratio(acc.ideal, time) / 1000,
		Deficit: acc.deficit / gpuHour, Episodes: len(episodes), TimeToGuarantee: Percentile(episodes, 100),
		Victims: acc.evicted.victims, LostGPUHours: acc.evicted.lostHours,
		Jobs: r.figures(r.o.Queues[i]),
	}
	if q.Max != Unlimited {
		c.Max = float64(q.Max) / 1000
	}
	if r.o.Measured {
		c.Use = acc.use.figures(&acc.evicted)
	}
	return c
}

func (u *use) figures(v *evictions) *UseFigures {
	return &UseFigures{
		MeasuredGPUHours: u.measured / gpuHour, BusyGPUHours: u.busy / gpuHour, IdleGPUHours: u.unused / gpuHour,
		IdleVictims: v.idle, Withdrawn: v.withdrawn,
	}
}

// perJob are the sorted values of the jobs of one queue ("" is all).
type perJob struct {
	count, unstarted, unfinished, deadlines, met, overHour int
	waits, gangWaits, jcts, slowdowns, rhos                []float64
	first, last                                            spec.Time
}

func (r *Recorder) perJob(queue string) *perJob {
	p := &perJob{}
	crowd := 1.0 // max(1, N/M) over all jobs that count, whatever the queue
	if gpus := ratio(r.total.capacity, r.total.time) / 1000; gpus > 0 {
		crowd = max(1, float64(r.counted())/gpus)
	}
	for i := range r.jobs {
		if j := &r.jobs[i]; !j.Warmup && (queue == "" || j.Queue == queue) {
			p.add(j, crowd)
		}
	}
	for _, v := range [][]float64{p.waits, p.gangWaits, p.jcts, p.slowdowns, p.rhos} {
		slices.Sort(v)
	}
	return p
}

func (r *Recorder) counted() int {
	n := 0
	for i := range r.jobs {
		if !r.jobs[i].Warmup {
			n++
		}
	}
	return n
}

func (p *perJob) add(j *JobRecord, crowd float64) {
	if p.count == 0 || j.Submit < p.first {
		p.first = j.Submit
	}
	p.count++
	if j.Deadline > 0 {
		p.deadlines++
		if j.Finished && j.End <= j.Deadline {
			p.met++
		}
	}
	if !j.Started {
		p.unstarted++
	} else {
		p.waits = append(p.waits, seconds(j.Pending))
		p.gangWaits = append(p.gangWaits, seconds(j.FirstStart-j.Submit))
		if j.Pending > 3600*spec.Second {
			p.overHour++
		}
	}
	if !j.Finished {
		p.unfinished++
		return
	}
	jct, run := seconds(j.End-j.Submit), seconds(j.Run)
	p.last = max(p.last, j.End)
	p.jcts = append(p.jcts, jct)
	p.slowdowns = append(p.slowdowns, max(1, (seconds(j.Pending)+run)/max(run, 10)))
	if run > 0 {
		p.rhos = append(p.rhos, jct/(run*crowd))
	}
}

func (r *Recorder) figures(queue string) JobFigures {
	p := r.perJob(queue)
	f := JobFigures{
		Count: p.count, Unstarted: p.unstarted, Unfinished: p.unfinished, Deadlines: p.deadlines,
		WaitMean: Mean(p.waits), WaitP50: Percentile(p.waits, 50), WaitP99: Percentile(p.waits, 99), WaitMax: Percentile(p.waits, 100),
		GangWaitMean: Mean(p.gangWaits), GangWaitP50: Percentile(p.gangWaits, 50), GangWaitP99: Percentile(p.gangWaits, 99),
		WaitedHour: ratio(float64(p.overHour), float64(len(p.waits))),
		JCTMean:    Mean(p.jcts), JCTP50: Percentile(p.jcts, 50), JCTP99: Percentile(p.jcts, 99),
		Slowdown: Mean(p.slowdowns), RhoMean: Mean(p.rhos), RhoWorst: Percentile(p.rhos, 100),
	}
	if len(p.jcts) > 0 {
		f.Makespan = seconds(p.last - p.first)
	}
	over := 0
	for _, v := range p.rhos {
		if v > 1.05 {
			over++
		}
	}
	f.Unfair = ratio(float64(over), float64(len(p.rhos)))
	if p.deadlines > 0 {
		met := float64(p.met) / float64(p.deadlines)
		f.Met = &met
	}
	return f
}
