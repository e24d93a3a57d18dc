package main

import (
	"testing"

	muster "github.com/musterhq/muster/sdk/go"
)

const minute = int64(60e9)

func TestTheCheaperVictim(t *testing.T) {
	for name, fill := range map[string]func(b *muster.Victims){
		"is idle":                          func(b *muster.Victims) { b.Idle[0], b.Idle[1], b.Lost[0] = 10*minute, 0, 1e9 },
		"has been idle for longer":         func(b *muster.Victims) { b.Idle[0], b.Idle[1] = 60*minute, 59*minute },
		"is idle, the other not for long":  func(b *muster.Victims) { b.Idle[0], b.Idle[1] = 10*minute, 9*minute },
		"is idle, the other not known":     func(b *muster.Victims) { b.Idle[0], b.Lost[0] = 10*minute, 1e9 },
		"is half busy, so it loses half":   func(b *muster.Victims) { b.Use[0], b.Lost[0], b.Lost[1] = muster.One/2, 19, 10 },
		"is busy, but of lower priority":   func(b *muster.Victims) { b.Lost[0], b.Priority[1] = 1e9, 1 },
		"is no leader, idle as the leader": func(b *muster.Victims) { b.Idle[1], b.Leader[1], b.Lost[0] = 90*minute, 1, 1e9 },
	} {
		b := muster.NewVictims(2, 0)
		b.SetParams(10 * minute)
		fill(b)
		if err := price(b); err != nil {
			t.Fatal(err)
		}
		if b.Cost[0] < 1 || b.Cost[0] >= b.Cost[1] {
			t.Errorf("the first %s, and costs %d, the other %d", name, b.Cost[0], b.Cost[1])
		}
	}
}
