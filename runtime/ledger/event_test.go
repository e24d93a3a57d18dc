package ledger_test

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/builtin/world"
	"github.com/musterhq/muster/runtime/ledger"
)

func TestEventsThatMakeNoSenseAreRefusedByCodeAndChangeNothing(t *testing.T) {
	ready := func(t *testing.T) *pool {
		p := newPool(t, two(4), gpuNode("n", 8))
		p.apply(ledger.JobSubmitted{Job: gangOf("run", "root.a", 2, 3, 1)}, ledger.JobSubmitted{Job: gangOf("wait", "root.b", 9, 9, 1)})
		p.step()
		return p
	}
	bad := gangOf("", "root.a", 1, 1, 1)
	for _, c := range []struct {
		name string
		ev   ledger.Event
		code string
	}{
		{"a node without a name", ledger.NodeAdded{}, "no-name"},
		{"a node that never was, gone", ledger.NodeRemoved{Name: "x"}, "unknown-node"},
		{"a job without an id", ledger.JobSubmitted{Job: bad}, "no-id"},
		{"a job that is known", ledger.JobSubmitted{Job: gangOf("run", "root.a", 1, 1, 1)}, "duplicate-job"},
		{"a job for an unknown queue", ledger.JobSubmitted{Job: gangOf("j", "root.x", 1, 1, 1)}, "unknown-queue"},
		{"a job for a parent", ledger.JobSubmitted{Job: gangOf("j", "root", 1, 1, 1)}, "not-a-leaf"},
		{"an unknown job, gone", ledger.JobGone{ID: "x"}, "unknown-job"},
		{"the priority of an unknown job", ledger.JobPriority{ID: "x", Priority: 1}, "unknown-job"},
		{"a task of an unknown job, finished", ledger.TaskFinished{Job: "x"}, "unknown-job"},
		{"a task that the job does not have, finished", ledger.TaskFinished{Job: "run", Task: 3}, "unknown-task"},
		{"a negative task, finished", ledger.TaskFinished{Job: "run", Task: -1}, "unknown-task"},
		{"a pending task, lost", ledger.TaskLost{Job: "wait", Task: 0}, "not-running"},
		{"an unknown task, lost", ledger.TaskLost{Job: "run", Task: 9}, "unknown-task"},
		{"a task of a rigid gang, released", ledger.TaskReleased{Job: "wait", Task: 0}, "gang-member"},
		{"an unknown task, released", ledger.TaskReleased{Job: "wait", Task: 99}, "unknown-task"},
		{"a pending task, evicted", ledger.Evicted{Job: "wait", Tasks: []int32{0}}, "not-running"},
		{"one good and one unknown task, evicted", ledger.Evicted{Job: "run", Tasks: []int32{0, 7}}, "unknown-task"},
		{"an unknown job, evicted", ledger.Evicted{Job: "x", Tasks: []int32{0}}, "unknown-job"},
		{"a start that was never asked for, failed", ledger.BindFailed{Job: "wait", Tasks: []int32{1}}, "not-running"},
		{"a start of an unknown job, failed", ledger.BindFailed{Job: "x"}, "unknown-job"},
		{"an unknown job, saved", ledger.Saved{Job: "x"}, "unknown-job"},
		{"an unknown job, grown", ledger.JobGrown{ID: "x"}, "unknown-job"},
		{"a job grown by a group of nothing", ledger.JobGrown{ID: "run", Tasks: []spec.TaskGroup{{Min: 2, Size: 0}}}, "no-size"},
		{"the gang of an unknown group", ledger.JobGang{ID: "run", Group: 1, Min: 1}, "unknown-group"},
		{"a gang of more than there are", ledger.JobGang{ID: "run", Min: 4}, "min-out-of-range"},
		{"a gang of less than none", ledger.JobGang{ID: "run", Min: -1}, "min-out-of-range"},
		{"an unknown task, absent", ledger.TaskAbsent{Job: "run", Task: 3}, "unknown-task"},
		{"an unknown task, wanted again", ledger.TaskAgain{Job: "run", Task: -1}, "unknown-task"},
		{"a task found on an unknown node", ledger.TaskRunning{Job: "wait", Node: "x"}, "unknown-node"},
		{"a task found running that runs", ledger.TaskRunning{Job: "run", Node: "n"}, "not-pending"},
		{"a place kept on an unknown node", ledger.TaskClaimed{Job: "wait", Node: "x"}, "unknown-node"},
		{"a place kept for a task that has one", ledger.TaskClaimed{Job: "run", Node: "n"}, "not-pending"},
		{"a place kept on a device that is taken", ledger.TaskClaimed{Job: "wait", Node: "n", Devices: 1}, "no-room"},
		{"a place kept on a device that is not there", ledger.TaskClaimed{Job: "wait", Node: "n", Devices: 1 << 60}, "no-room"},
		{"others on an unknown node", ledger.NodeUsed{Name: "x"}, "unknown-node"},
		{"others that use less than nothing", ledger.NodeUsed{Name: "n", Used: spec.Resources{{Name: "cpu", Amount: -1}}}, "negative-amount"},
		{"others that use GPUs by their type", ledger.NodeUsed{Name: "n", Used: spec.Resources{{Name: amount.TypedGPU("H100"), Amount: 1000}}}, "typed-request"},
		{"others of whom less than none count", ledger.NodeUsed{Name: "n", Counts: map[string]int32{"web": -1}}, "negative-count"},
		{"others of whom less than none avoid", ledger.NodeUsed{Name: "n", Avoids: map[spec.Term]int32{{ID: "web"}: -1}}, "negative-count"},
		{"what an unknown group counts for", ledger.JobNear{ID: "run", Group: 7}, "unknown-group"},
		{"a term to count for twice", ledger.JobNear{ID: "run", Counts: []string{"a", "a"}}, "unsorted-terms"},
		{"queues without a leaf that has jobs", ledger.QueuesChanged{Tree: spec.Tree{Root: &spec.Queue{Name: "root", Children: []*spec.Queue{{Name: "a"}}}}}, "queue-in-use"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := ready(t)
			p.t = t
			p.refused(c.ev, c.code)
			p.audit()
		})
	}
}

