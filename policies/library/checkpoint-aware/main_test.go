package main

import (
	"testing"

	muster "github.com/musterhq/muster/sdk/go"
)

const (
	minute = int64(60e9)
	hour   = 60 * minute
)

// unit is one possible victim: run time, time since the last checkpoint, lost work.
type unit struct{ running, since, lost int64 }

func TestTheCheaperVictim(t *testing.T) {
	for _, c := range []struct {
		name            string
		interval        int64
		trust           float64
		cheaper, dearer unit
	}{
		{"loses less", 0, 0.5, unit{lost: 10}, unit{lost: 11}},
		{"has made a checkpoint, so it may make one on notice", 0, 0.5, unit{hour, minute, 19}, unit{minute, minute, 10}},
		{"is trusted to save all", 0, 1, unit{hour, minute, 1e9}, unit{minute, minute, 1}},
		{"has not made one, and the other is not trusted", 0, 0, unit{minute, minute, 10}, unit{hour, minute, 11}},
		{"makes its next checkpoint within the notice", 30 * minute, 0.5, unit{hour, 28 * minute, 1e9}, unit{hour, minute, 10}},
		{"is overdue with it", 30 * minute, 0.5, unit{2 * hour, hour, 1e9}, unit{hour, minute, 10}},
		{"lost less, and neither makes one in time", 30 * minute, 0.5, unit{hour, minute, 10}, unit{hour, 27 * minute, 270}},
	} {
		b := muster.NewVictims(2, 0)
		b.SetParams(c.interval, 2*minute, c.trust)
		for i, u := range []unit{c.cheaper, c.dearer} {
			b.Running[i], b.SinceCheckpoint[i], b.Lost[i] = u.running, u.since, u.lost
		}
		if err := price(b); err != nil {
			t.Fatal(err)
		}
		if b.Cost[0] >= b.Cost[1] {
			t.Errorf("the first %s, and costs %d, the other %d", c.name, b.Cost[0], b.Cost[1])
		}
	}
}

func TestPriorityAndLeaderComeBeforeWork(t *testing.T) {
	b := muster.NewVictims(3, 0)
	b.SetParams(0, minute, 0.5)
	copy(b.Lost, []int64{1 << 40, 5, 0})
	copy(b.Priority, []int64{0, 1, 0})
	b.Leader[2] = 1
	if err := price(b); err != nil {
		t.Fatal(err)
	}
	if b.Cost[0] >= b.Cost[1] || b.Cost[1] >= b.Cost[2] {
		t.Errorf("costs %v", b.Cost)
	}
}
