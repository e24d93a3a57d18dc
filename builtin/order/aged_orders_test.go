package order

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/musterhq/muster/policies"
)

const (
	minute = int64(60e9)
	hour   = 60 * minute
)

func TestShortestFirstTakesUnknownRunTimesLast(t *testing.T) {
	b := jobs(5)
	copy(b.Duration, []int64{hour, policies.Unset, minute, math.MaxInt64 - 1, 0})
	if got, want := ordered(t, "shortest-first", b), []int{4, 2, 0, 3, 1}; !slices.Equal(got, want) {
		t.Errorf("order %v, want %v", got, want)
	}
}

func TestSJFAged(t *testing.T) {
	for _, c := range []struct {
		name           string
		params         map[string]any
		duration, wait []int64
		want           []int
	}{
		{"a short job runs before a long one", nil, []int64{2 * hour, hour}, []int64{0, 0}, []int{1, 0}},
		{"two hours of waiting make up for one of run time", nil, []int64{2 * hour, hour}, []int64{2*hour + 1000, 0}, []int{0, 1}},
		{"of two that count the same the older runs", nil, []int64{2 * hour, hour}, []int64{2 * hour, 0}, []int{0, 1}},
		{"without aging waiting does not help", map[string]any{"aging": 0}, []int64{2 * hour, hour}, []int64{100 * hour, 0}, []int{1, 0}},
		{"with much of it it is nearly fifo", map[string]any{"aging": 1000}, []int64{50 * hour, hour}, []int64{hour, 50 * minute}, []int{0, 1}},
		{"an unknown run time counts as an hour", nil, []int64{61 * minute, -1, 59 * minute}, make([]int64, 3), []int{2, 1, 0}},
		{"or as what is set", map[string]any{"unknown_duration": "5m"}, []int64{6 * minute, -1, 4 * minute}, make([]int64, 3), []int{2, 1, 0}},
	} {
		b := jobs(len(c.want))
		copy(b.Duration, c.duration)
		copy(b.Wait, c.wait)
		if got := orderedWith(t, "sjf-aged", c.params, b); !slices.Equal(got, c.want) {
			t.Errorf("%s: order %v, want %v", c.name, got, c.want)
		}
	}
}

func TestTheKeyOfSJFAgedIsTheFloatThatTheDocumentationSays(t *testing.T) {
	b := jobs(4)
	copy(b.Duration, []int64{3, 1 << 60, 7, 0})
	copy(b.Wait, []int64{1, 1<<62 + 1, 14, 0})
	orderedWith(t, "sjf-aged", map[string]any{"aging": 0.1}, b)
	for i, d := range b.Duration {
		product := float64(0.1) * float64(b.Wait[i])
		want := int64(math.Float64bits(float64(d) - product))
		if want < 0 {
			want ^= math.MaxInt64
		}
		if b.Keys[0][i] != want {
			t.Errorf("row %d: key %#x, want %#x", i, b.Keys[0][i], want)
		}
	}
}

// Floats in order of their size, with both zeros as one.
func TestOrderFloatKeepsTheOrder(t *testing.T) {
	xs := []float64{-math.MaxFloat64, -1, -math.SmallestNonzeroFloat64, 0, math.SmallestNonzeroFloat64, 1, math.MaxFloat64}
	for i := 1; i < len(xs); i++ {
		if orderFloat(xs[i-1]) >= orderFloat(xs[i]) {
			t.Errorf("%v does not come before %v", xs[i-1], xs[i])
		}
	}
	if orderFloat(math.Copysign(0, -1)) != orderFloat(0) {
		t.Error("the zeros differ")
	}
}

