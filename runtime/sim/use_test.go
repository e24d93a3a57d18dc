package sim

import (
	"context"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/musterhq/muster/builtin/cycle"
	"github.com/musterhq/muster/builtin/plan"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/builtin/world"
	"github.com/musterhq/muster/gpuprobe/pattern"
	"github.com/musterhq/muster/runtime/clock"
	"github.com/musterhq/muster/runtime/ledger"
	"github.com/musterhq/muster/runtime/loop"
	"github.com/musterhq/muster/runtime/sim/trace"
)

const (
	minute = 60 * spec.Second
	hour   = 60 * minute
)

// pool is a trace of one node: research borrows all its GPUs, product is owed them.
func pool(gpus int64, jobs ...trace.Job) *trace.Trace {
	return &trace.Trace{
		Name: "pool", Nodes: []spec.Node{{Name: "n0", Capacity: spec.GPUs(gpus)}}, Jobs: jobs,
		Queues: spec.Tree{Root: &spec.Queue{Name: "root", Parent: true, Children: []*spec.Queue{
			{Name: "research", IdleAfter: 30 * minute, IdleGrace: 10 * minute},
			{Name: "product", Guaranteed: spec.GPUs(gpus)},
		}}},
	}
}

// gang is a job of one-GPU tasks that runs for ever unless run is given.
func gang(id, queue string, submit spec.Time, tasks int64, use string, run spec.Duration) trace.Job {
	j := trace.Job{Run: run, Job: spec.Job{
		ID: id, Queue: "root." + queue, Submit: submit,
		Tasks: []spec.TaskGroup{{Name: "w", Min: tasks, Size: tasks, Request: spec.GPUs(1)}},
	}}
	if use != "" {
		j.Use = pattern.Must(use)
	}
	return j
}

// told runs a trace and returns all plans that decided something, and the instants at
// which probes told of a job, with how long they said it had been idle.
func told(t *testing.T, tr *trace.Trace, o Options, id string) (res *Result, plans []*plan.Plan, at []spec.Time, idle []spec.Duration) {
	t.Helper()
	o.Observe = func(ob Observation) { plans = append(plans, ob.Plan) }
	o.Measured = func(now spec.Time, w *world.World) {
		j := w.Job(id)
		if j == nil {
			return
		}
		task := &j.Tasks[0]
		_, quiet, ok := w.UseOf(task, now)
		if told := w.KnownUntil([]*world.Task{task}, now) - w.Quota.UseMaxAge; ok && told == now {
			at, idle = append(at, now), append(idle, quiet)
		}
	}
	res, err := Run(t.Context(), tr, o)
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Refused) > 0 {
		t.Fatal(res.Refused)
	}
	return res, plans, at, idle
}

func TestProbesTellOfEdgesAtOnceAndSeldomOtherwise(t *testing.T) {
	tr := pool(1, gang("j", "research", 0, 1, "busy for 30s, idle for 57m3s, busy", 0))
	_, _, at, idle := told(t, tr, Options{Until: hour + minute}, "j")
	asleep := slices.IndexFunc(idle, func(d spec.Duration) bool { return d > 0 })
	if asleep < 0 || at[asleep] != 35*spec.Second || idle[asleep] != 5*spec.Second {
		t.Errorf("asleep at %v, for %v", at, idle)
	}
	woken := at[len(at)-1]
	for i, d := range idle {
		if i > asleep && d == 0 {
			woken = at[i]
			break
		}
	}
	if woken != 30*spec.Second+57*minute+3*spec.Second {
		t.Errorf("it woke up at %v", time.Duration(woken))
	}
	for i := 1; i < len(at); i++ {
		if at[i]-at[i-1] > minute {
			t.Errorf("nothing was told from %v to %v", time.Duration(at[i-1]), time.Duration(at[i]))
		}
	}
	if !slices.Contains(at, 40*spec.Second) || !slices.Contains(at, 45*spec.Second) {
		t.Errorf("nobody was told that it goes on doing nothing, only at %v", at)
	}
	if len(at) > 120 {
		t.Errorf("it was told %d times in an hour", len(at))
	}
}

