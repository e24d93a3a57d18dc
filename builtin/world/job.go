package world

import (
	"cmp"
	"slices"
	"strings"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/quota"
	"github.com/musterhq/muster/builtin/spec"
)

// State is where a task stands.
type State uint8

// The states. Pending tasks sit nowhere. Claimed tasks have their place and are
// charged for it, but someone else still holds it (a victim on its way out) or
// the adapter has not yet been told. Bound tasks run. Releasing tasks are victims:
// their queue is no longer charged, the node still is. Done tasks are over. Absent
// tasks have no pod: they are wanted, but there is nothing that could start.
const (
	Pending State = iota
	Claimed
	Bound
	Releasing
	Done
	Absent
)

func (s State) String() string {
	return [...]string{"pending", "claimed", "bound", "releasing", "done", "absent"}[s]
}

// Task is one pod of a job. Which pod that is, the adapter knows: a replacement
// takes the index of the one it replaces.
type Task struct {
	Job   *Job
	Group int32 // index into Job.Groups
	Index int32 // within the job
	State State
	// released tasks are done because their job gave them up; see ReleaseSurplus.
	released bool
	// kept tasks are victims that may yet stay: their quota is kept; see EvictRevocably.
	kept  bool
	Node  NodeIx
	Dev   uint64 // devices held, a bit each
	Since spec.Time
	// prev and next link the tasks of a node; unlink and relink in reverse order
	// restore the list exactly.
	prev, next *Task
}

// Group is a task group of a job in the world.
type Group struct {
	Shape ShapeID
	// Min tasks, of which Finished no longer count, must run together. It grows with
	// each surplus task that is released, since that counts as finished too.
	Min, Size int32
	First     int32 // index of its first task in Job.Tasks
	Placed    int32 // tasks claimed or bound
	Finished  int32 // tasks done
	Released  int32 // of which the job gave up; Min has grown by as many
	Absent    int32 // tasks without a pod
	near      *near // nil if they relate to no others
	hint      int32 // no pending task is before it
}

// Job is a job in the world. Fields below Groups change; those marked (what-if)
// only through methods that Rollback undoes.
type Job struct {
	// Spec is what decides. It is Own, what the job says itself, unless admission rules
	// have given the job another priority.
	Spec, Own *spec.Job
	// Queue is that of Own, unless the rules have moved the job.
	Queue  quota.Q
	Chain  quota.Chain
	User   int32
	Serial uint64 // number of the job, from 1; never used again, under any queue tree
	Shape  string // equal for jobs that ask for the same tasks; see Signature
	Groups []Group
	Tasks  []Task

	Placed   int32 // (what-if) tasks claimed or bound
	Waiting  int32 // (what-if) tasks pending
	Claiming int32 // (what-if) tasks claimed
	Reserved int32 // (what-if) nodes reserved for the job
	kept     int32 // (what-if) tasks whose quota is kept

	Judged      string // digest of the admission rules that judged it, "" none; see JudgeAgain
	Refused     string // why admission refused it, "" if it did not
	Only        *Only  // where admission lets it run; see Narrow
	Attempts    int64
	Evicted     int64     // times preempted
	Waits       spec.Time // since when it waits again after its last eviction, 0 = it was not evicted
	Blocked     spec.Time // since when it could not be placed though its quota allows, 0 = it was not
	Checkpoint  spec.Time // when it last saved its work, 0 = never
	ClaimExpiry spec.Time
	// ReservedUntil is when the reservation of nodes for the job ends.
	ReservedUntil spec.Time
	Stayed        spec.Time // when an eviction of it was last taken back, 0 = never
	Woke          spec.Time // likewise, because its GPUs may be busy again
	Notes         any       // what the cycle remembers about why it waits
	Texts         any       // and about its names and labels

	use []measured // of each task, nil until one was measured; see NoteUse
}

// judgedBefore is the digest of no rules, not even of none.
const judgedBefore = "\x00"

// JudgeAgain lets admission judge the job anew: it has changed.
func (j *Job) JudgeAgain() {
	if j.Judged != "" {
		j.Judged = judgedBefore
	}
}

