package world

import (
	"fmt"
	"slices"
	"strings"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/spec"
)

// ClassID numbers the node classes: nodes with equal labels, taints, GPU type and
// capacity. Whether a shape may run on a node at all depends on the class only.
type ClassID int32

// Class is a set of equal nodes.
type Class struct {
	Labels   map[string]string
	Taints   []spec.Taint
	GPUType  string
	Capacity amount.List
	Typed    amount.Dim
	HasType  bool
	Devices  int32
	Nodes    int32 // present nodes of the class

	like spec.Node // any of them, without what tells them apart: for Where
	free []bitmap  // by number of wholly free devices: the class's nodes
}

func (w *World) classOf(nd *Node) ClassID {
	key := classKey(nd)
	id, ok := w.classKey[key]
	if !ok {
		id = ClassID(len(w.Classes))
		w.classKey[key] = id
		w.Classes = append(w.Classes, Class{
			like:   spec.Node{Capacity: nd.Spec.Capacity, GPUType: nd.Spec.GPUType, Labels: nd.Spec.Labels, Taints: nd.Spec.Taints},
			Labels: nd.Spec.Labels, Taints: nd.Spec.Taints, GPUType: nd.Spec.GPUType,
			Capacity: nd.capacity, Typed: nd.Typed, HasType: nd.HasType, Devices: nd.Devices,
		})
		w.growth = append(w.growth, 0)
	}
	w.Classes[id].Nodes++
	w.enter(w.nodeIx[nd.Name], id)
	return id
}

// leaveClass takes a node that is present out of its class.
func (w *World) leaveClass(nd *Node) {
	if nd.Present {
		w.Classes[nd.Class].Nodes--
		w.leave(w.nodeIx[nd.Name], nd.Class)
	}
}

func classKey(nd *Node) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%q", nd.Spec.GPUType)
	for _, e := range nd.capacity {
		fmt.Fprintf(&b, ",%d=%d", e.Dim, e.Amount)
	}
	for _, kv := range sortedPairs(nd.Spec.Labels) {
		fmt.Fprintf(&b, ";%q=%q", kv[0], kv[1])
	}
	for _, t := range nd.Spec.Taints {
		fmt.Fprintf(&b, "!%q=%q:%q", t.Key, t.Value, t.Effect)
	}
	return b.String()
}

func sortedPairs(m map[string]string) [][2]string {
	pairs := make([][2]string, 0, len(m))
	for k, v := range m {
		pairs = append(pairs, [2]string{k, v})
	}
	slices.SortFunc(pairs, func(a, b [2]string) int { return strings.Compare(a[0], b[0]) })
	return pairs
}

// ShapeID numbers the task shapes: equal request, GPU types, selector and
// tolerations. All tasks of a group have one shape, and so do equal groups of
// different jobs.
type ShapeID int32

// Shape is what a task asks of a node.
type Shape struct {
	Request amount.List // as charged to queues when the GPU type is not known
	// Whole is the number of whole GPUs, Milli the part of a single device in
	// milli-GPUs; at most one of them is not zero.
	Whole, Milli int32
	// CPU and GPU are the two amounts of Request that node choice looks at.
	CPU, GPU    amount.Amount
	Types       []string // accepted GPU types, sorted; empty: any
	own         []string // the same without Only
	Only        *Only    // what rules make of that; nil if there are none
	Selector    map[string]string
	Tolerations []spec.Toleration
	Where       spec.Where // in place of Selector and Tolerations; nil if there is none
	byName      bool       // Where tells nodes of one class apart
	Tasks       int64      // tasks of this shape ever submitted, for Typical

	fit    []bool        // per class, valid for the first len(fit) classes
	charge []amount.List // per class: Request plus the typed GPUs
}

// ShapeOf interns the shape of a task group.
func (w *World) ShapeOf(g *spec.TaskGroup) ShapeID { return w.shapeOf(g, nil) }

func (w *World) shapeOf(g *spec.TaskGroup, only *Only) ShapeID {
	types := only.among(g.GPUTypes)
	req := w.List(g.Request)
	w.Grow()
	key := shapeKey(req, types, g) + only.key(g)
	if id, ok := w.shapeKey[key]; ok {
		return id
	}
	s := Shape{Request: req, Types: types, own: g.GPUTypes, Only: only, Selector: g.NodeSelector, Tolerations: g.Tolerations, Where: g.Where}
	s.byName = g.Where != nil && g.Where.ByName()
	s.CPU, _ = req.Get(amount.CPU)
	s.GPU, _ = req.Get(amount.GPU)
	if s.GPU%1000 == 0 {
		s.Whole = int32(s.GPU / 1000)
	} else {
		s.Milli = int32(s.GPU)
	}
	if len(types) == 1 && types[0] != noType && (s.Whole > 0 || s.Milli > 0) { // pinned: the typed amount is known
		s.Request = w.withType(req, w.Res.Intern(amount.TypedGPU(types[0])))
		w.Grow()
	}
	id := ShapeID(len(w.Shapes))
	w.Shapes = append(w.Shapes, s)
	w.shapeKey[key] = id
	return id
}