func TestNobodyIsMeasuredOfWhomNothingIsSaid(t *testing.T) {
	tr := pool(1, gang("j", "research", 0, 1, "", hour))
	res, _, at, _ := told(t, tr, Options{}, "j")
	if len(at) > 0 || res.Card.Use != nil || res.Card.Queues[0].Use != nil || res.Series.Queues[0].Busy != nil {
		t.Errorf("told at %v: %+v", at, res.Card.Use)
	}
}

func TestMeasurementsAloneKeepNoRunGoing(t *testing.T) {
	tr := pool(1, gang("j", "research", 0, 1, "busy for 1s, idle for 1h, repeat", 0))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	res, err := Run(ctx, tr, Options{})
	if err != nil || res.Card.WindowHours > 0.1 {
		t.Errorf("%v: it ran for %f hours", err, res.Card.WindowHours)
	}
}

// A task that joins later is measured too, and not for longer than it runs.
func TestATaskThatJoinsIsMeasured(t *testing.T) {
	elastic := gang("j", "research", 0, 2, "busy for 10s, idle", 0)
	elastic.Tasks[0].Min = 1
	tr := pool(2, gang("first", "research", 0, 1, "", 20*minute+2*spec.Second), elastic)
	tr.Queues.Root.Children[1].Guaranteed = nil
	var quiet []spec.Duration
	_, err := Run(t.Context(), tr, Options{Until: hour, Measured: func(now spec.Time, w *world.World) {
		if task := &w.Job("j").Tasks[1]; now > 20*minute+7*spec.Second {
			q, ok := w.Quiet([]*world.Task{task}, now)
			if !ok || q > now-20*minute-2*spec.Second {
				t.Errorf("at %v: %v %v", time.Duration(now), time.Duration(q), ok)
			}
			quiet = append(quiet, q)
		}
	}})
	if err != nil || len(quiet) < 30 {
		t.Errorf("%v, measured %d times", err, len(quiet))
	}
}

func TestTheStoryOfUseIsPlayedAsPromised(t *testing.T) {
	tr := trace.Use()
	res, plans, _, _ := told(t, tr, Options{Until: tr.End}, "eval")
	var lines []string
	for _, p := range plans {
		for _, e := range p.Evictions {
			lines = append(lines, fmt.Sprintf("%v %s told, until %v", time.Duration(p.Now), e.Job, time.Duration(e.Deadline)))
		}
		for _, e := range p.Ends {
			lines = append(lines, fmt.Sprintf("%v %s goes", time.Duration(p.Now), e.Job))
		}
		for _, e := range p.Stays {
			lines = append(lines, fmt.Sprintf("%v %s stays: %s", time.Duration(p.Now), e.Job, e.Reason))
		}
	}
	want := []string{
		"1h30m0s notebook-ann told, until 1h40m0s", "1h40m0s notebook-ann goes",
		"2h0m0s eval told, until 2h10m0s",
		"2h5m0s notebook-bob told, until 2h15m0s", "2h5m0s eval stays: woke",
		"2h15m0s notebook-bob goes",
	}
	if !slices.Equal(lines, want) {
		t.Errorf("got  %q\nwant %q", lines, want)
	}
	use := res.Card.Use
	if use.IdleVictims != 2 || use.Withdrawn != 1 || res.Card.Victims != 2 || res.Card.Queues[1].Use.IdleVictims != 0 {
		t.Errorf("%+v", use)
	}
	near := func(what string, got, want float64) {
		if math.Abs(got-want) > 0.2 {
			t.Errorf("%s: %f GPU-hours, not %f", what, got, want)
		}
	}
	// Each gang has 8 GPUs; ann's is idle from 0:20 to 1:40, bob's from 1:25 to 2:15, eval
	// from 1:10 to 2:05.
	near("measured", use.MeasuredGPUHours, 32*3)
	near("idle", use.IdleGPUHours, 8*(80+50+55)/60.)
	near("busy", use.BusyGPUHours, 32*3-8*(80+50+55)/60.)
	near("lost", res.Card.LostGPUHours, 8*(20+85)/60.)
	// Who is under notice holds its GPUs, and who waits for them does not.
	near("used by research", 3*res.Card.Queues[0].Used, (32*100+24*35+16*45)/60.)
	near("owed to product", res.Card.GuaranteeDeficit, 8*(10+15)/60.)
}

