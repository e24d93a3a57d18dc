// Package view is what people and programs read of a running scheduler: immutable
// pictures of the world, made on the loop's goroutine in a few milliseconds when
// somebody asks and at most once a second, and a record of what was decided of late.
//
// Amounts are int64 in base units: cpu in millicores, GPUs in milli-GPUs, memory in
// bytes, everything else in counts.
package view

import (
	"fmt"
	"strings"
	"time"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/spec"
)

// Amounts are named amounts in base units.
type Amounts map[string]int64

// Snapshot is the world at one time. Nobody changes it; readers may keep it.
type Snapshot struct {
	At time.Time
	// Number counts the snapshots of a source, from 1.
	Number uint64
	// Stale says that the loop did not answer in time: this is the last picture there is.
	Stale    bool
	Pool     Pool
	Queues   []Queue // each with its subtree, siblings by name
	Jobs     []Job   // by submit time and id
	Nodes    []Node  // by name
	Outside  []Job   // that are not in the world, by id
	queueIx  map[string]int
	jobIx    map[string]int
	outIx    map[string]int // of Outside
	nodeIx   map[string]int
	tasksOf  [][]Task // of each job
	pendings []int    // by queue index: pending jobs in the subtree
	gpus     func() []GPU
	probes   func() []Probe
	trouble  func() Trouble
}

// Trouble counts the GPUs that are not as they should be.
func (s *Snapshot) Trouble() Trouble {
	if s.trouble == nil {
		return Trouble{}
	}
	return s.trouble()
}

// GPUs lists every GPU, by node and index. It is made when it is first asked for.
func (s *Snapshot) GPUs() []GPU {
	if s.gpus == nil {
		return []GPU{}
	}
	return s.gpus()
}

// Probes lists the probes of the nodes that have GPUs, by node.
func (s *Snapshot) Probes() []Probe {
	if s.probes == nil {
		return []Probe{}
	}
	return s.probes()
}

// Pool is what holds for the cluster as a whole.
type Pool struct {
	Capacity Amounts `json:"capacity"`
	// Degraded guarantees are cut in proportion, since the pool is smaller than all of them.
	Degraded bool       `json:"degraded"`
	Leader   Leadership `json:"leader"`
	// Paused is why nothing is carried out now, "" if it is.
	Paused  string `json:"paused,omitempty"`
	Nodes   int    `json:"nodes"`
	Running int    `json:"running_jobs"`
	Pending int    `json:"pending_jobs"`
	// PolicyABI is the newest version of the policy ABI that this process speaks, as 1.1,
	// and ProbeWire what it speaks with probes. Minor versions before it are spoken too.
	PolicyABI string `json:"policy_abi"`
	ProbeWire string `json:"probe_wire"`
}

// Leadership says who decides.
type Leadership struct {
	Identity string `json:"identity,omitempty"` // of this process
	Holder   string `json:"holder,omitempty"`   // of the leader, if it is known
	Leading  bool   `json:"leading"`            // this process is the leader
}

// Queue is one queue.
type Queue struct {
	Path        string          `json:"path"`
	Parent      string          `json:"parent,omitempty"`
	Depth       int             `json:"depth"`
	Leaf        bool            `json:"leaf"`
	Resources   []QueueResource `json:"resources"` // by name
	RunningJobs int64           `json:"running_jobs"`
	MaxJobs     int64           `json:"max_jobs,omitempty"` // 0 is unlimited
	PendingJobs int             `json:"pending_jobs"`
	// Share is the largest part of the pool that the queue holds, over resources: 0 to 1.
	Share float64 `json:"share"`
	// Rank is the fairness policy's last answer: 0 means owed its guarantee.
	Rank     *int64        `json:"rank,omitempty"`
	Policies QueuePolicies `json:"policies"`
	// StrictFIFO queues wait for their first job; fenced ones keep preemption inside.
	StrictFIFO bool `json:"strict_fifo,omitempty"`
	Fenced     bool `json:"fenced,omitempty"`
	// NoVictims says that nobody in the queue is evicted.
	NoVictims bool `json:"no_victims,omitempty"`
	// Created says that placement rules have created the queue, or one below it that it is
	// on the way to. It goes when no job has been in it for StaysMS milliseconds.
	Created bool  `json:"created,omitempty"`
	StaysMS int64 `json:"stays_empty_ms,omitempty"`
}

