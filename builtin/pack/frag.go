package pack

import (
	"cmp"
	"slices"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/world"
)

// Typical is a kind of task that the pool is expected to be asked for.
type Typical struct {
	CPU amount.Amount
	// Whole GPUs, or Milli of one device; both 0 for a task without GPUs.
	Whole, Milli int32
	Types        []string
	Weight       int64 // share of all tasks, in parts per million
}

// Typicals are the kinds of tasks by how often they were submitted, the most
// frequent first, until 95 % are covered; their weights sum to a million. This is
// the target workload of the FGD paper, section 4.
func Typicals(w *world.World) []Typical {
	var kinds []Typical
	var total int64
	for i := range w.Shapes {
		s := &w.Shapes[i]
		if s.Tasks <= 0 {
			continue
		}
		kinds = merge(kinds, Typical{CPU: s.CPU, Whole: s.Whole, Milli: s.Milli, Types: s.Types, Weight: s.Tasks})
		total += s.Tasks
	}
	slices.SortStableFunc(kinds, compareTypical)
	return covering(kinds, total)
}

// merge counts a kind that differs only in memory with the one already there.
func merge(kinds []Typical, k Typical) []Typical {
	for i := range kinds {
		o := &kinds[i]
		if o.CPU == k.CPU && o.Whole == k.Whole && o.Milli == k.Milli && slices.Equal(o.Types, k.Types) {
			o.Weight += k.Weight
			return kinds
		}
	}
	return append(kinds, k)
}

func compareTypical(a, b Typical) int {
	return cmp.Or(
		cmp.Compare(b.Weight, a.Weight), cmp.Compare(a.CPU, b.CPU), cmp.Compare(a.Whole, b.Whole),
		cmp.Compare(a.Milli, b.Milli), slices.Compare(a.Types, b.Types))
}

func covering(kinds []Typical, total int64) []Typical {
	var sum int64
	for i := range kinds {
		if sum*100 >= total*95 {
			kinds = kinds[:i]
			break
		}
		sum += kinds[i].Weight
	}
	for i := range kinds {
		kinds[i].Weight = kinds[i].Weight * 1_000_000 / sum
	}
	return kinds
}

// Fragmentation is F of the FGD paper for one node: the milli-GPUs that a typical
// task could not use, in parts per million of a milli-GPU. Of a node where it
// can't run at all that is everything idle, else what is idle on devices with too
// little left.
func (x *Index) Fragmentation(n world.NodeIx) int64 {
	return x.fragments(n, x.w.FreeOf(n, amount.CPU), x.w.Dev(n))
}

// PoolFragmentation is the sum of F over all nodes. Nodes that have not changed
// since the last call are not measured again.
func (x *Index) PoolFragmentation() (sum int64) {
	for n := range x.w.Nodes {
		sum += x.fragmentsBefore(world.NodeIx(n))
	}
	return sum
}

func (x *Index) fragments(n world.NodeIx, cpu amount.Amount, dev []int32) int64 {
	if len(dev) == 0 {
		return 0
	}
	var idle, full int64
	for _, d := range dev {
		idle += int64(max(0, d))
		if d == 1000 {
			full++
		}
	}
	return x.fragmentsOf(n, cpu, dev, idle, full)
}

// fragmentsOf is the same with the sums over the devices known. Wholly free
// devices count by full alone: those that dev shows beyond it are taken as gone.
func (x *Index) fragmentsOf(n world.NodeIx, cpu amount.Amount, dev []int32, idle, full int64) int64 {
	if idle == 0 {
		return 0
	}
	kind := x.w.Nodes[n].Class
	var f int64
	for i := range x.typical {
		t := &x.typical[i]
		f += t.Weight * x.unusable(t, x.runsOn(i, kind), cpu, dev, idle, full)
	}
	return f
}

// unusable is the idle milli-GPUs that one kind of task can't use.
func (x *Index) unusable(t *Typical, runs bool, cpu amount.Amount, dev []int32, idle, full int64) int64 {
	switch {
	case !runs || cpu < t.CPU:
		return idle
	case t.Milli == 0:
		if full < int64(t.Whole) {
			return idle
		}
		return idle - 1000*full
	}
	var small int64
	for _, d := range dev {
		if d < t.Milli {
			small += int64(max(0, d))
		}
	}
	return small // all of it when no device has room
}