func TestWithoutProbesThePolicyTakesTheBusyOneInstead(t *testing.T) {
	tr := trace.Use().Unmeasured()
	res, plans, _, _ := told(t, tr, Options{Until: tr.End}, "train")
	for _, p := range plans {
		if len(p.Evictions) > 0 {
			if e := p.Evictions[0]; e.Job != "train" || e.Notify {
				t.Errorf("%+v", e)
			}
			break
		}
	}
	if res.Card.Use != nil {
		t.Errorf("%+v", res.Card.Use)
	}
}

// Somebody who is told 100 s before that he goes, and saves his work in that time or does
// not, or ends by himself.
func TestWhatAVictimUnderNoticeLosesIsCountedWhenItGoes(t *testing.T) {
	for name, c := range map[string]struct {
		run         spec.Duration
		saveAfter   spec.Duration
		victims     int64
		lostSeconds float64
	}{
		"it never saves":         {0, 0, 1, 1100},
		"it saves":               {0, 40 * spec.Second, 1, 0},
		"it ends by itself":      {1050 * spec.Second, 0, 0, 0},
		"it would end too late":  {1150 * spec.Second, 0, 1, 1100},
		"it saves after its end": {1050 * spec.Second, 60 * spec.Second, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			victim := gang("v", "research", 0, 1, "", c.run)
			victim.Notice = 100 * spec.Second
			tr := pool(1, victim, gang("p", "product", 1000*spec.Second, 1, "", 0))
			res, _, _, _ := told(t, tr, Options{Until: 1200 * spec.Second, SaveAfter: c.saveAfter}, "v")
			if lost := res.Card.LostGPUHours * 3600; res.Card.Victims != c.victims || math.Abs(lost-c.lostSeconds) > 1e-6 {
				t.Errorf("%d victims lost %f GPU-seconds", res.Card.Victims, lost)
			}
		})
	}
}

func TestAQueueWaitsForItsGuaranteeUntilTheVictimsAreGone(t *testing.T) {
	tr := pool(1, gang("v", "research", 0, 1, "", 0), gang("p", "product", 1000*spec.Second, 1, "", 0))
	res, _, _, _ := told(t, tr, Options{Until: 2000 * spec.Second, EvictionTime: 50 * spec.Second}, "v")
	if c := res.Card; c.TimeToGuaranteeMax != 50 || math.Abs(c.GuaranteeDeficit*3600-50) > 1e-6 || math.Abs(c.AllocationRatio-1) > 1e-9 {
		t.Errorf("it waited %f s for %f GPU-hours, of %f", c.TimeToGuaranteeMax, c.GuaranteeDeficit, c.AllocationRatio)
	}
}

