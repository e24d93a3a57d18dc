package order

import (
	"cmp"
	"math"
	"math/rand"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/musterhq/muster/policies"
)

func jobs(n int) *policies.JobBatch {
	b := &policies.JobBatch{
		N: n, Job: make([]uint32, n), User: make([]uint32, n), Priority: make([]int64, n),
		Dominant: make([]int64, n), UserShare: make([]int64, n),
		Wait: make([]int64, n), Duration: make([]int64, n), Deadline: make([]int64, n),
	}
	for k := range b.Keys {
		b.Keys[k] = make([]int64, n)
	}
	for i := range n {
		b.Job[i] = uint32(i)
		b.Keys[0][i] = -7
	}
	return b
}

// ordered returns the rows in the order in which the host would try them.
func ordered(t testing.TB, name string, b *policies.JobBatch) []int {
	t.Helper()
	return orderedWith(t, name, nil, b)
}

func orderedWith(t testing.TB, name string, params map[string]any, b *policies.JobBatch) []int {
	t.Helper()
	p, err := Configured(name, params)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.ScoreJobs(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	rows := make([]int, b.N)
	for i := range rows {
		rows[i] = i
	}
	slices.SortStableFunc(rows, func(x, y int) int {
		for _, k := range b.Keys[:b.NKeys] {
			if c := cmp.Compare(k[x], k[y]); c != 0 {
				return c
			}
		}
		return 0
	})
	return rows
}

func TestFifoKeepsTheOrderOfSubmission(t *testing.T) {
	if got := ordered(t, "fifo", jobs(4)); !slices.Equal(got, []int{0, 1, 2, 3}) {
		t.Errorf("order %v", got)
	}
}

func TestPriorityFifo(t *testing.T) {
	b := jobs(6)
	copy(b.Priority, []int64{0, 5, math.MinInt64, 5, math.MaxInt64, -1})
	if got, want := ordered(t, "priority-fifo", b), []int{4, 1, 3, 0, 5, 2}; !slices.Equal(got, want) {
		t.Errorf("order %v, want %v", got, want)
	}
}

func TestFairTakesTheUserWithLeast(t *testing.T) {
	tests := []struct {
		name            string
		user            []uint32
		share, dominant []int64
		want            []int
	}{
		{"two users take turns", []uint32{0, 0, 0, 1, 1}, make([]int64, 5), []int64{1, 1, 1, 1, 1}, []int{0, 3, 1, 4, 2}},
		{"one who already holds something waits", []uint32{0, 0, 1, 1}, []int64{2, 2, 0, 0}, []int64{1, 1, 1, 1}, []int{2, 3, 0, 1}},
		{"a big job counts more than a small one", []uint32{0, 0, 1, 1, 1}, make([]int64, 5), []int64{3, 3, 1, 1, 1}, []int{0, 2, 3, 4, 1}},
		{"jobs without cost stay in the order of submission", []uint32{0, 1, 0, 1}, make([]int64, 4), make([]int64, 4), []int{0, 1, 2, 3}},
		{"one user alone is fifo", []uint32{7, 7, 7}, []int64{9, 9, 9}, []int64{3, 2, 1}, []int{0, 1, 2}},
		{"shares saturate", []uint32{0, 0, 1}, []int64{math.MaxInt64, math.MaxInt64, 0}, []int64{math.MaxInt64, math.MaxInt64, 1}, []int{2, 0, 1}},
		{"no jobs", nil, nil, nil, []int{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := jobs(len(tt.user))
			copy(b.User, tt.user)
			copy(b.UserShare, tt.share)
			copy(b.Dominant, tt.dominant)
			if got := ordered(t, "fair", b); !slices.Equal(got, tt.want) {
				t.Errorf("order %v, want %v", got, tt.want)
			}
		})
	}
}

func TestFairRefusesUserNumbersThatAreNotDense(t *testing.T) {
	b := jobs(1)
	b.User[0] = math.MaxUint32
	p, _ := Builtin("fair")
	if err := p.ScoreJobs(t.Context(), b); policies.CodeOf(err) != policies.CodeBadInput {
		t.Errorf("got %v, want bad-input", err)
	}
}

// fairTwin looks at every user's next job at every step.
func fairTwin(b *policies.JobBatch) []int {
	taken := make([]bool, b.N)
	held := map[uint32]int64{}
	var order []int
	for range b.N {
		best := -1
		seen := map[uint32]bool{}
		for i := range b.N {
			u := b.User[i]
			if taken[i] || seen[u] {
				continue
			}
			seen[u] = true
			if best < 0 || b.UserShare[i]+held[u] < b.UserShare[best]+held[b.User[best]] {
				best = i
			}
		}
		taken[best] = true
		held[b.User[best]] += b.Dominant[best]
		order = append(order, best)
	}
	return order
}

func TestFairAgreesWithItsTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := jobs(rapid.IntRange(1, 40).Draw(t, "jobs"))
		share := map[uint32]int64{}
		for i := range b.N {
			u := rapid.Uint32Range(0, 6).Draw(t, "user")
			if _, ok := share[u]; !ok {
				share[u] = rapid.Int64Range(0, 5).Draw(t, "share")
			}
			b.User[i], b.UserShare[i] = u, share[u]
			b.Dominant[i] = rapid.Int64Range(0, 4).Draw(t, "dominant")
		}
		p := &fair{}
		for range 2 { // the second call sees the scratch of the first
			if err := p.ScoreJobs(t.Context(), b); err != nil {
				t.Fatal(err)
			}
			for position, row := range fairTwin(b) {
				if b.Keys[0][row] != int64(position) {
					t.Fatalf("row %d is at %d, the twin says %d", row, b.Keys[0][row], position)
				}
			}
		}
	})
}

func BenchmarkJobOrder(b *testing.B) {
	for _, name := range Names(policies.JobOrder) {
		for _, n := range []int{10_000, 100_000} {
			b.Run(name+"/"+sizeName(n), func(b *testing.B) {
				rnd := rand.New(rand.NewSource(1))
				batch := jobs(n)
				for i := range n {
					batch.User[i] = uint32(rnd.Intn(1000))
					batch.Dominant[i] = rnd.Int63n(1 << 24)
					batch.Priority[i] = rnd.Int63n(10)
					batch.Duration[i] = rnd.Int63n(1e14)
					batch.Wait[i] = rnd.Int63n(1e13)
					batch.Deadline[i] = rnd.Int63n(1e14) - 1e13
				}
				p, _ := Builtin(name)
				b.ReportAllocs()
				for b.Loop() {
					if err := p.ScoreJobs(b.Context(), batch); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/row")
			})
		}
	}
}
