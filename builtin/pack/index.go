package pack

import (
	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/world"
)

// Index answers "which node" for a world. It is a cache: an Index made anew gives
// the same answers.
type Index struct {
	w        *world.World
	strategy Strategy
	views    map[viewKey]*view
	largest  [2]amount.Amount // cpu and GPUs of the largest node

	typical      []Typical
	typicalRuns  [][]bool
	typicalTasks int64 // World.SeenTasks when typical was computed
	pinned       bool

	nodes      int // nodes and epoch of largest
	before     []int64
	known      []bool
	fragCursor world.Cursor
	scratch    []int32

	// Filter, if set, has the last word on a node that the index found: an adapter
	// asks the predicates here that the core does not know. A node it refuses is
	// not offered for the shape again until the node changes.
	Filter func(world.ShapeID, world.NodeIx) bool
}

type viewKey struct {
	shape  world.ShapeID
	banned uint64
}

// view is a tournament tree: node i of Order stands at leaf size+i, and every
// inner node holds the larger of its two children.
type view struct {
	shape    world.ShapeID
	banned   uint64
	strategy Strategy
	size     int
	tree     []int32
	cursor   world.Cursor
	fresh    bool
	uses     int // how often the shape was looked for
	memos    []memo
}

const (
	// seldom is how often a shape is looked for before it gets a tree: those of
	// single jobs of their own kind never do.
	seldom = 2
	// maxViews bounds the memory of trees. Real workloads have some hundred shapes;
	// beyond this all are dropped, and built again as they are used.
	maxViews = 2048
)

// NewIndex returns an index over a world.
func NewIndex(w *world.World, s Strategy) *Index {
	return &Index{w: w, strategy: s, views: map[viewKey]*view{}}
}

// Strategy is the rule of the index.
func (x *Index) Strategy() Strategy { return x.strategy }

// PinTypicals fixes the kinds of tasks that fragmentation is measured against,
// instead of those submitted so far.
func (x *Index) PinTypicals(t []Typical) {
	x.setTypicals(t)
	x.pinned = true
}

func (x *Index) setTypicals(t []Typical) {
	x.typical = t
	x.typicalRuns = make([][]bool, len(t))
	x.typicalTasks = x.w.SeenTasks
	x.before = nil
	clear(x.views)
}

// Refresh brings what the scores depend on up to date. Call it at the start of a
// cycle: within one, scores must not change their meaning. Typical tasks are
// counted again when as many new ones have come as were counted the last time.
func (x *Index) Refresh() {
	x.w.Order()
	if largest := x.largestNode(); largest != x.largest || len(x.w.Nodes) != x.nodes {
		x.largest, x.nodes = largest, len(x.w.Nodes)
		x.before = nil
		clear(x.views)
	}
	if x.strategy == Fragmentation && !x.pinned && x.w.SeenTasks-x.typicalTasks >= max(1, x.typicalTasks) {
		x.setTypicals(Typicals(x.w))
	}
}

func (x *Index) largestNode() (largest [2]amount.Amount) {
	for c := range x.w.Classes {
		if x.w.Classes[c].Nodes == 0 { // of nodes that are gone
			continue
		}
		for i, d := range [...]amount.Dim{amount.CPU, amount.GPU} {
			a, _ := x.w.Classes[c].Capacity.Get(d)
			largest[i] = max(largest[i], a)
		}
	}
	return largest
}

// Best is the node for one more task of a shape: the highest score, the first in
// order of names among equals. Types whose bit is set in banned are left out.
// Nodes reserved for job are looked at too; nil means for no job.
func (x *Index) Best(s world.ShapeID, banned uint64, job *world.Job) (world.NodeIx, bool) {
	return x.BestNear(s, banned, job, nil)
}

// BestNear is Best among the nodes that near has nothing against; nil allows all.
func (x *Index) BestNear(s world.ShapeID, banned uint64, job *world.Job, near *world.Nearby) (world.NodeIx, bool) {
	v := x.view(s, banned)
	var n world.NodeIx
	var score int32
	switch v.uses++; {
	case v.uses <= seldom:
		n, score = x.scan(v, near)
	case near != nil:
		n, score = x.pick(v, near)
	default:
		n, score = x.climb(v)
	}
	if job != nil && job.Reserved > 0 {
		n, score = x.bestReserved(v, job, near, n, score)
	}
	return n, score != noRoom
}

// willDo has the last word on a node with room.
func (x *Index) willDo(v *view, near *world.Nearby, n world.NodeIx) bool {
	return near.Refusal(n) == world.Fit && (x.Filter == nil || x.Filter(v.shape, n))
}