// QueuePolicies names what decides for a queue.
type QueuePolicies struct {
	JobOrder string `json:"job_order"`
	Fairness string `json:"fairness"`
	Victims  string `json:"victims"`
}

// QueueResource is one resource of a queue, in base units. What is nil is not set.
type QueueResource struct {
	Resource   string `json:"resource"`
	Guaranteed *int64 `json:"guaranteed,omitempty"` // as configured
	// Effective is the part of the guarantee that the pool can keep now.
	Effective *int64 `json:"effective_guaranteed,omitempty"`
	Max       *int64 `json:"max,omitempty"`
	Used      int64  `json:"used"`
	Pending   int64  `json:"pending"` // asked for by tasks that wait and are not refused
	// Borrowed is what is used above the effective guarantee, where there is none above
	// those inside the queue, and can be reclaimed; the root borrows nothing. Of a GPU type
	// that no guarantee mentions nothing is borrowed where GPUs in total are guaranteed.
	Borrowed int64  `json:"borrowed"`
	Entitled *int64 `json:"entitled,omitempty"` // the fairness policy's last answer
	// Measured is what the GPUs really do, nil of other resources and without probes.
	Measured *Measured `json:"measured,omitempty"`
}

// State is where a job stands.
type State string

// The states of a job.
const (
	Pending  State = "pending"  // it holds nothing
	Starting State = "starting" // it has places, and victims are still leaving them
	Running  State = "running"
	Growing  State = "growing" // it runs, and more of its tasks wait
	Leaving  State = "leaving" // it was evicted and its tasks are ending
)

// Waits says whether a job in this state has tasks that wait.
func (s State) Waits() bool { return s == Pending || s == Starting || s == Growing }

// Job is one job.
type Job struct {
	ID       string    `json:"id"`
	Queue    string    `json:"queue"` // "" of one that is outside
	User     string    `json:"user,omitempty"`
	State    State     `json:"state"`
	Priority int64     `json:"priority,omitempty"`
	Submit   time.Time `json:"submit,omitzero"` // zero of one that is outside
	Since    time.Time `json:"since,omitzero"`  // start of its oldest running task
	Groups   []Group   `json:"groups"`
	GPUs     int64     `json:"gpu_milli"` // held
	Nodes    int       `json:"nodes"`     // on which it has tasks
	Reason   *Reason   `json:"reason,omitempty"`
	// Place is the job's place among those of its queue that wait, from 1, by submit
	// time; the queue's job order may take them in another order.
	Place    int       `json:"place,omitempty"`
	Attempts int64     `json:"attempts,omitempty"` // cycles that tried it in vain
	Evicted  int64     `json:"evicted,omitempty"`  // times it was preempted
	Saved    time.Time `json:"saved,omitzero"`     // last checkpoint
	// ReservedNodes are kept for it, until ReservedUntil.
	ReservedNodes  int       `json:"reserved_nodes,omitempty"`
	ReservedUntil  time.Time `json:"reserved_until,omitzero"`
	NonPreemptible bool      `json:"non_preemptible,omitempty"`
	why            *why
}

// Group is one task group of a job.
type Group struct {
	Name     string   `json:"name,omitempty"`
	Min      int32    `json:"min"`
	Size     int32    `json:"size"` // without tasks that have no pod, unless the gang needs them
	Running  int32    `json:"running"`
	Starting int32    `json:"starting,omitempty"`
	Leaving  int32    `json:"leaving,omitempty"`
	Waiting  int32    `json:"waiting,omitempty"`
	Finished int32    `json:"finished,omitempty"`
	Request  Amounts  `json:"request"` // of one task
	GPUTypes []string `json:"gpu_types,omitempty"`
}