func TestAPoolThatCannotBeCountedIsRefused(t *testing.T) {
	p := newPool(t, two(4))
	huge := func(i int) ledger.Event {
		return ledger.NodeAdded{Node: spec.Node{Name: fmt.Sprint("n", i), Capacity: spec.Resources{{Name: "memory", Amount: amount.Limit}}}}
	}
	for i := range 8191 {
		p.apply(huge(i))
	}
	p.refused(huge(8191), "overflow")
}

// drawEvent draws events of which many make no sense.
func drawEvent(t *rapid.T) ledger.Event {
	id := rapid.SampledFrom([]string{"j0", "j1", "j2", "j3"}).Draw(t, "job")
	node := rapid.SampledFrom([]string{"n0", "n1", "n2"}).Draw(t, "node")
	task := rapid.Int32Range(-1, 4).Draw(t, "task")
	some := rapid.SliceOfN(rapid.Int32Range(-1, 4), 0, 4).Draw(t, "tasks")
	size := rapid.Int64Range(0, 5).Draw(t, "size")
	devices := rapid.Uint64Range(0, 7).Draw(t, "devices")
	job := gangOf(id, rapid.SampledFrom([]string{"root.a", "root.b", "root", "x"}).Draw(t, "queue"), rapid.Int64Range(0, 4).Draw(t, "min"), size, rapid.Int64Range(0, 3).Draw(t, "gpus"))
	return rapid.SampledFrom([]ledger.Event{
		ledger.NodeAdded{Node: gpuNode(node, rapid.Int64Range(-1, 8).Draw(t, "capacity"))},
		ledger.NodeRemoved{Name: node},
		ledger.JobSubmitted{Job: job},
		ledger.JobSubmitted{Job: job},
		ledger.JobSubmitted{Job: job},
		ledger.JobGone{ID: id},
		ledger.JobPriority{ID: id, Priority: size},
		ledger.TaskFinished{Job: id, Task: task},
		ledger.TaskLost{Job: id, Task: task},
		ledger.TaskReleased{Job: id, Task: task},
		ledger.Evicted{Job: id, Tasks: some},
		ledger.BindFailed{Job: id, Tasks: some},
		ledger.Saved{Job: id},
		ledger.JobGrown{ID: id, Tasks: job.Tasks},
		ledger.JobGang{ID: id, Group: task, Min: size},
		ledger.TaskAbsent{Job: id, Task: task},
		ledger.TaskAgain{Job: id, Task: task},
		ledger.TaskRunning{Job: id, Task: task, Node: node, Devices: devices},
		ledger.TaskClaimed{Job: id, Task: task, Node: node, Devices: devices},
		ledger.NodeUsed{Name: node, Used: spec.GPUs(size), Counts: map[string]int32{"web": task}},
		ledger.JobNear{ID: id, Group: task, Counts: []string{"web"}},
		ledger.QueuesChanged{Tree: two(size)},
		ledger.QueuesChanged{Tree: spec.Tree{Root: &spec.Queue{Name: "root", Children: []*spec.Queue{{Name: "b", Max: spec.GPUs(size)}}}}},
	}).Draw(t, "event")
}

