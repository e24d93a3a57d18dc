package score

import (
	"bytes"
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/musterhq/muster/builtin/spec"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	gpu  = 1000 // milli
	hour = 3600 * spec.Second
)

func near(a, b float64) bool { return math.Abs(a-b) <= 1e-9*(1+math.Abs(a)+math.Abs(b)) }

func wantAll(t *testing.T, want map[string][2]float64) {
	t.Helper()
	for name, v := range want {
		if !near(v[0], v[1]) {
			t.Errorf("%s is %v, by hand %v", name, v[0], v[1])
		}
	}
}

// Two queues of 60 and 40 guaranteed on 100 GPUs, worked out on paper:
//
//	hour 0: a uses 100, wants 160; b nothing.            ideal 100, 0
//	hour 1: b wants 60 and has 10; a uses 90.            ideal  60, 40
//	hour 2: b has 40, a 60.                              ideal  60, 40
//	hour 3: b wants only 20 and has 20; a has 60 of 160. ideal  80, 20
func twoQueues() *Recorder {
	r := NewRecorder(Options{Queues: []string{"a", "b"}})
	s := func(h spec.Time, aUsed, aDemand, bUsed, bDemand, fragment int64) {
		r.Sample(h*hour, []QueueSample{
			{Guaranteed: 60 * gpu, Max: 100 * gpu, Used: aUsed * gpu, Demand: aDemand * gpu},
			{Guaranteed: 40 * gpu, Max: Unlimited, Used: bUsed * gpu, Demand: bDemand * gpu},
		}, 100*gpu, fragment*gpu)
	}
	s(0, 100, 160, 0, 0, 0)
	s(1, 90, 160, 10, 60, 0)
	s(2, 60, 160, 40, 60, 0)
	s(3, 60, 160, 20, 20, 8)
	r.Evicted(Eviction{At: 2 * hour, Job: "x", Queue: "a", Tasks: 30, MilliGPUs: 30 * gpu, LostGPUSeconds: 60 * 3600})
	r.Finish(4 * hour)
	return r
}

func TestTheClusterFiguresAreThoseWorkedOutByHand(t *testing.T) {
	c := twoQueues().Result()
	wantAll(t, map[string][2]float64{
		"window":          {c.WindowHours, 4},
		"allocation":      {c.AllocationRatio, 380.0 / 400},
		"demand":          {c.DemandUtilisation, 380.0 / 400}, // a alone could always fill it
		"used":            {c.UsedGPUHours, 380},
		"goodput":         {c.Goodput, 320.0 / 400},
		"deficit":         {c.GuaranteeDeficit, 30},
		"error mean":      {c.ShareErrorMean, (0 + 30 + 0 + 20) / 4.0},
		"error max":       {c.ShareErrorMax, 30},
		"to guarantee":    {c.TimeToGuaranteeMax, 3600},
		"victims":         {float64(c.Victims), 1},
		"tasks":           {float64(c.VictimTasks), 30},
		"lost":            {c.LostGPUHours, 60},
		"fragment":        {*c.FragmentRatio, 8.0 / 400},
		"fragment idle":   {*c.FragmentOfIdle, 8.0 / 20},
		"a used":          {c.Queues[0].Used, 310.0 / 4},
		"b ideal":         {c.Queues[1].Ideal, 100.0 / 4},
		"b deficit":       {c.Queues[1].Deficit, 30},
		"a lost":          {c.Queues[0].LostGPUHours, 60},
		"b at end":        {c.Queues[1].UsedAtEnd, 20},
		"b unlimited max": {c.Queues[1].Max, 0},
		// hour 1: x = 1.5, 0.25; hour 3: 0.75, 1
		"jain": {c.Jain, (1 + 1.75*1.75/(2*(1.5*1.5+0.25*0.25)) + 1 + 1.75*1.75/(2*(0.75*0.75+1))) / 4},
	})
	if c.Episodes != 1 || c.EpisodesOpen != 0 {
		t.Errorf("%d episodes, %d open", c.Episodes, c.EpisodesOpen)
	}
}

