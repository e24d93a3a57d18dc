package score

// Card is a run's scorecard. Every field says its unit. Where nothing was
// there to measure a figure is 0; figures that may be absent are pointers.
type Card struct {
	// WindowHours is the length of the time that counts.
	WindowHours float64 `json:"window_h"`
	// CapacityGPUs is the time average.
	CapacityGPUs float64 `json:"capacity_gpus"`

	// AllocationRatio is used / capacity, both integrated over time.
	AllocationRatio float64 `json:"allocation_ratio"`
	// DemandUtilisation is used / min(demand, capacity), both integrated, each
	// queue's demand cut at its max: 1 means that nothing was idle while somebody
	// could have used it.
	DemandUtilisation float64 `json:"demand_utilisation_ratio"`
	// FragmentRatio is the idle GPUs that no typical task can use / capacity;
	// FragmentOfIdle the same / all idle. Nil when it was not measured.
	FragmentRatio  *float64 `json:"fragment_ratio,omitempty"`
	FragmentOfIdle *float64 `json:"fragment_of_idle_ratio,omitempty"`
	// UsedGPUHours is what jobs held; Goodput is (that - lost) / capacity.
	UsedGPUHours float64 `json:"used_gpu_h"`
	Goodput      float64 `json:"goodput_ratio"`

	// Jain is the time average of Jain's index over used / ideal share.
	Jain float64 `json:"jain_ratio"`
	// ShareError is the largest |used - ideal| of any queue: its time average and
	// its maximum. It cannot fall below the largest request less one.
	ShareErrorMean float64 `json:"share_error_mean_gpus"`
	ShareErrorMax  float64 `json:"share_error_max_gpus"`
	// GuaranteeDeficit is max(0, min(demand, guaranteed) - used), integrated and
	// summed over the queues.
	GuaranteeDeficit float64 `json:"guarantee_deficit_gpu_h"`
	// TimeToGuarantee is how long a queue that wanted all of its guarantee waited
	// until it had min(demand, guaranteed), over all such episodes. One that is
	// open at the end counts with its length so far, and is counted in Open.
	Episodes           int     `json:"guarantee_episodes"`
	EpisodesOpen       int     `json:"guarantee_episodes_open"`
	TimeToGuaranteeP50 float64 `json:"time_to_guarantee_p50_s"`
	TimeToGuaranteeP99 float64 `json:"time_to_guarantee_p99_s"`
	TimeToGuaranteeMax float64 `json:"time_to_guarantee_max_s"`

	Jobs JobFigures `json:"jobs"`

	// Preemptions: victim units (a gang, or the surplus of one), their tasks and
	// GPUs, and the work lost: since the last checkpoint, and where it is known what the
	// GPUs did, only that for which they computed.
	Victims      int64   `json:"preemption_victims"`
	VictimTasks  int64   `json:"preemption_tasks"`
	VictimGPUs   float64 `json:"preemption_gpus"`
	LostGPUHours float64 `json:"lost_gpu_h"`

	// Use is what GPUs really did; nil where it was measured of no job.
	Use *UseFigures `json:"use,omitempty"`

	// QueuesWorseOff counts the queues whose mean wait is longer than in a private
	// partition of their guarantee; set by Against, else nil.
	QueuesWorseOff *int `json:"queues_worse_off,omitempty"`

	Queues []QueueCard `json:"queues"`
}

// UseFigures are over the jobs of which it is known what their GPUs do.
type UseFigures struct {
	// Measured is what these jobs held. Busy is the part of it in which kernels ran, Idle
	// what was held by tasks whose GPUs did nothing at all from one look of the probes to
	// the next. What is left was busy for a part of a few seconds.
	MeasuredGPUHours float64 `json:"measured_gpu_h"`
	BusyGPUHours     float64 `json:"busy_gpu_h"`
	IdleGPUHours     float64 `json:"idle_gpu_h"`
	// IdleVictims went because their GPUs did nothing (preemption.idleAfter), Withdrawn
	// were told that they would, and stayed.
	IdleVictims int64 `json:"idle_victims"`
	Withdrawn   int64 `json:"withdrawn"`
}