// drawn is a trace of one node that research fills with jobs of all patterns, until
// product comes for some of it.
func drawn(rt *rapid.T) *trace.Trace {
	of := func(what string, list ...int64) int64 { return rapid.SampledFrom(list).Draw(rt, what) }
	minutes := func(what string) string { return fmt.Sprintf("%dm", of(what, 3, 15, 25, 40, 60, 90)) }
	var jobs []trace.Job
	for i := range of("research", 2, 4, 6, 8) {
		use := rapid.SampledFrom([]string{"busy", "idle", "duty=1s/1m", "hang", "asleep", "awake", "both", "both"}).Draw(rt, "use")
		switch use {
		case "asleep":
			use = "busy for " + minutes("busy") + ", idle"
		case "awake":
			use = "idle for " + minutes("idle") + ", busy=0.5"
		case "both":
			use = "busy for " + minutes("busy") + ", idle for " + minutes("idle") + ", repeat"
		}
		j := gang(fmt.Sprintf("r%d", i), "research", of("submit", 0, 0, 7, 50)*minute, of("tasks", 1, 2), use, of("run", 0, 100, 240)*minute)
		j.Notice, j.CheckpointEvery = of("notice", 0, 0, 8)*minute, of("saves", 0, 0, 60)*minute
		jobs = append(jobs, j)
	}
	for i := range of("product", 0, 3, 6) {
		jobs = append(jobs, gang(fmt.Sprintf("p%d", i), "product", of("comes", 40, 70, 110, 150, 200)*minute, of("wants", 1, 2), "busy", 30*minute))
	}
	tr := pool(of("gpus", 2, 4, 6), jobs...)
	tr.Queues.Root.Children[0].IdleAfter, tr.Queues.Root.Children[0].IdleGrace = 10*minute, 30*minute
	slices.SortStableFunc(tr.Jobs, func(a, b trace.Job) int { return int(a.Submit - b.Submit) })
	return tr
}

// fates is what a run did to each job.
type fates struct {
	told, went, stayed map[string]int
	started            map[string]spec.Time // last
}

func (f *fates) observe(rt *rapid.T, uses map[string]pattern.Pattern, after spec.Duration) func(Observation) {
	f.told, f.went, f.stayed, f.started = map[string]int{}, map[string]int{}, map[string]int{}, map[string]spec.Time{}
	return func(o Observation) {
		for _, e := range o.Plan.Evictions {
			f.told[e.Job]++
			if !e.Notify {
				f.went[e.Job]++
			}
			if use := uses[e.Job]; e.Idle > 0 {
				last, _ := use.LastActive(time.Duration(o.Now - f.started[e.Job]))
				if really := o.Now - f.started[e.Job] - int64(last); e.Idle < after || really < e.Idle {
					rt.Fatalf("%s, %q, was taken for being idle for %v after %v, not %v", e.Job, use, time.Duration(e.Idle), time.Duration(o.Now-f.started[e.Job]), time.Duration(really))
				}
			}
		}
		for _, e := range o.Plan.Ends {
			f.went[e.Job]++
		}
		for _, e := range o.Plan.Stays {
			f.stayed[e.Job]++
		}
		for _, b := range o.Plan.Binds {
			f.started[b.Job] = o.Now
		}
	}
}

func TestOnlyTheIdleGoForBeingIdleAndWhoStaysLosesNothing(t *testing.T) {
	stayed, idle := 0, int64(0)
	rapid.Check(t, func(rt *rapid.T) {
		tr := drawn(rt)
		uses := map[string]pattern.Pattern{}
		for _, j := range tr.Jobs {
			uses[j.ID] = j.Use
		}
		var f fates
		res, err := Run(t.Context(), tr, Options{
			Until: 5 * hour, Observe: f.observe(rt, uses, tr.Queues.Root.Children[0].IdleAfter),
			SaveAfter: rapid.SampledFrom([]spec.Duration{0, 0, 0, 3 * minute}).Draw(rt, "save after"),
		})
		if err != nil || len(res.Refused) > 0 {
			rt.Fatal(err, res.Refused)
		}
		went, stays := 0, 0
		for id := range uses {
			went, stays = went+f.went[id], stays+f.stayed[id]
		}
		if use := res.Card.Use; int(use.Withdrawn) != stays || int(res.Card.Victims) != went || use.IdleVictims > res.Card.Victims ||
			use.BusyGPUHours+use.IdleGPUHours > use.MeasuredGPUHours+1e-9 || use.MeasuredGPUHours > res.Card.CapacityGPUs*5+1e-9 {
			rt.Fatalf("%d went, %d stayed: %+v %+v", went, stays, use, f)
		}
		if went == 0 && res.Card.LostGPUHours != 0 {
			rt.Fatalf("nobody went, and %f GPU-hours are lost", res.Card.LostGPUHours)
		}
		stayed, idle = stayed+stays, idle+res.Card.Use.IdleVictims
	})
	if stayed == 0 || idle == 0 {
		t.Errorf("%d stayed and %d went for being idle: nothing was tested", stayed, idle)
	}
}

