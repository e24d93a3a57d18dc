package world

import (
	"cmp"
	"maps"
	"math/bits"
	"slices"
	"strings"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/spec"
)

// Foreign is what others than our jobs have on a node.
type Foreign struct {
	Used spec.Resources
	// Counts has, for each term of which tasks of others run there, how many; Avoids
	// the terms that those tasks keep out of their domains, likewise.
	Counts map[string]int32
	Avoids map[spec.Term]int32
}

// foreign is the same as the world keeps it. What is used is free for nobody, and no
// part of what the queues share. It is on top of the node's capacity rather than a
// part of it: nodes of one class stay in it whatever else runs on them.
type foreign struct {
	Foreign
	list   amount.List // of Used, GPUs under the node's type too
	avoids []int32     // terms of Avoids, in order
	// devices that the others are taken to hold, all of them whole: which ones nobody
	// tells, so free ones first. They stay the same while as many are used.
	devices uint64
}

// SetForeign replaces what others use on a node, and says whether that is news. It may
// be more than the node has: then less than nothing is free.
func (w *World) SetForeign(n NodeIx, f Foreign) bool {
	nd := &w.Nodes[n]
	if nd.foreign.same(&f) {
		return false
	}
	var devices uint64
	if nd.foreign != nil {
		devices = nd.foreign.devices
	}
	w.setForeign(n, f, devices)
	return true
}

// setForeign does so with devices that were held before.
func (w *World) setForeign(n NodeIx, f Foreign, devices uint64) {
	w.Epoch++
	for _, r := range f.Used {
		w.Res.Intern(r.Name)
	}
	w.Grow()
	nd := &w.Nodes[n]
	w.share(n, -1)
	w.settleForeign(n, -1)
	w.dropForeign(n)
	if len(f.Used)+len(f.Counts)+len(f.Avoids) > 0 {
		next := &foreign{Foreign: f, devices: devices}
		for _, t := range termsOf(f.Avoids) { // before it is there: a new term counts what is
			next.avoids = append(next.avoids, w.hold(t))
		}
		nd.foreign = next
	}
	w.settleForeign(n, 1)
	w.takeForeign(n, 1)
	w.share(n, 1)
	w.grew(nd.Class)
	w.touch(n)
}

// dropForeign forgets what others use, which is not counted any more.
func (w *World) dropForeign(n NodeIx) {
	w.takeForeign(n, -1)
	if f := w.Nodes[n].foreign; f != nil {
		w.Nodes[n].foreign = nil
		for _, t := range f.avoids {
			w.drop(t)
		}
	}
}

func (f *foreign) same(o *Foreign) bool {
	if f == nil {
		return len(o.Used)+len(o.Counts)+len(o.Avoids) == 0
	}
	return slices.Equal(f.Used, o.Used) && maps.Equal(f.Counts, o.Counts) && maps.Equal(f.Avoids, o.Avoids)
}

// takeForeign takes what others use out of what is free (1), or gives it back (-1),
// exactly: nothing that it depends on may change in between but the node's tasks.
func (w *World) takeForeign(n NodeIx, sign int32) {
	nd := &w.Nodes[n]
	f := nd.foreign
	if f == nil {
		return
	}
	if sign > 0 {
		f.list = w.typedList(f.Used, nd)
		f.devices = w.foreignDevices(n)
	}
	row := w.Free(n)
	for _, e := range f.list {
		row[e.Dim] = row[e.Dim].Sub(e.Amount.Mul(int64(sign)))
	}
	w.takeDevices(n, f.devices, sign*1000)
}

// typedList counts the GPUs of a list under the node's type too.
func (w *World) typedList(rs spec.Resources, nd *Node) amount.List {
	l := w.List(rs)
	if _, ok := l.Get(amount.GPU); ok && nd.HasType {
		l = w.withType(l, nd.Typed)
	}
	return l
}

// foreignDevices picks as many devices as others use, a part of one being all of it:
// those that they were taken to hold before, then free ones, then any.
func (w *World) foreignDevices(n NodeIx) (mask uint64) {
	f, dev := w.Nodes[n].foreign, w.Dev(n)
	gpu, _ := f.list.Get(amount.GPU)
	want := int(min(amount.Amount(len(dev)), (gpu+999)/1000))
	for _, fits := range [...]func(i int) bool{
		func(i int) bool { return f.devices&(1<<i) != 0 },
		func(i int) bool { return dev[i] == 1000 },
		func(int) bool { return true },
	} {
		for i := range dev {
			if bits.OnesCount64(mask) < want && fits(i) {
				mask |= 1 << i
			}
		}
	}
	return mask
}

// share adds what our jobs may have of a node, which is no less than nothing, to what
// the queues share (1), or takes it away (-1).
func (w *World) share(n NodeIx, sign int64) {
	nd := &w.Nodes[n]
	list := slices.Clone(nd.capacity)
	for i, e := range list {
		if nd.foreign != nil {
			used, _ := nd.foreign.list.Get(e.Dim)
			e.Amount = max(0, e.Amount.Sub(used))
		}
		list[i].Amount = e.Amount.Mul(sign)
	}
	w.Quota.AddCapacity(list)
}

// ForeignUse is what others use on a node, typed GPUs included, and the devices that
// they are taken to hold.
func (w *World) ForeignUse(n NodeIx) (list amount.List, devices uint64) {
	if f := w.Nodes[n].foreign; f != nil {
		return f.list, f.devices
	}
	return nil, 0
}

// idsOf lists the keys of counts in order.
func idsOf(counts map[string]int32) []string { return slices.Sorted(maps.Keys(counts)) }

// termsOf lists the keys of counts in order.
func termsOf(counts map[spec.Term]int32) []spec.Term {
	return slices.SortedFunc(maps.Keys(counts), compareTerms)
}

func compareTerms(a, b spec.Term) int {
	return cmp.Or(strings.Compare(a.ID, b.ID), strings.Compare(a.Topology, b.Topology))
}