func TestARefusedEventChangesNothingWhateverCameBefore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := newPool(t, two(4), gpuNode("n0", 8))
		for range rapid.IntRange(1, 40).Draw(t, "events") {
			p.now += spec.Second
			if rapid.IntRange(0, 3).Draw(t, "step") == 0 {
				p.late(t)
				continue
			}
			ev, before := drawEvent(t), p.l.World().Digest()
			if err := p.l.Apply(p.now, ev); err != nil {
				if after := p.l.World().Digest(); after != before {
					t.Fatalf("%T%+v was refused (%v) and changed\n%s\nto\n%s", ev, ev, err, before, after)
				}
			}
			p.counts(t)
		}
	})
}

// late decides while events come in.
func (p *pool) late(t *rapid.T) {
	w := p.l.Freeze()
	decided := stepOn(w, p)
	for range rapid.IntRange(0, 3).Draw(t, "late") {
		if err := p.l.Apply(p.now, drawEvent(t)); err != nil {
			t.Fatalf("a late event was refused before its time: %v", err)
		}
	}
	p.l.Commit(decided)
	p.counts(t)
}

// counts is the part of audit that also holds where pods were lost or evicted
// one by one, from outside.
func (p *pool) counts(t *rapid.T) {
	w := p.l.World()
	for n := range w.Nodes {
		sum := w.FreeOf(world.NodeIx(n), amount.GPU)
		for _, task := range w.TasksOn(world.NodeIx(n)) {
			sum += w.GPUs(task)
		}
		others, _ := w.ForeignUse(world.NodeIx(n))
		foreign, _ := others.Get(amount.GPU)
		sum += foreign
		if have, _ := w.Capacity(world.NodeIx(n)).Get(amount.GPU); sum != have {
			t.Fatalf("%s: free and held are %d of %d", w.Nodes[n].Name, sum, have)
		}
	}
}

func TestANodeThatFailsTakesTheRestOfItsGangsWithIt(t *testing.T) {
	p := newPool(t, two(0), gpuNode("n", 4), gpuNode("m", 4))
	p.apply(ledger.JobSubmitted{Job: gangOf("rigid", "root.a", 6, 6, 1)}, ledger.JobSubmitted{Job: gangOf("elastic", "root.b", 0, 2, 1)})
	p.expect(p.step(), "rigid×6 elastic×2 ", "")
	p.apply(ledger.NodeRemoved{Name: "n"})
	if j := p.job("rigid"); j.Placed != 0 || j.Waiting != 6 {
		t.Errorf("rigid keeps %d tasks that can't work", j.Placed)
	}
	p.audit()
}

