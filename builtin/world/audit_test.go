package world_test

import (
	"testing"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/builtin/world"
)

// Each count that is wrong by one is found.
func TestAnAuditFindsWhatDoesNotAgree(t *testing.T) {
	gpu := amount.List{{Dim: amount.GPU, Amount: 1000}}
	for what, spoil := range map[string]func(w *world.World, j *world.Job){
		"free on a node":      func(w *world.World, _ *world.Job) { w.Free(0)[amount.CPU]++ },
		"free on a device":    func(w *world.World, _ *world.Job) { w.Dev(0)[1]-- },
		"nodes of a class":    func(w *world.World, _ *world.Job) { w.Classes[0].Nodes++ },
		"class of a node":     func(w *world.World, _ *world.Job) { w.Nodes[0].HasType = false },
		"the pool":            func(w *world.World, _ *world.Job) { w.Quota.AddCapacity(gpu) },
		"used by a queue":     func(w *world.World, j *world.Job) { w.Quota.Charge(j.Chain, gpu, 1) },
		"kept in a queue":     func(w *world.World, j *world.Job) { w.Quota.Keep(j.Chain, gpu, 1) },
		"running jobs":        func(w *world.World, j *world.Job) { w.Quota.ChargeApps(j.Chain[:1], 1) },
		"placed tasks":        func(_ *world.World, j *world.Job) { j.Placed++ },
		"waiting tasks":       func(_ *world.World, j *world.Job) { j.Waiting++ },
		"placed of a group":   func(_ *world.World, j *world.Job) { j.Groups[0].Placed-- },
		"finished of a group": func(_ *world.World, j *world.Job) { j.Groups[0].Finished++ },
		"what a gang needs":   func(_ *world.World, j *world.Job) { j.Groups[0].Min-- },
		"state of a task":     func(_ *world.World, j *world.Job) { j.Tasks[0].State = world.Pending },
		"devices of a task":   func(_ *world.World, j *world.Job) { j.Tasks[0].Dev = 2 },
		"where a job belongs": func(_ *world.World, j *world.Job) { j.Chain = j.Chain[1:] },
		"tasks of a shape":    func(w *world.World, _ *world.Job) { w.Shapes[0].Tasks++ },
		"a notice to nobody": func(w *world.World, j *world.Job) {
			w.Notices = []world.Notice{{Job: &world.Job{Spec: j.Spec}, Tasks: []*world.Task{&j.Tasks[0]}}}
		},
		"an open what-if":       func(w *world.World, _ *world.Job) { w.Mark() },
		"what a job counts for": func(_ *world.World, j *world.Job) { j.Own.Tasks[0].Near.Counts = []string{"other"} },
		"whom a job avoids":     func(_ *world.World, j *world.Job) { j.Own.Tasks[0].Near.Avoids = nil },
		"the domain of a node":  func(w *world.World, _ *world.Job) { w.Nodes[0].Spec.Labels["zone"] = "elsewhere" },
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld()
			n := machine("n", "H100", 4)
			n.Labels = map[string]string{"zone": "here"}
			at := w.AddNode(n)
			g := group(2, 1000, 100)
			g.Near = spec.Near{Counts: []string{"s"}, Avoids: []spec.Term{{ID: "t", Topology: "zone"}}}
			j := addJob(t, w, "j", "root.a", g)
			w.Place(&j.Tasks[0], at, 1, world.Bound, 1)
			if found := w.Audit(); len(found) > 0 {
				t.Fatalf("in order, but: %q", found)
			}
			if spoil(w, j); len(w.Audit()) == 0 {
				t.Error("nothing is found")
			}
		})
	}
}
