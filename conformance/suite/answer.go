package suite

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/musterhq/muster/conformance/suite/gen"
	"github.com/musterhq/muster/policies"
)

// answer is what a policy said to one batch.
type answer struct {
	err  error
	code policies.Code // "" if err is nil

	keys           [][]int64 // of a job order
	entitled, rank []int64   // of queue shares
	cost           []int64   // of victims
	veto           []int64
	reason         []int64
}

// fillers are what output columns hold before a call: a policy must overwrite it.
var fillers = [2]int64{-7, 1 << 40}

// ask makes one call. The batch's inputs are lent to the policy as they are. A policy in
// Go that panics has trapped.
func ask(ctx context.Context, p policies.Policy, b gen.Batch, filler int64) (a answer) {
	in := p.Info()
	defer func() {
		if v := recover(); v != nil {
			a = answer{code: policies.CodeTrap, err: &policies.CallError{
				Policy: in.Name, Kind: b.Kind(), Code: policies.CodeTrap, Detail: fmt.Sprint("panic: ", v),
			}}
		}
	}()
	switch {
	case b.Jobs != nil:
		j := *b.Jobs
		for k := range j.Keys {
			j.Keys[k] = filled(j.N, filler)
		}
		j.NKeys = 0
		if len(in.Reasons) > 0 {
			j.Reason = make([]uint32, j.N)
		}
		if a.err = p.ScoreJobs(ctx, &j); a.err == nil {
			a.err = a.jobs(&j, len(in.Reasons))
		}
	case b.Queues != nil:
		q := *b.Queues
		q.Entitled, q.Rank = filled(q.N*q.R, filler), filled(q.N, filler)
		a.err = p.Entitle(ctx, &q)
		a.entitled, a.rank = q.Entitled, q.Rank
		if a.err == nil {
			a.err = cmp.Or(within("queue.entitled", q.Entitled, q.N*q.R, 0), within("queue.rank", q.Rank, q.N, 0))
		}
	case b.Victims != nil:
		v := *b.Victims
		v.Cost, v.Veto = filled(v.N, filler), make([]uint8, v.N)
		for i := range v.Veto {
			v.Veto[i] = uint8(filler & 0x7f)
		}
		if len(in.Reasons) > 0 {
			v.Reason = make([]uint32, v.N)
		}
		if a.err = p.CostVictims(ctx, &v); a.err == nil {
			a.err = a.victims(&v, len(in.Reasons))
		}
	}
	if a.err != nil {
		a.code = policies.CodeOf(a.err)
		if errors.Is(a.err, errOutput) {
			a.code = policies.CodeBadOutput
		}
	}
	return a
}

func filled(n int, v int64) []int64 {
	out := make([]int64, n)
	for i := range out {
		out[i] = v
	}
	return out
}

// errOutput is an answer that the host would not take.
var errOutput = errors.New("answer out of range")

func (a *answer) jobs(b *policies.JobBatch, reasons int) error {
	if b.NKeys < 1 || b.NKeys > policies.MaxKeys {
		return fmt.Errorf("%w: %d keys, want 1 to %d", errOutput, b.NKeys, policies.MaxKeys)
	}
	for k, column := range b.Keys[:b.NKeys] {
		if len(column) < b.N {
			return fmt.Errorf("%w: key %d has %d rows of %d", errOutput, k, len(column), b.N)
		}
		a.keys = append(a.keys, column[:b.N])
	}
	return a.reasons("job.reason", b.Reason, reasons)
}

func (a *answer) victims(b *policies.VictimBatch, reasons int) error {
	a.cost = b.Cost
	for i, v := range b.Veto {
		a.veto = append(a.veto, int64(v))
		if v > 1 {
			return fmt.Errorf("%w: victim.veto of row %d is %d, want 0 or 1", errOutput, i, v)
		}
	}
	return cmp.Or(within("victim.cost", b.Cost, b.N, 0), a.reasons("victim.reason", b.Reason, reasons))
}

func (a *answer) reasons(name string, column []uint32, n int) error {
	for i, v := range column {
		a.reason = append(a.reason, int64(v))
		if int(v) >= n {
			return fmt.Errorf("%w: %s of row %d is %d, the table has %d", errOutput, name, i, v, n)
		}
	}
	return nil
}

func within(name string, s []int64, n int, low int64) error {
	if len(s) < n {
		return fmt.Errorf("%w: %s has %d elements of %d", errOutput, name, len(s), n)
	}
	for i, v := range s {
		if v < low {
			return fmt.Errorf("%w: %s[%d] is %d, want %d or more", errOutput, name, i, v, low)
		}
	}
	return nil
}

// differs says in words where two answers part; "" if they are the same, bit for bit.
func (a answer) differs(b answer) string {
	if a.code != b.code {
		return fmt.Sprintf("one answer is %s, the other %s", a.word(), b.word())
	}
	if len(a.keys) != len(b.keys) {
		return fmt.Sprintf("%d keys, and then %d", len(a.keys), len(b.keys))
	}
	for k := range a.keys {
		if s := differ(fmt.Sprintf("key %d", k), a.keys[k], b.keys[k]); s != "" {
			return s
		}
	}
	for _, c := range []struct {
		name string
		x, y []int64
	}{
		{"queue.entitled", a.entitled, b.entitled},
		{"queue.rank", a.rank, b.rank},
		{"victim.cost", a.cost, b.cost},
		{"victim.veto", a.veto, b.veto},
		{"reason", a.reason, b.reason},
	} {
		if s := differ(c.name, c.x, c.y); s != "" && a.err == nil {
			return s
		}
	}
	return ""
}

func differ(name string, x, y []int64) string {
	if len(x) != len(y) {
		return fmt.Sprintf("%s has %d elements, and then %d", name, len(x), len(y))
	}
	for i := range x {
		if x[i] != y[i] {
			return fmt.Sprintf("%s of element %d is %d, and then %d", name, i, x[i], y[i])
		}
	}
	return ""
}

// word is the answer in one or two words.
func (a answer) word() string {
	if a.err == nil {
		return "ok"
	}
	return string(a.code)
}

// refused says that the policy declined in a way of its own, without a fault.
func (a answer) refused() bool {
	return a.code == policies.CodeAbstain || a.code == policies.CodeBadInput
}

// less compares two rows by their keys, 0 if these are equal.
func (a answer) less(x, y int) int {
	for _, k := range a.keys {
		if c := cmp.Compare(k[x], k[y]); c != 0 {
			return c
		}
	}
	return 0
}

// places is the place of each row in the order that the host makes of the keys: ties go
// to the row that comes first, which was submitted first.
func (a answer) places(n int) []int {
	rows := make([]int, n)
	for i := range rows {
		rows[i] = i
	}
	slices.SortStableFunc(rows, a.less)
	place := make([]int, n)
	for at, row := range rows {
		place[row] = at
	}
	return place
}