// JobFigures are over the jobs that count (no warm-up). Percentiles are nearest
// rank.
type JobFigures struct {
	Count     int `json:"count"`
	Unstarted int `json:"unstarted"`
	// Unfinished jobs are in no figure of JCT, slowdown and finish-time fairness.
	Unfinished int `json:"unfinished"`

	// Wait is all time in which a started job held nothing, also after evictions.
	WaitMean float64 `json:"wait_mean_s"`
	WaitP50  float64 `json:"wait_p50_s"`
	WaitP99  float64 `json:"wait_p99_s"`
	WaitMax  float64 `json:"wait_max_s"`
	// GangWait is from submit to the first moment in which the whole gang ran.
	GangWaitMean float64 `json:"gang_wait_mean_s"`
	GangWaitP50  float64 `json:"gang_wait_p50_s"`
	GangWaitP99  float64 `json:"gang_wait_p99_s"`
	WaitedHour   float64 `json:"waited_over_1h_ratio"`
	// JCT is end - submit.
	JCTMean float64 `json:"jct_mean_s"`
	JCTP50  float64 `json:"jct_p50_s"`
	JCTP99  float64 `json:"jct_p99_s"`
	// Makespan is from the first submit to the last end.
	Makespan float64 `json:"makespan_s"`
	// Slowdown is max(1, (wait + run) / max(run, 10 s)), averaged (Feitelson).
	Slowdown float64 `json:"bounded_slowdown_mean_ratio"`

	// Rho is finish-time fairness in Shockwave's static form (NSDI 2023): JCT /
	// (run x max(1, jobs/GPUs)); Unfair is the part of the jobs above 1.05.
	RhoMean  float64 `json:"rho_mean_ratio"`
	RhoWorst float64 `json:"rho_worst_ratio"`
	Unfair   float64 `json:"rho_over_1_05_ratio"`

	// Deadlines counts the jobs that have one; Met is the part that finished in
	// time, unfinished jobs being late. Nil without deadlines.
	Deadlines int      `json:"deadlines"`
	Met       *float64 `json:"deadlines_met_ratio,omitempty"`
}

// QueueCard is one queue's part.
type QueueCard struct {
	Name       string  `json:"name"`
	Guaranteed float64 `json:"guaranteed_gpus"`    // at the end
	Max        float64 `json:"max_gpus,omitempty"` // 0: unlimited
	Used       float64 `json:"used_mean_gpus"`
	UsedAtEnd  float64 `json:"used_at_end_gpus"`
	Demand     float64 `json:"demand_mean_gpus"`
	Ideal      float64 `json:"ideal_mean_gpus"`
	Deficit    float64 `json:"guarantee_deficit_gpu_h"`
	// Episodes below the guarantee, and the longest.
	Episodes        int        `json:"guarantee_episodes"`
	TimeToGuarantee float64    `json:"time_to_guarantee_max_s"`
	Victims         int64      `json:"preemption_victims"`
	LostGPUHours    float64    `json:"lost_gpu_h"`
	Jobs            JobFigures `json:"jobs"`
	// Use is nil where it was measured of no job of any queue.
	Use *UseFigures `json:"use,omitempty"`
	// WaitVersusPrivate is the mean wait / that in a private partition; set by
	// Against. Nil where either queue ran no job, or nobody waited in private.
	PrivateWait       *float64 `json:"private_wait_mean_s,omitempty"`
	WaitVersusPrivate *float64 `json:"wait_versus_private_ratio,omitempty"`
}

// Against compares every queue's mean wait with the same queue's in a run of
// private partitions (HiveD's sharing anomaly, OSDI 2020) and counts those that
// are worse off.
func (c *Card) Against(private *Card) {
	byName := map[string]*QueueCard{}
	for i := range private.Queues {
		byName[private.Queues[i].Name] = &private.Queues[i]
	}
	worse := 0
	for i := range c.Queues {
		q := &c.Queues[i]
		p := byName[q.Name]
		if p == nil || q.Jobs.Count == 0 || p.Jobs.Count == 0 {
			continue
		}
		wait := p.Jobs.WaitMean
		q.PrivateWait = &wait
		if wait > 0 {
			v := q.Jobs.WaitMean / wait
			q.WaitVersusPrivate = &v
		}
		if q.Jobs.WaitMean > wait {
			worse++
		}
	}
	c.QueuesWorseOff = &worse
}
