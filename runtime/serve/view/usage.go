package view

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/quota"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/builtin/world"
)

// How use over time is kept: every five seconds for two hours, and the means of minutes
// for a day.
const (
	FineStep   = 5 * spec.Second
	fineKept   = 1440
	CoarseStep = 60 * spec.Second
	coarseKept = 1440
	// maxSeries bounds the memory: 4,096 series are 90 MB at the most, and come into
	// being only where something was used.
	maxSeries = 4096
)

// seriesKey is a leaf queue, a resource, and what of it; the queue of the pool's capacity
// is "".
type seriesKey struct {
	queue, resource string
	of              series
}

// series says what a row has of a resource.
type series uint8

// What is measured is known of so much of what is used: a sample that nobody measured is
// 0 of 0, not idle.
const (
	inUse series = iota
	measuredUse
	busyUse
)

// useOverTime is what the leaves used over time.
type useOverTime struct {
	mu     *sync.Mutex
	fine   history
	coarse history
	sum    map[seriesKey]int64 // of the fine samples of one minute
	n      int64
	minute int64
}

func newUsage() useOverTime {
	return useOverTime{mu: &sync.Mutex{}, fine: newHistory(fineKept), coarse: newHistory(coarseKept), sum: map[seriesKey]int64{}}
}

// history is a ring of samples, one row of them per series.
type history struct {
	times []spec.Time
	next  int
	rows  map[seriesKey][]int64
}

func newHistory(kept int) history {
	return history{times: make([]spec.Time, 0, kept), rows: map[seriesKey][]int64{}}
}

// add makes room for one sample of every series, at first zero, and returns its place.
func (h *history) add(now spec.Time) int {
	at := h.next
	if len(h.times) < cap(h.times) {
		h.times = append(h.times, now)
	} else {
		h.times[at] = now
	}
	h.next = (at + 1) % cap(h.times)
	for k, row := range h.rows {
		row[at] = 0
		if h.next == 0 && !slices.ContainsFunc(row, func(v int64) bool { return v != 0 }) {
			delete(h.rows, k) // nothing was used as far back as is kept
		}
	}
	return at
}

func (h *history) set(k seriesKey, at int, v int64) {
	row := h.rows[k]
	if row == nil {
		if v == 0 || len(h.rows) >= maxSeries {
			return
		}
		row = make([]int64, cap(h.times))
		h.rows[k] = row
	}
	row[at] = v
}

// each calls f for the samples from a time on, oldest first.
func (h *history) each(since spec.Time, f func(at int)) {
	n := len(h.times)
	for i := range n {
		at := (h.next + i) % n
		if n < cap(h.times) {
			at = i
		}
		if h.times[at] >= since {
			f(at)
		}
	}
}

func (h *history) oldest() (spec.Time, bool) {
	switch {
	case len(h.times) == 0:
		return 0, false
	case len(h.times) < cap(h.times):
		return h.times[0], true
	default:
		return h.times[h.next], true
	}
}

// sample notes what the leaves use, and what is measured of queues, if anything is. It
// runs on the loop's goroutine.
func (u *useOverTime) sample(w *world.World, now spec.Time, measured []Queue) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if minute := now / CoarseStep; minute != u.minute {
		u.flush()
		u.minute = minute
	}
	at := u.fine.add(now)
	u.n++
	note := func(k seriesKey, v amount.Amount) {
		u.fine.set(k, at, int64(v))
		if v != 0 {
			u.sum[k] += int64(v)
		}
	}
	for i := range measured {
		noteMeasured(&measured[i], note)
	}
	names := w.Res.Names()
	for d, v := range w.Quota.Capacity() {
		note(seriesKey{resource: names[d]}, v)
	}
	for q := range w.Quota.Queues {
		if !w.Quota.Queues[q].Leaf {
			continue
		}
		for d, v := range w.Quota.Used(quota.Account(q)) {
			note(seriesKey{w.Quota.Queues[q].Path, names[d], inUse}, v)
		}
	}
}

func noteMeasured(q *Queue, note func(seriesKey, amount.Amount)) {
	for _, r := range q.Resources {
		if m := r.Measured; q.Leaf && m != nil {
			note(seriesKey{q.Path, r.Resource, measuredUse}, amount.Amount(r.Used-m.Unknown))
			note(seriesKey{q.Path, r.Resource, busyUse}, amount.Amount(m.Busy))
		}
	}
}

// flush writes the means of the minute that is over.
func (u *useOverTime) flush() {
	if u.n == 0 {
		return
	}
	at := u.coarse.add(u.minute * CoarseStep)
	for k, v := range u.sum {
		u.coarse.set(k, at, v/u.n)
	}
	clear(u.sum)
	u.n = 0
}

// Usage is the use of one resource over time.
type Usage struct {
	Resource string `json:"resource"`
	// Step is the time between two samples, in seconds; a sample that is missing was not
	// taken (another process was the leader).
	Step     int64         `json:"step_s"`
	Times    []int64       `json:"times"` // seconds since the Unix epoch
	Capacity []int64       `json:"capacity"`
	Queues   []UsageSeries `json:"queues"` // the leaves that used anything, by path
}

// UsageSeries is what one leaf used at the times, in base units. Of what is Measured of
// it, so much was Busy; both are absent of what never was.
type UsageSeries struct {
	Queue    string  `json:"queue"`
	Used     []int64 `json:"used"`
	Measured []int64 `json:"measured,omitempty"`
	Busy     []int64 `json:"busy,omitempty"`
}

// Usage returns the use of a resource since a time, of leaves in the subtree of under
// (all, if that is ""). Two hours and less come in steps of five seconds.
func (r *Recorder) Usage(resource string, since time.Time, under string) Usage {
	u := &r.usage
	u.mu.Lock()
	defer u.mu.Unlock()
	h, step := &u.fine, FineStep
	if far, ok := u.coarse.oldest(); ok {
		if near, has := u.fine.oldest(); has && since.UnixNano() < near && far < near {
			h, step = &u.coarse, CoarseStep
		}
	}
	out := Usage{Resource: resource, Step: step / spec.Second, Times: []int64{}, Capacity: []int64{}, Queues: []UsageSeries{}}
	var places []int
	h.each(since.UnixNano(), func(at int) {
		places = append(places, at)
		out.Times = append(out.Times, h.times[at]/spec.Second)
	})
	leaves := map[string]*UsageSeries{}
	for k, row := range h.rows {
		if k.resource != resource || k.queue != "" && under != "" && k.queue != under && !strings.HasPrefix(k.queue, under+".") {
			continue
		}
		values := make([]int64, len(places))
		for i, at := range places {
			values[i] = row[at]
		}
		if k.queue == "" {
			out.Capacity = values
			continue
		}
		if leaves[k.queue] == nil {
			leaves[k.queue] = &UsageSeries{Queue: k.queue}
		}
		leaves[k.queue].fill(k.of, values)
	}
	for _, s := range leaves {
		if s.Used != nil { // what was measured a little before it was used no more
			out.Queues = append(out.Queues, *s)
		}
	}
	slices.SortFunc(out.Queues, func(a, b UsageSeries) int { return strings.Compare(a.Queue, b.Queue) })
	return out
}

func (s *UsageSeries) fill(of series, values []int64) {
	switch of {
	case inUse:
		s.Used = values
	case measuredUse:
		s.Measured = values
	case busyUse:
		s.Busy = values
	}
}
