package shadow

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/musterhq/muster/policies"
)

// Report says what a candidate would have decided differently, and its price.
type Report struct {
	Active    Subject `json:"active"`
	Candidate Subject `json:"candidate"`
	// First and Last are the times of the first and last batch compared, ns.
	First int64 `json:"first,omitempty"`
	Last  int64 `json:"last,omitempty"`

	Jobs    *Orders `json:"jobs,omitempty"`
	Queues  *Shares `json:"queues,omitempty"`
	Victims *Orders `json:"victims,omitempty"`

	// Faults are the candidate's failures, the most frequent first.
	Faults []Fault `json:"faults,omitempty"`
	// ActiveFailed counts the batches that the active policy did not answer: there was
	// nothing to compare with.
	ActiveFailed uint64 `json:"activeFailed,omitempty"`
	// Dropped counts the batches that came while the candidate was busy.
	Dropped uint64 `json:"dropped,omitempty"`
	Cost    Cost   `json:"cost"`
	// Examples are the largest differences found.
	Examples []Example `json:"examples,omitempty"`
}

// Subject names a policy.
type Subject struct {
	Name    string `json:"name"`
	Version string `json:"version,omitempty"`
	Digest  string `json:"digest"`
}

// Orders compares orders: of jobs, or of victims by their costs.
type Orders struct {
	Batches   uint64 `json:"batches"`
	Rows      uint64 `json:"rows"`
	Different uint64 `json:"different"` // batches with any difference
	Moved     uint64 `json:"moved"`     // rows at another place
	First     uint64 `json:"first"`     // batches whose first row would be another one
	// Tau is Kendall's rank correlation, the mean over batches of two rows and more: 1
	// is the same order, -1 the reverse. Worst is the lowest.
	Tau   float64 `json:"tau"`
	Worst float64 `json:"worstTau"`
	// Overlap is the part of the first Top rows that both have, the mean.
	Overlap  float64 `json:"topOverlap"`
	Vetoed   uint64  `json:"vetoed,omitempty"`   // units that only the candidate vetoes
	Unvetoed uint64  `json:"unvetoed,omitempty"` // units that only the active policy vetoes

	ranked uint64 // batches that Tau is the mean of
}

// Shares compares what queues are entitled to.
type Shares struct {
	Batches   uint64  `json:"batches"`
	Different uint64  `json:"different"`
	Queues    []Queue `json:"queues,omitempty"` // that differ, the most often first
}

// Queue is one queue whose share differs.
type Queue struct {
	Row      int    `json:"row"`
	Name     string `json:"name"`
	Entitled uint64 `json:"entitled"` // batches with another entitlement
	Ranked   uint64 `json:"ranked"`   // batches with another rank
	// Resource is where the last entitlements differed most, in base units.
	Resource string `json:"resource,omitempty"`
	Active   int64  `json:"active"`
	Shadow   int64  `json:"candidate"`
}

// Fault counts failures of one code.
type Fault struct {
	Code  policies.Code `json:"code"`
	Count uint64        `json:"count"`
	Text  string        `json:"text"` // of the last one
}

// Cost is what the calls took, of both.
type Cost struct {
	Active    Spent `json:"active"`
	Candidate Spent `json:"candidate"`
}

// Spent sums up calls.
type Spent struct {
	Calls   uint64 `json:"calls"`
	Rows    uint64 `json:"rows"`
	Nanos   int64  `json:"ns"`
	Longest int64  `json:"longestNs"`
	Fuel    int64  `json:"fuel,omitempty"`
}

// Example is one difference, in words.
type Example struct {
	Kind  string `json:"kind"`
	At    int64  `json:"at"` // time of the batch, ns
	Cycle uint64 `json:"cycle"`
	Queue string `json:"queue,omitempty"` // of a job order
	Text  string `json:"text"`

	weight float64
}

// Failures counts the candidate's failures that count against a policy, and others.
func (r *Report) Failures() (n uint64) {
	for _, f := range r.Faults {
		n += f.Count
	}
	return n
}

// Compared counts the batches that were compared.
func (r *Report) Compared() (n uint64) {
	for _, o := range []*Orders{r.Jobs, r.Victims} {
		if o != nil {
			n += o.Batches
		}
	}
	if r.Queues != nil {
		n += r.Queues.Batches
	}
	return n
}

