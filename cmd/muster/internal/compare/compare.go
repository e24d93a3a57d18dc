// Package compare finds where two runs of one trace first decide differently.
//
// Plans also say who decided and why jobs wait. Both may differ without any job
// being treated differently, so only decisions are compared: what starts where,
// what is claimed, reserved, evicted and ended.
package compare

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/musterhq/muster/builtin/plan"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/runtime/sim"
	"github.com/musterhq/muster/runtime/sim/trace"
)

// Decision identifies the decisions of one cycle that decided something.
type Decision struct {
	Now    spec.Time
	Digest [16]byte
}

// Of is the decisions of a plan; ok is false if there are none.
func Of(p *plan.Plan) (d Decision, ok bool) {
	if p.Empty() {
		return d, false
	}
	h := sha256.New()
	enc := json.NewEncoder(h)
	only := plan.Plan{Now: p.Now, Claims: p.Claims, Ends: p.Ends, Stays: p.Stays, Reserved: p.Reserved}
	for _, b := range p.Binds {
		b.Borrowed = false // says whose the place is, not which
		only.Binds = append(only.Binds, b)
	}
	for _, e := range p.Evictions {
		e.Policy, e.Cost, e.Alternatives, e.Candidates = "", 0, 0, 0
		only.Evictions = append(only.Evictions, e)
	}
	if err := enc.Encode(only); err != nil { // only unsupported types fail, and a Plan has none
		panic(err)
	}
	d.Now = p.Now
	copy(d.Digest[:], h.Sum(nil))
	return d, true
}

// First is the number of the first decision that differs, -1 if none does.
func First(a, b []Decision) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	if len(a) != len(b) {
		return min(len(a), len(b))
	}
	return -1
}

// Lines are two runs' decisions at the first difference: the first line of each
// plan that differs, and when. A line is "" where a plan has no more, or a run no
// such plan.
type Lines struct {
	Now  spec.Time // of the earlier of the two plans
	A, B string
	// ATime and BTime are when each plan was made; they differ when one of the runs
	// decided nothing at Now.
	ATime, BTime spec.Time
}

// Player plays a run again, up to a time, and shows each plan.
type Player func(ctx context.Context, until spec.Time, observe func(sim.Observation)) error

// Again is a Player for a trace and options.
func Again(tr *trace.Trace, o sim.Options) Player {
	return func(ctx context.Context, until spec.Time, observe func(sim.Observation)) error {
		o.Until, o.Observe, o.Progress = until+1, observe, nil
		_, err := sim.Run(ctx, tr, o)
		return err
	}
}

// Explain plays two runs again up to their first difference, the k-th decision of
// each, and takes the lines that differ.
func Explain(ctx context.Context, k int, a, b []Decision, playA, playB Player) (Lines, error) {
	textA, err := textOf(ctx, k, a, playA)
	if err != nil {
		return Lines{}, err
	}
	textB, err := textOf(ctx, k, b, playB)
	if err != nil {
		return Lines{}, err
	}
	var l Lines
	l.A, l.B = firstDifference(textA, textB)
	l.ATime, l.BTime = timeOf(k, a), timeOf(k, b)
	if l.A == l.B && l.ATime == l.BTime { // the text names nodes, not devices
		l.A, l.B = l.A+" (on some devices)", l.B+" (on other devices)"
	}
	switch {
	case k >= len(a):
		l.Now = l.BTime
	case k >= len(b):
		l.Now = l.ATime
	default:
		l.Now = min(l.ATime, l.BTime)
	}
	return l, nil
}

func timeOf(k int, d []Decision) spec.Time {
	if k >= len(d) {
		return 0
	}
	return d[k].Now
}

// textOf is the k-th deciding plan of a run without its remarks.
func textOf(ctx context.Context, k int, d []Decision, play Player) (string, error) {
	if k >= len(d) {
		return "", nil
	}
	var text bytes.Buffer
	n := 0
	err := play(ctx, d[k].Now, func(o sim.Observation) {
		if o.Plan.Empty() {
			return
		}
		if n == k {
			p := *o.Plan
			p.Pending, p.Events = nil, nil
			p.Text(&text)
		}
		n++
	})
	if err == nil && n <= k {
		err = fmt.Errorf("playing the run again gave %d decisions, not %d: it is not deterministic", n, k+1)
	}
	return text.String(), err
}

func firstDifference(a, b string) (string, string) {
	as, bs := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range max(len(as), len(bs)) {
		var la, lb string
		if i < len(as) {
			la = as[i]
		}
		if i < len(bs) {
			lb = bs[i]
		}
		if la != lb {
			return la, lb
		}
	}
	return as[0], bs[0]
}
