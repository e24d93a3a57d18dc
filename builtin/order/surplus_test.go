package order

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/policies"
)

func TestDecayedFairShares(t *testing.T) {
	const used = 1_000_000
	strong := map[string]any{"strength": 3}
	for _, c := range []struct {
		name   string
		params map[string]any
		pool   int64
		queues []q
		want   []int64
	}{
		{"without a past it is guaranteed-fair", nil, 100, []q{{weight: 70, asks: 100}, {weight: 30, asks: 100}}, []int64{70, 30}},
		{"of two equal queues the one that has used nothing gets 3 of 4", nil, 100, []q{{asks: 100, past: used}, {asks: 100}}, []int64{25, 75}},
		{"at strength 3, 7 of 8", strong, 160, []q{{asks: 160, past: used}, {asks: 160}}, []int64{20, 140}},
		{"at strength 0 the past does not count", map[string]any{"strength": 0}, 100, []q{{asks: 100, past: used}, {asks: 100}}, []int64{50, 50}},
		{"queues that have used exactly their shares keep them", nil, 100, []q{{weight: 3, asks: 100, past: 3 * used}, {weight: 1, asks: 100, past: used}}, []int64{75, 25}},
		{"the guarantee is not touched", strong, 100, []q{{guaranteed: 60, asks: 60, past: used}, {asks: 100}}, []int64{60, 40}},
		{"a queue that has used all still gets something", strong, 100, []q{{asks: 100, past: used}, {asks: 100}, {asks: 100}}, []int64{5, 48, 47}},
		{"what the favoured one does not want goes to the other", strong, 100, []q{{asks: 100, past: used}, {asks: 30}}, []int64{70, 30}},
		{"the past of a queue that wants nothing does not count", nil, 100, []q{{asks: 100, past: used}, {asks: 100, past: used}, {past: 50 * used}}, []int64{50, 50, 0}},
	} {
		if got := entitleWith(t, "decayed-fair", c.params, gpuTable(c.pool, c.queues...), 1000); !slices.Equal(got, c.want) {
			t.Errorf("%s: entitled %v, want %v", c.name, got, c.want)
		}
	}
}

func TestKAIProportionShares(t *testing.T) {
	// The pool of 100 GPUs with a half-life of 1 s, used for ever, has 144,269 GPU-ms.
	const whole = 144_269
	for _, c := range []struct {
		name   string
		params map[string]any
		queues []q
		want   []int64
	}{
		{"by weight", nil, []q{{weight: 3, asks: 100}, {weight: 1, asks: 100}}, []int64{75, 25}},
		{"the quota comes first", nil, []q{{guaranteed: 40, asks: 100}, {asks: 100}}, []int64{70, 30}},
		{"all that is over goes to the highest priority", nil, []q{{guaranteed: 20, asks: 100}, {priority: 5, asks: 70}, {priority: 1, asks: 100}}, []int64{20, 70, 10}},
		{"also before the quota of a lower one is exceeded", nil, []q{{guaranteed: 20, asks: 100, priority: -1}, {asks: 100}}, []int64{20, 80}},
		{"with k 1, having used half of the pool for ever leaves half of an equal share", nil, []q{{asks: 100, past: whole / 2}, {asks: 100}}, []int64{33, 67}},
		{"having used three quarters leaves a quarter", nil, []q{{asks: 100, past: whole * 3 / 4}, {asks: 100}}, []int64{20, 80}},
		{"having used all leaves nothing while others want more", nil, []q{{asks: 100, past: whole}, {asks: 100}}, []int64{0, 100}},
		{"but everything that others do not want", nil, []q{{asks: 100, past: whole}, {asks: 30}}, []int64{70, 30}},
		{"with k 0 the past does not count", map[string]any{"k": 0}, []q{{asks: 100, past: whole}, {asks: 100}}, []int64{50, 50}},
		{"units left over go to the largest remainder, then to the first", nil, []q{{asks: 100}, {asks: 100}, {asks: 100}}, []int64{34, 33, 33}},
		{"who wants less than its part leaves the rest for another round", nil, []q{{asks: 10}, {asks: 100}, {asks: 100}}, []int64{10, 45, 45}},
		{"which is by weight again", nil, []q{{asks: 10}, {weight: 3, asks: 100}, {asks: 100}}, []int64{10, 68, 22}},
	} {
		if got := entitleWith(t, "kai-proportion", c.params, gpuTable(100, c.queues...), 1000); !slices.Equal(got, c.want) {
			t.Errorf("%s: entitled %v, want %v", c.name, got, c.want)
		}
	}
}