func TestALostPodKeepsItsPlaceForTheReplacement(t *testing.T) {
	p := newPool(t, two(0), gpuNode("n", 2))
	p.apply(ledger.JobSubmitted{Job: gangOf("j", "root.a", 2, 2, 1)}, ledger.JobSubmitted{Job: gangOf("k", "root.a", 1, 1, 1)})
	p.step()
	p.apply(ledger.TaskLost{Job: "j", Task: 1})
	if got := p.job("j").Tasks[1].State; got != world.Claimed {
		t.Fatalf("the task is %s", got)
	}
	r := p.step()
	p.expect(r, "j×1 ", "")
	if b := r.Taken.Binds[0]; b.Task != 1 || b.Node != "n" || !b.Nominated {
		t.Errorf("the replacement: %+v", b)
	}
}

func TestAStartThatFailedReleasesTheWholeGangButOnlyTheTaskOfAnElasticJob(t *testing.T) {
	p := newPool(t, two(0), gpuNode("n", 8))
	p.apply(ledger.JobSubmitted{Job: gangOf("rigid", "root.a", 2, 2, 1)}, ledger.JobSubmitted{Job: gangOf("elastic", "root.b", 1, 3, 1)})
	p.step()
	p.apply(ledger.BindFailed{Job: "rigid", Tasks: []int32{1, 1}}, ledger.BindFailed{Job: "elastic", Tasks: []int32{2}})
	if r, e := p.job("rigid"), p.job("elastic"); r.Placed != 0 || e.Placed != 2 {
		t.Errorf("rigid keeps %d, elastic %d", r.Placed, e.Placed)
	}
	p.audit()
}

func TestASurplusTaskMayGoAndDoesNotComeBackAGangMemberMayNot(t *testing.T) {
	p := newPool(t, two(0), gpuNode("n", 8))
	p.apply(ledger.JobSubmitted{Job: gangOf("j", "root.a", 2, 3, 1)})
	p.step()
	p.apply(ledger.TaskReleased{Job: "j", Task: 2}, ledger.TaskReleased{Job: "j", Task: 2}) // told twice
	p.refused(ledger.TaskReleased{Job: "j", Task: 1}, "gang-member")
	p.apply(ledger.TaskLost{Job: "j", Task: 1})
	p.refused(ledger.TaskReleased{Job: "j", Task: 1}, "gang-member") // its place is kept
	p.expect(p.step(), "j×1 ", "")
	p.expect(p.step(), "", "")
	if j := p.job("j"); j.Placed != 2 || j.Waiting != 0 || j.Tasks[2].State != world.Done {
		t.Errorf("placed %d, waiting %d, the task is %s", j.Placed, j.Waiting, j.Tasks[2].State)
	}
	p.apply(ledger.QueuesChanged{Tree: two(1)})
	p.apply(ledger.BindFailed{Job: "j", Tasks: []int32{0}})
	if j := p.job("j"); j.Placed != 0 {
		t.Errorf("a gang of two lost one, %d goes on alone", j.Placed)
	}
}

func TestANewTreeKeepsJobsPlacesAndReservationsAndTakesEffect(t *testing.T) {
	p := newPool(t, two(8), gpuNode("n", 4), gpuNode("m", 4))
	p.apply(ledger.JobSubmitted{Job: gangOf("j", "root.a", 4, 4, 1)}, ledger.JobSubmitted{Job: gangOf("k", "root.b", 2, 4, 1)})
	p.step()
	before := p.l.World().Digest()
	p.apply(ledger.QueuesChanged{Tree: two(8)})
	if got := p.l.World().Digest(); got != before {
		t.Fatalf("the same tree changed\n%s\nto\n%s", before, got)
	}
	more := two(2)
	more.Root.Children = append(more.Root.Children, &spec.Queue{Name: "c", Max: spec.GPUs(1)})
	p.apply(ledger.QueuesChanged{Tree: more}, ledger.JobSubmitted{Job: gangOf("l", "root.c", 1, 1, 2)})
	p.expect(p.step(), "", "")
	if got := p.job("j").Placed; got != 4 {
		t.Errorf("j runs %d of 4", got)
	}
}
