package victim

import (
	"slices"

	"github.com/musterhq/muster/builtin/plan"
	"github.com/musterhq/muster/builtin/quota"
	"github.com/musterhq/muster/builtin/world"
)

// refusal is a search that found nobody. Until the world changes, every job that
// asks for the same, from the same place in the quota tree, gets the same answer.
type refusal struct {
	rule     plan.Rule
	shape    string
	priority int64
	chain    quota.Chain
	reason   string
}

// memo keeps the refusals since the world last changed.
type memo struct {
	refusals []refusal
	cursor   world.Cursor
	grown    uint64
}

func (m *memo) reset() {
	m.refusals = m.refusals[:0]
}

// recall returns the reason why an equal job was refused, "" if none was.
func (m *memo) recall(w *world.World, j *world.Job, rule plan.Rule) string {
	if m.changed(w) {
		m.reset()
	}
	if !ordinary(j) {
		return ""
	}
	for i := range m.refusals {
		r := &m.refusals[i]
		if r.rule == rule && r.shape == j.Shape && r.priority == j.Spec.Priority && slices.Equal(r.chain, j.Chain) {
			return r.reason
		}
	}
	return ""
}

// note remembers a refusal. What the search itself tried and took back is no
// change.
func (m *memo) note(w *world.World, j *world.Job, rule plan.Rule, reason string) {
	m.changed(w)
	if ordinary(j) && len(m.refusals) < 256 {
		m.refusals = append(m.refusals, refusal{rule, j.Shape, j.Spec.Priority, j.Chain, reason})
	}
}

// changed says whether any node or any usage is not as it was at the last call.
func (m *memo) changed(w *world.World) bool {
	any := false
	ok := w.Touched(&m.cursor, func(world.NodeIx) { any = true })
	any = any || !ok || m.grown != w.Grown
	m.grown = w.Grown
	return any
}

// ordinary jobs have nothing of their own that could decide: no tasks yet, no
// nodes kept for them, no past.
func ordinary(j *world.Job) bool {
	return int(j.Waiting) == len(j.Tasks) && j.Reserved == 0 && j.Evicted == 0
}
