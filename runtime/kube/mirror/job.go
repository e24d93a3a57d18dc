package mirror

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/musterhq/muster/builtin/plan"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/runtime/kube/groups"
	"github.com/musterhq/muster/runtime/kube/pods"
)

// state is what a slot's task is in the ledger, once it has taken in what was posted.
type state uint8

const (
	unknown state = iota // the ledger has not heard of it
	absent               // not wanted now
	pending              // wants a place
	claimed              // has a place that is kept until others have left it
	placed               // has a place
	leaving              // is being evicted
	done                 // over for good
)

// holds says whether a task in the state has a place.
func (s state) holds() bool { return s == claimed || s == placed || s == leaving }

// slot is one task of a job: its number stays, the pods that take it come and go.
type slot struct {
	job   *job
	index int32
	chunk *chunk
	pod   *pod // nil: nobody has it
	state state
	node  string // where its place is, while state.holds()
	// seq is how many events had been posted when the last one about the slot was: a plan
	// that was made knowing fewer does not count for it.
	seq uint64
	// issued is the pod that Act was asked to bind, issuedOn the node.
	issued   *pod
	issuedOn *node
	// keep is until when the place is kept for a pod that does not exist (yet), zero if
	// it is not.
	keep time.Time
	// had says that some pod has had it since the job last held nothing.
	had bool
	// ended says that the pod that had the slot did its work.
	ended bool
	// why it is being evicted, and for whom.
	why evicting
}

type evicting struct {
	reason, text, forJob string
	broken               bool // its place is, and nobody gets it
	noticed              bool // so far it was only told
	idle                 bool // it goes because it does nothing: it stays if it wakes up
}

// chunk is a group of the ledger: equal tasks, numbered one after the other. A task
// group of the job has several if its pods differ, or came at different times.
type chunk struct {
	index  int32
	group  string
	key    string // of the shape
	task   pods.Task
	leader bool
	// declared chunks have a shape that no pod has told yet: their places are held for
	// pods to come.
	declared bool
	slots    []*slot
	min      int32
	posted   bool
	postMin  int32 // min as the ledger knows it
}

// job is one job: its pods, and its tasks as the ledger knows them.
type job struct {
	id        string
	namespace string
	info      groups.Info
	dialect   string
	pods      map[*pod]bool // that exist
	chunks    []*chunk
	slots     []*slot // by index

	posted   bool
	queue    string
	trouble  *pods.Problem // why it is not submitted, nil if it is
	priority int64
	submit   spec.Time
	why      *plan.Why // as last told
	shownWhy string    // why, as the pods were told
	begun    time.Time // when places were first held for declared pods
	partial  time.Time // since when a part of its gang runs without the rest, zero: it does not
	started  bool      // the whole gang was bound once
	// succeeded and failed count the pods that ended.
	succeeded, failed int32
	idle              time.Time // since when it has no pod, zero: it has
	doubted           bool      // the ledger's view differs: tell it anew
	retry             time.Time
	doubts            int
}

func (j *job) doubt(now time.Time) {
	j.doubted = true
	j.doubts++
	j.retry = now.Add(min(time.Minute, time.Duration(j.doubts)*time.Second))
}

// join puts the pod into its job.
func (m *Mirror) join(p *pod) {
	m.apart(p)
	id := p.member.Job
	if p.job != nil && p.job.id != id { // its labels changed: it leaves the old job
		m.mark(p.job)
		delete(p.job.pods, p)
		if s := p.slot; s != nil {
			s.pod, p.slot = nil, nil
		}
		p.job = nil
	}
	if id == "" {
		return
	}
	j := m.jobs[id]
	if j == nil {
		j = &job{id: id, namespace: p.obj.Namespace, pods: map[*pod]bool{}, submit: m.submitted(p.obj.CreationTimestamp.Time)}
		m.jobs[id] = j
	}
	p.job = j
	j.pods[p] = true
	m.mark(j)
}

// apart makes a job of its own of a slice above the gang: the hosts of a multi-host
// replica, which are of use only together, and start and leave so. Those that make up
// the gang stay in it.
func (m *Mirror) apart(p *pod) {
	mem := &p.member
	if mem.Slice == "" || mem.SliceSize < 2 || mem.Job == "" {
		return
	}
	whole := mem.Job + "/" + mem.Slice
	if p.job != nil && p.job.id == mem.Job || m.jobs[whole] == nil && m.inGang(p) {
		return
	}
	mem.Job = whole
	mem.Info.Min, mem.Info.Groups, mem.Info.Whole = mem.SliceSize, nil, true
}

// inGang says whether the pod's slice is one of those that must run with the rest.
func (m *Mirror) inGang(p *pod) bool {
	need := int32(0)
	for _, g := range p.member.Info.Groups {
		if g.Name == p.member.Group {
			need = g.Min / p.member.SliceSize
		}
	}
	slices := map[string]bool{}
	if j := m.jobs[p.member.Job]; j != nil {
		for o := range j.pods {
			if o != p && o.member.Group == p.member.Group && !o.over() {
				slices[o.member.Slice] = true
			}
		}
	}
	return slices[p.member.Slice] || int32(len(slices)) < need
}

