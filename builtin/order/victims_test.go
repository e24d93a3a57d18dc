package order

import (
	"cmp"
	"context"
	"math"
	"math/rand"
	"slices"
	"strconv"
	"testing"

	"pgregory.net/rapid"

	"github.com/musterhq/muster/policies"
)

func victims(n int) *policies.VictimBatch {
	b := &policies.VictimBatch{
		N: n, Priority: make([]int64, n), Running: make([]int64, n), Lost: make([]int64, n), RestartCost: make([]int64, n),
		SinceCheckpoint: make([]int64, n), Excess: make([]int64, n), Use: make([]int64, n), Idle: make([]int64, n),
		Leader: make([]uint8, n), Cost: make([]int64, n), Veto: make([]uint8, n),
	}
	for i := range n {
		b.Cost[i], b.Veto[i] = -7, 7
		b.Use[i], b.Idle[i] = policies.Unset, policies.Unset
	}
	return b
}

type fataler interface {
	Fatal(args ...any)
	Context() context.Context
}

func cost(t fataler, b *policies.VictimBatch) []int64 {
	p, _ := Builtin("least-lost-work")
	if err := p.CostVictims(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	return b.Cost
}

func TestLeastLostWorkCosts(t *testing.T) {
	type v struct {
		priority, running, lost, restart int64
		leader                           uint8
	}
	tests := []struct {
		name            string
		cheaper, dearer v
	}{
		{"less lost work goes first", v{lost: 10}, v{lost: 11}},
		{"a restart costs as much as lost work", v{lost: 10}, v{lost: 5, restart: 6}},
		{"the newest does not go first by habit", v{lost: 10, running: 900}, v{lost: 20, running: 1}},
		{"lower priority goes first, whatever it loses", v{priority: 1, lost: 1e9}, v{priority: 2}},
		{"also when it loses more than can be told apart", v{priority: -5, lost: math.MaxInt64, restart: math.MaxInt64}, v{priority: -4}},
		{"a leader goes last", v{priority: 9, lost: 1e9}, v{leader: 1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := victims(2)
			for i, x := range []v{tt.cheaper, tt.dearer} {
				b.Priority[i], b.Running[i], b.Lost[i], b.RestartCost[i], b.Leader[i] = x.priority, x.running, x.lost, x.restart, x.leader
			}
			if c := cost(t, b); c[0] >= c[1] {
				t.Errorf("costs %v", c)
			}
			if b.Veto[0] != 0 || b.Veto[1] != 0 {
				t.Errorf("vetoes %v", b.Veto)
			}
		})
	}
}

func TestOfSetsThatLoseTheSameTheSmallerIsCheaper(t *testing.T) {
	b := victims(3)
	copy(b.Lost, []int64{100, 50, 50})
	if c := cost(t, b); c[0] >= c[1]+c[2] {
		t.Errorf("one victim costs %d, two cost %d", c[0], c[1]+c[2])
	}
}

func TestLeastLostWorkLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := victims(rapid.IntRange(1, 30).Draw(t, "units"))
		for i := range b.N {
			b.Priority[i] = rapid.Int64().Draw(t, "priority")
			b.Lost[i] = rapid.Int64().Draw(t, "lost")
			b.RestartCost[i] = rapid.Int64().Draw(t, "restart")
			b.Leader[i] = uint8(rapid.IntRange(0, 1).Draw(t, "leader"))
		}
		c := cost(t, b)
		rows := make([]int, b.N)
		for i := range rows {
			rows[i] = i
			if c[i] < 1 || c[i] >= 1<<52 {
				t.Fatalf("cost %d is out of range", c[i])
			}
		}
		slices.SortFunc(rows, func(x, y int) int { return cmp.Compare(c[x], c[y]) })
		for k := 1; k < len(rows); k++ {
			x, y := rows[k-1], rows[k]
			if cmp.Or(cmp.Compare(b.Leader[x], b.Leader[y]), cmp.Compare(b.Priority[x], b.Priority[y])) > 0 {
				t.Fatalf("row %d (leader %d, priority %d) is cheaper than row %d (leader %d, priority %d)",
					x, b.Leader[x], b.Priority[x], y, b.Leader[y], b.Priority[y])
			}
		}
	})
}

func TestMorePrioritiesThanClassesStayInRange(t *testing.T) {
	b := victims(classLimit + 100)
	for i := range b.N {
		b.Priority[i], b.Lost[i], b.Leader[i] = int64(i), math.MaxInt64, 1
	}
	if got := slices.Max(cost(t, b)); got != 1<<52-1-1<<50 {
		t.Errorf("dearest cost is %d", got)
	}
}

func BenchmarkVictimCosts(b *testing.B) {
	for _, name := range Names(policies.VictimCosts) {
		for _, n := range []int{100, 10_000} {
			b.Run(name+"/"+sizeName(n), func(b *testing.B) {
				rnd := rand.New(rand.NewSource(1))
				batch := victims(n)
				for i := range n {
					batch.Priority[i], batch.Lost[i] = rnd.Int63n(10), rnd.Int63n(1<<30)
					batch.Running[i], batch.Excess[i] = rnd.Int63n(1<<40), rnd.Int63n(20)*1000
				}
				p, _ := Builtin(name)
				b.ReportAllocs()
				for b.Loop() {
					if err := p.CostVictims(b.Context(), batch); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func sizeName(n int) string { return strconv.Itoa(n) }
