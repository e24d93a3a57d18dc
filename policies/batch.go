package policies

// Call is what every batch says about its cycle. There is no other source of
// time or randomness for a policy.
type Call struct {
	Now   int64  // cycle time, ns
	Cycle uint64 // cycle number
	Seed  uint64 // a number derived from the cycle, for tie-breaking by chance
}

// Unset marks an amount that was not configured (a guarantee) or is not known (a
// declared duration). NoMax marks a maximum that was not configured.
const (
	Unset int64 = -1
	NoMax int64 = 1<<63 - 1
)

// NoString marks a text that is not there: a job without the label.
const NoString uint32 = 1<<32 - 1

// MaxKeys is the largest number of key columns of a job order.
const MaxKeys = 4

// JobBatch has one row for each pending job of one leaf queue, in the order of
// (submit, id), so that a policy that answers all zeros is fifo. All columns have
// N elements. Amounts are in base units: GPUs in milli-GPU, times in ns. Shares
// are fixed point, 2^32 being the whole (see builtin/amount.Share).
type JobBatch struct {
	Call
	N     int
	Queue string

	// Job and User are dense numbers: the same number is the same job or user
	// within this batch. Names are not given: a policy compares, it does not read.
	Job      []uint32
	User     []uint32
	Priority []int64
	Submit   []int64 // ns
	Wait     []int64 // ns since submit
	GPUs     []int64 // milli-GPU requested by all tasks of the job not yet placed
	Dominant []int64 // share of the pool that those tasks ask for, largest over resources
	Min      []int64 // tasks that must start together
	Size     []int64 // tasks in all
	Running  []int64 // tasks placed
	Attempts []int64 // cycles in which the job was tried and not placed
	Duration []int64 // declared run time, ns, or Unset
	Deadline []int64 // ns, or Unset
	Elastic  []uint8 // 1 if min < size
	Evicted  []int64 // times the job was preempted so far
	// UserShare is the share of the pool that the job's user holds in this queue
	// now, largest over resources.
	UserShare   []int64
	Allocated   []int64 // milli-GPU that the job's tasks hold now
	Preemptible []uint8 // 1 if the job may be evicted
	// Use is the part of the job's GPUs that was measured to be busy, a share; Unset
	// where it is not known, which is to be read as busy.
	Use []int64

	// Strings is the dictionary that UserName and Labels point into. It and what
	// points into it are filled only for a policy whose Info says that it reads them.
	Strings  []string
	UserName []uint32 // index into Strings
	// Labels has one column for each key of Info.Labels, in that order.
	Labels []LabelColumn

	// Serial is the host's own number of each job, the same in every batch and never
	// used again: whoever keeps answers between calls finds the rows by it. It is not
	// a column; policies do not see it. Empty if the caller has none.
	Serial []uint64

	// Keys are the outputs: the host sorts ascending by Keys[0], then Keys[1] …,
	// then submit, then id. NKeys is how many the policy filled, 1 to MaxKeys.
	Keys   [MaxKeys][]int64
	NKeys  int
	Reason []uint32 // optional output: index into Info.Reasons
	// Order is an optional output of policies that keep answers: all rows by keys, then by
	// row. It is empty before the call, and not nil where the caller can use it; where it
	// is still empty after it, the caller sorts.
	Order []int32
}

// LabelColumn holds the values of one label of the jobs.
type LabelColumn struct {
	Key   string
	Value []uint32 // index into Strings, NoString where the job has no such label
}

// QueueBatch has one row for each queue of the tree: row 0 is the root, parents
// come before their children, siblings are in order of their names. Matrices are
// row-major, N rows of R amounts.
type QueueBatch struct {
	Call
	N, R      int
	Resources []string // name of each of the R resources
	Capacity  []int64  // R: what the pool has

	Parent   []int32 // row of the parent, -1 at the root
	Depth    []int64
	Leaf     []uint8
	Weight   []int64 // configured weight, 0 if none
	Priority []int64 // highest priority of a pending job below

	Guaranteed []int64 // matrix, Unset where not configured; scaled down if the pool is too small
	Max        []int64 // matrix, NoMax where not configured
	Demand     []int64 // matrix: used + requested by pending tasks
	Used       []int64 // matrix

	// Decayed is the GPU time that the queue has used, in GPU-milliseconds, each of
	// them counting half after HalfLife ns, a quarter after two, and so on.
	Decayed  []int64
	HalfLife int64 // ns
	// Use is how much of the queue's GPUs was measured to be busy, in milli-GPU; Unset
	// where any of it is not known.
	Use []int64

	// Entitled is the output matrix: what the queue should hold now.
	Entitled []int64
	// Rank is the output that comes first in the choice of the next queue: lower
	// is sooner. Rank 0 means "owed its guarantee"; the host honours it only while
	// the queue is in fact under its guarantee, and reads it as 1 from then on.
	Rank []int64
}

// VictimBatch has one row for each unit that may legally be evicted: a whole
// gang, or one surplus task of an elastic one.
type VictimBatch struct {
	Call
	N, R int

	Job      []uint32 // units of one job have one number
	Queue    []uint32
	Tasks    []int64
	GPUs     []int64 // milli-GPU that the unit holds
	Freed    []int64 // matrix N×R: what the eviction frees
	Priority []int64
	Running  []int64 // ns since the unit started
	// SinceCheckpoint is the run time, ns, that would be lost; Lost is that times
	// the GPUs, in GPU-milliseconds; RestartCost is the price of starting again,
	// in GPU-milliseconds. A unit without GPUs counts its cores instead, a
	// hundredth of a GPU each.
	SinceCheckpoint []int64
	Lost            []int64
	RestartCost     []int64
	Surplus         []uint8 // 1 if its job goes on without it
	Leader          []uint8 // 1 for the head of a Ray cluster and its like
	Excess          []int64 // milli-GPU by which the unit's queue is over its guarantee
	Evicted         []int64 // times the job was preempted so far
	// Gang numbers the gang that the unit is, or that it is the surplus of. A job is
	// one gang today, so it tells the same as Job.
	Gang []uint32
	// Use is the part of the unit's GPUs that was measured to be busy, a share; Idle is
	// for how long, ns, none of them did anything. Unset where it is not known, which is
	// to be read as busy.
	Use  []int64
	Idle []int64

	// Cost is the output: the host evicts the set with the smallest sum. It must
	// not be negative. Veto 1 takes the unit out.
	Cost   []int64
	Veto   []uint8
	Reason []uint32 // optional output
}
