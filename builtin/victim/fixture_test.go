package victim

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/order"
	"github.com/musterhq/muster/builtin/pack"
	"github.com/musterhq/muster/builtin/quota"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/builtin/world"
	"github.com/musterhq/muster/policies"
)

// hour is the time of the preemptor in all stories; victims started at 0 unless
// they say otherwise.
const hour = 3600 * spec.Second

// scene is a world that a story sets up.
type scene struct {
	t     testing.TB
	w     *world.World
	x     *pack.Index
	price Pricer
	veto  func(b *policies.VictimBatch, row int) bool
	rows  int // that were priced
}

func newScene(t testing.TB, root *spec.Queue) *scene {
	t.Helper()
	res := amount.NewTable()
	w := world.New(res, quota.New(res, spec.Tree{Root: root}))
	s := &scene{t: t, w: w, x: pack.NewIndex(w, pack.BinPack)}
	builtin, _ := order.Builtin("least-lost-work")
	s.price = func(_ quota.Q, b *policies.VictimBatch) string {
		s.rows += b.N
		if err := builtin.CostVictims(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		for i := range b.N {
			if s.veto != nil && s.veto(b, i) {
				b.Veto[i] = 1
			}
		}
		return "least-lost-work"
	}
	return s
}

// nodes adds nodes of 8 GPUs named n0, n1, …
func (s *scene) nodes(n int, gpus int64) {
	for i := range n {
		s.w.AddNode(spec.Node{Name: fmt.Sprintf("n%04d", len(s.w.Nodes)+i*0), Capacity: spec.GPUs(gpus)})
	}
	s.w.Quota.Rescale()
	s.x.Refresh()
}

// jobSpec is a job of one group of n tasks of so many GPUs, a gang.
func jobSpec(id string, tasks, gpus int64) spec.Job {
	return spec.Job{ID: id, User: "u", Tasks: []spec.TaskGroup{{Min: tasks, Size: tasks, Request: spec.GPUs(gpus)}}}
}

func (s *scene) add(queue string, j spec.Job) *world.Job {
	s.t.Helper()
	q, ok := s.w.Quota.Lookup(queue)
	if !ok {
		s.t.Fatalf("no queue %s", queue)
	}
	job := s.w.AddJob(&j, q)
	s.x.Refresh()
	return job
}

// runOn starts a job: its tasks go to the nodes, one after the other; the last
// node takes the rest.
func (s *scene) runOn(queue string, j spec.Job, since spec.Time, nodes ...int) *world.Job {
	s.t.Helper()
	job := s.add(queue, j)
	for i := range job.Tasks {
		t := &job.Tasks[i]
		n := world.NodeIx(nodes[min(i, len(nodes)-1)])
		shape := job.Groups[t.Group].Shape
		if s.w.FreeOf(n, amount.GPU) < s.w.GPUs(t) {
			s.t.Fatalf("%s does not fit on node %d", j.ID, n)
		}
		s.w.Place(t, n, s.x.Devices(shape, n), world.Bound, since)
	}
	return job
}

func (s *scene) search() *Search { return New(s.w, s.x, s.price, hour) }

// names says who was evicted: "job" if it has nothing left, else "job/1,2".
func names(o *Outcome) string {
	if o == nil {
		return "nobody"
	}
	var out []string
	for _, v := range o.Victims {
		name := v.Job.Spec.ID
		if !v.Whole {
			var ix []string
			for _, t := range v.Tasks {
				ix = append(ix, fmt.Sprint(t.Index))
			}
			name += "/" + strings.Join(ix, ",")
		}
		out = append(out, name)
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func queue(name string, guaranteed int64, children ...*spec.Queue) *spec.Queue {
	q := &spec.Queue{Name: name, Children: children}
	if guaranteed >= 0 {
		q.Guaranteed = spec.GPUs(guaranteed)
	}
	return q
}

// want checks who was evicted, or why nobody was, and that a failure left the
// world as it was.
func (s *scene) want(j *world.Job, priority bool, victims, reason string) *Outcome {
	s.t.Helper()
	before := s.w.Digest()
	search := s.search()
	try := search.Reclaim
	if priority {
		try = search.Priority
	}
	o, why := try(j)
	if o == nil && s.w.Digest() != before {
		s.t.Error("a failed search changed the world")
	}
	if names(o) != victims || !strings.HasPrefix(why, reason) || (reason == "") != (why == "") {
		s.t.Fatalf("evicted %s (%q), want %s (%q)", names(o), why, victims, reason)
	}
	if o != nil && j.GangMissing() != 0 {
		s.t.Errorf("%d gang tasks are still missing", j.GangMissing())
	}
	return o
}

func (s *scene) reclaims(j *world.Job, victims string) *Outcome {
	s.t.Helper()
	return s.want(j, false, victims, "")
}

func (s *scene) spares(j *world.Job, reason string) {
	s.t.Helper()
	s.want(j, false, "nobody", reason)
}
