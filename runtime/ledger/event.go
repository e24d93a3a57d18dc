package ledger

import (
	"slices"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/quota"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/builtin/world"
)

// Event is something that happened outside.
type Event interface {
	apply(l *Ledger, now spec.Time) error
}

type (
	// NodeAdded registers a node or applies a change of a known one.
	NodeAdded struct{ Node spec.Node }
	// NodeRemoved takes a node and everything on it away. Its jobs' tasks are
	// pending again; a gang that fell below its min loses the others too.
	NodeRemoved struct{ Name string }
	// JobSubmitted registers a job.
	JobSubmitted struct{ Job *spec.Job }
	// JobGone forgets a job, finished or cancelled.
	JobGone struct{ ID string }
	// JobPriority changes a job's priority.
	JobPriority struct {
		ID       string
		Priority int64
	}
	// TaskFinished ends a task for good.
	TaskFinished struct {
		Job  string
		Task int32
	}
	// TaskLost says that a task's pod died and its node did not: the place is kept
	// for the replacement.
	TaskLost struct {
		Job  string
		Task int32
	}
	// TaskReleased ends a surplus task that its job no longer wants; it does not
	// come back.
	TaskReleased struct {
		Job  string
		Task int32
	}
	// Evicted says that tasks were taken off their nodes and are gone: victims, or tasks
	// whose GPU has failed. They are pending again, and what is left of a gang is completed
	// before anything else is started.
	Evicted struct {
		Job   string
		Tasks []int32
	}
	// BindFailed says that a start did not happen; the assumption is forgotten. If a
	// gang is not whole without it, so is that of all tasks that began in the same
	// instant; what ran before goes on, and is completed next.
	BindFailed struct {
		Job   string
		Tasks []int32
	}
	// Saved says that a job saved its work.
	Saved struct{ Job string }
	// UseMeasured says how busy the GPUs of a running task were at a time. A
	// measurement from before the task's last start, or older than one that is known,
	// is passed over.
	UseMeasured struct {
		Job  string
		Task int32
		// Known is false where the GPUs can't be measured (any more): the rest is void.
		Known bool
		Busy  amount.Share  // of all GPUs that the task holds, on average
		Idle  spec.Duration // for how long, at At, none of them had done anything
		// Watched is for how long, at At, every launch on any of them would have been
		// seen; 0 if they were only sampled.
		Watched spec.Duration
		At      spec.Time // a time that is still to come counts as now
	}
	// JobGrown adds groups of tasks to a job. Its tasks so far keep their numbers; the
	// new ones follow them in order. Names of groups need not be unique: a group that
	// grows comes as another one of the same name. A job that holds nothing is judged
	// anew by admission rules; one that holds something keeps its verdict.
	JobGrown struct {
		ID    string
		Tasks []spec.TaskGroup
	}
	// JobGang changes how many tasks of a group must run together, at most as many as
	// were not released. Finished tasks count towards it as before, released ones do
	// not. Raising it takes nothing from a job that runs: it is then incomplete
	// (world.Job.Incomplete), and the missing tasks are the next to be placed.
	JobGang struct {
		ID    string
		Group int32 // index in the order in which the groups came
		Min   int64
	}
	// TaskAbsent says that a task has no pod (not yet, or not any more), whatever its
	// state: it holds nothing and is not wanted until TaskAgain. It does not count as
	// finished: as many others must run together as before, and a gang that lacks it can't
	// start, is not tried, and evicts nobody. The rest of a running gang stays.
	TaskAbsent struct {
		Job  string
		Task int32
	}
	// TaskAgain says that a task that ended, was released or was absent is wanted: it is
	// pending again. One that is pending or runs already is left alone.
	TaskAgain struct {
		Job  string
		Task int32
	}
	// TaskRunning says that a task was found running on a node, whoever started it: it
	// is charged there whether there is room or not, in its queues and on the node. The
	// task must be pending (not-pending), the node known (unknown-node).
	TaskRunning struct {
		Job  string
		Task int32
		Node string
		// Devices has a bit each. 0, or a set that the task can't have asked for, takes
		// the first that are free, and where too few are free, any.
		Devices uint64
		Since   spec.Time // a time that is still to come counts as now
	}
	// TaskClaimed keeps a place for a pending task until a time, as a Claim of a plan
	// does: what a former leader had decided and not yet carried out. It is refused
	// (no-room) if the place is taken: where a plan could not start the task right now.
	// The tasks that a job has claimed start together, in the next cycle in which its
	// gang is whole, or are pending again at the latest Until of them.
	TaskClaimed struct {
		Job     string
		Task    int32
		Node    string
		Devices uint64 // as in TaskRunning, but only free ones
		Until   spec.Time
	}
	// NodeUsed says what others than our jobs take on a node (pods of other schedulers,
	// of the system): it is free for nobody. It replaces what was said before, outlives
	// changes of the node (NodeAdded), and goes with it. The queues share the pool's
	// capacity without it. It may be more than the node has.
	NodeUsed struct {
		Name string
		Used spec.Resources // GPUs without their type; a part of one takes all of it
		// Counts has, for each term of which tasks of others run there, how many;
		// Avoids the terms that those tasks keep out of their domains, likewise.
		Counts map[string]int32
		Avoids map[spec.Term]int32
	}
	// JobNear replaces what the tasks of a group count for, sorted: a term has come or
	// gone, or labels have changed. It holds for tasks that run too. Nothing else of
	// Near may change.
	JobNear struct {
		ID     string
		Group  int32
		Counts []string
	}
	// QueuesChanged replaces the queue tree. If the new one has no place for a
	// job, it is refused and the old one stays.
	QueuesChanged struct{ Tree spec.Tree }
)

