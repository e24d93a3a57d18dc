package sim_test

import (
	"context"
	"slices"
	"testing"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/quota"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/runtime/sim"
	"github.com/musterhq/muster/runtime/sim/trace"
)

const hour = 3600 * spec.Second

// scene is what a run left at the end of one instant, when the scheduler had
// nothing more to decide: what the leaves hold, and the evictions so far.
type scene struct {
	at      spec.Time
	used    []amount.Amount
	evicted int
}

// play runs a trace and keeps its scenes.
func play(t *testing.T, tr *trace.Trace, o sim.Options) (*sim.Result, []scene) {
	t.Helper()
	var scenes []scene
	evicted := 0
	o.Observe = func(ob sim.Observation) {
		for _, e := range ob.Plan.Evictions {
			evicted += len(e.Tasks)
			if e.GPUs != 1000*int64(len(e.Tasks)) && tr.Name == "t1" {
				t.Errorf("an eviction of %d milli-GPUs in %d tasks", e.GPUs, len(e.Tasks))
			}
		}
		s := scene{ob.Now, nil, evicted}
		for _, l := range tr.Leaves() {
			q, _ := ob.World.Quota.Lookup(l.Path)
			s.used = append(s.used, ob.World.Quota.Used(quota.Account(q))[amount.GPU])
		}
		if n := len(scenes); n > 0 && scenes[n-1].at == ob.Now {
			scenes = scenes[:n-1]
		}
		scenes = append(scenes, s)
	}
	r, err := sim.Run(context.Background(), tr, o)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Refused) != 0 {
		t.Fatalf("the ledger refused %v", r.Refused)
	}
	return r, scenes
}

func wantPromise(t *testing.T, promise []trace.Interval, scenes []scene) {
	t.Helper()
	kept := 0
	for _, s := range scenes {
		for _, p := range promise {
			if s.at < p.From || s.at >= p.To {
				continue
			}
			kept++
			if !slices.Equal(s.used, p.Used) || p.Evicted >= 0 && s.evicted != p.Evicted {
				t.Errorf("at %d s the queues hold %v after %d evictions, promised %v after %d", s.at/spec.Second, s.used, s.evicted, p.Used, p.Evicted)
			}
		}
	}
	if kept < len(promise) {
		t.Errorf("%d promises and only %d scenes to keep them in", len(promise), kept)
	}
}

// load reads a scenario that lies beside the repository.
func load(t *testing.T, file string, end spec.Time) *trace.Trace {
	t.Helper()
	tr, err := trace.Load(shared(t, "talk-scenarios", file), trace.Options{})
	if err != nil {
		t.Fatal(err)
	}
	tr.End = end
	return tr
}

func TestTalk1TakesBackExactlyFortyGPUsAndKeepsItsPromiseAtEveryCycle(t *testing.T) {
	for name, tr := range map[string]func(*testing.T) *trace.Trace{
		"generated":   func(*testing.T) *trace.Trace { return trace.Talk1() },
		"shared file": func(t *testing.T) *trace.Trace { return load(t, "t1_jobs.csv", 4*hour) },
	} {
		t.Run(name, func(t *testing.T) {
			r, scenes := play(t, tr(t), sim.Options{Until: 4*hour - 1})
			wantPromise(t, trace.Talk1Promise(), scenes)
			if last := scenes[len(scenes)-1]; last.evicted != 40 {
				t.Errorf("%d GPUs were taken back, 40 are enough", last.evicted)
			}
			if r.Card.AllocationRatio < 0.9999 {
				t.Errorf("GPUs stood idle: %f", r.Card.AllocationRatio)
			}
		})
	}
}

// From hour 4 on the five queues hold exactly their guarantees. The scenario's
// README allows an exception while a gang is being assembled that fits nowhere
// inside the last 7 GPUs; these runs do not need it.
func TestTalk2GivesEveryQueueExactlyItsGuaranteeFromHourFourOn(t *testing.T) {
	promise := trace.Talk2Promise()[4:]
	for name, tr := range map[string]func(*testing.T) *trace.Trace{
		"generated":   func(*testing.T) *trace.Trace { return trace.Talk2() },
		"shared file": func(t *testing.T) *trace.Trace { return load(t, "t2_jobs.csv.gz", 8*hour) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, scenes := play(t, tr(t), sim.Options{From: hour, Until: 8*hour - 1})
			wantPromise(t, promise, scenes)
			alone := amount.Amount(0)
			for _, s := range scenes {
				if s.at < hour {
					alone = max(alone, s.used[0])
				}
			}
			if alone != 448_000 {
				t.Errorf("alone, q1 reached %d of its 448000 milli-GPUs", alone)
			}
			if r.Card.AllocationRatio < 0.98 || r.Card.DemandUtilisation < 0.98 {
				t.Errorf("allocated %f of the pool, %f of what was asked for", r.Card.AllocationRatio, r.Card.DemandUtilisation)
			}
		})
	}
}

func TestTheOrderOfEventsOfOneInstantChangesNoPlan(t *testing.T) {
	for _, c := range []struct {
		tr    *trace.Trace
		until spec.Time
	}{{trace.Talk1(), 4 * hour}, {trace.Talk2(), 75 * 60 * spec.Second}} {
		t.Run(c.tr.Name, func(t *testing.T) {
			first := ""
			for seed := range uint64(6) { // 0 is the trace's own order
				r, scenes := play(t, c.tr, sim.Options{Until: c.until, Seed: seed})
				if first == "" {
					first = r.Digest
				}
				if r.Digest != first || len(scenes) == 0 {
					t.Errorf("seed %d gives plans %s, seed 0 %s", seed, r.Digest, first)
				}
			}
		})
	}
}