func TestOnlyTheWindowCounts(t *testing.T) {
	r := NewRecorder(Options{Queues: []string{"a"}, From: hour, To: 3 * hour})
	q := func(used int64) []QueueSample {
		return []QueueSample{{Guaranteed: 4 * gpu, Max: Unlimited, Used: used * gpu, Demand: 8 * gpu}}
	}
	r.Sample(0, q(8), 8*gpu, -1)
	r.Sample(2*hour, q(2), 8*gpu, -1)
	r.Evicted(Eviction{At: 0, Queue: "a", Tasks: 1})
	r.Evicted(Eviction{At: 3 * hour, Queue: "a", Tasks: 1})
	r.Finish(10 * hour)
	c := r.Result()
	wantAll(t, map[string][2]float64{
		"window": {c.WindowHours, 2}, "allocation": {c.AllocationRatio, 10.0 / 16}, "deficit": {c.GuaranteeDeficit, 2},
		"open episode": {c.TimeToGuaranteeMax, 8 * 3600}, "victims": {float64(c.Victims), 0},
	})
	if c.EpisodesOpen != 1 || c.FragmentRatio != nil {
		t.Errorf("%d open, fragment %v", c.EpisodesOpen, c.FragmentRatio)
	}
}

func TestAnEpisodeOfNoLengthIsNone(t *testing.T) {
	r := NewRecorder(Options{Queues: []string{"a"}})
	r.Sample(5, []QueueSample{{Guaranteed: 4, Max: Unlimited, Used: 0, Demand: 8}}, 8, -1)
	r.Sample(5, []QueueSample{{Guaranteed: 4, Max: Unlimited, Used: 4, Demand: 8}}, 8, -1)
	r.Finish(100)
	if c := r.Result(); c.Episodes != 0 || c.GuaranteeDeficit != 0 {
		t.Errorf("%d episodes, deficit %v", c.Episodes, c.GuaranteeDeficit)
	}
}

func TestTheJobFiguresAreThoseWorkedOutByHand(t *testing.T) {
	r := NewRecorder(Options{Queues: []string{"a", "b"}})
	r.Sample(0, []QueueSample{{}, {}}, 2*gpu, -1)
	s := spec.Second
	job := func(q string, submit, start, end, run, pending, deadline spec.Time) JobRecord {
		return JobRecord{Queue: q, Submit: submit * s, FirstStart: start * s, End: end * s, Started: true, Finished: true, Run: run * s, Pending: pending * s, Deadline: deadline * s}
	}
	r.Job(job("a", 0, 0, 100, 100, 0, 100))       // on time
	r.Job(job("a", 10, 110, 310, 200, 100, 309))  // a second late
	r.Job(job("b", 20, 4000, 5002, 2, 4980, 0))   // evicted once: waits 3980 + 1000
	r.Job(JobRecord{Queue: "b", Deadline: 9 * s}) // never ran
	r.Job(JobRecord{Queue: "b", Submit: -999 * s, Warmup: true, Started: true, Finished: true, End: 1})
	r.Finish(6000 * s)
	c := r.Result()
	j := c.Jobs
	wantAll(t, map[string][2]float64{
		"wait": {j.WaitMean, 5080.0 / 3}, "p50": {j.WaitP50, 100}, "p99": {j.WaitP99, 4980}, "over an hour": {j.WaitedHour, 1.0 / 3},
		"gang wait": {j.GangWaitMean, (0 + 100 + 3980) / 3.0}, "jct": {j.JCTMean, (100 + 300 + 4982) / 3.0}, "jct p99": {j.JCTP99, 4982},
		"makespan": {j.Makespan, 5002}, "slowdown": {j.Slowdown, (1 + 1.5 + 498.2) / 3},
		// 4 jobs on 2 GPUs: alone would be twice the run
		"rho": {j.RhoMean, (0.5 + 0.75 + 1245.5) / 3}, "worst": {j.RhoWorst, 1245.5}, "unfair": {j.Unfair, 1.0 / 3},
		"deadlines": {*j.Met, 1.0 / 3}, "b wait": {c.Queues[1].Jobs.WaitMean, 4980},
	})
	if j.Count != 4 || j.Unstarted != 1 || j.Unfinished != 1 || j.Deadlines != 3 || c.Queues[1].Jobs.Count != 2 {
		t.Errorf("%+v", j)
	}
}

func TestAgainstAPrivatePartitionTheWorseOffAreCounted(t *testing.T) {
	card := func(a, b float64) *Card {
		return &Card{Queues: []QueueCard{{Name: "a", Jobs: JobFigures{Count: 1, WaitMean: a}}, {Name: "b", Jobs: JobFigures{Count: 1, WaitMean: b}}, {Name: "idle"}}}
	}
	c := card(50, 120)
	c.Against(card(100, 100))
	if *c.QueuesWorseOff != 1 || *c.Queues[0].WaitVersusPrivate != 0.5 || c.Queues[2].WaitVersusPrivate != nil {
		t.Errorf("%+v", c)
	}
}