func TestStrictPriorityShares(t *testing.T) {
	for _, c := range []struct {
		name   string
		queues []q
		want   []int64
		rank   []int64
	}{
		{"the highest priority gets all that it can use", []q{{priority: 1, asks: 100}, {priority: 9, asks: 80}}, []int64{20, 80}, []int64{2, 1}},
		{"but for what the others are guaranteed", []q{{priority: 1, guaranteed: 40, asks: 100}, {priority: 9, asks: 80}}, []int64{40, 60}, []int64{0, 1}},
		{"equal priorities share by weight", []q{{weight: 3, asks: 100}, {weight: 1, asks: 100}}, []int64{75, 25}, []int64{1, 1}},
		{"the lowest gets nothing if nothing is left", []q{{priority: -7, asks: 100}, {asks: 100}}, []int64{0, 100}, []int64{2, 1}},
	} {
		b := gpuTable(100, c.queues...)
		if got := entitle(t, "priority", b, 1000); !slices.Equal(got, c.want) {
			t.Errorf("%s: entitled %v, want %v", c.name, got, c.want)
		}
		if !slices.Equal(b.Rank[1:], c.rank) {
			t.Errorf("%s: ranks %v, want %v", c.name, b.Rank[1:], c.rank)
		}
	}
}

// two is a pool of 9 cores and 18 GiB, and what each queue wants of both.
func two(weights []int64, wants ...[2]int64) *policies.QueueBatch {
	b := emptyBatch(len(wants)+1, amount.CPUName, amount.MemoryName)
	b.Capacity[0], b.Capacity[1], b.Parent[0] = 9000, 18<<30, -1
	for i, w := range wants {
		b.Demand[2*i+2], b.Demand[2*i+3], b.Weight[i+1] = w[0]*1000, w[1]<<30, weights[i]
		b.Demand[0] += b.Demand[2*i+2]
		b.Demand[1] += b.Demand[2*i+3]
	}
	return b
}

