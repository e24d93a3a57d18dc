package world_test

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/builtin/world"
)

// model drives a world at random: what-ifs nested in what-ifs, and between them
// what comes from outside.
type model struct {
	w     *world.World
	now   spec.Time
	marks []openMark
	jobs  int
	plain plain
}

type openMark struct {
	m      world.Mark
	digest string
	grown  uint64
	moved  uint64
}

func newModel(t *rapid.T) *model {
	m := &model{w: newWorld()}
	m.plain = plain{m.w, map[string]world.Foreign{}}
	for i := range rapid.IntRange(1, 4).Draw(t, "nodes") {
		m.w.AddNode(drawMachine(t, fmt.Sprintf("n%d", i)))
	}
	for range rapid.IntRange(1, 4).Draw(t, "jobs") {
		m.submit(t)
	}
	return m
}

func drawMachine(t *rapid.T, name string) spec.Node {
	n := machine(name, rapid.SampledFrom([]string{"", "A100", "H100"}).Draw(t, "type"), rapid.Int64Range(0, 4).Draw(t, "gpus"))
	n.Labels = drawLabels(t)
	return n
}

func (m *model) submit(t *rapid.T) {
	m.jobs++
	var groups []spec.TaskGroup
	for range rapid.IntRange(1, 2).Draw(t, "groups") {
		g := group(rapid.Int64Range(1, 3).Draw(t, "size"), rapid.SampledFrom([]int64{0, 250, 500, 1000, 2000}).Draw(t, "milli"), rapid.Int64Range(0, 9000).Draw(t, "cpu"))
		g.Min = rapid.Int64Range(0, g.Size).Draw(t, "min")
		if rapid.Bool().Draw(t, "relates") {
			g.Near = drawNear(t)
		}
		groups = append(groups, g)
	}
	m.w.AddJob(&spec.Job{
		ID: fmt.Sprintf("j%d", m.jobs), User: rapid.SampledFrom([]string{"ann", "bob"}).Draw(t, "user"), Tasks: groups,
		Submit: rapid.Int64Range(0, 2).Draw(t, "submit"), NonPreemptible: rapid.Bool().Draw(t, "non-preemptible"),
	}, leaf(t, m.w, rapid.SampledFrom([]string{"a", "b"}).Draw(t, "queue")))
}

// pick draws a task in one of the states, skipping the step if there is none.
func (m *model) pick(t *rapid.T, states ...world.State) *world.Task {
	var all []*world.Task
	for _, j := range m.w.Jobs() {
		for i := range j.Tasks {
			for _, s := range states {
				if j.Tasks[i].State == s {
					all = append(all, &j.Tasks[i])
				}
			}
		}
	}
	if len(all) == 0 {
		t.Skip("no such task")
	}
	return rapid.SampledFrom(all).Draw(t, "task")
}

func (m *model) node(t *rapid.T) world.NodeIx {
	return world.NodeIx(rapid.IntRange(0, len(m.w.Nodes)-1).Draw(t, "node"))
}

// devices draws as many devices as the task needs, whether they are free or not:
// a claim may come before its victims have gone.
func (m *model) devices(t *rapid.T, task *world.Task, n world.NodeIx) (mask uint64) {
	s := &m.w.Shapes[task.Job.Groups[task.Group].Shape]
	need := int(s.Whole)
	if s.Milli > 0 {
		need = 1
	}
	all := make([]int, len(m.w.Dev(n)))
	for i := range all {
		all[i] = i
	}
	if need > len(all) {
		t.Skip("too few devices")
	}
	if len(all) == 0 {
		return 0
	}
	for _, d := range rapid.Permutation(all).Draw(t, "devices")[:need] {
		mask |= 1 << d
	}
	return mask
}

func (m *model) place(t *rapid.T) {
	task, n := m.pick(t, world.Pending), m.node(t)
	if !m.w.Nodes[n].Present {
		t.Skip("the node is gone")
	}
	m.w.Place(task, n, m.devices(t, task, n), rapid.SampledFrom([]world.State{world.Claimed, world.Bound}).Draw(t, "state"), m.now)
}

func (m *model) job(t *rapid.T) *world.Job {
	jobs := m.w.Jobs()
	if len(jobs) == 0 {
		t.Skip("no job")
	}
	return rapid.SampledFrom(jobs).Draw(t, "job")
}

func (m *model) revocable(t *rapid.T) *world.Task {
	task := m.pick(t, world.Releasing)
	if !task.Revocable() {
		t.Skip("it can't stay")
	}
	return task
}

// trial looks at what would be if a victim were gone.
func (m *model) trial(t *rapid.T) {
	task := m.pick(t, world.Bound, world.Releasing)
	digest, mark := m.w.Digest(), m.w.Mark()
	m.w.Vacate(task)
	m.w.Rollback(mark)
	sameDigest(t, m.w, digest, "after a trial")
}