func (w *World) withType(req amount.List, typed amount.Dim) amount.List {
	gpu, _ := req.Get(amount.GPU)
	out := append(slices.Clone(req), amount.Entry{Dim: typed, Amount: gpu})
	slices.SortFunc(out, func(a, b amount.Entry) int { return int(a.Dim) - int(b.Dim) })
	return out
}

func shapeKey(req amount.List, types []string, g *spec.TaskGroup) string {
	var b strings.Builder
	for _, e := range req {
		fmt.Fprintf(&b, ",%d=%d", e.Dim, e.Amount)
	}
	fmt.Fprintf(&b, "|%q", types)
	for _, kv := range sortedPairs(g.NodeSelector) {
		fmt.Fprintf(&b, ";%q=%q", kv[0], kv[1])
	}
	for _, t := range g.Tolerations {
		fmt.Fprintf(&b, "~%q=%q", t.Key, t.Value)
	}
	if g.Where != nil {
		fmt.Fprintf(&b, "@%q", g.Where.Key())
	}
	return b.String()
}

// Misfit is why a shape can't run on a class, whatever is free: one of these, or what
// the shape's Where says.
type Misfit string

// The misfits, in the order in which they are looked at. A Where stands in the place of
// selector and taint.
const (
	Fit            Misfit = ""
	MisfitType     Misfit = "gpu-type"
	MisfitSelector Misfit = "selector"
	MisfitTaint    Misfit = "taint"
	MisfitRule     Misfit = "rule"           // rules keep the job off, it would not do so itself
	MisfitSize     Misfit = "node-too-small" // the node is too small even when empty
)

// Judge says whether a shape may run on a class.
func (w *World) Judge(s ShapeID, c ClassID) Misfit {
	shape, class := &w.Shapes[s], &w.Classes[c]
	gpu := shape.Whole > 0 || shape.Milli > 0
	if gpu && len(shape.own) > 0 && !slices.Contains(shape.own, class.GPUType) {
		return MisfitType
	}
	if m := shape.likes(class); m != Fit {
		return m
	}
	if shape.Only != nil && (gpu && !shape.accepts(class.GPUType) || !shape.Only.allows(class.Labels)) {
		return MisfitRule // before size: the request counts GPUs of the one type left
	}
	for _, e := range shape.Request {
		if have, _ := class.Capacity.Get(e.Dim); have < e.Amount {
			return MisfitSize
		}
	}
	return Fit
}

// likes says whether the task itself wants nodes of a class.
func (s *Shape) likes(class *Class) Misfit {
	if s.Where != nil {
		return Misfit(s.Where.Misfit(&class.like))
	}
	for _, kv := range sortedPairs(s.Selector) {
		if class.Labels[kv[0]] != kv[1] {
			return MisfitSelector
		}
	}
	for _, t := range class.Taints {
		if !tolerated(t, s.Tolerations) {
			return MisfitTaint
		}
	}
	return Fit
}

func (s *Shape) accepts(gpuType string) bool {
	return len(s.Types) == 0 || slices.Contains(s.Types, gpuType)
}

func tolerated(t spec.Taint, tolerations []spec.Toleration) bool {
	return slices.ContainsFunc(tolerations, func(o spec.Toleration) bool {
		return o.Key == t.Key && (o.Value == "" || o.Value == t.Value)
	})
}

// feasible is the per-class answer of Judge, computed once per shape and class.
func (w *World) feasible(s ShapeID) []bool {
	shape := &w.Shapes[s]
	for c := len(shape.fit); c < len(w.Classes); c++ {
		shape.fit = append(shape.fit, w.Judge(s, ClassID(c)) == Fit)
		charge := shape.Request
		class := &w.Classes[c]
		if class.HasType && (shape.Whole > 0 || shape.Milli > 0) {
			if _, has := charge.Get(class.Typed); !has {
				charge = w.withType(charge, class.Typed)
			}
		}
		shape.charge = append(shape.charge, charge)
	}
	return shape.fit
}

// Feasible says whether a shape may run on nodes of a class.
func (w *World) Feasible(s ShapeID, c ClassID) bool { return w.feasible(s)[c] }

// RunsOn says whether a shape may run on a node, whatever is free there.
func (w *World) RunsOn(s ShapeID, n NodeIx) bool {
	return w.feasible(s)[w.Nodes[n].Class] && w.Refusal(s, n) == Fit
}

// Refusal is why a shape won't run on just that node of its class: a Where may tell
// nodes apart by their names.
func (w *World) Refusal(s ShapeID, n NodeIx) Misfit {
	if !w.Shapes[s].byName {
		return Fit
	}
	return Misfit(w.Shapes[s].Where.Refuses(w.Nodes[n].Name))
}

// Charge is what a task of the shape is charged on a node of the class: its
// request, and the GPUs also under their type.
func (w *World) Charge(s ShapeID, c ClassID) amount.List {
	w.feasible(s)
	return w.Shapes[s].charge[c]
}