func TestDeadlineFirst(t *testing.T) {
	type j struct{ duration, deadline int64 }
	for _, c := range []struct {
		name   string
		params map[string]any
		jobs   []j
		want   []int
	}{
		{"the earliest deadline runs first", nil, []j{{minute, 9 * hour}, {minute, 8 * hour}}, []int{1, 0}},
		{"jobs without a deadline come after, in order of submission", nil, []j{{hour, -1}, {minute, -1}, {hour, 9 * hour}}, []int{2, 0, 1}},
		{"who can't make it any more goes last", nil, []j{{2 * hour, hour}, {hour, -1}, {hour, 2 * hour}}, []int{2, 1, 0}},
		{"who can just make it does not", nil, []j{{hour, -1}, {2 * hour, 2 * hour}}, []int{1, 0}},
		{"or stays in its place", map[string]any{"late_last": false}, []j{{hour, 2 * hour}, {2 * hour, hour}}, []int{1, 0}},
		{"of equal deadlines the one with less to spare", nil, []j{{hour, 9 * hour}, {2 * hour, 9 * hour}}, []int{1, 0}},
		{"a margin counts against the deadline", map[string]any{"margin": "30m"}, []j{{hour, 89 * minute}, {hour, 90 * minute}}, []int{1, 0}},
		{"an unknown run time counts as an hour", nil, []j{{-1, 59 * minute}, {-1, 61 * minute}}, []int{1, 0}},
		{"or as what is set", map[string]any{"unknown_duration": 0}, []j{{-1, 61 * minute}, {-1, minute}}, []int{1, 0}},
		{"extremes do not turn around", nil, []j{{math.MaxInt64, 1}, {0, math.MaxInt64}, {1, -1}}, []int{1, 2, 0}},
	} {
		b := jobs(len(c.jobs))
		for i, x := range c.jobs {
			b.Duration[i], b.Deadline[i] = x.duration, x.deadline
		}
		if got := orderedWith(t, "deadline-first", c.params, b); !slices.Equal(got, c.want) {
			t.Errorf("%s: order %v, want %v", c.name, got, c.want)
		}
	}
}

func TestSlurmMultifactor(t *testing.T) {
	only := func(factor string) map[string]any {
		p := map[string]any{"weight_age": 0, "weight_fairshare": 0, "weight_job_size": 0, "weight_priority": 0}
		p[factor] = 1
		return p
	}
	small := only("weight_job_size")
	small["favor_small"] = true
	age := only("weight_age")
	age["max_age"] = "1h"
	for _, c := range []struct {
		name   string
		params map[string]any
		fill   func(b *policies.JobBatch)
		want   []int
	}{
		{"the older by age", age, func(b *policies.JobBatch) { copy(b.Wait, []int64{1, minute, 30 * minute}) }, []int{2, 1, 0}},
		{"above max_age all are equal", age, func(b *policies.JobBatch) { copy(b.Wait, []int64{hour, 3 * hour, 2 * hour}) }, []int{0, 1, 2}},
		{"the larger by size", only("weight_job_size"), func(b *policies.JobBatch) { copy(b.Dominant, []int64{1, 3, 2}) }, []int{1, 2, 0}},
		{"the smaller where small jobs are favoured", small, func(b *policies.JobBatch) { copy(b.Dominant, []int64{2, 3, 1}) }, []int{2, 0, 1}},
		{"the more important by priority", only("weight_priority"), func(b *policies.JobBatch) { copy(b.Priority, []int64{-5, 0, 7}) }, []int{2, 1, 0}},
		{"all equal priorities are equal", only("weight_priority"), func(b *policies.JobBatch) { copy(b.Priority, []int64{7, 7, 7}) }, []int{0, 1, 2}},
		{
			"the user with least by fair share", only("weight_fairshare"),
			func(b *policies.JobBatch) { copy(b.User, []uint32{0, 1, 2}); copy(b.UserShare, []int64{9, 0, 9}) },
			[]int{1, 0, 2},
		},
		{
			"fair share outweighs age by default", nil,
			func(b *policies.JobBatch) {
				copy(b.User, []uint32{0, 1, 1})
				copy(b.UserShare, []int64{9, 0, 0})
				copy(b.Wait, []int64{100 * hour, 0, 0})
			},
			[]int{1, 2, 0},
		},
	} {
		b := jobs(3)
		c.fill(b)
		if got := orderedWith(t, "slurm-multifactor", c.params, b); !slices.Equal(got, c.want) {
			t.Errorf("%s: order %v, want %v", c.name, got, c.want)
		}
	}
}

func drawOrderBatch(t *rapid.T) *policies.JobBatch {
	b := jobs(rapid.IntRange(1, 30).Draw(t, "jobs"))
	span := rapid.OneOf(rapid.Int64Range(-1, 3), rapid.Int64Range(0, 1<<50), rapid.SampledFrom([]int64{math.MinInt64, math.MaxInt64}))
	b.Now = span.Draw(t, "now")
	for i := range b.N {
		b.User[i] = rapid.Uint32Range(0, 4).Draw(t, "user")
		b.UserShare[i] = int64(b.User[i]) / 2 * 1000
		for _, col := range [][]int64{b.Priority, b.Dominant, b.Wait, b.Duration, b.Deadline} {
			col[i] = span.Draw(t, "value")
		}
	}
	return b
}