func (m *model) close(t *rapid.T, keep bool) {
	if len(m.marks) == 0 {
		t.Skip("no open mark")
	}
	last := m.marks[len(m.marks)-1]
	m.marks = m.marks[:len(m.marks)-1]
	if keep {
		m.w.Keep(last.m)
		return
	}
	m.w.Rollback(last.m)
	sameDigest(t, m.w, last.digest, "after the rollback")
	if m.w.Grown != last.grown || m.w.Moved != last.moved {
		t.Fatalf("a try that was taken back helped somebody: grown was %d and is %d, moved %d and %d", last.grown, m.w.Grown, last.moved, m.w.Moved)
	}
}

// outside skips the step inside a what-if: there, nothing comes from outside.
func (m *model) outside(t *rapid.T) {
	if len(m.marks) > 0 {
		t.Skip("inside a what-if")
	}
}

func (m *model) any(t *rapid.T) *world.Task {
	return m.pick(t, world.Pending, world.Claimed, world.Bound, world.Releasing, world.Done, world.Absent)
}

// others use a node, or no longer do.
func (m *model) others(t *rapid.T) {
	m.outside(t)
	n := m.node(t)
	if !m.w.Nodes[n].Present {
		t.Skip("the node is gone")
	}
	used := spec.Resources{{Name: "cpu", Amount: amount.Amount(rapid.Int64Range(0, 99_000).Draw(t, "cpu"))}, {Name: amount.GPUName, Amount: amount.Amount(rapid.Int64Range(0, 6000).Draw(t, "milli"))}}
	f := drawOthers(t)
	f.Used = used
	m.w.SetForeign(n, f)
	m.plain.foreign[m.w.Nodes[n].Name] = f
}

func (m *model) actions() map[string]func(*rapid.T) {
	w := m.w
	return map[string]func(*rapid.T){
		"mark": func(*rapid.T) {
			m.marks = append(m.marks, openMark{digest: w.Digest(), grown: w.Grown, moved: w.Moved, m: w.Mark()})
		},
		"rollback":        func(t *rapid.T) { m.close(t, false) },
		"keep":            func(t *rapid.T) { m.close(t, true) },
		"place":           m.place, // thrice: most other steps need a task that sits somewhere
		"place 2":         m.place,
		"place 3":         m.place,
		"release":         func(t *rapid.T) { w.Release(m.pick(t, world.Claimed, world.Bound, world.Releasing)) },
		"evict":           func(t *rapid.T) { w.Evict(m.pick(t, world.Bound)) },
		"evict revocably": func(t *rapid.T) { w.EvictRevocably(m.pick(t, world.Bound)) },
		"stay":            func(t *rapid.T) { w.Stay(m.revocable(t)) },
		"condemn":         func(t *rapid.T) { w.Condemn(m.revocable(t)) },
		"vacate": func(t *rapid.T) {
			if len(m.marks) == 0 {
				t.Skip("only as a trial")
			}
			m.trial(t)
		},
		"bind": func(t *rapid.T) { w.Bind(m.pick(t, world.Claimed), m.now) },
		"hold": func(t *rapid.T) { w.Hold(m.pick(t, world.Bound)) },
		"reserve": func(t *rapid.T) {
			if rapid.Bool().Draw(t, "lift") {
				w.Reserve(m.node(t), nil)
				return
			}
			if n := m.node(t); w.Nodes[n].Present {
				w.Reserve(n, m.job(t))
			}
		},
		"time passes": func(*rapid.T) { m.now++ },
		"finish":      func(t *rapid.T) { m.outside(t); w.Finish(m.pick(t, world.Pending, world.Claimed, world.Bound)) },
		"miss":        func(t *rapid.T) { m.outside(t); w.Miss(m.any(t)) },
		"again":       func(t *rapid.T) { m.outside(t); w.Again(m.pick(t, world.Done, world.Absent)) },
		"give up":     func(t *rapid.T) { m.outside(t); w.ReleaseSurplus(m.pick(t, world.Pending, world.Bound, world.Absent)) },
		"job grows": func(t *rapid.T) {
			m.outside(t)
			j := m.job(t)
			w.GrowJob(j, []spec.TaskGroup{group(rapid.Int64Range(1, 3).Draw(t, "size"), 1000, 0)})
		},
		"gang changes": func(t *rapid.T) {
			m.outside(t)
			j := m.job(t)
			w.SetMin(j, 0, rapid.Int32Range(0, j.Groups[0].Size-j.Groups[0].Released).Draw(t, "min"))
		},
		"others":   m.others,
		"submit":   func(t *rapid.T) { m.outside(t); m.submit(t) },
		"job gone": func(t *rapid.T) { m.outside(t); w.RemoveJob(m.job(t)) },
		"node gone": func(t *rapid.T) {
			m.outside(t)
			if n := m.node(t); w.Nodes[n].Present {
				delete(m.plain.foreign, w.Nodes[n].Name)
				w.RemoveNode(n)
			}
		},
		"node changes": func(t *rapid.T) {
			m.outside(t)
			w.AddNode(drawMachine(t, w.Nodes[m.node(t)].Name))
			w.Quota.Rescale()
		},
		"": func(t *rapid.T) { audit(t, w); m.plain.agree(t) },
	}
}

func TestAnyRollbackRestoresTheWorldAndNothingIsEverLostOrFreeTwice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(t)
		t.Repeat(m.actions())
		for len(m.marks) > 0 {
			m.close(t, false)
		}
		audit(t, m.w)
	})
}
