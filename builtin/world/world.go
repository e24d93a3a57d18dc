// Package world is the state that a cycle decides on: nodes, jobs, tasks and who
// sits where, flat and small, with an undo log under every change a what-if can
// make, so that trying a placement or an eviction costs no copy.
package world

import (
	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/quota"
	"github.com/musterhq/muster/builtin/spec"
)

// NodeIx is the index of a node. That of a node that is gone, and holds no task
// any more, is given to the next new one.
type NodeIx int32

// NoNode is the node of a task that sits nowhere.
const NoNode NodeIx = -1

// Node is one machine's static side. What is free on it stands in World's flat
// arrays.
type Node struct {
	Name     string
	Spec     spec.Node
	Class    ClassID
	Present  bool // false once removed
	Cordoned bool
	// Typed is the dimension of the node's GPU type, valid if HasType.
	Typed    amount.Dim
	HasType  bool
	devOff   int32 // first device in World.dev
	devRoom  int32 // devices that have room there
	Devices  int32 // GPUs
	capacity amount.List
	indexed  bool     // in the free-GPU index of its class
	head     *Task    // tasks on the node, newest first
	foreign  *foreign // what others use; nil if nothing
	// ReservedFor keeps every other job off the node, until expiry.
	ReservedFor *Job
	// order is the node's position among equals: names in ascending order. It is
	// what breaks ties, so that a plan does not depend on the order of arrival.
	order int32
}

// World is the state. It is not safe for concurrent use.
type World struct {
	Res   *amount.Table
	Quota *quota.Tree

	r       int // stride of free
	Nodes   []Node
	free    []amount.Amount // node × r; negative while victims still hold what is claimed
	dev     []int32         // milli-GPU free per device; negative likewise
	full    []int32         // node → devices that are wholly free
	nodeIx  map[string]NodeIx
	spare   []NodeIx // indexes of nodes that are gone
	byOrder []NodeIx // all indexes in order of names, those of nodes that are gone too
	sorted  bool     // byOrder and Node.order are current

	Classes  []Class
	classKey map[string]ClassID
	Shapes   []Shape
	shapeKey map[string]ShapeID

	jobs    map[string]*Job
	pending [][]*Job // per queue: jobs with pending tasks, in order of (submit, id)
	claims  []*Job   // jobs with claimed tasks, in order of claiming

	undo  undoLog
	marks int // open marks

	// Epoch counts changes from outside, Grown those that freed something a pending
	// job may have waited for. They are the age of what others remember about this
	// world; a rollback restores Grown, so what was learned inside a what-if that
	// is rolled back must be forgotten with it.
	Epoch  uint64
	growth []uint64 // per class
	Grown  uint64   // the largest of growth, and of quota's

	// Changes counts tasks that came or went and nodes that were reserved, Moved those
	// changes of where the tasks of terms are. A rollback restores both.
	Changes, Moved uint64

	places places

	touched  []NodeIx // nodes changed, in order; see Touched
	touchGen uint64

	// Notices are victims that were told to save their work.
	Notices []Notice
	feuds   map[pair]spec.Time // committed evictions between jobs that still exist
	// SeenTasks counts the tasks ever submitted.
	SeenTasks int64
	serial    uint64 // of the job that came last
	// Measured says that the use of some task was ever measured.
	Measured bool
	// Index is where the packages that choose nodes and cycles keep what they
	// remember about this world. It is a cache: losing it changes no decision.
	Index any
}

// New returns an empty world over a queue tree.
func New(res *amount.Table, tree *quota.Tree) *World {
	return &World{
		Res: res, Quota: tree, r: res.Len(),
		nodeIx: map[string]NodeIx{}, classKey: map[string]ClassID{}, shapeKey: map[string]ShapeID{},
		jobs: map[string]*Job{}, pending: make([][]*Job, len(tree.Queues)),
	}
}

// R is the number of resources in a row of free amounts.
func (w *World) R() int { return w.r }

// Free is the row of what is free on a node. Do not change it.
func (w *World) Free(n NodeIx) []amount.Amount { return w.free[int(n)*w.r:][:w.r] }

// Dev is the milli-GPUs free on each device of a node. Do not change it.
func (w *World) Dev(n NodeIx) []int32 {
	nd := &w.Nodes[n]
	return w.dev[nd.devOff:][:nd.Devices]
}

// FullDevices is the number of wholly free devices of a node.
func (w *World) FullDevices(n NodeIx) int32 { return w.full[n] }

// Capacity is what the node has, typed GPUs included.
func (w *World) Capacity(n NodeIx) amount.List { return w.Nodes[n].capacity }

// NodeNamed finds a present node.
func (w *World) NodeNamed(name string) (NodeIx, bool) {
	n, ok := w.nodeIx[name]
	return n, ok
}

// Job finds a job.
func (w *World) Job(id string) *Job { return w.jobs[id] }

// JobCount is the number of jobs known.
func (w *World) JobCount() int { return len(w.jobs) }

// Claims lists the jobs that wait, placed, for victims to go. Do not change it.
func (w *World) Claims() []*Job { return w.claims }

// Grow widens the matrices after new resources have been interned.
func (w *World) Grow() {
	w.Quota.Grow()
	if now := w.Res.Len(); now != w.r {
		out := make([]amount.Amount, len(w.Nodes)*now)
		for i := range w.Nodes {
			copy(out[i*now:], w.free[i*w.r:(i+1)*w.r])
		}
		w.free, w.r = out, now
	}
}

// touch notes that the free amounts or the reservation of a node changed.
func (w *World) touch(n NodeIx) {
	if len(w.touched) > 8*len(w.Nodes)+4096 {
		w.touched = w.touched[:0]
		w.touchGen++
	}
	w.touched = append(w.touched, n)
}

// Cursor is a position in the list of changed nodes.
type Cursor struct {
	gen uint64
	at  int
}

// Touched calls f for each node changed since the cursor and moves it. It
// returns false, moving the cursor too, if the list no longer reaches back that
// far: then everything may have changed.
func (w *World) Touched(c *Cursor, f func(NodeIx)) bool {
	ok := c.gen == w.touchGen && c.at <= len(w.touched)
	if ok {
		for _, n := range w.touched[c.at:] {
			f(n)
		}
	}
	c.gen, c.at = w.touchGen, len(w.touched)
	return ok
}

func (w *World) grew(class ClassID) {
	w.Grown++
	w.growth[class] = w.Grown
}

// GrownSince says whether any node of the shape's classes got more room after
// the given value of Grown.
func (w *World) GrownSince(s ShapeID, since uint64) bool {
	if w.Grown == since {
		return false
	}
	ok := w.feasible(s)
	for c := range w.Classes {
		if ok[c] && w.growth[c] > since {
			return true
		}
	}
	return false
}
