package usage_test

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/gpuprobe/wire"
	"github.com/musterhq/muster/runtime/clock"
	"github.com/musterhq/muster/runtime/usage"
)

// sink writes down what it is told.
type sink struct {
	mu   sync.Mutex
	news []string
	last map[string]usage.PodUse // by UID or name
	gpus []usage.GPUHealth
}

func (s *sink) Used(node string, uses []usage.PodUse) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last == nil {
		s.last = map[string]usage.PodUse{}
	}
	for _, u := range uses {
		name := u.UID + u.Name
		s.last[name] = u
		state := "unknown"
		if u.Known {
			state = fmt.Sprintf("busy %d%% idle %ds watched %ds", u.Busy*100/amount.One, u.Idle/spec.Second, u.Watched/spec.Second)
		}
		if u.Unassigned {
			state += " unassigned"
		}
		s.news = append(s.news, fmt.Sprintf("%s/%s %s", node, name, state))
	}
}

func (s *sink) Health(node string, gpus []usage.GPUHealth) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gpus = gpus
	text := node
	for _, g := range gpus {
		state := "ok"
		switch {
		case g.Failed:
			state = "failed " + g.Reason
		case g.Unresponsive:
			state = "unresponsive " + g.Reason
		}
		for _, p := range g.Pods {
			state += " " + p.UID + p.Name
		}
		text += fmt.Sprintf(" %d:%s", g.Index, state)
	}
	s.news = append(s.news, text)
}

// heard takes the news since the last call.
func (s *sink) heard() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.news
	s.news = nil
	return out
}

// bench is a table with one node's stream.
type bench struct {
	*testing.T
	*sink
	clock   *clock.Virtual
	table   *usage.Table
	session *usage.Session
	seq     uint64
}

func newBench(t *testing.T) *bench {
	b := &bench{T: t, sink: &sink{}, clock: clock.NewVirtual(1000 * spec.Second)}
	b.table = usage.NewTable(b.sink, usage.TableOptions{Clock: b.clock})
	b.open()
	return b
}

func (b *bench) open() {
	b.session, _ = b.table.Open("n")
	b.seq = 0
}

func (b *bench) after(d spec.Duration) { b.clock.Advance(b.clock.Now() + d) }

// send applies a report that must be taken.
func (b *bench) send(full bool, parts ...any) {
	b.Helper()
	b.seq++
	if v, err := b.session.Apply(report(b.seq, full, parts...)); err != nil || v != usage.Taken {
		b.Fatalf("verdict %d, %v", v, err)
	}
}