// pick copies rows of a batch, in the given order.
func pick(b *policies.JobBatch, rows []int) *policies.JobBatch {
	out := jobs(len(rows))
	out.Call = b.Call
	for i, r := range rows {
		out.User[i], out.UserShare[i], out.Priority[i] = b.User[r], b.UserShare[r], b.Priority[r]
		out.Dominant[i], out.Wait[i], out.Duration[i], out.Deadline[i] = b.Dominant[r], b.Wait[r], b.Duration[r], b.Deadline[r]
	}
	return out
}

// All job orders but fair, whose keys are positions.
var keyed = []string{"deadline-first", "fifo", "priority-fifo", "shortest-first", "sjf-aged", "slurm-multifactor"}

func TestLawKeysDoNotDependOnTheOrderOfTheRows(t *testing.T) {
	for _, name := range keyed {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				b := drawOrderBatch(rt)
				rows := make([]int, b.N)
				for i := range rows {
					rows[i] = i
				}
				rows = rapid.Permutation(rows).Draw(rt, "rows")
				mixed := pick(b, rows)
				ordered(t, name, b)
				ordered(t, name, mixed)
				for k := range b.NKeys {
					for i, r := range rows {
						if mixed.Keys[k][i] != b.Keys[k][r] {
							rt.Fatalf("key %d of row %d is %d, elsewhere %d", k, r, b.Keys[k][r], mixed.Keys[k][i])
						}
					}
				}
			})
		})
	}
}

func TestLawAPolicyThatClaimsRowIndependenceHasIt(t *testing.T) {
	for _, name := range Names(policies.JobOrder) {
		p, _ := Builtin(name)
		claims := slices.Contains(p.Info().Laws, policies.LawRowIndependent)
		if want := slices.Contains([]string{"fifo", "priority-fifo", "shortest-first"}, name); claims != want {
			t.Errorf("%s claims it: %v", name, claims)
		}
		if !claims {
			continue
		}
		rapid.Check(t, func(rt *rapid.T) {
			b := drawOrderBatch(rt)
			row := rapid.IntRange(0, b.N-1).Draw(rt, "row")
			alone := pick(b, []int{row})
			alone.Now, alone.Cycle, alone.Seed = b.Now+1, 5, 6
			ordered(t, name, b)
			ordered(t, name, alone)
			if b.Keys[0][row] != alone.Keys[0][0] {
				rt.Fatalf("%s: key %d, alone %d", name, b.Keys[0][row], alone.Keys[0][0])
			}
		})
	}
}

func TestLawWaitingAndPriorityNeverSetAJobBack(t *testing.T) {
	for _, c := range []struct {
		name  string
		raise func(*policies.JobBatch) []int64
	}{
		{"sjf-aged", func(b *policies.JobBatch) []int64 { return b.Wait }},
		{"slurm-multifactor", func(b *policies.JobBatch) []int64 { return b.Wait }},
		{"slurm-multifactor", func(b *policies.JobBatch) []int64 { return b.Priority }},
		{"priority-fifo", func(b *policies.JobBatch) []int64 { return b.Priority }},
	} {
		t.Run(c.name, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				b := drawOrderBatch(rt)
				row := rapid.IntRange(0, b.N-1).Draw(rt, "row")
				before := slices.Index(ordered(t, c.name, b), row)
				column := c.raise(b)
				column[row] = rapid.Int64Range(column[row], math.MaxInt64).Draw(rt, "more")
				if after := slices.Index(ordered(t, c.name, b), row); after > before {
					rt.Fatalf("row %d fell from %d to %d", row, before, after)
				}
			})
		})
	}
}

func TestSettingsOfABuiltInAreChecked(t *testing.T) {
	for name, params := range map[string]map[string]any{
		"sjf-aged":          {"aging": 1001},
		"deadline-first":    {"late_last": "no"},
		"fifo":              {"aging": 1},
		"slurm-multifactor": {"max_age": 0},
		"kai-proportion":    {"k": -1},
		"idle-first":        {"threshold": "soon"},
	} {
		if p, err := Configured(name, params); err == nil || p != nil {
			t.Errorf("%s took %v", name, params)
		}
	}
	if _, err := Configured("lottery", nil); err == nil {
		t.Error("there is no lottery")
	}
	p, err := Configured("sjf-aged", map[string]any{"aging": 2})
	if err != nil {
		t.Fatal(err)
	}
	if in := p.Info(); in.Params[0].Value != 2.0 || in.Params[1].Value != hour {
		t.Errorf("params %v", in.Params)
	}
	if q, _ := Builtin("sjf-aged"); q.Info().Params[0].Value != 0.5 {
		t.Error("the settings of one value show in another")
	}
}
