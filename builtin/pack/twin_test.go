package pack_test

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/pack"
	"github.com/musterhq/muster/builtin/quota"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/builtin/world"
)

// This file has the slow twin of the index: every node is scored anew, as the
// strategies are documented.

var strategies = []pack.Strategy{pack.Fragmentation, pack.BinPack, pack.Spread}

type twin struct {
	w        *world.World
	strategy pack.Strategy
	typical  []pack.Typical
}

// best looks at all nodes: the highest score, of equal ones the first name.
func (b *twin) best(id world.ShapeID, banned uint64, job *world.Job, near *world.Nearby) (string, bool) {
	name, top := "", int64(-1)
	for n := range b.w.Nodes {
		if where := b.w.Shapes[id].Where; where != nil && where.Refuses(b.w.Nodes[n].Name) != "" || near.Refusal(world.NodeIx(n)) != world.Fit {
			continue
		}
		score, ok := b.score(id, banned, job, world.NodeIx(n))
		if !ok || score < top || score == top && b.w.Nodes[n].Name > name {
			continue
		}
		name, top = b.w.Nodes[n].Name, score
	}
	return name, top >= 0
}

func (b *twin) score(id world.ShapeID, banned uint64, job *world.Job, n world.NodeIx) (int64, bool) {
	nd, s := &b.w.Nodes[n], &b.w.Shapes[id]
	if !b.w.Usable(n, job) || b.w.Judge(id, nd.Class) != world.Fit || nd.HasType && banned&pack.TypeBit(nd.Typed) != 0 {
		return 0, false
	}
	for _, e := range s.Request {
		if b.w.FreeOf(n, e.Dim) < e.Amount {
			return 0, false
		}
	}
	devices := b.choices(s, n)
	switch {
	case devices == nil:
		return 0, false
	case nd.Devices == 0 && s.Whole == 0 && s.Milli == 0:
		return b.fit(s, n) + 1<<20, true
	case nd.Devices == 0 || b.strategy != pack.Fragmentation:
		return b.fit(s, n), true
	}
	top := int64(-1)
	for _, d := range devices {
		top = max(top, b.fragScore(s, n, d))
	}
	return top, true
}

// choices lists the sets of devices that a task may take: for whole GPUs the
// first that are free, for a part each device with room. nil if there is none.
func (b *twin) choices(s *world.Shape, n world.NodeIx) (out []uint64) {
	dev := b.w.Dev(n)
	if s.Milli > 0 {
		for i, free := range dev {
			if free >= s.Milli {
				out = append(out, 1<<i)
			}
		}
		return out
	}
	mask, left := uint64(0), s.Whole
	for i, free := range dev {
		if free == 1000 && left > 0 {
			mask |= 1 << i
			left--
		}
	}
	if left > 0 {
		return nil
	}
	return []uint64{mask}
}

// fit is what is left of the largest node's cpu and GPUs, in 65536ths each; the
// less, the better, by bin-packing.
func (b *twin) fit(s *world.Shape, n world.NodeIx) int64 {
	left := int64(0)
	for _, d := range []amount.Dim{amount.CPU, amount.GPU} {
		largest := amount.Amount(0)
		for m := range b.w.Nodes {
			if b.w.Nodes[m].Present {
				have, _ := b.w.Capacity(world.NodeIx(m)).Get(d)
				largest = max(largest, have)
			}
		}
		if largest > 0 {
			req, _ := s.Request.Get(d)
			left += int64(b.w.FreeOf(n, d)-req) * 65536 / int64(largest)
		}
	}
	if b.strategy == pack.Spread {
		return max(0, left)
	}
	return 2*65536 - max(0, left)
}

