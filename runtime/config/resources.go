package config

import (
	"cmp"
	"slices"

	"github.com/musterhq/muster/builtin/amount"
)

// ceiling is a max with the queue that set it; the smallest on a path rules.
type ceiling struct {
	rawAmount
	owner *rawQueue
}

// ceilings is sorted by name.
type ceilings []ceiling

func (c ceilings) get(name string) (ceiling, bool) {
	i, ok := slices.BinarySearchFunc(c, name, func(e ceiling, n string) int { return cmp.Compare(e.name, n) })
	if !ok {
		return ceiling{}, false
	}
	return c[i], true
}

// below returns the ceilings inside q: its own max where it is smaller.
func (c ceilings) below(q *rawQueue) ceilings {
	if len(q.max.entries) == 0 {
		return c
	}
	out := slices.Clone(c)
	for _, e := range q.max.entries {
		i, ok := slices.BinarySearchFunc(out, e.name, func(e ceiling, n string) int { return cmp.Compare(e.name, n) })
		switch {
		case !ok:
			out = slices.Insert(out, i, ceiling{e, q})
		case e.amount < out[i].amount:
			out[i] = ceiling{e, q}
		}
	}
	return out
}

// resourceCheck is YuniKorn's checkQueueResource, for all queues at once. A
// resource that one side does not mention is not compared.
type resourceCheck struct {
	report *report
	// told has the ceilings that are known to be below their children's sum: the
	// queues above would only repeat it.
	told map[ceilingKey]bool
}

type ceilingKey struct {
	owner *rawQueue
	name  string
}

func checkResources(r *report, root *rawQueue) {
	c := &resourceCheck{r, map[ceilingKey]bool{}}
	c.visit(root, nil)
}

// visit returns what the queue counts for in its parent's sum of guarantees: its
// own guarantee or, if it has none, the sum of its children's.
func (c *resourceCheck) visit(q *rawQueue, above ceilings) []rawAmount {
	checkOwnResources(c.report, q.path, q)
	for _, e := range q.max.entries {
		if top, ok := above.get(e.name); ok && e.amount > top.amount {
			c.report.errorf(e.at, CodeMaxAboveParent, "a child can't have more than its parent; lower this or raise the parent",
				"max %s of queue %s is above the max %s of %s", show(e), q.path, show(top.rawAmount), top.owner.path)
		}
	}
	inside := above.below(q)
	var sum []rawAmount
	for _, child := range q.children {
		sum = addAmounts(sum, c.visit(child, inside))
	}
	c.compareSum(q, sum, inside)
	if q.guaranteed.zero() {
		return sum
	}
	return q.guaranteed.entries
}

func (c *resourceCheck) compareSum(q *rawQueue, sum []rawAmount, inside ceilings) {
	for _, s := range sum {
		if g, ok := q.guaranteed.get(s.name); ok && s.amount > g.amount {
			c.report.errorf(g.at, CodeChildrenAboveParent, "raise it, or lower the guarantees of the children",
				"guaranteed %s of queue %s is below the %s its children are guaranteed together", show(g), q.path, show(s))
		}
		top, ok := inside.get(s.name)
		key := ceilingKey{top.owner, s.name}
		if ok && s.amount > top.amount && !c.told[key] {
			c.told[key] = true
			c.report.errorf(top.at, CodeChildrenAboveMax, "raise the max, or lower the guarantees of the children",
				"max %s of queue %s is below the %s that the children of %s are guaranteed together",
				show(top.rawAmount), top.owner.path, show(s), q.path)
		}
	}
}

func checkOwnResources(r *report, path string, q *rawQueue) {
	for _, m := range q.max.entries {
		if g, ok := q.guaranteed.get(m.name); ok && g.amount > m.amount {
			r.errorf(m.at, CodeMaxBelowGuaranteed, "raise the max or lower the guarantee",
				"max %s of queue %s is below its guaranteed %s", show(m), path, show(g))
		}
	}
}

// show writes an amount with its name, "vcore 8".
func show(a rawAmount) string { return written(a.name) + " " + amount.Format(a.name, a.amount) }

// written is the name of a resource that YuniKorn knows too.
func written(name string) string {
	if name == amount.CPUName {
		return "vcore"
	}
	return name
}

// addAmounts merges two sets that are sorted by name.
func addAmounts(a, b []rawAmount) []rawAmount {
	out := make([]rawAmount, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		switch cmp.Compare(a[0].name, b[0].name) {
		case -1:
			out, a = append(out, a[0]), a[1:]
		case 1:
			out, b = append(out, b[0]), b[1:]
		default:
			e := a[0]
			e.amount = e.amount.Add(b[0].amount)
			out, a, b = append(out, e), a[1:], b[1:]
		}
	}
	return append(append(out, a...), b...)
}

// checkMaxApps compares maxapplications level by level: under a parent that has
// one, 0 would mean more than the parent's.
func checkMaxApps(r *report, q *rawQueue) {
	for _, c := range q.children {
		switch top, own := q.maxApps, c.maxApps; {
		case top.value == 0 || own.bad:
		case own.value == 0:
			at := own.at
			if at == (pos{}) {
				at = c.nameAt()
			}
			r.errorf(at, CodeMaxAppsMissing, "set maxapplications on every queue below one that has it",
				"queue %s has no maxapplications, but its parent %s has %d", c.path, q.path, top.value)
		case own.value > top.value:
			r.errorf(own.at, CodeMaxAppsAboveParent, "lower it, or raise the parent's",
				"maxapplications %d of queue %s is above the %d of its parent %s", own.value, c.path, top.value, q.path)
		}
		checkMaxApps(r, c)
	}
}