// Task is a task that has a place.
type Task struct {
	Job   string    `json:"job,omitempty"`
	Index int32     `json:"index"`
	Group int32     `json:"group"`
	State string    `json:"state"` // claimed, bound or releasing
	Node  string    `json:"node,omitempty"`
	Since time.Time `json:"since"`
}

// Reason is why something waits: a stable code and a sentence.
type Reason struct {
	Code  string    `json:"code"`
	Text  string    `json:"text"`
	Since time.Time `json:"since,omitzero"`
}

// Node is one machine.
type Node struct {
	Name        string  `json:"name"`
	GPUType     string  `json:"gpu_type,omitempty"`
	Capacity    Amounts `json:"capacity"`
	Free        Amounts `json:"free"`
	Foreign     Amounts `json:"foreign,omitempty"` // taken by others than our jobs
	Devices     int32   `json:"devices,omitempty"`
	FreeDevices int32   `json:"free_devices,omitempty"` // wholly free GPUs
	Tasks       int     `json:"tasks"`
	Cordoned    bool    `json:"cordoned,omitempty"`
	// Note is why it takes no tasks, as the adapter says.
	Note        string `json:"note,omitempty"`
	ReservedFor string `json:"reserved_for,omitempty"` // job
}

// Queue finds a queue by its path; one without "root." is found too.
func (s *Snapshot) Queue(path string) (*Queue, bool) {
	i, ok := s.queueIx[path]
	if !ok && len(s.Queues) > 0 {
		i, ok = s.queueIx[s.Queues[0].Path+"."+path]
	}
	if !ok {
		return nil, false
	}
	return &s.Queues[i], true
}

// Job finds a job.
func (s *Snapshot) Job(id string) (*Job, bool) {
	i, ok := s.jobIx[id]
	if !ok {
		return nil, false
	}
	return &s.Jobs[i], true
}

// Tasks lists the tasks of a job that have places, by index.
func (s *Snapshot) Tasks(id string) []Task {
	i, ok := s.jobIx[id]
	if !ok {
		return nil
	}
	return s.tasksOf[i]
}

// Node finds a node.
func (s *Snapshot) Node(name string) (*Node, bool) {
	i, ok := s.nodeIx[name]
	if !ok {
		return nil, false
	}
	return &s.Nodes[i], true
}

// Of finds one resource of a queue; it is zero where the queue does not mention it.
func (q *Queue) Of(resource string) QueueResource {
	for _, r := range q.Resources {
		if r.Resource == resource {
			return r
		}
	}
	return QueueResource{Resource: resource}
}

// Quantity writes an amount as people read it: whole GPUs and cores, large units.
func Quantity(resource string, a int64) string {
	if resource == amount.MemoryName && (a >= 10<<30 || a <= -10<<30) && a%(1<<30) != 0 {
		a -= a % (1 << 30) // nobody counts the odd bytes of many
	}
	if amount.IsGPU(resource) && a%1000 != 0 {
		return gpuText(a)
	}
	return amount.Format(resource, amount.Amount(a))
}

// gpuText writes parts of GPUs, as measured use, shared devices and guarantees that the pool can't
// keep have them: all of a few, tenths of many, cut so that what is nearly free is not told as free.
func gpuText(milli int64) string {
	sign := ""
	if milli < 0 {
		sign, milli = "-", -milli
	}
	if milli >= 10_000 {
		milli -= milli % 100
	}
	return sign + strings.TrimRight(strings.TrimRight(fmt.Sprintf("%d.%03d", milli/1000, milli%1000), "0"), ".")
}

// stamp is a time of the core; 0 is none.
func stamp(t spec.Time) time.Time {
	if t == 0 {
		return time.Time{}
	}
	return time.Unix(0, t).UTC()
}