func (e NodeAdded) apply(l *Ledger, _ spec.Time) error {
	if err := e.Node.Validate(); err != nil {
		return err
	}
	if total := l.capacityWith(e.Node); total == amount.Max {
		return refuse("overflow", "node %s: the pool's capacity is more than can be counted", e.Node.Name)
	}
	l.world.AddNode(e.Node)
	l.rescale = true
	return nil
}

// capacityWith is the largest total that the pool would have with a node more.
func (l *Ledger) capacityWith(n spec.Node) (largest amount.Amount) {
	for _, r := range n.Capacity {
		total := r.Amount
		if d, ok := l.world.Res.Lookup(r.Name); ok && int(d) < len(l.world.Quota.Capacity()) {
			total = total.Add(l.world.Quota.Capacity()[d])
		}
		largest = max(largest, total)
	}
	return largest
}

func (e NodeRemoved) apply(l *Ledger, _ spec.Time) error {
	n, ok := l.world.NodeNamed(e.Name)
	if !ok || !l.world.Nodes[n].Present {
		return refuse("unknown-node", "node %s is not known", e.Name)
	}
	lost := l.world.RemoveNode(n)
	l.rescale = true
	for _, t := range lost {
		l.breakGang(t.Job)
	}
	return nil
}

// breakGang releases what is left of a job that lost a part of its gang: the rest
// can't work, and must not hold what others could use.
func (l *Ledger) breakGang(j *world.Job) {
	if j.GangMissing() == 0 {
		return
	}
	l.release(j, func(*world.Task) bool { return true })
}

// release takes tasks that hold something off their nodes.
func (l *Ledger) release(j *world.Job, which func(*world.Task) bool) {
	for i := range j.Tasks {
		if t := &j.Tasks[i]; (t.State == world.Bound || t.State == world.Claimed) && which(t) {
			l.world.Release(t)
		}
	}
}

func (e JobSubmitted) apply(l *Ledger, _ spec.Time) error {
	if err := e.Job.Validate(); err != nil {
		return err
	}
	if l.world.Job(e.Job.ID) != nil {
		return refuse("duplicate-job", "job %s is already known", e.Job.ID)
	}
	q, ok := l.world.Quota.Lookup(e.Job.Queue)
	if !ok {
		return refuse("unknown-queue", "job %s: queue %q is not in the tree", e.Job.ID, e.Job.Queue)
	}
	if !l.world.Quota.Queues[q].Leaf {
		return refuse("not-a-leaf", "job %s: queue %q has children; jobs go into leaves", e.Job.ID, e.Job.Queue)
	}
	l.world.AddJob(e.Job, q)
	return nil
}

func (e JobGone) apply(l *Ledger, _ spec.Time) error {
	j, err := l.job(e.ID)
	if err != nil {
		return err
	}
	l.world.RemoveJob(j)
	return nil
}

func (e JobPriority) apply(l *Ledger, _ spec.Time) error {
	j, err := l.job(e.ID)
	if err != nil {
		return err
	}
	own := *j.Own
	own.Priority = e.Priority
	if j.Spec == j.Own { // else rules decide it; they are asked again
		j.Spec = &own
	}
	j.Own = &own
	j.JudgeAgain()
	l.world.Epoch++
	return nil
}