// pick is the best node that near allows, by the scores in the view's leaves. Which
// nodes those are changes with every task, so they can't be part of the tree; and only
// nodes that would be better than the best so far are asked about.
func (x *Index) pick(v *view, near *world.Nearby) (world.NodeIx, int32) {
	x.catchUp(v)
	best, top := world.NoNode, noRoom
	order := x.w.Order()
	for i, score := range v.tree[v.size:][:len(order)] {
		if score > top && x.willDo(v, near, order[i]) {
			best, top = order[i], score
		}
	}
	return best, top
}

// climb is the best node by the view's tree.
func (x *Index) climb(v *view) (world.NodeIx, int32) {
	x.catchUp(v)
	n, score := v.top(x.w)
	for score != noRoom && x.Filter != nil && !x.Filter(v.shape, n) {
		v.set(int(x.w.Position(n)), noRoom)
		n, score = v.top(x.w)
	}
	return n, score
}

// scan is the best node without a tree: by a look at the nodes of feasible classes
// that have enough free GPUs, which the world keeps an index of.
func (x *Index) scan(v *view, near *world.Nearby) (world.NodeIx, int32) {
	best, top := world.NoNode, noRoom
	x.w.Order()
	look := func(n world.NodeIx) {
		score := x.score(v, n)
		if score == noRoom || score < top || score == top && x.w.Position(n) > x.w.Position(best) {
			return
		}
		if x.willDo(v, near, n) {
			best, top = n, score
		}
	}
	for c := range x.w.Classes {
		if x.w.Feasible(v.shape, world.ClassID(c)) {
			x.w.EachFree(world.ClassID(c), x.w.Shapes[v.shape].Whole, look)
		}
	}
	return best, top
}

// bestReserved looks through the nodes that are kept for the job. Order is by
// name, so of equal ones the first is kept.
func (x *Index) bestReserved(v *view, job *world.Job, near *world.Nearby, n world.NodeIx, score int32) (world.NodeIx, int32) {
	shape := &x.w.Shapes[v.shape]
	for _, r := range x.w.Order() {
		nd := &x.w.Nodes[r]
		if nd.ReservedFor != job || !nd.Present || nd.Cordoned || !x.allowed(v, r) || !x.room(shape, r) {
			continue
		}
		s := x.worth(v, shape, r)
		better := s > score || s == score && x.w.Position(r) < x.w.Position(n)
		if better && x.willDo(v, near, r) {
			n, score = r, s
		}
	}
	return n, score
}

func (x *Index) view(s world.ShapeID, banned uint64) *view {
	key := viewKey{s, banned}
	v := x.views[key]
	if v == nil {
		if len(x.views) >= maxViews {
			clear(x.views)
		}
		v = &view{shape: s, banned: banned, strategy: x.strategy}
		x.views[key] = v
	}
	return v
}

// catchUp scores the nodes again that changed since the view was last used.
func (x *Index) catchUp(v *view) {
	order := x.w.Order()
	caughtUp := x.w.Touched(&v.cursor, func(n world.NodeIx) {
		if v.fresh {
			v.set(int(x.w.Position(n)), x.score(v, n))
		}
	})
	if !v.fresh || !caughtUp {
		v.rebuild(x, order)
	}
}

func (v *view) rebuild(x *Index, order []world.NodeIx) {
	v.size = 1
	for v.size < len(order) {
		v.size *= 2
	}
	v.tree = make([]int32, 2*v.size)
	for i := range v.size {
		v.tree[v.size+i] = noRoom
		if i < len(order) {
			v.tree[v.size+i] = x.score(v, order[i])
		}
	}
	for i := v.size - 1; i > 0; i-- {
		v.tree[i] = max(v.tree[2*i], v.tree[2*i+1])
	}
	v.fresh = true
}

// set changes one leaf and the path above it, as far as it matters.
func (v *view) set(i int, score int32) {
	i += v.size
	v.tree[i] = score
	for i >>= 1; i > 0; i >>= 1 {
		m := max(v.tree[2*i], v.tree[2*i+1])
		if v.tree[i] == m {
			return
		}
		v.tree[i] = m
	}
}

// top is the first node with the highest score.
func (v *view) top(w *world.World) (world.NodeIx, int32) {
	best := v.tree[1]
	if best == noRoom {
		return world.NoNode, noRoom
	}
	i := 1
	for i < v.size {
		i *= 2
		if v.tree[i] != best {
			i++
		}
	}
	return w.Order()[i-v.size], best
}

// Pinned says whether the typical tasks were given rather than counted.
func (x *Index) Pinned() bool { return x.pinned }