// submitted is when a job came by our own clock: the API server's may be ahead of it.
func (m *Mirror) submitted(created time.Time) spec.Time {
	return min(nanos(created), nanos(m.o.Now()))
}

func sortedJobs(all map[string]*job) []*job {
	list := make([]*job, 0, len(all))
	for _, j := range all {
		list = append(list, j)
	}
	slices.SortFunc(list, func(a, b *job) int { return strings.Compare(a.id, b.id) })
	return list
}

// members lists the job's pods, oldest first.
func (j *job) members() []*pod {
	list := make([]*pod, 0, len(j.pods))
	for p := range j.pods {
		list = append(list, p)
	}
	slices.SortFunc(list, older)
	return list
}

// min is how many tasks must run together.
func (j *job) min() (n int32) {
	for _, c := range j.chunks {
		n += c.min
	}
	return n
}

// missing counts the tasks of the gang that have no pod bound.
func (j *job) missing() (n int32) {
	for _, c := range j.chunks {
		have := int32(0)
		for _, s := range c.slots {
			if s.ended || s.pod != nil && s.pod.node() != "" && !s.pod.over() {
				have++
			}
		}
		n += max(0, c.min-have)
	}
	return n
}

// spec is the job for the ledger, with all its chunks.
func (j *job) spec() *spec.Job {
	s := &spec.Job{
		ID: j.id, Queue: j.queue, User: j.info.User, Groups: j.info.UserGroups, Priority: j.priority, Submit: j.submit,
		NonPreemptible: j.info.NonPreemptible,
		Duration:       spec.Duration(j.info.Duration), Notice: spec.Duration(j.info.Notice),
		CheckpointEvery: spec.Duration(j.info.Checkpoint), RestartCost: spec.Duration(j.info.RestartCost),
		Labels: map[string]string{},
	}
	if !j.info.Deadline.IsZero() {
		s.Deadline = nanos(j.info.Deadline)
	}
	never := len(j.pods) > 0
	s.NeverPreempts = j.info.NeverPreempts
	for _, p := range j.members() {
		never = never && pods.NeverPreempts(p.obj)
		for k, v := range p.obj.Labels { //muster:anyorder the oldest pod's value stays
			if _, ok := s.Labels[k]; !ok {
				s.Labels[k] = v
			}
		}
	}
	s.NeverPreempts = s.NeverPreempts || never
	for _, c := range j.chunks {
		s.Tasks = append(s.Tasks, c.spec(j))
	}
	return s
}

func (c *chunk) spec(j *job) spec.TaskGroup {
	g := spec.TaskGroup{
		Name: c.group, Min: int64(c.min), Size: int64(len(c.slots)), Request: c.task.Request,
		GPUTypes: c.task.GPUTypes, Where: c.task.Where, Near: c.task.Near, Leader: c.leader || j.info.LastVictim,
	}
	if g.Name == "" {
		g.Name = "pods"
	}
	if t := j.info.Topology; t != "" { // all in one domain: each needs one of its own there
		term := spec.Term{ID: "job:" + j.id, Topology: t}
		g.Near.Counts = insert(slices.Clone(g.Near.Counts), term.ID)
		g.Near.Needs = append(slices.Clone(g.Near.Needs), term)
	}
	return g
}

func insert(sorted []string, s string) []string {
	i, ok := slices.BinarySearch(sorted, s)
	if ok {
		return sorted
	}
	return slices.Insert(sorted, i, s)
}

// shapeKey tells pods apart that may not take each other's slots.
func shapeKey(t *pods.Task) string {
	if len(t.Bind) > 0 { // claims of its own
		return fmt.Sprintf("%s|%q", t.Shape(), t.Bind)
	}
	return t.Shape()
}

// add makes slots of a kind: in the job's last chunk if it is of that kind and not told
// yet, else in a new one.
func (j *job) add(group, key string, task pods.Task, leader bool) *slot {
	var c *chunk
	for _, o := range j.chunks {
		if !o.posted && o.group == group && o.key == key {
			c = o
		}
	}
	if c == nil {
		c = &chunk{index: int32(len(j.chunks)), group: group, key: key, task: task, leader: leader}
		j.chunks = append(j.chunks, c)
	}
	s := &slot{job: j, chunk: c}
	c.slots = append(c.slots, s)
	return s
}

// number gives the slots of chunks that are about to be told their indexes: those of
// one chunk follow each other.
func (j *job) number() {
	j.slots = j.slots[:0]
	for _, c := range j.chunks {
		for _, s := range c.slots {
			s.index = int32(len(j.slots))
			j.slots = append(j.slots, s)
		}
	}
}

// forget makes the job one that the ledger has never heard of; its pods stay.
func (j *job) forget() {
	for p := range j.pods {
		p.slot = nil
	}
	j.chunks, j.slots, j.posted, j.why, j.shownWhy = nil, nil, false, nil, ""
	j.partial = time.Time{}
}