func (b *twin) fragScore(s *world.Shape, n world.NodeIx, mask uint64) int64 {
	req, _ := s.Request.Get(amount.CPU)
	after := slices.Clone(b.w.Dev(n))
	for i := range after {
		if mask&(1<<i) == 0 {
			continue
		}
		if s.Milli > 0 {
			after[i] -= s.Milli
		} else {
			after[i] = 0
		}
	}
	cpu, gpuType := b.w.FreeOf(n, amount.CPU), b.w.Nodes[n].Spec.GPUType
	gain := b.fragments(cpu, gpuType, b.w.Dev(n)) - b.fragments(cpu-req, gpuType, after)
	return int64(100 / (1 + math.Exp(-float64(gain)/1e9)))
}

// fragments is F of the FGD paper, weights in millionths.
func (b *twin) fragments(cpu amount.Amount, gpuType string, dev []int32) (f int64) {
	for _, t := range b.typical {
		f += t.Weight * int64(wasted(t, cpu, gpuType, dev))
	}
	return f
}

// wasted is the idle milli-GPUs of a node that one kind of task can't use.
func wasted(t pack.Typical, cpu amount.Amount, gpuType string, dev []int32) (idle int32) {
	each, need := int32(1000), t.Whole
	if t.Milli > 0 {
		each, need = t.Milli, 1
	}
	small, enough := int32(0), int32(0)
	for _, d := range dev {
		idle += max(0, d)
		if d >= each {
			enough++
		} else {
			small += max(0, d)
		}
	}
	accepts := len(t.Types) == 0 || slices.Contains(t.Types, gpuType)
	if need == 0 || !accepts || cpu < t.CPU || enough < need {
		return idle
	}
	return small
}

// picky wants nodes with a label, and of these all but one.
type picky struct{ label, not string }

func (p picky) Key() string  { return p.label + "/" + p.not }
func (p picky) ByName() bool { return p.not != "" }
func (p picky) Misfit(n *spec.Node) string {
	if n.Name != "" {
		return "asked about one node"
	}
	if _, ok := n.Labels[p.label]; !ok && p.label != "" {
		return "affinity"
	}
	return ""
}

func (p picky) Refuses(name string) string {
	if name == p.not {
		return "volume"
	}
	return ""
}

// yard is a world to choose nodes in, with one queue.
func yard() *world.World {
	res := amount.NewTable()
	return world.New(res, quota.New(res, spec.Tree{}))
}

func node(name, gpuType string, cpu, gpus int64) spec.Node {
	return spec.Node{Name: name, GPUType: gpuType, Capacity: spec.Resources{
		{Name: "cpu", Amount: amount.Amount(cpu)}, {Name: "memory", Amount: 1 << 40}, {Name: amount.GPUName, Amount: amount.Amount(gpus) * 1000},
	}}
}

func tasks(size, cpu, milliGPU int64, types ...string) spec.TaskGroup {
	g := spec.TaskGroup{Min: size, Size: size, GPUTypes: types, Request: spec.Resources{{Name: "cpu", Amount: amount.Amount(cpu)}}}
	if milliGPU > 0 {
		g.Request = g.Request.Set(amount.GPUName, amount.Amount(milliGPU))
	}
	return g
}

func submit(w *world.World, id string, groups ...spec.TaskGroup) *world.Job {
	q, _ := w.Quota.Lookup("default")
	return w.AddJob(&spec.Job{ID: id, User: "ann", Tasks: groups}, q)
}

func index(w *world.World, s pack.Strategy, typical []pack.Typical) *pack.Index {
	x := pack.NewIndex(w, s)
	if typical != nil {
		x.PinTypicals(typical)
	}
	x.Refresh()
	return x
}

// take places the next task of a job's first group where the index says.
func take(t testing.TB, x *pack.Index, w *world.World, j *world.Job) string {
	t.Helper()
	task := j.NextPending(0)
	n, ok := x.Best(j.Groups[0].Shape, 0, j)
	if !ok {
		return ""
	}
	w.Place(task, n, x.Devices(j.Groups[0].Shape, n), world.Bound, 0)
	return fmt.Sprintf("%s:%b", w.Nodes[n].Name, task.Dev)
}
