package shadow

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/musterhq/muster/policies"
)

// maxExamples is how many differences are told one by one, maxQueues of how many queues.
const (
	maxExamples = 20
	maxQueues   = 100
)

// tally sums up a report.
type tally struct {
	r      Report
	queues []Queue // by row
}

func newTally(active, candidate policies.Info) *tally {
	t := &tally{}
	t.r.Active, t.r.Candidate = subject(active), subject(candidate)
	return t
}

func subject(i policies.Info) Subject { return Subject{i.Name, i.Version, i.Digest} }

// report copies what is known so far.
func (t *tally) report() Report {
	r := t.r
	r.Faults = slices.Clone(r.Faults)
	sortFaults(r.Faults)
	r.Examples = slices.Clone(r.Examples)
	for _, o := range []**Orders{&r.Jobs, &r.Victims} {
		if *o != nil {
			c := **o
			*o = &c
		}
	}
	if r.Queues != nil {
		q := *r.Queues
		q.Queues = t.differing()
		r.Queues = &q
	}
	return r
}

// differing lists the queues that differ, the most often first.
func (t *tally) differing() []Queue {
	out := slices.DeleteFunc(slices.Clone(t.queues), func(q Queue) bool { return q.Entitled+q.Ranked == 0 })
	slices.SortStableFunc(out, func(a, b Queue) int {
		return cmp.Compare(b.Entitled+b.Ranked, a.Entitled+a.Ranked)
	})
	return out[:min(len(out), maxQueues)]
}

// add takes one compared batch in. err is the candidate's failure.
func (t *tally) add(r *record, d *difference, err error, took, fuel int64, names *Names) {
	call := r.call()
	if t.r.First == 0 {
		t.r.First = call.Now
	}
	t.r.Last = call.Now
	t.r.Cost.Active.add(r.rows(), r.took, r.fuel)
	t.r.Cost.Candidate.add(r.rows(), took, fuel)
	switch {
	case err != nil:
		t.fault(err)
		return
	case r.failed:
		t.r.ActiveFailed++
		return
	}
	switch r.kind {
	case policies.JobOrder:
		if t.r.Jobs == nil {
			t.r.Jobs = newOrders()
		}
		t.r.Jobs.add(d)
	case policies.VictimCosts:
		if t.r.Victims == nil {
			t.r.Victims = newOrders()
		}
		t.r.Victims.add(d)
	default:
		t.addShares(r, d, names)
	}
	if d.different {
		t.example(r, d, names)
	}
}

func (r *record) call() policies.Call {
	switch r.kind {
	case policies.JobOrder:
		return r.jobs.Call
	case policies.QueueShares:
		return r.queues.Call
	}
	return r.victims.Call
}

func (r *record) rows() int {
	switch r.kind {
	case policies.JobOrder:
		return r.jobs.N
	case policies.QueueShares:
		return r.queues.N
	}
	return r.victims.N
}

func (t *tally) fault(err error) {
	code := policies.CodeOf(err)
	for i := range t.r.Faults {
		if f := &t.r.Faults[i]; f.Code == code {
			f.Count++
			f.Text = err.Error()
			return
		}
	}
	t.r.Faults = append(t.r.Faults, Fault{code, 1, err.Error()})
}

func (t *tally) addShares(r *record, d *difference, names *Names) {
	if t.r.Queues == nil {
		t.r.Queues = &Shares{}
	}
	t.r.Queues.Batches++
	if !d.different {
		return
	}
	t.r.Queues.Different++
	b := &r.queues
	for len(t.queues) < b.N {
		row := len(t.queues)
		t.queues = append(t.queues, Queue{Row: row, Name: names.queue(row)})
	}
	for i := range b.N {
		q := &t.queues[i]
		if r.active.rank[i] != r.other.rank[i] {
			q.Ranked++
		}
		if k := r.widest(i); k >= 0 {
			q.Entitled++
			q.Resource, q.Active, q.Shadow = b.Resources[k], r.active.entitled[i*b.R+k], r.other.entitled[i*b.R+k]
		}
	}
}

// widest is the resource in which a queue's entitlements differ most, in proportion to
// what the pool has of it; -1 if they do not differ.
func (r *record) widest(queue int) int {
	best, most := -1, 0.0
	for k := range r.queues.R {
		at := queue*r.queues.R + k
		d := float64(r.active.entitled[at]) - float64(r.other.entitled[at])
		if d < 0 {
			d = -d
		}
		d /= float64(max(r.queues.Capacity[k], 1))
		if d > most {
			best, most = k, d
		}
	}
	return best
}

