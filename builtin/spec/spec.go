// Package spec has the value types that the outside hands to the core: queues,
// jobs, task groups and nodes, as people name them, with Validate for each that
// reports all problems at once.
package spec

import (
	"cmp"
	"slices"

	"github.com/musterhq/muster/builtin/amount"
)

// Duration is a span of time in nanoseconds; Time is nanoseconds since the Unix
// epoch (or since the start of a simulation). The core compares them, it never
// reads a clock.
type (
	Duration = int64
	Time     = int64
)

// Second in the units of Duration.
const Second Duration = 1_000_000_000

// Resource is one named amount in base units.
type Resource struct {
	Name   string
	Amount amount.Amount
}

// Resources is a set of named amounts, sorted by name, no name twice.
type Resources []Resource

// Get returns the amount of a resource and whether it is mentioned.
func (r Resources) Get(name string) (amount.Amount, bool) {
	i, ok := slices.BinarySearchFunc(r, name, func(e Resource, n string) int { return cmp.Compare(e.Name, n) })
	if !ok {
		return 0, false
	}
	return r[i].Amount, true
}

// Set returns r with one amount set, keeping the order.
func (r Resources) Set(name string, a amount.Amount) Resources {
	name = amount.Canonical(name)
	i, ok := slices.BinarySearchFunc(r, name, func(e Resource, n string) int { return cmp.Compare(e.Name, n) })
	if ok {
		r[i].Amount = a
		return r
	}
	return slices.Insert(r, i, Resource{name, a})
}

// GPUs returns Resources that ask for n whole GPUs and nothing else.
func GPUs(n int64) Resources {
	return Resources{{amount.GPUName, amount.Amount(n).Mul(1000)}}
}

// Node is one machine.
type Node struct {
	Name     string
	Capacity Resources
	// GPUType is the product label of the node's GPUs ("H100"); all GPUs of a
	// node are alike. The node's GPU capacity counts as GPUName and as
	// GPUName:GPUType.
	GPUType string
	Labels  map[string]string
	Taints  []Taint
	// Unschedulable keeps new tasks off; running ones stay (kubectl cordon).
	Unschedulable bool
}

// Taint keeps tasks without a matching toleration off a node. Effect is Kubernetes'
// ("NoSchedule", "NoExecute"); empty means NoSchedule.
type Taint struct{ Key, Value, Effect string }

// Toleration lets a task onto nodes with a taint. An empty Value tolerates any.
type Toleration struct{ Key, Value string }

// Job is the unit of ordering, admission and explanation (YuniKorn: application;
// Kubernetes: Workload or PodGroup; Ray: RayCluster or RayJob).
type Job struct {
	ID       string
	Queue    string // full path of a leaf: "root.research.llm"
	User     string
	Groups   []string // the user's groups, for limits and ACLs
	Priority int64    // higher is more important
	Submit   Time
	Tasks    []TaskGroup
	// Duration is the declared run time, 0 if none was declared.
	Duration Duration
	// Deadline is when the job should be done, 0 if it has none.
	Deadline Time
	// NonPreemptible jobs are never victims, and run only inside the guarantee.
	NonPreemptible bool
	// NeverPreempts jobs evict nobody (Kubernetes: preemptionPolicy Never).
	NeverPreempts bool
	// Notice is how long before an eviction the job is told, so that it can
	// checkpoint; 0 evicts at once.
	Notice Duration
	// CheckpointEvery is the job's own checkpoint interval, 0 if it has none: then
	// all work since its start is lost by an eviction.
	CheckpointEvery Duration
	// RestartCost is the run time lost at each start (image, data, warm-up).
	RestartCost Duration
	Labels      map[string]string
}

