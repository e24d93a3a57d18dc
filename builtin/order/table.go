package order

import "github.com/musterhq/muster/policies"

// builtin is one policy of this package: what it is, and how a value is made.
type builtin struct {
	name    string
	kind    policies.Kind
	columns []string // the inputs that it reads
	params  []policies.Param
	reasons []string
	laws    []string
	make    func(about) policies.Policy
	try     func(about) (policies.Policy, error) // in place of make: some settings can't be used
}

// The laws of the conformance suite that several policies claim: of job orders whose
// keys depend on the columns of the row (and the time) alone, and of policies that share
// all that can be used.
var (
	keyLaws  = []string{"permutation", "equal-rows", "time-shift"}
	rowLaws  = append([]string{policies.LawRowIndependent, "monotone-wait"}, keyLaws...)
	fullLaws = []string{"nothing-wasted", "idle-queue"}
)

// What several policies read.
var (
	treeColumns = []string{
		"queue.resource", "queue.capacity", "queue.parent", "queue.weight",
		"queue.guaranteed", "queue.max", "queue.demand", "queue.used",
	}
	priorityColumns = append([]string{"queue.priority"}, treeColumns...)
	decayedColumns  = append([]string{"queue.decayed"}, treeColumns...)
	kaiColumns      = append([]string{"queue.decayed", "queue.half_life", "queue.priority"}, treeColumns...)
	lossColumns     = []string{"victim.priority", "victim.lost", "victim.restart_cost", "victim.leader"}
)

// Settings of more than one policy.
var (
	unknownDuration = policies.Param{
		Name: "unknown_duration", Type: policies.ParamDuration, Default: "1h", Min: 0,
		Doc: "run time taken for a job that declares none",
	}
)