// example tells the largest difference of a batch, and keeps it if it is one of the
// largest of all.
func (t *tally) example(r *record, d *difference, names *Names) {
	e := Example{Kind: r.kind.String(), At: r.call().Now, Cycle: r.call().Cycle}
	switch r.kind {
	case policies.JobOrder:
		e.Queue = r.jobs.Queue
		e.tell(r, d, func(row int32) string { return names.job(&r.jobs, row) })
		e.Text = e.Queue + ": " + e.Text
	case policies.VictimCosts:
		e.tell(r, d, func(row int32) string { return names.victim(&r.victims, row) })
		e.Text = "victims: " + e.Text
	default:
		e.tellShare(r, names)
	}
	at, _ := slices.BinarySearchFunc(t.r.Examples, e.weight, func(x Example, w float64) int { return cmp.Compare(w, x.weight) })
	for at < len(t.r.Examples) && t.r.Examples[at].weight == e.weight {
		at++ // the first of equal ones is kept
	}
	if at < maxExamples {
		t.r.Examples = slices.Insert(t.r.Examples, at, e)
		t.r.Examples = t.r.Examples[:min(len(t.r.Examples), maxExamples)]
	}
}

// tell puts the difference of two orders into words: who would be first, and which row
// would move farthest.
func (e *Example) tell(r *record, d *difference, name func(int32) string) {
	s := &r.scratch
	far, from := int32(0), 0
	for at, row := range s.mine {
		if distance(at, s.place[row]) > distance(from, s.place[far]) || at == 0 {
			far, from = row, at
		}
	}
	switch {
	case d.rows == 0:
	case d.moved == 0:
		e.Text = fmt.Sprintf("%d vetoed, %d no longer vetoed", d.vetoed, d.unvetoed)
	case d.first:
		leader := s.mine[0]
		for row, at := range s.place {
			if at == 0 {
				leader = int32(row)
			}
		}
		e.Text = fmt.Sprintf("%s first, not %s; %s from place %d to %d of %d",
			name(leader), name(s.mine[0]), name(far), from+1, s.place[far]+1, d.rows)
	default:
		e.Text = fmt.Sprintf("%s from place %d to %d of %d", name(far), from+1, s.place[far]+1, d.rows)
	}
	e.weight = float64(distance(from, s.place[far])) + float64(d.vetoed+d.unvetoed)
}

func distance(at int, place int32) int { return max(at-int(place), int(place)-at) }

func (e *Example) tellShare(r *record, names *Names) {
	row, most := -1, -1.0
	for i := range r.queues.N {
		w := 0.0
		if k := r.widest(i); k >= 0 {
			w = 1 + abs(float64(r.active.entitled[i*r.queues.R+k])-float64(r.other.entitled[i*r.queues.R+k]))/float64(max(r.queues.Capacity[k], 1))
		} else if r.active.rank[i] != r.other.rank[i] {
			w = 0.5
		}
		if w > most {
			row, most = i, w
		}
	}
	e.weight = most
	if k := r.widest(row); k >= 0 {
		at := row*r.queues.R + k
		e.Text = fmt.Sprintf("queue %s entitled to %d %s, not %d", names.queue(row), r.other.entitled[at], r.queues.Resources[k], r.active.entitled[at])
		return
	}
	e.Text = fmt.Sprintf("queue %s has rank %d, not %d", names.queue(row), r.other.rank[row], r.active.rank[row])
}

func abs(v float64) float64 { return max(v, -v) }

func (n *Names) job(b *policies.JobBatch, row int32) string {
	if n.Job != nil && int(row) < len(b.Serial) {
		if s := n.Job(b.Serial[row]); s != "" {
			return s
		}
	}
	return fmt.Sprintf("job in row %d", row)
}

func (n *Names) queue(row int) string {
	if n.Queue != nil {
		if s := n.Queue(row); s != "" {
			return s
		}
	}
	return fmt.Sprintf("row %d", row)
}

func (n *Names) victim(b *policies.VictimBatch, row int32) string {
	if n.Victim != nil {
		if s := n.Victim(b.Job[row], int(row)); s != "" {
			return s
		}
	}
	return fmt.Sprintf("unit %d of job %d", row, b.Job[row])
}