func TestThePercentileIsTheNearestRank(t *testing.T) {
	v := []float64{15, 20, 35, 40, 50}
	for p, want := range map[float64]float64{0: 15, 5: 15, 30: 20, 40: 20, 50: 35, 99: 50, 100: 50} {
		if got := Percentile(v, p); got != want {
			t.Errorf("p%v is %v, not %v", p, got, want)
		}
	}
	if Percentile(nil, 50) != 0 {
		t.Error("of nothing it is 0")
	}
}

func TestTheIdealShareIsThatOfThePublishedExamples(t *testing.T) {
	inf := math.Inf(1)
	q := func(g, limit, d, w float64) Claim { return Claim{g, limit, d, w} }
	for _, c := range []struct {
		name     string
		capacity float64
		claims   []Claim
		want     []float64
	}{
		{"talk 2, hour 1", 512, []Claim{q(160, 448, 900, 0), q(128, 512, 900, 0)}, []float64{2560.0 / 9, 2048.0 / 9}},
		{"talk 2, hour 0: max binds", 512, []Claim{q(160, 448, 900, 0), q(128, 512, 0, 0)}, []float64{448, 0}},
		{"KAI: a lender's rest goes to who wants it", 100, []Claim{q(60, inf, 500, 0), q(40, inf, 15, 0)}, []float64{85, 15}},
		{"KAI: weights 5/3/1 under caps", 97, []Claim{q(0, 36, 99, 5), q(0, 26, 99, 3), q(0, 35, 99, 1)}, []float64{36, 26, 35}},
		{"no guarantees: equal", 103, []Claim{q(0, inf, 99, 0), q(0, inf, 99, 0), q(0, inf, 99, 0)}, []float64{103.0 / 3, 103.0 / 3, 103.0 / 3}},
		{"guarantees beyond the pool shrink in proportion", 50, []Claim{q(60, inf, 99, 0), q(40, inf, 99, 0)}, []float64{30, 20}},
		{"an empty pool", 0, []Claim{q(60, inf, 99, 0)}, []float64{0}},
	} {
		got := Ideal(c.capacity, c.claims)
		for i := range got {
			if !near(got[i], c.want[i]) {
				t.Errorf("%s: %v, not %v", c.name, got, c.want)
				break
			}
		}
	}
}

// A share is max-min fair exactly if nobody can get more without taking from
// somebody who has less (per weight) above the guarantee.
func TestNobodyCanGetMoreButFromWhoHasLess(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		num := func(name string, high int) float64 { return float64(rapid.IntRange(0, high).Draw(rt, name)) }
		claims := make([]Claim, rapid.IntRange(1, 8).Draw(rt, "n"))
		for i := range claims {
			claims[i] = Claim{num("guaranteed", 50), num("max", 100), num("demand", 100), num("weight", 3)}
		}
		capacity := num("capacity", 300)
		got := Ideal(capacity, claims)
		var sum, want float64
		for i, c := range claims {
			limit := min(c.Max, c.Demand)
			if got[i] < 0 || got[i] > limit+1e-9 {
				rt.Fatalf("%d gets %v of at most %v", i, got[i], limit)
			}
			sum, want = sum+got[i], want+limit
		}
		if !near(sum, min(capacity, want)) {
			rt.Fatalf("%v handed out of %v, wanted %v", sum, capacity, want)
		}
		scarce := 0.0
		for _, c := range claims {
			scarce += min(c.Guaranteed, c.Demand, c.Max)
		}
		if scarce > capacity {
			return // the first filling alone: covered by the examples
		}
		above := func(i int) float64 {
			c := claims[i]
			w := c.Weight
			if w == 0 {
				w = c.Guaranteed
			}
			if w == 0 {
				w = 1
			}
			return (got[i] - min(c.Guaranteed, c.Demand, c.Max)) / w
		}
		for i, c := range claims {
			if got[i] >= min(c.Max, c.Demand)-1e-9 {
				continue
			}
			for k := range claims {
				if above(k) > above(i)+1e-9 {
					rt.Fatalf("%d wants more and has %v a weight, %d has %v: %v", i, above(i), k, above(k), got)
				}
			}
		}
	})
}