// A job that was told and woke up stays, and loses nothing by that; another is taken.
func TestAWithdrawnEvictionDelaysNothing(t *testing.T) {
	sleeper := gang("s", "research", 0, 1, "busy for 5m, idle for 60m, busy", 2*hour)
	tr := pool(1, sleeper, gang("p", "product", hour, 1, "busy", hour))
	ended := spec.Time(0)
	res, plans, _, _ := told(t, tr, Options{Until: 4 * hour, Progress: func(int, int) {}}, "s")
	for _, p := range plans {
		for _, b := range p.Binds {
			if b.Job == "p" && ended == 0 {
				ended = p.Now
			}
		}
	}
	// p was owed a GPU: it takes s, who is busy again, for want of another.
	if use := res.Card.Use; use.Withdrawn != 1 || res.Card.Victims != 1 || use.IdleVictims != 0 {
		t.Errorf("%+v, p started at %v", use, time.Duration(ended))
	}
	tr = pool(1, sleeper, gang("p", "product", hour, 1, "busy", hour))
	tr.Jobs[1].NeverPreempts = true
	if res, _, _, _ := told(t, tr, Options{Until: 4 * hour}, "s"); res.Card.Victims != 0 {
		t.Errorf("%+v", res.Card)
	}
}

func TestWithoutUseTheIdleRuleChangesNothing(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		tr := drawn(rt).Unmeasured()
		run := func(after spec.Duration) string {
			tr.Queues.Root.Children[0].IdleAfter = after
			res, err := Run(t.Context(), tr, Options{Until: 5 * hour})
			if err != nil {
				rt.Fatal(err)
			}
			return res.Digest
		}
		if with, without := run(minute), run(0); with != without {
			rt.Fatalf("%s with the rule, %s without", with, without)
		}
	})
}

func TestTheOrderOfEventsChangesNoPlanOfMeasuredJobs(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		tr := drawn(rt)
		digest := func(seed uint64) string {
			res, err := Run(t.Context(), tr, Options{Until: 4 * hour, Seed: seed})
			if err != nil {
				rt.Fatal(err)
			}
			return res.Digest
		}
		if a, b := digest(0), digest(rapid.Uint64Range(1, 9).Draw(rt, "seed")); a != b {
			rt.Fatalf("%s and %s", a, b)
		}
	})
}

// The probes skip what nobody need be told, and nothing else.
func TestProbesMissNothingThatMatters(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		tr := drawn(rt)
		e := &engine{loop: loop.New(ledger.New(tr.Queues), cycle.Set{}, nil, clock.NewVirtual(0))}
		use := tr.Jobs[0].Use
		start := rapid.Int64Range(0, 9).Draw(rt, "start") * spec.Second
		j := &job{t: &tr.Jobs[0], startAt: start}
		for now := (start/sweep + 1) * sweep; now < 3*hour; {
			j.told = glance(&use, start, now)
			next := e.nextLook(j, now)
			if next <= now || next-now > minute {
				rt.Fatalf("%q: after %v it is told at %v", use, time.Duration(now), time.Duration(next))
			}
			for at := (now/sweep + 1) * sweep; at < next; at += sweep {
				if glance(&use, start, at).matters(j.told) {
					rt.Fatalf("%q: nothing was told at %v, %v after its start", use, time.Duration(at), time.Duration(at-start))
				}
			}
			if woken, ok := use.NextWake(time.Duration(now-start), time.Duration(sweep)); ok && start+int64(woken) < next {
				rt.Fatalf("%q: it woke up at %v, and that was told at %v", use, time.Duration(start)+woken, time.Duration(next))
			}
			now = next
		}
	})
}
