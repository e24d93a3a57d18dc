package pack

import (
	"fmt"
	"maps"
	"slices"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/plan"
	"github.com/musterhq/muster/builtin/world"
)

// Explain counts, for one more task of a shape, the nodes by what keeps the task
// off them, in a fixed order, and names the node that lacks least; near is what the
// task has against nodes for what is around them. It looks at every node: for people,
// not for deciding.
func (x *Index) Explain(id world.ShapeID, banned uint64, job *world.Job, near *world.Nearby) *plan.Why {
	y := &plan.Why{Code: plan.NoRoom}
	count := map[string]int{}
	s := &x.w.Shapes[id]
	v := &view{shape: id, banned: banned}
	best := int64(-1)
	for _, n := range x.w.Order() {
		if !x.w.Nodes[n].Present {
			continue
		}
		y.Nodes++
		by, lack, text := x.obstacle(v, s, n, job, near)
		count[by]++
		if lack > 0 && (best < 0 || lack < best) {
			best, y.Best, y.Lacks = lack, x.w.Nodes[n].Name, text
		}
	}
	y.Excluded = inOrder(count)
	return y
}

// inOrder lists what keeps nodes out: first what is wrong with them for good, among it,
// by name, what only the outside has a word for.
func inOrder(count map[string]int) (out []plan.Excluded) {
	var others []string
	for _, by := range slices.Sorted(maps.Keys(count)) {
		if !slices.Contains(unfit, by) && !slices.Contains(short, by) {
			others = append(others, by)
		}
	}
	for _, by := range slices.Concat(unfit, others, short) {
		if count[by] > 0 {
			out = append(out, plan.Excluded{By: by, Nodes: count[by]})
		}
	}
	return out
}

// obstacles in the order in which they are told.
var (
	unfit = []string{"cordoned", "wrong GPU type", "not selected", "tainted", "kept off by rules"}
	short = []string{
		"too small", "GPU type over quota", "reserved for another gang",
		"short of GPUs", "GPUs too broken up", "short of cpu", "short of memory", "short of another resource",
		"with room for some",
	}
)

// words are how people read the world's own misfits. Those of a Where are told as it
// says them.
var words = map[world.Misfit]string{
	world.MisfitType: "wrong GPU type", world.MisfitSelector: "not selected",
	world.MisfitTaint: "tainted", world.MisfitSize: "too small", world.MisfitRule: "kept off by rules",
}

func (x *Index) misfit(s *world.Shape, m world.Misfit) string {
	if text, own := words[m]; own && (s.Where == nil || m != world.MisfitSelector && m != world.MisfitTaint) {
		return text
	}
	return string(m)
}

// obstacle is what keeps a task off a node; lack is how much of a resource is
// missing, in thousandths of the request, 0 where that is not the question.
func (x *Index) obstacle(v *view, s *world.Shape, n world.NodeIx, job *world.Job, near *world.Nearby) (by string, lack int64, text string) {
	nd := &x.w.Nodes[n]
	if nd.Cordoned {
		return "cordoned", 0, ""
	}
	for _, m := range [...]world.Misfit{x.w.Judge(v.shape, nd.Class), x.w.Refusal(v.shape, n)} {
		if m != world.Fit {
			return x.misfit(s, m), 0, ""
		}
	}
	if nd.HasType && v.banned&TypeBit(nd.Typed) != 0 {
		return "GPU type over quota", 0, ""
	}
	if nd.ReservedFor != nil && nd.ReservedFor != job {
		return "reserved for another gang", 0, ""
	}
	if m := near.Refusal(n); m != world.Fit { // before room: what comes free there is no help
		return string(m), 0, ""
	}
	return x.shortage(s, n)
}

func (x *Index) shortage(s *world.Shape, n world.NodeIx) (by string, lack int64, text string) {
	row := x.w.Free(n)
	for _, d := range []amount.Dim{amount.GPU, amount.CPU, amount.Memory} {
		if req, ok := s.Request.Get(d); ok && row[d] < req {
			return map[amount.Dim]string{
				amount.GPU: "short of GPUs", amount.CPU: "short of cpu", amount.Memory: "short of memory",
			}[d], x.missing(req, row[d]), x.lackText(d, req-row[d])
		}
	}
	for _, e := range s.Request {
		if row[e.Dim] < e.Amount {
			return "short of another resource", x.missing(e.Amount, row[e.Dim]), x.lackText(e.Dim, e.Amount-row[e.Dim])
		}
	}
	if !x.hasDevices(s, n) {
		return "GPUs too broken up", 1, fmt.Sprintf("%d whole GPUs in one piece", s.Whole)
	}
	return "with room for some", 0, "" // a gang may find no room though a task does
}

// hasDevices says whether the devices that a task takes are free as they are.
func (x *Index) hasDevices(s *world.Shape, n world.NodeIx) bool {
	if s.Milli > 0 {
		return slices.ContainsFunc(x.w.Dev(n), func(free int32) bool { return free >= s.Milli })
	}
	return x.w.FullDevices(n) >= s.Whole
}

func (x *Index) missing(req, free amount.Amount) int64 {
	return int64((req-free).Scale(1000, req)) + 1
}

func (x *Index) lackText(d amount.Dim, a amount.Amount) string {
	name := x.w.Res.Name(d)
	return amount.Format(name, a) + " " + name
}

// Capacity is how many tasks of a shape the nodes could take if they were empty.
func (x *Index) Capacity(id world.ShapeID, enough int64) (slots int64) {
	s := &x.w.Shapes[id]
	for n := range x.w.Nodes {
		nd := &x.w.Nodes[n]
		if nd.Present && x.w.RunsOn(id, world.NodeIx(n)) {
			slots += slotsIn(s, x.w.Capacity(world.NodeIx(n)), nd.Devices)
		}
		if slots >= enough {
			break
		}
	}
	return slots
}

func slotsIn(s *world.Shape, capacity amount.List, devices int32) int64 {
	slots := int64(1) << 31
	for _, e := range s.Request {
		if e.Amount > 0 {
			have, _ := capacity.Get(e.Dim)
			slots = min(slots, int64(have/e.Amount))
		}
	}
	if s.Milli > 0 {
		slots = min(slots, int64(devices)*int64(1000/s.Milli))
	}
	return slots
}
