package sim

import (
	"context"
	"fmt"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/cycle"
	"github.com/musterhq/muster/builtin/pack"
	"github.com/musterhq/muster/builtin/quota"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/builtin/world"
	"github.com/musterhq/muster/runtime/clock"
	"github.com/musterhq/muster/runtime/ledger"
	"github.com/musterhq/muster/runtime/loop"
	"github.com/musterhq/muster/runtime/sim/trace"
)

// FillResult is what a static fill came to.
type FillResult struct {
	Jobs    int `json:"jobs"`
	Placed  int `json:"placed"`
	Refused int `json:"refused"`
	// AllocatedPercent is allocated / all GPUs. FragmentPercent is the idle GPUs that
	// no typical task can use / all GPUs, FragmentOfIdlePercent / the idle ones.
	AllocatedPercent      float64 `json:"allocated_percent"`
	FragmentPercent       float64 `json:"fragment_percent"`
	FragmentOfIdlePercent float64 `json:"fragment_of_idle_percent"`
	// FirstRefusalPercent is the GPUs that had been asked for, as a part of all,
	// when a job was first refused; 0 if none was.
	FirstRefusalPercent float64 `json:"first_refusal_percent"`
	ArrivedPercent      float64 `json:"arrived_percent"`
}

// Fill plays a static trace as the FGD paper does: one job after another, each
// placed at once or refused for good, none ending. Fragmentation is measured
// against the tasks of original, the trace before it was inflated (nil: tr). The
// seed renumbers the nodes, since among equal nodes the first in order is taken.
func Fill(ctx context.Context, tr, original *trace.Trace, set cycle.Set, seed uint64, progress func(done, total int)) (*FillResult, error) {
	l := ledger.New(tr.Queues)
	for _, n := range renumbered(tr.Nodes, seed) {
		if err := l.Apply(0, ledger.NodeAdded{Node: n}); err != nil {
			return nil, err
		}
	}
	if original == nil {
		original = tr
	}
	if set.Typicals == nil {
		set.Typicals = TypicalsOf(original)
	}
	f := &filler{l: l, res: &FillResult{Jobs: len(tr.Jobs)}, total: float64(tr.MilliGPUs())}
	f.loop = loop.New(l, set, nil, clock.NewVirtual(0))
	for i := range tr.Jobs {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("stopped after %d of %d jobs: %w", i, len(tr.Jobs), err)
		}
		if err := f.job(ctx, &tr.Jobs[i]); err != nil {
			return nil, err
		}
		if progress != nil && i%64 == 0 {
			progress(i, len(tr.Jobs))
		}
	}
	return f.finish(set.Typicals), nil
}

type filler struct {
	l       *ledger.Ledger
	loop    *loop.Loop
	res     *FillResult
	arrived float64
	total   float64
}

func (f *filler) job(ctx context.Context, j *trace.Job) error {
	f.arrived += float64(j.MilliGPUs())
	f.loop.Post(ledger.JobSubmitted{Job: &j.Job})
	if t := f.loop.Turn(ctx); len(t.Refused) > 0 {
		return fmt.Errorf("job %s: %w", j.ID, t.Refused[0])
	}
	if w := f.l.World().Job(j.ID); w.Waiting == 0 {
		f.res.Placed++
		return nil
	}
	if f.res.Refused++; f.res.Refused == 1 {
		f.res.FirstRefusalPercent = 100 * f.arrived / f.total
	}
	return f.l.Apply(0, ledger.JobGone{ID: j.ID})
}

func (f *filler) finish(typicals []pack.Typical) *FillResult {
	w := f.l.World()
	used := float64(w.Quota.Used(quota.Account(quota.Root))[amount.GPU])
	x := pack.NewIndex(w, pack.Fragmentation)
	x.PinTypicals(typicals)
	var fragments float64
	for n := range w.Nodes {
		fragments += float64(x.Fragmentation(world.NodeIx(n))) / 1e6
	}
	r := f.res
	r.AllocatedPercent = 100 * used / f.total
	r.ArrivedPercent = 100 * f.arrived / f.total
	r.FragmentPercent = 100 * fragments / f.total
	if idle := f.total - used; idle > 0 {
		r.FragmentOfIdlePercent = 100 * fragments / idle
	}
	return r
}

// TypicalsOf counts the typical tasks of a trace.
func TypicalsOf(tr *trace.Trace) []pack.Typical {
	res := amount.NewTable()
	w := world.New(res, quota.New(res, tr.Queues))
	for i := range tr.Jobs {
		for g := range tr.Jobs[i].Tasks {
			group := &tr.Jobs[i].Tasks[g]
			w.Shapes[w.ShapeOf(group)].Tasks += group.Size
		}
	}
	return pack.Typicals(w)
}

// renumbered puts the nodes into a random order, by name.
func renumbered(nodes []spec.Node, seed uint64) []spec.Node {
	out := make([]spec.Node, len(nodes))
	copy(out, nodes)
	r := trace.NewRand(seed ^ 0x6e6f646573)
	for i := len(out) - 1; i > 0; i-- {
		k := int(r.Below(uint64(i + 1)))
		out[i], out[k] = out[k], out[i]
	}
	for i := range out {
		out[i].Name = fmt.Sprintf("%05d-%s", i, out[i].Name)
	}
	return out
}
