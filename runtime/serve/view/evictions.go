package view

import (
	"time"

	"github.com/musterhq/muster/builtin/plan"
	"github.com/musterhq/muster/builtin/spec"
)

// Eviction is one victim unit that was evicted, or was given notice, and why.
type Eviction struct {
	Number uint64    `json:"number"` // counted from 1
	At     time.Time `json:"at"`
	Job    string    `json:"job"`
	Queue  string    `json:"queue"`
	Tasks  []int32   `json:"tasks"`
	Whole  bool      `json:"whole"` // the job has nothing left after it
	For    string    `json:"for"`   // the job that gets the room
	Rule   string    `json:"rule"`  // reclaim, straddle or priority
	// Deadline is when its notice ends, if it was given one; Ended when it was ended, and
	// Saved that it had checkpointed by then.
	Deadline time.Time `json:"deadline,omitzero"`
	Ended    time.Time `json:"ended,omitzero"`
	Saved    bool      `json:"saved,omitempty"`
	// Idle is for how long its GPUs had done nothing, if it was chosen for that. Such a one
	// is withdrawn if it wakes up before the deadline: then Stayed says when, StayedFor why
	// (woke, unknown, unneeded).
	Idle      int64     `json:"idle_ms,omitempty"`
	Stayed    time.Time `json:"stayed,omitzero"`
	StayedFor string    `json:"stayed_reason,omitempty"`
	Policy    string    `json:"policy"` // that priced it: name@version digest
	Cost      int64     `json:"cost"`   // by that policy
	// AlternativeCost is that of the cheapest set that was found and not taken, 0 if none.
	AlternativeCost int64 `json:"alternative_cost,omitempty"`
	Candidates      int   `json:"candidates"` // units that could have been taken
	Protected       int   `json:"protected,omitempty"`
	GPUs            int64 `json:"gpu_milli"`
	// LostMS is the GPU time held since the start or the last checkpoint, idle or not, in
	// GPU-milliseconds: what is lost unless it stays, or saves its work in time.
	LostMS int64 `json:"lost_gpu_ms"`
}

// waits says whether it is under notice.
func (e *Eviction) waits() bool {
	return e.Ended.IsZero() && e.Stayed.IsZero() && !e.Deadline.IsZero()
}

// Sentence says the eviction to a person.
func (e *Eviction) Sentence() string {
	return evictionText(e)
}

func evictionOf(e *plan.Eviction, now spec.Time) Eviction {
	v := Eviction{
		At: stamp(now), Job: e.Job, Queue: e.Queue, Tasks: append([]int32(nil), e.Tasks...), Whole: e.Whole, For: e.For, Rule: string(e.Rule),
		Policy: e.Policy, Cost: e.Cost, AlternativeCost: e.Alternatives, Candidates: e.Candidates, Protected: e.Protected,
		GPUs: e.GPUs, LostMS: e.LostMS, Idle: e.Idle / 1e6,
	}
	if e.Notify || e.Idle > 0 {
		v.Deadline = stamp(e.Deadline)
	}
	return v
}

// Event is something people should know that is no decision.
type Event struct {
	Number uint64    `json:"number"`
	At     time.Time `json:"at"`
	Code   string    `json:"code"`
	Job    string    `json:"job,omitempty"`
	Text   string    `json:"text"`
}

// ring keeps the newest elements.
type ring[T any] struct {
	items []T
	next  int
	total uint64
}

func newRing[T any](size int) ring[T] { return ring[T]{items: make([]T, 0, size)} }

// add keeps an element in place of the oldest.
func (r *ring[T]) add(v T) {
	r.total++
	if len(r.items) < cap(r.items) {
		r.items = append(r.items, v)
		return
	}
	r.items[r.next] = v
	r.next = (r.next + 1) % len(r.items)
}

// newest calls f from the newest to the oldest until f says false.
func (r *ring[T]) newest(f func(*T) bool) {
	for i := range r.items {
		at := (r.next - 1 - i + 2*len(r.items)) % len(r.items)
		if !f(&r.items[at]) {
			return
		}
	}
}

func (r *ring[T]) list() []T {
	out := make([]T, 0, len(r.items))
	r.newest(func(v *T) bool { out = append(out, *v); return true })
	return out
}