func (l *Ledger) job(id string) (*world.Job, error) {
	j := l.world.Job(id)
	if j == nil {
		return nil, refuse("unknown-job", "job %s is not known", id)
	}
	return j, nil
}

func (l *Ledger) task(id string, index int32) (*world.Task, error) {
	j, err := l.job(id)
	if err != nil {
		return nil, err
	}
	if index < 0 || int(index) >= len(j.Tasks) {
		return nil, refuse("unknown-task", "job %s has no task %d", id, index)
	}
	return &j.Tasks[index], nil
}

func (e TaskFinished) apply(l *Ledger, _ spec.Time) error {
	t, err := l.task(e.Job, e.Task)
	if err != nil {
		return err
	}
	l.world.Finish(t)
	return nil
}

func (e TaskReleased) apply(l *Ledger, _ spec.Time) error {
	t, err := l.task(e.Job, e.Task)
	if err != nil {
		return err
	}
	if t.State == world.Done { // told twice
		return nil
	}
	g := &t.Job.Groups[t.Group]
	placed := t.State == world.Bound || t.State == world.Claimed
	if g.Min == g.Size || placed && g.Placed+g.Finished <= g.Min {
		return refuse("gang-member", "job %s: task %d belongs to the gang of %d; end the job instead", e.Job, e.Task, g.Min-g.Finished)
	}
	l.world.ReleaseSurplus(t)
	return nil
}

func (e TaskLost) apply(l *Ledger, now spec.Time) error {
	t, err := l.task(e.Job, e.Task)
	if err != nil {
		return err
	}
	if t.State != world.Bound {
		return refuse("not-running", "job %s: task %d is %s, not running", e.Job, e.Task, t.State)
	}
	l.world.Epoch++
	l.world.Hold(t)
	t.Job.ClaimExpiry = now + 300*spec.Second
	return nil
}

func (e Evicted) apply(l *Ledger, now spec.Time) error {
	j, err := l.job(e.Job)
	if err != nil {
		return err
	}
	gone := 0
	for _, i := range e.Tasks {
		t, err := l.task(e.Job, i)
		if err != nil {
			return err
		}
		switch t.State {
		case world.Claimed:
			return refuse("not-running", "job %s: task %d is %s, not running", e.Job, i, t.State)
		case world.Pending, world.Done, world.Absent:
			gone++ // it ended by itself, or with its node, before it was evicted
		}
	}
	if gone == len(e.Tasks) {
		return refuse("not-running", "job %s: none of the tasks %v is running", e.Job, e.Tasks)
	}
	l.world.Epoch++
	for _, i := range e.Tasks {
		t := &j.Tasks[i]
		if t.State == world.Releasing {
			j.Waits = now
		}
		if t.Node != world.NoNode {
			l.world.Release(t)
		}
	}
	return nil
}

func (e BindFailed) apply(l *Ledger, now spec.Time) error {
	j, err := l.job(e.Job)
	if err != nil {
		return err
	}
	var begun []spec.Time
	for _, i := range e.Tasks {
		if t, err := l.task(e.Job, i); err == nil && t.State == world.Bound {
			begun = append(begun, t.Since)
		}
	}
	if err := Evicted(e).apply(l, now); err != nil {
		return err
	}
	if j.GangMissing() > 0 {
		l.release(j, func(t *world.Task) bool { return t.State == world.Claimed || slices.Contains(begun, t.Since) })
	}
	return nil
}

func (e Saved) apply(l *Ledger, now spec.Time) error {
	j, err := l.job(e.Job)
	if err != nil {
		return err
	}
	l.world.NoteSaved(j, now)
	return nil
}

func (e UseMeasured) apply(l *Ledger, now spec.Time) error {
	t, err := l.task(e.Job, e.Task)
	if err != nil {
		return err
	}
	if e.Known && (e.Busy < 0 || e.Busy > amount.One || e.Idle < 0 || e.Watched < 0) {
		return refuse("use-out-of-range", "job %s: task %d can't be busy for %d/2^32, idle for %d ns and watched for %d ns", e.Job, e.Task, e.Busy, e.Idle, e.Watched)
	}
	l.world.NoteUse(t, world.Use{Known: e.Known, Busy: e.Busy, Idle: e.Idle, Watched: e.Watched, At: min(e.At, now)})
	return nil
}

func (e QueuesChanged) apply(l *Ledger, _ spec.Time) error {
	w, err := l.world.WithTree(quota.New(l.world.Res, e.Tree))
	if err != nil {
		return refuse("queue-in-use", "%v", err)
	}
	l.world = w
	return nil
}