// builtins in order of their names.
var builtins = []builtin{
	{
		name: "checkpoint-aware", kind: policies.VictimCosts,
		columns: append([]string{"victim.running", "victim.since_checkpoint"}, lossColumns...),
		params: []policies.Param{
			{Name: "interval", Type: policies.ParamDuration, Default: 0, Min: 0, Doc: "time between two checkpoints of a job that makes them, 0 if it is not known"},
			{Name: "notice", Type: policies.ParamDuration, Default: "1m", Min: 0, Doc: "time between the notice of an eviction and the eviction"},
			{Name: "trust", Type: policies.ParamF64, Default: 0.5, Min: 0, Max: 1, Doc: "part of the work since the last checkpoint that a job which makes checkpoints is trusted to save on notice"},
		},
		make: newCheckpointAware,
	},
	{
		name: "deadline-first", kind: policies.JobOrder,
		columns: []string{"job.duration", "job.deadline"},
		params: []policies.Param{
			{Name: "late_last", Type: policies.ParamBool, Default: true, Doc: "a job that can't make its deadline any more goes behind all others, rather than in its place"},
			{Name: "margin", Type: policies.ParamDuration, Default: 0, Min: 0, Doc: "time that must be left beyond the run time for a deadline to count as one that can be made"},
			unknownDuration,
		},
		reasons: []string{"", "its deadline can't be made any more"}, laws: keyLaws,
		make: newDeadlineFirst,
	},
	{
		name: "decayed-fair", kind: policies.QueueShares, columns: decayedColumns,
		params: []policies.Param{
			{Name: "strength", Type: policies.ParamF64, Default: 1, Min: 0, Max: 1000, Doc: "how much past use counts: a queue that has used exactly its share has its weight divided by 1 + strength"},
		},
		laws: append([]string{"demand-monotone"}, fullLaws...),
		make: newDecayedFair,
	},
	{
		name: "drf", kind: policies.QueueShares, columns: treeColumns,
		make: func(a about) policies.Policy { return &drf{about: a} },
	},
	{
		name: "fair", kind: policies.JobOrder, columns: []string{"job.user", "job.dominant", "job.user_share"},
		make: func(a about) policies.Policy { return &fair{about: a} },
	},
	{
		name: "fifo", kind: policies.JobOrder, columns: []string{}, laws: append([]string{"no-starvation"}, rowLaws...),
		make: func(a about) policies.Policy { return &fifo{a} },
	},
	{
		name: "guaranteed-fair", kind: policies.QueueShares, columns: treeColumns,
		laws: append([]string{"sharing-incentive", "demand-monotone"}, fullLaws...),
		params: []policies.Param{
			{Name: "count", Type: policies.ParamString, Default: "allocated", Doc: "what a queue holds above its guarantee counts as it is allocated, or as it was measured to be used: GPUs that do nothing justify no share then"},
		},
		try: newGuaranteedFair,
	},
	{
		name: "idle-first", kind: policies.VictimCosts,
		columns: append([]string{"victim.idle", "victim.use"}, lossColumns...),
		params: []policies.Param{
			{Name: "threshold", Type: policies.ParamDuration, Default: "10m", Min: 0, Doc: "a unit whose GPUs did nothing for this long is idle"},
		},
		reasons: []string{"", "its GPUs have done nothing for longer than the threshold"},
		laws:    []string{"idle-never-dearer"},
		make:    newIdleFirst,
	},
	{
		name: "kai-proportion", kind: policies.QueueShares, columns: kaiColumns,
		params: []policies.Param{
			{Name: "k", Type: policies.ParamF64, Default: 1, Min: 0, Max: 1000, Doc: "how much past use counts; 0 shares by weight alone"},
		},
		laws: fullLaws,
		make: newKAIProportion,
	},
	{
		name: "least-lost-work", kind: policies.VictimCosts, columns: lossColumns,
		make: func(a about) policies.Policy { return &leastLostWork{about: a} },
	},
	{
		name: "lowest-priority-first", kind: policies.VictimCosts, columns: []string{"victim.priority", "victim.leader"},
		make: func(a about) policies.Policy { return &lowestPriorityFirst{about: a} },
	},
	{
		name: "most-over-share", kind: policies.VictimCosts,
		columns: []string{"victim.excess", "victim.lost", "victim.restart_cost", "victim.leader"},
		make:    func(a about) policies.Policy { return &mostOverShare{about: a} },
	},
	{
		name: "priority", kind: policies.QueueShares, columns: priorityColumns, laws: fullLaws,
		make: func(a about) policies.Policy { return &strictPriority{about: a} },
	},
	{
		name: "priority-fifo", kind: policies.JobOrder, columns: []string{"job.priority"}, laws: rowLaws,
		make: func(a about) policies.Policy { return &priorityFIFO{a} },
	},
	{
		name: "shortest-first", kind: policies.JobOrder, columns: []string{"job.duration"}, laws: rowLaws,
		make: func(a about) policies.Policy { return &shortestFirst{a} },
	},
	{
		name: "sjf-aged", kind: policies.JobOrder, columns: []string{"job.duration", "job.wait"},
		params: []policies.Param{
			{Name: "aging", Type: policies.ParamF64, Default: 0.5, Min: 0, Max: 1000, Doc: "how much shorter a job counts for each unit of time that it has waited"},
			unknownDuration,
		},
		laws: append([]string{"monotone-wait", "no-starvation"}, keyLaws...),
		make: newSJFAged,
	},
	{
		name: "slurm-multifactor", kind: policies.JobOrder,
		columns: []string{"job.user", "job.user_share", "job.wait", "job.dominant", "job.priority"},
		params: []policies.Param{
			factor("weight_age", 1000, "waiting time"),
			factor("weight_fairshare", 10000, "fair share"),
			factor("weight_job_size", 1000, "size of the job"),
			factor("weight_priority", 10000, "job's priority"),
			{Name: "max_age", Type: policies.ParamDuration, Default: "168h", Min: 1, Doc: "waiting time from which on a job does not gain any more (PriorityMaxAge)"},
			{Name: "favor_small", Type: policies.ParamBool, Default: false, Doc: "small jobs gain by their size, not large ones (PriorityFavorSmall)"},
		},
		laws: append([]string{"monotone-wait", "monotone-deficit"}, keyLaws...),
		make: newSlurmMultifactor,
	},
	{
		name: "youngest-first", kind: policies.VictimCosts, columns: []string{"victim.priority", "victim.running", "victim.leader"},
		make: func(a about) policies.Policy { return &youngestFirst{about: a} },
	},
	{
		name: "yunikorn-fair", kind: policies.QueueShares, columns: priorityColumns,
		make: func(a about) policies.Policy { return &yunikornFair{about: a} },
	},
}

func factor(name string, weight float64, of string) policies.Param {
	return policies.Param{Name: name, Type: policies.ParamF64, Default: weight, Min: 0, Max: 1e9, Doc: "weight of the " + of}
}