// runsOn says whether a typical task may use nodes of a class at all.
func (x *Index) runsOn(typical int, class world.ClassID) bool {
	row := &x.typicalRuns[typical]
	for c := len(*row); c < len(x.w.Classes); c++ {
		t := &x.typical[typical]
		gpu := t.Whole > 0 || t.Milli > 0
		*row = append(*row, gpu && (len(t.Types) == 0 || slices.Contains(t.Types, x.w.Classes[c].GPUType)))
	}
	return (*row)[class]
}

// fragGain is by how much the node's fragmentation falls with the task on it
// (negative: grows), and the device that a fractional task takes for it. Devices
// are compared by score, not by gain, the first of the best taken: as in the
// paper's simulator.
func (x *Index) fragGain(s *world.Shape, n world.NodeIx) (gain int64, device int) {
	before := x.fragmentsBefore(n)
	cpu := x.w.FreeOf(n, amount.CPU) - s.CPU
	if s.Milli == 0 {
		dev, taken := x.w.Dev(n), int64(s.Whole)
		var idle int64
		for _, d := range dev {
			idle += int64(max(0, d))
		}
		full := int64(x.w.FullDevices(n))
		return before - x.fragmentsOf(n, cpu, dev, idle-1000*taken, full-taken), -1
	}
	dev := append(x.scratch[:0], x.w.Dev(n)...)
	x.scratch = dev
	device, best := -1, noRoom
	for i := range dev {
		if dev[i] < s.Milli || seen(dev[:i], dev[i]) {
			continue
		}
		dev[i] -= s.Milli
		g := before - x.fragments(n, cpu, dev)
		dev[i] += s.Milli
		if score := gainScore(g); score > best {
			gain, device, best = g, i, score
		}
	}
	return gain, device
}

// seen says whether an equal device came before: it has the same gain.
func seen(before []int32, d int32) bool { return slices.Contains(before, d) }

// fragScore is the node's score for the view's shape. Nodes of a class whose free
// devices are all whole differ only in how many these are and in their cpu, so
// their scores are remembered: most nodes of a pool are in few such states.
func (x *Index) fragScore(v *view, s *world.Shape, n world.NodeIx) int32 {
	full := x.w.FullDevices(n)
	if x.w.FreeOf(n, amount.GPU) != amount.Amount(full)*1000 {
		gain, _ := x.fragGain(s, n)
		return gainScore(gain)
	}
	key := wholeState{x.w.FreeOf(n, amount.CPU), x.w.Nodes[n].Class, full, true}
	m := v.memo(key)
	if m.key != key {
		gain, _ := x.fragGain(s, n)
		*m = memo{key, gainScore(gain)}
	}
	return m.score
}

// wholeState is the state of a node without broken devices.
type wholeState struct {
	cpu   amount.Amount
	class world.ClassID
	full  int32
	known bool // tells an entry from an empty one
}

type memo struct {
	key   wholeState
	score int32
}

const memos = 128

// memo is the place where a state's score is remembered; another state may have it.
func (v *view) memo(k wholeState) *memo {
	if v.memos == nil {
		v.memos = make([]memo, memos)
	}
	h := uint64(k.cpu)*0x9e3779b97f4a7c15 + uint64(k.class)<<8 + uint64(k.full)
	return &v.memos[(h^h>>32)%memos]
}

// fragmentsBefore remembers F of each node until the node changes.
func (x *Index) fragmentsBefore(n world.NodeIx) int64 {
	forget := func(n world.NodeIx) { x.known[n] = false }
	if len(x.before) != len(x.w.Nodes) {
		x.fragCursor = world.Cursor{}
		x.before, x.known = make([]int64, len(x.w.Nodes)), make([]bool, len(x.w.Nodes))
	}
	if !x.w.Touched(&x.fragCursor, forget) {
		clear(x.known)
	}
	if !x.known[n] {
		x.before[n], x.known[n] = x.Fragmentation(n), true
	}
	return x.before[n]
}