// Differs counts the batches with any difference.
func (r *Report) Differs() (n uint64) {
	for _, o := range []*Orders{r.Jobs, r.Victims} {
		if o != nil {
			n += o.Different
		}
	}
	if r.Queues != nil {
		n += r.Queues.Different
	}
	return n
}

// JSON returns the report, indented.
func (r *Report) JSON() ([]byte, error) { return json.MarshalIndent(r, "", "  ") }

// WriteText writes the report for people.
func (r *Report) WriteText(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "candidate %s\nbeside    %s\n", r.Candidate, r.Active)
	fmt.Fprintf(&b, "%d batches compared, %d differ", r.Compared(), r.Differs())
	if r.Dropped+r.ActiveFailed > 0 {
		fmt.Fprintf(&b, "; %d came too fast and %d had no answer to compare with", r.Dropped, r.ActiveFailed)
	}
	b.WriteString("\n")
	r.Jobs.write(&b, "jobs", "job")
	r.Queues.write(&b)
	r.Victims.write(&b, "victims", "unit")
	for _, f := range r.Faults {
		fmt.Fprintf(&b, "failed  %d × %s: %s\n", f.Count, f.Code, f.Text)
	}
	r.Cost.write(&b)
	for _, e := range r.Examples {
		fmt.Fprintf(&b, "  cycle %d: %s\n", e.Cycle, e.Text)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (s Subject) String() string {
	return strings.TrimSpace(s.Name + " " + s.Version + " " + s.Digest)
}

func (o *Orders) write(b *strings.Builder, what, one string) {
	if o == nil {
		return
	}
	fmt.Fprintf(b, "%-7s %d of %d batches differ: %d of %d %ss at another place, %d times another one first; tau %.3f (worst %.3f), %.0f %% of the first %d the same",
		what, o.Different, o.Batches, o.Moved, o.Rows, one, o.First, o.Tau, o.Worst, 100*o.Overlap, Top)
	if o.Vetoed+o.Unvetoed > 0 {
		fmt.Fprintf(b, "; %d vetoed by the candidate only, %d by the active policy only", o.Vetoed, o.Unvetoed)
	}
	b.WriteString("\n")
}

func (s *Shares) write(b *strings.Builder) {
	if s == nil {
		return
	}
	fmt.Fprintf(b, "queues  %d of %d batches differ\n", s.Different, s.Batches)
	for _, q := range s.Queues {
		fmt.Fprintf(b, "  %s: entitled to something else %d times, other rank %d times", q.Name, q.Entitled, q.Ranked)
		if q.Resource != "" {
			fmt.Fprintf(b, "; last %s %d, not %d", q.Resource, q.Shadow, q.Active)
		}
		b.WriteString("\n")
	}
}

func (c Cost) write(b *strings.Builder) {
	for _, s := range []struct {
		who string
		Spent
	}{{"active", c.Active}, {"candidate", c.Candidate}} {
		if s.Calls == 0 {
			continue
		}
		fmt.Fprintf(b, "cost    %-9s %s a call, longest %s", s.who, time.Duration(s.Nanos/int64(s.Calls)), time.Duration(s.Longest))
		if s.Fuel > 0 {
			fmt.Fprintf(b, ", %d fuel a call", s.Fuel/int64(s.Calls))
		}
		b.WriteString("\n")
	}
}

func (s *Spent) add(rows int, took, fuel int64) {
	s.Calls++
	s.Rows += uint64(rows)
	s.Nanos += took
	s.Longest = max(s.Longest, took)
	s.Fuel += fuel
}

// mean takes one more value into a mean over n values.
func mean(old, v float64, n uint64) float64 { return old + (v-old)/float64(n) }

func (o *Orders) add(d *difference) {
	o.Batches++
	o.Rows += uint64(d.rows)
	o.Moved += uint64(d.moved)
	o.Vetoed += uint64(d.vetoed)
	o.Unvetoed += uint64(d.unvetoed)
	if d.different {
		o.Different++
	}
	if d.first {
		o.First++
	}
	o.Overlap = mean(o.Overlap, d.overlap, o.Batches)
	if d.rows > 1 {
		o.ranked++
		o.Tau = mean(o.Tau, d.tau, o.ranked)
		o.Worst = math.Min(o.Worst, d.tau)
	}
}

// newOrders starts at "no difference seen".
func newOrders() *Orders { return &Orders{Tau: 1, Worst: 1, Overlap: 1} }

func sortFaults(fs []Fault) {
	slices.SortStableFunc(fs, func(a, b Fault) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Code, b.Code))
	})
}
