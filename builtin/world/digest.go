package world

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/musterhq/muster/builtin/amount"
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
		fmt.Fprintf(&b, "node %s cordoned=%v free=%s dev=%v full=%d", nd.Name, nd.Cordoned, w.amounts(w.Free(n), 0), w.Dev(n), w.full[n])
		w.digestClass(&b, nd.Class)
		if nd.ReservedFor != nil {
			fmt.Fprintf(&b, " reserved=%s", nd.ReservedFor.Spec.ID)
		}
		if f := nd.foreign; f != nil {
			fmt.Fprintf(&b, " others=%v,%x", f.Used, f.devices)
			for _, id := range idsOf(f.Counts) {
				fmt.Fprintf(&b, ",%s=%d", id, f.Counts[id])
			}
			for _, t := range termsOf(f.Avoids) {
				fmt.Fprintf(&b, ",!%s@%s=%d", t.ID, t.Topology, f.Avoids[t])
			}
		}
		for _, t := range w.TasksOn(n) {
			fmt.Fprintf(&b, " %s/%d", t.Job.Spec.ID, t.Index)
		}
		b.WriteByte('\n')
	}
	for _, j := range w.Jobs() {
		fmt.Fprintf(&b, "job %s queue=%s placed=%d waiting=%d claiming=%d reserved=%d", j.Spec.ID, w.Quota.Queues[j.Queue].Path, j.Placed, j.Waiting, j.Claiming, j.Reserved)
		for i := range j.Groups {
			g := &j.Groups[i]
			fmt.Fprintf(&b, " %d/%d", g.Min, g.Size)
			if g.Released+g.Absent > 0 {
				fmt.Fprintf(&b, "-%d-%d", g.Released, g.Absent)
			}
		}
		for i := range j.Tasks {
			t := &j.Tasks[i]
			if t.State != Pending {
				fmt.Fprintf(&b, " %d:%s@%s,%x,%d", t.Index, t.State, w.nodeName(t.Node), t.Dev, t.Since)
				if t.kept {
					b.WriteString(",kept")
				}
			}
		}
		j.digestPast(&b)
		b.WriteByte('\n')
	}
	for q := range w.Quota.Queues {
		a := quota.Account(q)
		running, _ := w.Quota.Apps(a)
		fmt.Fprintf(&b, "queue %s used=%s guaranteed=%s apps=%d", w.Quota.Queues[q].Path,
			w.amounts(w.Quota.Used(a), 0), w.amounts(w.Quota.Guaranteed(quota.Q(q)), quota.Unset), running)
		w.digestKept(&b, a)
		for _, j := range w.pending[q] {
			if j.Waiting > 0 {
				fmt.Fprintf(&b, " %s", j.Spec.ID)
			}
		}
		b.WriteByte('\n')
	}
	w.digestPlaces(&b)
	claims := slices.Clone(w.claims)
	slices.SortFunc(claims, CompareJobs)
	for _, j := range claims {
		fmt.Fprintf(&b, "claim %s until %d\n", j.Spec.ID, j.ClaimExpiry)
	}
	w.digestNotices(&b)
	return b.String()
}

// amounts writes a row by name of its resources, without those that are as they would be
// if nobody had heard of them.
func (w *World) amounts(row []amount.Amount, unheard amount.Amount) string {
	var parts []string
	for d, a := range row {
		if a != unheard {
			parts = append(parts, fmt.Sprintf("%s:%d", w.Res.Name(amount.Dim(d)), a))
		}
	}
	slices.Sort(parts)
	return fmt.Sprint(parts)
}

// digestClass tells what tasks ask of a node beside room.
func (w *World) digestClass(b *strings.Builder, id ClassID) {
	c := &w.Classes[id]
	fmt.Fprintf(b, " type=%q labels=%v taints=%v", c.GPUType, sortedPairs(c.Labels), c.Taints)
}

// digestPast tells what else is remembered of a job and counts.
func (j *Job) digestPast(b *strings.Builder) {
	fmt.Fprintf(b, " priority=%d judged=%q refused=%q", j.Spec.Priority, j.Judged, j.Refused)
	if j.Only != nil {
		fmt.Fprintf(b, " only=%q", j.Only)
	}
	fmt.Fprintf(b, " attempts=%d evicted=%d waits=%d blocked=%d saved=%d kept-until=%d stayed=%d woke=%d",
		j.Attempts, j.Evicted, j.Waits, j.Blocked, j.Checkpoint, j.ReservedUntil, j.Stayed, j.Woke)
}

// digestNotices tells who is to go, in order of (submit, id), and who has evicted whom.
func (w *World) digestNotices(b *strings.Builder) {
	list := slices.Clone(w.Notices)
	slices.SortFunc(list, func(x, y Notice) int {
		return cmp.Or(CompareJobs(x.Job, y.Job), cmp.Compare(firstOf(x.Tasks), firstOf(y.Tasks)))
	})
	for _, n := range list {
		fmt.Fprintf(b, "notice %s for=%s until=%d saved=%v idle=%d missing=%d", n.Job.Spec.ID, n.For, n.Deadline, n.Saved, n.IdleAfter, n.Missing)
		for _, t := range n.Tasks {
			fmt.Fprintf(b, " %d", t.Index)
		}
		b.WriteByte('\n')
	}
	feuds := slices.SortedFunc(maps.Keys(w.feuds), func(x, y pair) int {
		return cmp.Or(strings.Compare(x.by, y.by), strings.Compare(x.of, y.of))
	})
	for _, p := range feuds {
		fmt.Fprintf(b, "feud %s evicted %s\n", p.by, p.of)
	}
}

func firstOf(tasks []*Task) int32 {
	if len(tasks) == 0 {
		return -1
	}
	return tasks[0].Index
}

// digestKept tells what is kept in an account, if anything is.
func (w *World) digestKept(b *strings.Builder, a quota.Account) {
	for d := range w.r {
		if kept := w.Quota.Kept(a, amount.Dim(d)); kept != 0 {
			fmt.Fprintf(b, " kept %s=%d", w.Res.Name(amount.Dim(d)), kept)
		}
	}
	if n := w.Quota.KeptApps(a); n != 0 {
		fmt.Fprintf(b, " keptapps=%d", n)
	}
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

// Frozen says whether a has evicted b, and b has evicted a, itself or through others
// (b evicted c, and c evicted a): from then on a may not evict b again, so that
// evictions never go round in circles.
func (w *World) Frozen(a, b string) bool {
	if _, ab := w.feuds[pair{a, b}]; !ab {
		return false
	}
	edges := make([]pair, 0, len(w.feuds))
	for p := range w.feuds { // in any order: asked is only whether there is a way
		edges = append(edges, p)
	}
	slices.SortFunc(edges, func(x, y pair) int {
		return cmp.Or(strings.Compare(x.by, y.by), strings.Compare(x.of, y.of))
	})
	reached := map[string]bool{b: true}
	for next := []string{b}; len(next) > 0; next = next[1:] {
		i, _ := slices.BinarySearchFunc(edges, next[0], func(p pair, by string) int { return strings.Compare(p.by, by) })
		for ; i < len(edges) && edges[i].by == next[0]; i++ {
			if edges[i].of == a {
				return true
			}
			if !reached[edges[i].of] {
				reached[edges[i].of] = true
				next = append(next, edges[i].of)
			}
		}
	}
	return false
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