func TestHowOftenTheStateIsToldChangesNoFigure(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		once, often := NewRecorder(Options{Queues: []string{"a"}}), NewRecorder(Options{Queues: []string{"a"}})
		now := spec.Time(0)
		for range rapid.IntRange(1, 20).Draw(rt, "n") {
			q := []QueueSample{{Guaranteed: 4 * gpu, Max: 9 * gpu, Used: gpu * rapid.Int64Range(0, 8).Draw(rt, "used"), Demand: gpu * rapid.Int64Range(0, 20).Draw(rt, "demand")}}
			once.Sample(now, q, 8*gpu, 0)
			dt := rapid.Int64Range(1, 5000).Draw(rt, "dt") * spec.Second
			for _, at := range []spec.Time{now, now + dt/3, now + dt/3, now + dt/2} {
				often.Sample(at, q, 8*gpu, 0)
			}
			now += dt
		}
		once.Finish(now)
		often.Finish(now)
		a, b := once.Result(), often.Result()
		if !near(a.AllocationRatio, b.AllocationRatio) || !near(a.Jain, b.Jain) || !near(a.GuaranteeDeficit, b.GuaranteeDeficit) || a.Episodes != b.Episodes {
			rt.Fatalf("%+v\n%+v", a, b)
		}
	})
}

func TestTheSeriesKeepsTheIntegralInBoundedPoints(t *testing.T) {
	r := NewRecorder(Options{Queues: []string{"a"}})
	rng := uint64(1)
	var sum float64
	now := spec.Time(0)
	for range 20000 {
		rng = rng*6364136223846793005 + 1442695040888963407
		used := int64(rng >> 61)
		r.Sample(now, []QueueSample{{Used: used * gpu, Max: Unlimited}}, 8*gpu, -1)
		dt := spec.Time(rng>>32%100_000) * spec.Second / 1000
		sum += float64(used) * seconds(dt)
		now += dt
	}
	r.Finish(now)
	s := r.Series()
	n := len(s.Queues[0].Used)
	if n > MaxPoints || n < MaxPoints/2 || len(s.Capacity) != n || len(s.WaitQuantilesS) != 101 {
		t.Fatalf("%d points", n)
	}
	var got float64
	for k, v := range s.Queues[0].Used {
		got += v * min(s.StepS, seconds(now)-float64(k)*s.StepS)
	}
	if math.Abs(got-sum) > 1e-6*sum {
		t.Errorf("integral %v, not %v", got, sum)
	}
}

func TestTheCardIsReadableAndItsJSONNamesUnits(t *testing.T) {
	c := twoQueues().Result()
	var b bytes.Buffer
	if err := Compare(&b, []string{"fifo", "fair"}, []*Card{c, c}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"CLUSTER", "  allocated", "95.00 %", "FAIRNESS", "QUEUES of fair", "guaranteed"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
	for _, line := range strings.Split(b.String(), "\n") {
		if len(line) > 140 || strings.HasSuffix(line, " ") {
			t.Errorf("too wide, or blank at the end: %q", line)
		}
	}
	raw, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"wait_mean_s", "guarantee_deficit_gpu_h", "used_mean_gpus", "allocation_ratio"} {
		if !bytes.Contains(raw, []byte(`"`+key+`":`)) {
			t.Errorf("no %s", key)
		}
	}
	t.Log("\n" + b.String())
}

func TestAnEmptyRunHasACardOfZeros(t *testing.T) {
	r := NewRecorder(Options{})
	c := r.Result()
	raw, err := json.Marshal(c) // NaN or Inf would fail
	if err != nil || c.AllocationRatio != 0 {
		t.Errorf("%v %s", err, raw)
	}
	if s := r.Series(); len(s.Queues) != 0 {
		t.Error(s)
	}
	if got := []string{Span(0), Span(119), Span(7199), Span(3 * 3600), Span(-5), Span(1e6)}; !slices.Equal(got, []string{"0 s", "119 s", "120 min", "3 h", "-5 s", "11.57 d"}) {
		t.Error(got)
	}
}

func BenchmarkSample(b *testing.B) {
	r := NewRecorder(Options{Queues: make([]string, 11)})
	q := make([]QueueSample, 11)
	for i := range q {
		q[i] = QueueSample{Guaranteed: 64 * gpu, Max: Unlimited, Used: 60 * gpu, Demand: int64(i) * 30 * gpu}
	}
	b.ReportAllocs()
	for i := range b.N {
		q[i%11].Demand ^= 1000
		r.Sample(spec.Time(i)*spec.Second, q, 704*gpu, -1)
	}
}