// The example of section 4.1 of the paper: A's tasks want <1 CPU, 4 GB>, B's <3 CPU,
// 1 GB>; A gets 3 CPUs and 12 GB, B 6 CPUs and 2 GB, each two thirds of a resource.
func TestDRFGivesWhatThePaperGives(t *testing.T) {
	for _, c := range []struct {
		name    string
		weights []int64
		wants   [][2]int64
		cpu     []int64 // milli
		gib     []int64
	}{
		{"the paper's example", []int64{0, 0}, [][2]int64{{100, 400}, {300, 100}}, []int64{3000, 6000}, []int64{12, 2}},
		{"twice the weight, twice the dominant share", []int64{2, 1}, [][2]int64{{0, 100}, {0, 100}}, []int64{0, 0}, []int64{12, 6}},
		{"who wants little has all of it", []int64{0, 0}, [][2]int64{{1, 1}, {100, 100}}, []int64{1000, 8000}, []int64{1, 8}},
		{"alone until a resource is used up", []int64{0}, [][2]int64{{18, 18}}, []int64{9000}, []int64{9}},
	} {
		b := two(c.weights, c.wants...)
		if err := builtinOf(t, "drf").Entitle(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		for i := range c.wants {
			cpu, mem := b.Entitled[2*i+2], b.Entitled[2*i+3]
			near := func(got, want, unit int64) bool { return got >= want-unit && got <= want } // rounded down
			if !near(cpu, c.cpu[i], 1) || !near(mem, c.gib[i]<<30, 1<<10) {
				t.Errorf("%s: queue %d has %d milli and %d bytes, want %d and %d GiB", c.name, i, cpu, mem, c.cpu[i], c.gib[i])
			}
		}
	}
}

func TestDRFIsNotStoppedByAResourceThatIsNotThere(t *testing.T) {
	b := two([]int64{0, 0}, [2]int64{9, 9}, [2]int64{9, 9})
	b.Capacity[0] = 0
	if got := entitle(t, "drf", b, 1); got[0] != 0 || b.Entitled[3] != 9<<30 {
		t.Errorf("entitled %v", b.Entitled)
	}
}

func TestDRFHandsOutWholeGPUs(t *testing.T) {
	for _, c := range []struct {
		name   string
		pool   int64
		queues []q
		want   []int64
	}{
		{"equal queues, the first has the odd one", 7, []q{{asks: 9}, {asks: 9}, {asks: 9}}, []int64{3, 2, 2}},
		{"by weight", 8, []q{{weight: 3, asks: 9}, {weight: 1, asks: 9}}, []int64{6, 2}},
		{"what one does not want the others have", 8, []q{{asks: 1}, {asks: 9}, {}}, []int64{1, 7, 0}},
		{"children share what their parent has", 8, []q{{}, {asks: 9}, {under: 1, asks: 9}, {under: 1, weight: 3, asks: 9}}, []int64{4, 4, 1, 3}},
	} {
		if got := entitle(t, "drf", gpuTable(c.pool, c.queues...), 1000); !slices.Equal(got, c.want) {
			t.Errorf("%s: entitled %v, want %v", c.name, got, c.want)
		}
	}
}

// filling are the policies that give guarantees first and leave nothing unused.
var filling = []string{"decayed-fair", "guaranteed-fair", "kai-proportion", "priority"}

func builtinOf(t testing.TB, name string) policies.Policy {
	t.Helper()
	p, ok := Builtin(name)
	if !ok {
		t.Fatalf("no built-in %q", name)
	}
	return p
}

// drawPast draws a tree or one level whose queues have a past and priorities.
func drawPast(t *rapid.T, oneLevel bool) *policies.QueueBatch {
	b := drawTree(t, 7)
	if oneLevel {
		b = flat(t, 6)
	}
	b.HalfLife = rapid.SampledFrom([]int64{0, 1e9, 604_800e9}).Draw(t, "half-life")
	for i := range b.N {
		b.Decayed[i] = rapid.OneOf(rapid.Just(int64(0)), rapid.Int64Range(0, 200_000), rapid.Int64()).Draw(t, "past")
		b.Priority[i] = rapid.Int64Range(-1, 1).Draw(t, "priority")
	}
	return b
}

func TestLawOfEachFillingPolicyAllThatCanBeUsedIsSharedAndNoMore(t *testing.T) {
	for _, name := range filling {
		t.Run(name, func(t *testing.T) {
			p := builtinOf(t, name)
			rapid.Check(t, func(t *rapid.T) {
				b := drawPast(t, false)
				if err := p.Entitle(t.Context(), b); err != nil {
					t.Fatal(err)
				}
				for row := range b.N {
					for r := range b.R {
						checkShared(t, b, row, r)
					}
				}
			})
		})
	}
}

// checkShared holds the children of a row to min(what it has, what they can use).
func checkShared(t *rapid.T, b *policies.QueueBatch, row, r int) {
	var sum, usable int64
	kids := 0
	for k := 1; k < b.N; k++ {
		if b.Parent[k] == int32(row) {
			kids++
			sum += b.Entitled[k*b.R+r]
			usable += usableOf(b, k, r)
		}
	}
	total := b.Entitled[row*b.R+r]
	if kids > 0 && sum != min(total, usable) {
		t.Fatalf("children of row %d share %d of %d, they can use %d", row, sum, total, usable)
	}
	if u := usableOf(b, row, r); row > 0 && (total > u || total < 0) {
		t.Fatalf("row %d is entitled to %d, can use %d", row, total, u)
	}
}

func TestLawOfEachFillingPolicyAGuaranteeThatFitsIsKept(t *testing.T) {
	for _, name := range filling {
		t.Run(name, func(t *testing.T) {
			p := builtinOf(t, name)
			rapid.Check(t, func(t *rapid.T) {
				b := drawPast(t, true)
				for c := b.R; c < b.N*b.R; c++ {
					b.Capacity[c%b.R] += max(0, b.Guaranteed[c])
				}
				if err := p.Entitle(t.Context(), b); err != nil {
					t.Fatal(err)
				}
				for c := b.R; c < b.N*b.R; c++ {
					if kept := min(b.Guaranteed[c], b.Demand[c], b.Max[c]); b.Entitled[c] < kept {
						t.Fatalf("row %d is entitled to %d, its guarantee holds %d", c/b.R, b.Entitled[c], kept)
					}
				}
			})
		})
	}
}

func TestLawDRFNeverGivesMoreThanIsWantedOrThere(t *testing.T) {
	p := builtinOf(t, "drf")
	rapid.Check(t, func(t *rapid.T) {
		b := drawPast(t, false)
		if err := p.Entitle(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		for row := range b.N {
			for r := range b.R {
				sum := int64(0)
				for k := 1; k < b.N; k++ {
					if b.Parent[k] == int32(row) {
						sum += b.Entitled[k*b.R+r]
					}
				}
				if e := b.Entitled[row*b.R+r]; sum > e || row > 0 && (e < 0 || e > usableOf(b, row, r)) {
					t.Fatalf("row %d, resource %d: entitled %d, children %d, can use %d", row, r, e, sum, usableOf(b, row, r))
				}
			}
		}
	})
}

// Whoever stays below what it wants does so because a resource that it wants is used
// up, but for what rounding leaves.
func TestLawDRFStopsOnlyWhereAResourceIsUsedUp(t *testing.T) {
	p := builtinOf(t, "drf")
	rapid.Check(t, func(t *rapid.T) {
		b := flat(t, 5)
		if err := p.Entitle(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		var left [2]int64
		for r := range b.R {
			left[r] = b.Entitled[r]
			for k := 1; k < b.N; k++ {
				left[r] -= b.Entitled[k*b.R+r]
			}
		}
		for k := 1; k < b.N; k++ {
			stopped, held := false, false
			for r := range b.R {
				u := usableOf(b, k, r)
				wants := u > 0 && b.Entitled[r] > 0
				stopped = stopped || wants && b.Entitled[k*b.R+r] < min(u, b.Entitled[r])-1000
				held = held || wants && left[r] < 1000+int64(b.N)
			}
			if stopped && !held {
				t.Fatalf("row %d stopped with %v left of %v", k, left, b.Entitled)
			}
		}
	})
}

// steps of a law that rounding can break by one unit.
func slack(b *policies.QueueBatch, r int) int64 { return int64(shareUnit(b.Resources[r])) }

func TestLawMorePastUseNeverGivesMoreThanAUnit(t *testing.T) {
	for _, name := range []string{"decayed-fair", "kai-proportion"} {
		t.Run(name, func(t *testing.T) {
			p := builtinOf(t, name)
			rapid.Check(t, func(t *rapid.T) {
				b := drawPast(t, true)
				row := rapid.IntRange(1, b.N-1).Draw(t, "row")
				b.Decayed[row] = rapid.Int64Range(0, 1e6).Draw(t, "less")
				if err := p.Entitle(t.Context(), b); err != nil {
					t.Fatal(err)
				}
				before := slices.Clone(b.Entitled)
				b.Decayed[row] += rapid.Int64Range(0, 1e6).Draw(t, "more")
				if err := p.Entitle(t.Context(), b); err != nil {
					t.Fatal(err)
				}
				for r := range b.R {
					if c := row*b.R + r; b.Entitled[c] > before[c]+slack(b, r) {
						t.Fatalf("row %d has %d instead of %d", row, b.Entitled[c], before[c])
					}
				}
			})
		})
	}
}

func TestLawWithoutAPastDecayedFairIsGuaranteedFair(t *testing.T) {
	p := builtinOf(t, "decayed-fair")
	rapid.Check(t, func(t *rapid.T) {
		b := drawTree(t, 8)
		fairly(t, b)
		entitled, rank := slices.Clone(b.Entitled), slices.Clone(b.Rank)
		if err := p.Entitle(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(b.Entitled, entitled) || !slices.Equal(b.Rank, rank) {
			t.Fatalf("entitled %v, guaranteed-fair %v", b.Entitled, entitled)
		}
	})
}

// Rows decide ties, so another order of siblings may move one unit.
func TestLawTheOrderOfSiblingsMovesAtMostAUnit(t *testing.T) {
	for _, name := range append([]string{"drf"}, filling...) {
		t.Run(name, func(t *testing.T) {
			p := builtinOf(t, name)
			rapid.Check(t, func(t *rapid.T) {
				b := drawPast(t, true)
				rows := make([]int, b.N-1)
				for i := range rows {
					rows[i] = i + 1
				}
				rows = append([]int{0}, rapid.Permutation(rows).Draw(t, "rows")...)
				mixed := emptyBatch(b.N, b.Resources...)
				mixed.Capacity, mixed.Parent, mixed.HalfLife = b.Capacity, b.Parent, b.HalfLife
				for i, row := range rows {
					mixed.Weight[i], mixed.Decayed[i], mixed.Priority[i] = b.Weight[row], b.Decayed[row], b.Priority[row]
					for _, m := range [][2][]int64{{mixed.Guaranteed, b.Guaranteed}, {mixed.Max, b.Max}, {mixed.Demand, b.Demand}, {mixed.Used, b.Used}} {
						copy(m[0][i*b.R:(i+1)*b.R], m[1][row*b.R:])
					}
				}
				for _, x := range []*policies.QueueBatch{b, mixed} {
					if err := p.Entitle(t.Context(), x); err != nil {
						t.Fatal(err)
					}
				}
				for i, row := range rows {
					for r := range b.R {
						if d := mixed.Entitled[i*b.R+r] - b.Entitled[row*b.R+r]; d > slack(b, r) || d < -slack(b, r) {
							t.Fatalf("row %d has %d, elsewhere %d", row, b.Entitled[row*b.R+r], mixed.Entitled[i*b.R+r])
						}
					}
				}
			})
		})
	}
}

func TestGPUsThatAreHeldAndDoNothingJustifyNoShare(t *testing.T) {
	measured := map[string]any{"count": "measured"}
	const unknown = policies.Unset
	for _, c := range []struct {
		name   string
		queues []q
		used   []int64 // GPUs
		busy   []int64 // likewise
		want   []int64
	}{
		{"both use all they have: by weight", []q{{asks: 100}, {asks: 100}}, []int64{60, 40}, []int64{60, 40}, []int64{50, 50}},
		{"what is unknown is busy", []q{{asks: 100}, {asks: 100}}, []int64{60, 40}, []int64{unknown, unknown}, []int64{50, 50}},
		{"one uses 10 of its 60 and wants no more: 10 for it", []q{{asks: 60}, {asks: 100}}, []int64{60, 40}, []int64{10, 40}, []int64{10, 90}},
		{"it gets the rest if the other does not want it", []q{{asks: 60}, {asks: 50}}, []int64{60, 40}, []int64{10, 40}, []int64{50, 50}},
		{"what it waits for still counts", []q{{asks: 100}, {asks: 100}}, []int64{60, 40}, []int64{10, 40}, []int64{50, 50}},
		{"the guarantee is about what is held, used or not", []q{{guaranteed: 40, asks: 60}, {asks: 100}}, []int64{60, 40}, []int64{0, 40}, []int64{40, 60}},
		{"what is busy fills the guarantee first", []q{{guaranteed: 40, asks: 60}, {asks: 100}}, []int64{60, 40}, []int64{45, 40}, []int64{45, 55}},
	} {
		b := gpuTable(100, c.queues...)
		b.Use = make([]int64, b.N)
		for i := range c.queues {
			b.Used[i+1], b.Use[i+1] = c.used[i]*1000, max(unknown, c.busy[i]*1000)
		}
		b.Use[0] = unknown
		p, err := Configured("guaranteed-fair", measured)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Entitle(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		var got []int64
		for _, e := range b.Entitled[1:] {
			got = append(got, e/1000)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: entitled %v, want %v", c.name, got, c.want)
		}
	}
	if _, err := Configured("guaranteed-fair", map[string]any{"count": "wishes"}); err == nil {
		t.Error("nothing is counted by wishes")
	}
}

// Measured use moves shares above the guarantees only, leaves nothing unshared, and gives
// nobody less than it can use of its guarantee.
func TestLawMeasuredUseTouchesNoGuarantee(t *testing.T) {
	p, err := Configured("guaranteed-fair", map[string]any{"count": "measured"})
	if err != nil {
		t.Fatal(err)
	}
	plain := builtinOf(t, "guaranteed-fair")
	rapid.Check(t, func(t *rapid.T) {
		b := flat(t, 6)
		b.Use = make([]int64, b.N)
		for i := range b.N {
			b.Use[i] = rapid.OneOf(rapid.Just(policies.Unset), rapid.Int64Range(0, 20_000), rapid.Int64()).Draw(t, "use")
		}
		other := *b
		other.Entitled, other.Rank = make([]int64, len(b.Entitled)), make([]int64, b.N)
		if err := p.Entitle(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		if err := plain.Entitle(t.Context(), &other); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(b.Rank, other.Rank) {
			t.Fatalf("ranks %v, by allocation %v", b.Rank, other.Rank)
		}
		for r := range b.R {
			checkShared(t, b, 0, r)
			for row := 1; row < b.N; row++ {
				cell := row*b.R + r
				sure := min(b.Guaranteed[cell], b.Demand[cell], b.Max[cell], other.Entitled[cell])
				if got := b.Entitled[cell]; got < sure {
					t.Fatalf("queue %d is entitled to %d of %s and guaranteed %d", row, got, b.Resources[r], sure)
				}
			}
		}
	})
}
