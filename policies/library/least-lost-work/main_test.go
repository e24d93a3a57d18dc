package main

import (
	"math"
	"testing"

	muster "github.com/musterhq/muster/sdk/go"
)

// cheapest returns the row with the smallest cost.
func cheapest(t *testing.T, fill func(b *muster.Victims)) int {
	t.Helper()
	b := muster.NewVictims(2, 0)
	fill(b)
	if err := price(b); err != nil {
		t.Fatal(err)
	}
	if b.Cost[0] == b.Cost[1] || b.Cost[0] < 0 || b.Cost[1] < 0 {
		t.Fatalf("costs %v", b.Cost)
	}
	if b.Cost[0] < b.Cost[1] {
		return 0
	}
	return 1
}

func TestTheCheaperVictim(t *testing.T) {
	for name, fill := range map[string]func(b *muster.Victims){
		"loses less work":                 func(b *muster.Victims) { b.Lost[0] = 1000 },
		"is cheaper to start again":       func(b *muster.Victims) { b.RestartCost[0] = 1 },
		"has the lower priority":          func(b *muster.Victims) { b.Priority[0], b.Lost[1] = 1, math.MaxInt64 },
		"is not the leader":               func(b *muster.Victims) { b.Leader[0], b.Priority[1], b.Lost[1] = 1, 99, 1<<40 },
		"is cheaper though sums overflow": func(b *muster.Victims) { b.Lost[0], b.RestartCost[0] = math.MaxInt64, math.MaxInt64 },
	} {
		if cheapest(t, fill) != 1 {
			t.Errorf("row 1 %s, and is dearer", name)
		}
	}
}

func TestTwoVictimsCostMoreThanOneThatLosesTheSame(t *testing.T) {
	b := muster.NewVictims(3, 0)
	copy(b.Lost, []int64{10, 5, 5})
	if err := price(b); err != nil {
		t.Fatal(err)
	}
	if b.Cost[0] >= b.Cost[1]+b.Cost[2] {
		t.Errorf("costs %v", b.Cost)
	}
}