// hears checks the news.
func (b *bench) hears(want ...string) {
	b.Helper()
	if got := b.heard(); strings.Join(got, "\n") != strings.Join(want, "\n") {
		b.Fatalf("the sink heard\n%s\nnot\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// report of node n, with GPUs, uses, sources and what is gone.
func report(seq uint64, full bool, parts ...any) *wire.NodeReport {
	r := &wire.NodeReport{Node: "n", BootId: "b", Seq: seq, Full: full, IntervalMs: 10_000}
	for _, p := range parts {
		switch p := p.(type) {
		case *wire.Gpu:
			r.Gpus = append(r.Gpus, p)
		case *wire.Use:
			r.Uses = append(r.Uses, p)
		case *wire.Source:
			r.Sources = append(r.Sources, p)
		case *wire.UseKey:
			r.GoneUses = append(r.GoneUses, p)
		}
	}
	return r
}

func gpuAt(index int, h wire.Health, reason string) *wire.Gpu {
	return &wire.Gpu{Uuid: fmt.Sprintf("GPU-%d", index), Index: uint32(index), Health: h, HealthReason: reason}
}

// use of GPU-i: busy in permille, idle and watched in seconds.
func use(owner string, i int, busy uint32, idle, watched uint64) *wire.Use {
	return &wire.Use{Owner: owner, Gpu: fmt.Sprintf("GPU-%d", i), Busy: &busy, IdleMs: proto.Uint64(idle * 1000), WatchedMs: watched * 1000}
}

var nvmlUp = &wire.Source{Name: "nvml", Up: true}

func TestAPodIsAsBusyAsItsGPUsAndAsIdleAsTheBusiest(t *testing.T) {
	b := newBench(t)
	b.send(true, use("p", 0, 1000, 0, 0), use("p", 1, 0, 90, 80), use("q", 2, 0, 50, 70), use("q", 3, 0, 60, 20), use("host:/sys", 4, 9, 0, 0))
	b.hears("n/p busy 50% idle 0s watched 0s", "n/q busy 0% idle 50s watched 20s")
	if p := b.last["p"]; p.GPUs != 2 || p.At != b.clock.Now() {
		t.Errorf("%d GPUs at %d", p.GPUs, p.At)
	}
}

func TestWhatOneGPUDoesNotTellIsUnknownOfThePod(t *testing.T) {
	for name, spoil := range map[string]func(*wire.Use){
		"no busy": func(u *wire.Use) { u.Busy = nil },
		"no idle": func(u *wire.Use) { u.IdleMs = nil },
	} {
		b := newBench(t)
		u := use("p", 1, 0, 90, 90)
		spoil(u)
		b.send(true, use("p", 0, 0, 90, 90), u)
		if got := b.heard(); len(got) != 1 || got[0] != "n/p unknown" {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestTheSinkHearsOnlyWhatMatters(t *testing.T) {
	b := newBench(t)
	b.send(true, use("p", 0, 500, 0, 0), use("q", 1, 0, 10_000, 10_000))
	b.hears("n/p busy 50% idle 0s watched 0s", "n/q busy 0% idle 10000s watched 10000s")
	for _, step := range []struct {
		why  string
		u    *wire.Use
		want string // "" is nothing
	}{
		{"five points are not enough", use("p", 0, 550, 0, 0), ""},
		{"they add up", use("p", 0, 551, 0, 0), "n/p busy 55% idle 0s watched 0s"},
		{"idleness only grows", use("q", 1, 0, 10_030, 10_030), ""},
		{"it was busy in between", use("q", 1, 0, 4, 50), "n/q busy 0% idle 4s watched 50s"},
		{"nobody looked for a while", use("q", 1, 0, 14, 3), "n/q busy 0% idle 14s watched 3s"},
		{"it woke up", use("q", 1, 0, 0, 13), "n/q busy 0% idle 0s watched 13s"},
		{"it went to sleep", use("q", 1, 0, 5, 23), "n/q busy 0% idle 5s watched 23s"},
		{"nobody looks any more", use("q", 1, 0, 15, 0), "n/q busy 0% idle 15s watched 0s"},
		{"somebody looks again", use("q", 1, 0, 25, 5), "n/q busy 0% idle 25s watched 5s"},
		{"it lasts an eighth longer", use("q", 1, 0, 35, 15), "n/q busy 0% idle 35s watched 15s"},
	} {
		b.after(10 * spec.Second)
		b.send(false, step.u)
		heard := slices.DeleteFunc(b.heard(), func(news string) bool { // p is told of again after a minute
			return strings.HasPrefix(news, "n/p") && step.u.Owner != "p"
		})
		if got := strings.Join(heard, "\n"); got != step.want {
			t.Errorf("%s: heard %q, want %q", step.why, got, step.want)
		}
	}
}

func TestAMeasurementIsToldAgainBeforeTheCoreForgetsIt(t *testing.T) {
	b := newBench(t)
	b.send(true, use("q", 1, 0, 10_000, 10_000))
	b.heard()
	for range 5 {
		b.after(10 * spec.Second)
		b.send(false)
		b.hears()
	}
	b.after(10 * spec.Second)
	b.send(false)
	b.hears("n/q busy 0% idle 10060s watched 10060s")
}

func TestAValueIsAsOfItsMeasurementAndAWakeUpAsOfNow(t *testing.T) {
	b := newBench(t)
	u := use("p", 0, 0, 60, 60)
	u.AgeMs = 4000
	b.send(true, u)
	if p := b.last["p"]; p.At != b.clock.Now()-4*spec.Second || p.Idle != 56*spec.Second || p.Watched != 56*spec.Second {
		t.Fatalf("idle %d at %d", p.Idle, p.At)
	}
	b.after(3 * spec.Second)
	woke := use("p", 0, 0, 0, 63)
	woke.AgeMs = 7000 // NVML has not looked since
	b.send(false, woke)
	if p := b.last["p"]; p.At != b.clock.Now() || p.Idle != 0 {
		t.Fatalf("idle %d at %d, now is %d", p.Idle, p.At, b.clock.Now())
	}
}

func TestABusyPodThatWasMeasuredAWhileAgoIsBusyNotIdleSince(t *testing.T) {
	b := newBench(t)
	u := use("p", 0, 1000, 5, 0)
	u.AgeMs = 5000
	b.send(true, u)
	b.hears("n/p busy 100% idle 0s watched 0s")
	b.after(10 * spec.Second)
	b.send(false) // as before: it was measured again
	b.hears()
	if n, _ := b.table.One("n"); n.Uses[0].GetIdleMs() != 5000 {
		t.Errorf("idle for %d ms", n.Uses[0].GetIdleMs())
	}
}

func TestAPodThatIsGoneIsToldOfOnce(t *testing.T) {
	b := newBench(t)
	b.send(true, use("p", 0, 1000, 0, 0), use("q", 1, 1000, 0, 0))
	b.heard()
	b.send(false, &wire.UseKey{Owner: "p", Gpu: "GPU-0"})
	b.hears("n/p unknown")
	b.send(true)
	b.hears("n/q unknown")
	b.send(true)
	b.hears()
}

func TestAStreamThatEndsMakesAllOfTheNodeUnknownOnce(t *testing.T) {
	b := newBench(t)
	b.send(true, nvmlUp, gpuAt(0, wire.Health_HEALTHY, ""), use("p", 0, 1000, 0, 0))
	b.heard()
	b.session.Close()
	b.session.Close()
	b.hears("n/p unknown")
	if n, _ := b.table.One("n"); !n.Stale || n.Connected || len(n.GPUs) != 1 {
		t.Errorf("%+v", n)
	}
	b.open()
	b.send(true, nvmlUp, gpuAt(0, wire.Health_HEALTHY, ""), use("p", 0, 1000, 0, 0))
	b.hears("n/p busy 100% idle 0s watched 0s")
}

func TestANewerStreamWinsAndTheOldOneSaysNothingMore(t *testing.T) {
	b := newBench(t)
	b.send(true, use("p", 0, 1000, 0, 0))
	old := b.session
	b.open()
	if v, err := old.Apply(report(2, true)); v != usage.Over || err != nil {
		t.Fatalf("verdict %d, %v", v, err)
	}
	b.send(true, use("p", 0, 1000, 0, 0))
	b.heard()
	old.Close()
	b.hears()
	if n, _ := b.table.One("n"); n.Stale || !n.Connected {
		t.Error("the end of the old stream counts")
	}
}

func TestAGapAsksForAllAndNothingCountsUntilItComes(t *testing.T) {
	b := newBench(t)
	gap := func(r *wire.NodeReport) {
		t.Helper()
		if v, err := b.session.Apply(r); v != usage.Gap || err != nil {
			t.Fatalf("verdict %d, %v", v, err)
		}
	}
	gap(report(1, false, use("p", 0, 1000, 0, 0))) // the first must be full
	b.seq = 1
	b.send(true, use("p", 0, 1000, 0, 0))
	gap(report(4, false))
	gap(report(5, false)) // in order again, but something is missing
	rebooted := report(6, false)
	rebooted.BootId = "c"
	gap(rebooted)
	b.seq = 8
	b.send(true, use("p", 0, 1000, 0, 0))
}

func TestHealthIsToldOnChangeWithThePodsThatItHits(t *testing.T) {
	b := newBench(t)
	instance := &wire.Gpu{Uuid: "GPU-9", Parent: "GPU-1", Index: 1}
	named := use("pod:ns/r", 1, 0, 1, 0)
	named.Busy = nil
	b.send(true, nvmlUp, gpuAt(0, wire.Health_HEALTHY, ""), gpuAt(1, wire.Health_DEGRADED, "Throttled"), instance, named,
		use("p", 9, 1000, 0, 0))
	b.hears("n/r unknown", "n/p busy 100% idle 0s watched 0s", "n 0:ok 1:ok r p")
	b.send(false, nvmlUp)
	b.hears()
	b.send(false, nvmlUp, gpuAt(1, wire.Health_FAILED, "Xid79"), gpuAt(0, wire.Health_UNRESPONSIVE, "DriverUnresponsive"))
	b.hears("n 0:unresponsive DriverUnresponsive 1:failed Xid79 r p")
}

func TestAFailedGPUDoesNotGetWellByBeingOutOfSight(t *testing.T) {
	b := newBench(t)
	b.send(true, nvmlUp, gpuAt(0, wire.Health_FAILED, "GpuLost"), gpuAt(1, wire.Health_HEALTHY, ""))
	b.heard()
	nvmlDown := &wire.Source{Name: "nvml", Reason: "DriverNotLoaded"}
	b.send(false, nvmlDown, gpuAt(0, wire.Health_HEALTH_UNKNOWN, ""))
	b.hears()
	b.session.Close()
	b.open()
	b.send(true, nvmlDown)
	b.hears()
	b.send(false, nvmlUp, gpuAt(0, wire.Health_HEALTHY, ""), gpuAt(1, wire.Health_HEALTHY, ""))
	b.hears("n 0:ok 1:ok")
}

func TestAProbeThatSeesNoDriverSaysNothingOfGPUs(t *testing.T) {
	b := newBench(t)
	b.send(true)
	b.hears()
	b.send(false, nvmlUp)
	b.hears("n")
}

func TestAPodOfWhichOneGPUKnowsOnlyTheNameIsOne(t *testing.T) {
	b := newBench(t)
	u := use("uid", 0, 1000, 0, 0)
	u.Namespace, u.Pod = "ns", "p"
	b.send(true, u, use("pod:ns/p", 1, 0, 60, 60))
	b.hears("n/uidp busy 50% idle 0s watched 0s")
}

func TestAPodThatGetsItsUIDIsKnownByItLast(t *testing.T) {
	b := newBench(t)
	b.send(true, use("pod:ns/p", 0, 0, 60, 60))
	b.heard()
	u := use("uid", 0, 1000, 0, 0)
	u.Namespace, u.Pod = "ns", "p"
	b.send(false, u, &wire.UseKey{Owner: "pod:ns/p", Gpu: "GPU-0"})
	b.hears("n/p unknown", "n/uidp busy 100% idle 0s watched 0s")
}

func TestUseWithoutARequestIsToldOnlyIfItIsCertain(t *testing.T) {
	b := newBench(t)
	mine, taken, unknown := use("p", 0, 1000, 0, 0), use("p", 1, 1000, 0, 0), use("q", 2, 1000, 0, 0)
	mine.Assigned, taken.Assigned = proto.Bool(true), proto.Bool(false)
	thief := use("t", 3, 1000, 0, 0)
	thief.Assigned = proto.Bool(false)
	b.send(true, mine, taken, unknown, thief)
	b.hears("n/p busy 100% idle 0s watched 0s", "n/q busy 100% idle 0s watched 0s", "n/t busy 100% idle 0s watched 0s unassigned")
}

func TestMalformedReportsAreRefusedAndChangeNothing(t *testing.T) {
	long := strings.Repeat("x", usage.MaxText+1)
	for code, r := range map[string]*wire.NodeReport{
		"other-node":       {Node: "m"},
		"permille-range":   report(2, false, use("p", 0, 1001, 0, 0)),
		"time-range":       report(2, false, use("p", 0, 0, 1<<50, 0)),
		"too-long":         report(2, false, gpuAt(0, 0, long)),
		"not-utf8":         report(2, false, gpuAt(0, 0, "\xff")),
		"no-name":          report(2, false, use("", 0, 0, 0, 0)),
		"twice":            report(2, false, use("p", 0, 0, 0, 0), use("p", 0, 1, 0, 0)),
		"too-many-gpus":    {Node: "n", Gpus: make([]*wire.Gpu, usage.MaxGPUs+1)},
		"too-many-uses":    {Node: "n", Uses: make([]*wire.Use, usage.MaxUses+1)},
		"too-many-sources": {Node: "n", Sources: make([]*wire.Source, usage.MaxSources+1)},
	} {
		b := newBench(t)
		b.send(true, use("p", 0, 1000, 0, 0))
		before, _ := b.table.One("n")
		_, err := b.session.Apply(r)
		var refused *usage.Refusal
		if !errors.As(err, &refused) || refused.Code != code {
			t.Errorf("%s: %v", code, err)
		}
		if after, _ := b.table.One("n"); !reflect.DeepEqual(before.Uses, after.Uses) {
			t.Errorf("%s: it changed something", code)
		}
	}
}

// Whoever may name a pod must not make its node unknown by that.
func TestThePodWithTheLongestNameIsTakenIn(t *testing.T) {
	b := newBench(t)
	namespace, pod := strings.Repeat("n", 63), strings.Repeat("p", 253)
	u := use("pod:"+namespace+"/"+pod, 0, 0, 20, 20)
	u.Namespace, u.Pod = namespace, pod
	b.send(true, u)
	if p := b.last[pod]; !p.Known || p.Namespace != namespace {
		t.Errorf("%+v", p)
	}
	b.seq++
	if _, err := b.session.Apply(report(b.seq, false, use(strings.Repeat("x", usage.MaxOwner+1), 0, 0, 0, 0))); err == nil {
		t.Error("there is no end")
	}
}

func TestManySmallReportsDoNotAddUpToMoreThanTheLimits(t *testing.T) {
	b := newBench(t)
	b.send(true)
	for i := 0; ; i++ {
		var parts []any
		for k := range 1000 {
			parts = append(parts, use(fmt.Sprintf("p%d", k), i, 0, 0, 0))
		}
		b.seq++
		if _, err := b.session.Apply(report(b.seq, false, parts...)); err != nil {
			break
		}
		if i > usage.MaxUses/1000 {
			t.Fatal("there is no end")
		}
	}
	if n, _ := b.table.One("n"); len(n.Uses) > usage.MaxUses {
		t.Errorf("%d uses", len(n.Uses))
	}
}

func TestForgottenNodesAreGoneUnlessTheySpeak(t *testing.T) {
	b := newBench(t)
	b.send(true)
	b.table.Forget("n")
	if len(b.table.Snapshot()) != 1 {
		t.Error("a node with a stream was forgotten")
	}
	b.session.Close()
	b.table.Forget("n")
	b.table.Forget("n")
	if len(b.table.Snapshot()) != 0 {
		t.Error("the node is still there")
	}
}

// FuzzReport: whatever a node sends, nothing breaks, and what is kept is within limits.
func FuzzReport(f *testing.F) {
	seed := func(r *wire.NodeReport) {
		data, err := proto.Marshal(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, false)
		f.Add(data, true)
	}
	seed(report(1, true, nvmlUp, gpuAt(0, wire.Health_FAILED, "Xid79"), use("p", 0, 7, 1, 1), use("pod:a/b", 0, 7, 1, 1)))
	seed(report(2, false, use("host:/x", 0, 7, 1, 1), &wire.UseKey{Owner: "p", Gpu: "GPU-0"}))
	f.Fuzz(func(t *testing.T, data []byte, fill bool) {
		var r wire.NodeReport
		if proto.Unmarshal(data, &r) != nil {
			return
		}
		c := clock.NewVirtual(1e18)
		table := usage.NewTable(&sink{}, usage.TableOptions{Clock: c})
		s, _ := table.Open("n")
		if fill {
			r.Node = "n"
			if _, err := s.Apply(report(1, true, nvmlUp, gpuAt(0, 0, ""), use("p", 0, 7, 1, 1))); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 {
			_, err := s.Apply(&r)
			var refused *usage.Refusal
			if err != nil && !errors.As(err, &refused) {
				t.Fatal(err)
			}
			r.Seq++
			c.Advance(c.Now() + spec.Second)
		}
		s.Close()
		for _, n := range table.Snapshot() {
			if len(n.GPUs) > usage.MaxGPUs || len(n.Uses) > usage.MaxUses {
				t.Fatalf("%d GPUs, %d uses", len(n.GPUs), len(n.Uses))
			}
		}
	})
}
