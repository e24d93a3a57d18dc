package score

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/musterhq/muster/builtin/spec"
)

// measured is two hours of a queue of 8 GPUs: all of them busy, then half of them idle;
// another queue holds 2 of which nothing is known.
func measured(o Options) *Recorder {
	o.Queues, o.Measured = []string{"a", "b"}, true
	r := NewRecorder(o)
	b := QueueSample{Used: 2 * gpu, Max: Unlimited}
	r.Sample(0, []QueueSample{{Used: 8 * gpu, Max: Unlimited, Measured: 8 * gpu, Busy: 8 * gpu}, b}, 10*gpu, -1)
	r.Sample(3600*spec.Second, []QueueSample{{Used: 8 * gpu, Max: Unlimited, Measured: 8 * gpu, Busy: 3 * gpu, Idle: 4 * gpu}, b}, 10*gpu, -1)
	r.Withdrawn(3600*spec.Second, "a")
	r.Evicted(Eviction{At: 5000 * spec.Second, Queue: "a", Idle: true})
	r.Evicted(Eviction{At: 6000 * spec.Second, Queue: "b"})
	r.Finish(7200 * spec.Second)
	return r
}

func TestTheCardTellsWhatGPUsReallyDid(t *testing.T) {
	c := measured(Options{}).Result()
	want := UseFigures{MeasuredGPUHours: 16, BusyGPUHours: 11, IdleGPUHours: 4, IdleVictims: 1, Withdrawn: 1}
	if *c.Use != want || *c.Queues[0].Use != want || *c.Queues[1].Use != (UseFigures{}) {
		t.Errorf("%+v, %+v, %+v", c.Use, c.Queues[0].Use, c.Queues[1].Use)
	}
	c = measured(Options{From: 3600 * spec.Second, To: 5000 * spec.Second}).Result()
	if c.Use.IdleVictims != 0 || c.Use.Withdrawn != 1 || !near(c.Use.IdleGPUHours*3600, 4*1400) {
		t.Errorf("outside its window too: %+v", c.Use)
	}
	if s := measured(Options{}).Series(); !near(Mean(s.Queues[0].Busy), 5.5) {
		t.Errorf("%v", Mean(s.Queues[0].Busy))
	}
}

func TestOfWhatNobodyMeasuredNothingIsTold(t *testing.T) {
	bare, full := twoQueues().Result(), measured(Options{}).Result()
	raw, err := json.Marshal(bare)
	if err != nil || bytes.Contains(raw, []byte(`"use"`)) || twoQueues().Series().Queues[0].Busy != nil {
		t.Errorf("%v: %s", err, raw)
	}
	var alone, both bytes.Buffer
	if err := Compare(&alone, nil, []*Card{bare}); err != nil {
		t.Fatal(err)
	}
	if err := Compare(&both, []string{"bare", "full"}, []*Card{bare, full}); err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"USE OF GPUS", "busy", "of that idle"} {
		if strings.Contains(alone.String(), word) {
			t.Errorf("%q in\n%s", word, alone.String())
		}
	}
	for _, line := range []string{
		"  held, as far as it was measured - 16 GPU-h", "  of that really busy - 68.75 %, 11 GPU-h", "  of that idle - 25.00 %, 4 GPU-h",
		"  evicted for being idle / stayed - 1 / 1", "a 0 - 8 5.5 2 8",
	} {
		if !strings.Contains(strings.Join(strings.Fields(both.String()), " "), strings.TrimSpace(line)) {
			t.Errorf("no %q in\n%s", line, both.String())
		}
	}
}
