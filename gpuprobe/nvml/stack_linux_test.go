//go:build linux && (amd64 || arm64)

package nvml

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// questions are all calls that hand the driver memory to write to, one each.
func questions(d *Driver, s *stub, g, instance Device) map[string]func() any {
	moved := 0
	one := func(v any, err error) any { return fmt.Sprintf("%+v, %v", v, err) }
	return map[string]func() any{
		"System":      func() any { return one(d.System()) },
		"Devices":     func() any { list, err := d.Devices(); return one(len(list), err) },
		"Identity":    func() any { return one(g.Identity()) },
		"its":         func() any { return one(instance.Identity()) },
		"Memory":      func() any { return one(g.Memory()) },
		"Utilization": func() any { moved += 10000; s.set(0, keySamples, moved); return one(g.Utilization()) },
		"Processes":   func() any { p, err := g.Processes(); return one(describe(p), err) },
		"use":         func() any { return one(g.ProcessUtilization()) },
		"Status":      func() any { st, err := g.Status(); return one(describeStatus(st), err) },
		"MIG":         func() any { list, err := g.MIG(); return one(len(list), err) },
		"GPM":         func() any { g.(*gpu).gpm.at = time.Unix(1, 0); return one(g.GPM()) },
		"Events":      func() any { s.event(0, uint64(EventXID), 31, 5, 6); return one(d.Events(time.Minute)) },
	}
}

// The stack of a goroutine moves when it grows. What the driver writes must arrive even
// if that happens at the worst place of a wrapper, so each is the first call of fresh
// goroutines that have used up more and more of their stack.
func TestAnswersArriveWhereverTheStackIs(t *testing.T) {
	s := newStub(t)
	s.set(0, keyProcesses, 2)
	s.set(0, keyLiveSamples, 1)
	s.set(1, keyMIG, 2)
	d := s.open(t)
	list, err := d.Devices()
	if err != nil {
		t.Fatal(err)
	}
	instances, _ := list[1].MIG()
	_, _ = d.Events(0) // there are events from here on
	_, _ = list[0].GPM()
	for name, question := range questions(d, s, list[0], instances[0]) {
		want := question()
		if text := want.(string); !strings.HasSuffix(text, ", <nil>") {
			t.Errorf("%s: %s", name, text)
		}
		for depth := range 400 {
			got := make(chan any)
			go func() { sink(dig(depth, func() { got <- question() })) }()
			if got := <-got; got != want {
				t.Fatalf("%s, %d deep: got\n%s, want\n%s", name, depth, got, want)
			}
		}
	}
}

// dig uses up stack before it calls f; some 100 bytes a level.
//
//go:noinline
func dig(depth int, f func()) (x byte) {
	var room [64]byte
	room[depth%64] = byte(depth)
	if depth == 0 {
		f()
		return room[0]
	}
	return dig(depth-1, f) + room[(depth+1)%64]
}

func sink(byte) {}