// Min is the number of tasks that must run together.
func (j *Job) Min() (n int32) {
	for i := range j.Groups {
		n += j.Groups[i].Min
	}
	return n
}

// GangMissing is the number of tasks that must still find a place, all at once,
// before any surplus may.
func (j *Job) GangMissing() (n int32) {
	for i := range j.Groups {
		g := &j.Groups[i]
		n += max(0, g.Min-g.Placed-g.Finished)
	}
	return n
}

// Running says whether the job counts as running: it holds something.
func (j *Job) Running() bool { return j.Placed > 0 }

// Incomplete says whether a part of the job's gang holds something and another part is
// missing: a start was cut short, by a crash or by a bind that failed, or the gang has
// grown since. Such a job is completed before any other is started (package cycle); how
// long it may hold its places meanwhile is for whoever runs it to decide.
func (j *Job) Incomplete() bool { return j.Placed > 0 && j.GangMissing() > 0 }

// LacksPods is the number of tasks without a pod but for which the gang could be whole:
// until they have one it can't start, and is not tried.
func (j *Job) LacksPods() (n int32) {
	for i := range j.Groups {
		g := &j.Groups[i]
		if g.Absent > 0 {
			n += max(0, g.Min-(g.Size-g.Absent))
		}
	}
	return n
}

// Wanted is the number of tasks of the group that hold no quota and should run: those
// pending, and victims on their way out, which will be pending.
func (g *Group) Wanted() int32 { return g.Size - g.Placed - g.Finished - g.Absent }

// NextPending returns the pending task of a group with the lowest index, nil if
// there is none.
func (j *Job) NextPending(group int) *Task {
	g := &j.Groups[group]
	for i := g.hint; i < g.First+g.Size; i++ {
		if j.Tasks[i].State == Pending {
			g.hint = i
			return &j.Tasks[i]
		}
	}
	g.hint = g.First + g.Size
	return nil
}

// AddJob registers a job. Its queue must be a leaf of the tree, its id new.
func (w *World) AddJob(s *spec.Job, q quota.Q) *Job {
	w.Epoch++
	w.serial++
	j := &Job{Spec: s, Own: s, Serial: w.serial}
	w.addGroups(j, s.Tasks)
	j.Shape = signature(j)
	j.Tasks = make([]Task, 0, tasksOf(j.Groups))
	j.appendTasks(0)
	j.Waiting = int32(len(j.Tasks))
	w.jobs[s.ID] = j
	w.Enqueue(j, q)
	return j
}

// addGroups gives a job more groups; their tasks come with appendTasks.
func (w *World) addGroups(j *Job, groups []spec.TaskGroup) {
	next := int32(tasksOf(j.Groups))
	for i := range groups {
		g := &groups[i]
		shape := w.shapeOf(g, j.Only)
		w.Shapes[shape].Tasks += g.Size
		w.SeenTasks += g.Size
		j.Groups = append(j.Groups, Group{Shape: shape, Min: int32(g.Min), Size: int32(g.Size), First: next, hint: next, near: w.nearOf(&g.Near)})
		next += int32(g.Size)
	}
}

// appendTasks makes the tasks of the groups from a given one on; there is room for them.
func (j *Job) appendTasks(from int) {
	for gi := from; gi < len(j.Groups); gi++ {
		g := &j.Groups[gi]
		for i := g.First; i < g.First+g.Size; i++ {
			j.Tasks = append(j.Tasks, Task{Job: j, Group: int32(gi), Index: i, Node: NoNode})
		}
	}
}

// signature tells which jobs ask for the same: equal groups in equal order. Tasks that
// were given up don't count in it: it stays the same when they are, and when they come
// back.
func signature(j *Job) string {
	b := make([]byte, 0, 16*len(j.Groups))
	for i := range j.Groups {
		g := &j.Groups[i]
		for _, v := range []int32{int32(g.Shape), g.Min - g.Released, g.Size} {
			b = append(b, byte(v), byte(v>>8), byte(v>>16), byte(v>>24))
		}
		b = g.near.key(b)
	}
	if j.Spec.NonPreemptible {
		b = append(b, 'n')
	}
	if j.Spec.NeverPreempts {
		b = append(b, 'v')
	}
	return string(b)
}