// TaskGroup is a set of identical tasks of a job.
type TaskGroup struct {
	Name string
	// Min tasks start together with the Min of every other group of the job, or
	// none does (gang). Size - Min is surplus, which joins and leaves one by one.
	// Min 0 is fully elastic.
	Min, Size int64
	Request   Resources // of one task
	// GPUTypes lists the GPU types the tasks accept; empty means any.
	GPUTypes     []string
	NodeSelector map[string]string
	Tolerations  []Toleration
	// Leader marks the head of a Ray cluster and its like: evicted last.
	Leader bool
	// Where, if not nil, decides which nodes the tasks may run on in place of
	// NodeSelector and Tolerations. GPUTypes bind beside it.
	Where Where
	// Near relates the tasks to others by where those run.
	Near Near
}

// PreemptionPolicy of a queue, with YuniKorn's names.
type PreemptionPolicy string

// The preemption policies. Fence keeps preemption that starts inside the subtree
// inside it; Disabled also makes the subtree's jobs no victims (inherited).
const (
	PreemptionDefault  PreemptionPolicy = "default"
	PreemptionFence    PreemptionPolicy = "fence"
	PreemptionDisabled PreemptionPolicy = "disabled"
)

// Queue is one node of the quota tree.
type Queue struct {
	Name     string // last part of the path
	Children []*Queue
	Parent   bool // may have children even if it has none yet
	// Guaranteed is what the queue can always get back; a resource that is not
	// mentioned has no guarantee, and is not compared.
	Guaranteed Resources
	// Max is what the queue can never exceed; a resource that is not mentioned is
	// unlimited, an explicit 0 forbids.
	Max     Resources
	MaxApps int64 // running jobs in the subtree, 0 = unlimited
	Weight  int64 // of the share above the guarantee, 0 = by the guarantee
	Limits  []Limit
	// Policies by name; empty inherits from the parent, at the root the built-in
	// default (fifo, guaranteed-fair, least-lost-work).
	JobOrder, Fairness, Victims string
	StrictFIFO                  bool
	// ReserveAfter is how long the first job may be skipped before nodes are
	// reserved for it; 0 inherits (root: 5 minutes), negative is never.
	ReserveAfter    Duration
	Preemption      PreemptionPolicy
	PreemptionDelay Duration // a job must have waited this long; 0 inherits, root: 0
	MinRuntime      Duration // tasks younger than this are no victims; 0 inherits
	// IdleAfter makes the queue's GPUs that were measured to do nothing for so long the
	// first to be reclaimed of what it has above its guarantee; 0 inherits (root: never),
	// negative is never. IdleGrace is how long before its eviction such a unit is told, in
	// which it may wake up and stay; 0 inherits (root: 10 seconds).
	IdleAfter, IdleGrace Duration
	SubmitACL            string // "users groups", YuniKorn's form; inherited upward
	AdminACL             string
	// Properties keeps YuniKorn's queue properties as they were written.
	Properties map[string]string
	// Template applies to dynamic children.
	Template *Queue
}

// Limit bounds what one user, or one group, may use in a queue's subtree.
// "*" in Users means each user for itself; "*" in Groups means all groups
// together.
type Limit struct {
	Name          string
	Users, Groups []string
	Max           Resources
	MaxApps       int64 // 0 = unlimited
}

// Tree is a whole queue configuration with the settings that hold for the pool.
type Tree struct {
	Root *Queue
	// Placement is the node-choice strategy: fragmentation, binpack or spread.
	Placement string
	// UsageHalfLife is the time after which past usage counts half in the decayed
	// usage of queues; 0 is 7 days.
	UsageHalfLife Duration
	// UseMaxAge is how long a measurement of GPU use holds: an older one is unknown;
	// 0 is 2 minutes.
	UseMaxAge Duration
	// Rules place jobs that name no queue (YuniKorn's placementrules).
	Rules []PlacementRule
}

// PlacementRule is one of YuniKorn's placement rules.
type PlacementRule struct {
	Name, Value string
	Create      bool
	Filter      RuleFilter
	Parent      *PlacementRule
}

// RuleFilter limits a placement rule to users and groups.
type RuleFilter struct {
	Type          string // "", allow or deny
	Users, Groups []string
}
