package order

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/policies"
)

// unit describes one unit of a test; use and idle are unknown where seen is not set.
type unit struct {
	priority, running, since, lost, restart, excess int64
	seen                                            bool
	use, idle                                       int64
	leader                                          uint8
}

func units(us ...unit) *policies.VictimBatch {
	b := victims(len(us))
	for i, u := range us {
		b.Priority[i], b.Running[i], b.SinceCheckpoint[i] = u.priority, u.running, u.since
		b.Lost[i], b.RestartCost[i], b.Excess[i], b.Leader[i] = u.lost, u.restart, u.excess, u.leader
		if u.seen {
			b.Use[i], b.Idle[i] = u.use, u.idle
		}
	}
	return b
}

func costs(t fataler, name string, params map[string]any, b *policies.VictimBatch) []int64 {
	p, err := Configured(name, params)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.CostVictims(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	return b.Cost
}

func TestTheCheaperVictimOfEachPolicy(t *testing.T) {
	half := int64(amount.One / 2)
	periodic := map[string]any{"interval": "30m", "notice": "2m"}
	for _, c := range []struct {
		policy, name    string
		params          map[string]any
		cheaper, dearer unit
	}{
		{"checkpoint-aware", "loses less", nil, unit{lost: 10}, unit{lost: 11}},
		{"checkpoint-aware", "has made a checkpoint, so it may make one on notice", nil, unit{running: hour, since: minute, lost: 19}, unit{running: minute, since: minute, lost: 10}},
		{"checkpoint-aware", "but is trusted to save only half of it", nil, unit{running: minute, since: minute, lost: 10}, unit{running: hour, since: minute, lost: 22}},
		{"checkpoint-aware", "is trusted to save all", map[string]any{"trust": 1}, unit{running: hour, since: minute, lost: 1e9}, unit{running: minute, since: minute, lost: 1}},
		{"checkpoint-aware", "is not trusted at all", map[string]any{"trust": 0}, unit{running: minute, since: minute, lost: 10}, unit{running: hour, since: minute, lost: 11}},
		{"checkpoint-aware", "makes its next checkpoint within the notice", periodic, unit{running: hour, since: 28 * minute, lost: 1e9}, unit{running: hour, since: minute, lost: 10}},
		{"checkpoint-aware", "is overdue with it", periodic, unit{running: 2 * hour, since: hour, lost: 1e9}, unit{running: hour, since: minute, lost: 10}},
		{"checkpoint-aware", "has made one lately, and the other will not make its in time", periodic, unit{running: hour, since: minute, lost: 10}, unit{running: hour, since: 27 * minute, lost: 270}},
		{"checkpoint-aware", "is cheaper to start again", nil, unit{lost: 5, restart: 4}, unit{restart: 10}},
		{"checkpoint-aware", "has the lower priority", nil, unit{priority: -1, lost: 1e9}, unit{}},
		{"checkpoint-aware", "is no leader", nil, unit{priority: 9, lost: 1e9}, unit{leader: 1}},
		{"idle-first", "is idle", nil, unit{priority: 9, lost: 1e9, seen: true, idle: 10 * minute}, unit{priority: 1, lost: 1, seen: true, use: 1}},
		{"idle-first", "has been idle for longer", nil, unit{seen: true, idle: hour}, unit{seen: true, idle: 59 * minute}},
		{"idle-first", "is idle, and the other not long enough", nil, unit{seen: true, idle: 10 * minute}, unit{seen: true, idle: 9 * minute}},
		{"idle-first", "is idle by another threshold", map[string]any{"threshold": "1m"}, unit{seen: true, lost: 9, idle: minute}, unit{lost: 1}},
		{"idle-first", "is idle, and of the other nothing is known", nil, unit{seen: true, lost: 9, idle: 20 * minute}, unit{lost: 1}},
		{"idle-first", "is half busy, so it loses half", nil, unit{seen: true, use: half, lost: 19}, unit{lost: 10}},
		{"idle-first", "is busy, of low priority", nil, unit{lost: 19}, unit{priority: 1, lost: 1}},
		{"idle-first", "is no leader, however idle the leader is", nil, unit{priority: 9, lost: 1e9}, unit{leader: 1, seen: true, idle: 99 * hour}},
		{"youngest-first", "has run for less time", nil, unit{running: minute, lost: 1e9}, unit{running: hour}},
		{"youngest-first", "has the lower priority", nil, unit{running: hour}, unit{priority: 1, running: minute}},
		{"lowest-priority-first", "has the lower priority", nil, unit{priority: math.MinInt64, lost: 1e9}, unit{priority: math.MinInt64 + 1}},
		{"lowest-priority-first", "is no leader", nil, unit{priority: 7}, unit{leader: 1}},
		{"most-over-share", "is of a queue further above its guarantee", nil, unit{excess: 9000, lost: 1e9}, unit{excess: 8000}},
		{"most-over-share", "loses less, in queues as far above", nil, unit{excess: 5, lost: 1}, unit{excess: 5, lost: 2}},
		{"most-over-share", "is no leader", nil, unit{}, unit{excess: 9000, leader: 1}},
	} {
		if got := costs(t, c.policy, c.params, units(c.cheaper, c.dearer)); got[0] >= got[1] {
			t.Errorf("%s: the first %s, and costs %d, the other %d", c.policy, c.name, got[0], got[1])
		}
	}
}

func TestOfEqualUnitsTheSmallerSetIsCheaper(t *testing.T) {
	for _, name := range Names(policies.VictimCosts) {
		c := costs(t, name, nil, units(unit{lost: 10}, unit{lost: 5}, unit{lost: 5}))
		if c[0] >= c[1]+c[2] {
			t.Errorf("%s: one costs %d, two cost %d", name, c[0], c[1]+c[2])
		}
	}
}

func drawUnits(t *rapid.T) *policies.VictimBatch {
	b := victims(rapid.IntRange(1, 25).Draw(t, "units"))
	value := rapid.OneOf(rapid.Int64Range(-1, 3), rapid.Int64Range(0, 1<<45), rapid.SampledFrom([]int64{math.MinInt64, math.MaxInt64}))
	for i := range b.N {
		for _, col := range [][]int64{b.Priority, b.Running, b.SinceCheckpoint, b.Lost, b.RestartCost, b.Excess, b.Use, b.Idle} {
			col[i] = value.Draw(t, "value")
		}
		b.Leader[i] = uint8(rapid.IntRange(0, 1).Draw(t, "leader"))
	}
	return b
}

func TestLawNoVictimIsFreeAndNoLeaderIsCheaperThanAnother(t *testing.T) {
	for _, name := range Names(policies.VictimCosts) {
		rapid.Check(t, func(t *rapid.T) {
			b := drawUnits(t)
			dearest, leader := int64(0), int64(math.MaxInt64)
			for i, c := range costs(t, name, nil, b) {
				if c < 1 || c >= 1<<52 || b.Veto[i] != 0 {
					t.Fatalf("%s: cost %d, veto %d", name, c, b.Veto[i])
				}
				if b.Leader[i] == 1 {
					leader = min(leader, c)
				} else {
					dearest = max(dearest, c)
				}
			}
			if leader <= dearest {
				t.Fatalf("%s: a leader costs %d, another unit %d", name, leader, dearest)
			}
		})
	}
}

func TestLawMoreLostWorkIsNeverCheaper(t *testing.T) {
	for _, name := range Names(policies.VictimCosts) {
		rapid.Check(t, func(t *rapid.T) {
			b := drawUnits(t)
			row := rapid.IntRange(0, b.N-1).Draw(t, "row")
			before := slices.Clone(costs(t, name, nil, b))
			b.Lost[row] = rapid.Int64Range(b.Lost[row], math.MaxInt64).Draw(t, "more")
			after := costs(t, name, nil, b)
			for i := range before {
				if after[i] < before[i] || i != row && after[i] != before[i] {
					t.Fatalf("%s: row %d costs %d, before %d", name, i, after[i], before[i])
				}
			}
		})
	}
}

func TestLawALongerIdleUnitIsNeverDearer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := drawUnits(t)
		row := rapid.IntRange(0, b.N-1).Draw(t, "row")
		before := costs(t, "idle-first", nil, b)[row]
		b.Idle[row] = rapid.Int64Range(b.Idle[row], math.MaxInt64).Draw(t, "longer")
		if after := costs(t, "idle-first", nil, b)[row]; after > before {
			t.Fatalf("costs %d, before %d", after, before)
		}
	})
}

func TestWithoutMeasurementsEveryUnitIsBusy(t *testing.T) {
	b := units(unit{lost: 7}, unit{lost: 8})
	b.Use, b.Idle = nil, nil
	if c := costs(t, "idle-first", nil, b); c[0] != busyCost+8 || c[1] != busyCost+9 {
		t.Errorf("costs %v", c)
	}
}
