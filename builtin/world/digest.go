package world

import (
	"fmt"
	"slices"
	"strings"

	"github.com/musterhq/muster/builtin/quota"
	"github.com/musterhq/muster/builtin/spec"
)

// Digest writes down everything a decision can depend on, the same for two worlds
// that are equal whatever way they came to be. Tests compare it; it is not fast.
func (w *World) Digest() string {
	var b strings.Builder
	for _, n := range w.Order() {
		nd := &w.Nodes[n]
		if !nd.Present && nd.head == nil {
			continue
		}
		fmt.Fprintf(&b, "node %s cordoned=%v free=%v dev=%v full=%d", nd.Name, nd.Cordoned, w.Free(n), w.Dev(n), w.full[n])
		if nd.ReservedFor != nil {
			fmt.Fprintf(&b, " reserved=%s", nd.ReservedFor.Spec.ID)
		}
		for _, t := range w.TasksOn(n) {
			fmt.Fprintf(&b, " %s/%d", t.Job.Spec.ID, t.Index)
		}
		b.WriteByte('\n')
	}
	for _, j := range w.Jobs() {
		fmt.Fprintf(&b, "job %s queue=%d placed=%d waiting=%d claiming=%d reserved=%d", j.Spec.ID, j.Queue, j.Placed, j.Waiting, j.Claiming, j.Reserved)
		for i := range j.Tasks {
			t := &j.Tasks[i]
			if t.State != Pending {
				fmt.Fprintf(&b, " %d:%s@%s,%x,%d", t.Index, t.State, w.nodeName(t.Node), t.Dev, t.Since)
			}
		}
		b.WriteByte('\n')
	}
	for q := range w.Quota.Queues {
		a := quota.Account(q)
		running, _ := w.Quota.Apps(a)
		fmt.Fprintf(&b, "queue %s used=%v guaranteed=%v apps=%d", w.Quota.Queues[q].Path, w.Quota.Used(a), w.Quota.Guaranteed(quota.Q(q)), running)
		for _, j := range w.pending[q] {
			if j.Waiting > 0 {
				fmt.Fprintf(&b, " %s", j.Spec.ID)
			}
		}
		b.WriteByte('\n')
	}
	claims := slices.Clone(w.claims)
	slices.SortFunc(claims, CompareJobs)
	for _, j := range claims {
		fmt.Fprintf(&b, "claim %s\n", j.Spec.ID)
	}
	return b.String()
}

// nodeName is what a node is known by outside; its index depends on when it came.
func (w *World) nodeName(n NodeIx) string {
	if n == NoNode {
		return "-"
	}
	return w.Nodes[n].Name
}

// pair is a preemptor and its victim.
type pair struct{ by, of string }

// NoteEviction remembers that one job was evicted for another. It is called when
// the eviction is committed, and is no part of a what-if.
func (w *World) NoteEviction(by, of string, now spec.Time) {
	if w.feuds == nil {
		w.feuds = map[pair]spec.Time{}
	}
	w.feuds[pair{by, of}] = now
}

// Frozen says whether two jobs have each evicted the other: from then on neither
// may evict the other again.
func (w *World) Frozen(a, b string) bool {
	_, ab := w.feuds[pair{a, b}]
	_, ba := w.feuds[pair{b, a}]
	return ab && ba
}

// forgetFeuds drops what a job that is gone did to others.
func (w *World) forgetFeuds(id string) {
	for p := range w.feuds {
		if p.by == id || p.of == id {
			delete(w.feuds, p)
		}
	}
}

// Feuding says whether any job has evicted another that still exists.
func (w *World) Feuding() bool { return len(w.feuds) > 0 }