// Enqueue puts a job into a leaf queue. It must hold nothing.
func (w *World) Enqueue(j *Job, q quota.Q) {
	j.Queue = q
	j.Chain = w.Quota.ChainFor(q, j.Spec)
	j.User = w.Quota.User(j.Spec.User)
	w.insertPending(j)
}

func (w *World) insertPending(j *Job) {
	list := w.pending[j.Queue]
	if n := len(list); n == 0 || CompareJobs(list[n-1], j) < 0 {
		w.pending[j.Queue] = append(list, j)
		return
	}
	i, found := slices.BinarySearchFunc(list, j, CompareJobs)
	if !found {
		w.pending[j.Queue] = slices.Insert(list, i, j)
	}
}

// CompareJobs is the order of (submit, id), the tie-break of every job order.
func CompareJobs(a, b *Job) int {
	if c := cmp.Compare(a.Spec.Submit, b.Spec.Submit); c != 0 {
		return c
	}
	return strings.Compare(a.Spec.ID, b.Spec.ID)
}

// PendingIn lists the jobs of a leaf that may have pending tasks, in order of
// (submit, id). Those that have none left are dropped first. Do not change it.
func (w *World) PendingIn(q quota.Q) []*Job {
	list := w.pending[q]
	if w.marks == 0 {
		list = slices.DeleteFunc(list, func(j *Job) bool { return j.Waiting == 0 })
		w.pending[q] = list
	}
	return list
}

// RemoveJob forgets a job and frees what it holds.
func (w *World) RemoveJob(j *Job) {
	w.Epoch++
	for i := range j.Tasks {
		if t := &j.Tasks[i]; t.Node != NoNode {
			w.Release(t)
		}
	}
	for n := range w.Nodes {
		if j.Reserved > 0 && w.Nodes[n].ReservedFor == j {
			w.Reserve(NodeIx(n), nil)
		}
	}
	for i := range j.Groups {
		w.Shapes[j.Groups[i].Shape].Tasks -= int64(j.Groups[i].Size)
		w.forgetNear(j.Groups[i].near)
	}
	j.Waiting = 0
	delete(w.jobs, j.Spec.ID)
	w.forgetFeuds(j.Spec.ID)
	w.pending[j.Queue] = slices.DeleteFunc(w.pending[j.Queue], func(o *Job) bool { return o == j })
	w.claims = without(w.claims, j)
	w.Notices = slices.DeleteFunc(w.Notices, func(n Notice) bool { return n.Job == j })
}

func without(list []*Job, j *Job) []*Job {
	return slices.DeleteFunc(list, func(o *Job) bool { return o == j })
}

// Jobs lists all jobs in order of (submit, id).
func (w *World) Jobs() []*Job {
	out := make([]*Job, 0, len(w.jobs))
	for _, j := range w.jobs { // sorted below
		out = append(out, j)
	}
	slices.SortFunc(out, CompareJobs)
	return out
}

// EachPlaced calls f for every task that sits on a node, nodes by index and
// newest task first. Decisions must not depend on that order.
func (w *World) EachPlaced(f func(*Task)) {
	for n := range w.Nodes {
		for t := w.Nodes[n].head; t != nil; t = t.next {
			f(t)
		}
	}
}

// GPUs is the milli-GPUs that a task holds or asks for.
func (w *World) GPUs(t *Task) amount.Amount {
	return w.Shapes[t.Job.Groups[t.Group].Shape].GPU
}

// Move takes a job that holds nothing to another leaf.
func (w *World) Move(j *Job, q quota.Q) {
	w.pending[j.Queue] = slices.DeleteFunc(w.pending[j.Queue], func(o *Job) bool { return o == j })
	w.Enqueue(j, q)
}
