package view_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/musterhq/muster/builtin/plan"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/builtin/world"
	"github.com/musterhq/muster/runtime/clock"
	"github.com/musterhq/muster/runtime/ledger"
	"github.com/musterhq/muster/runtime/loop"
	"github.com/musterhq/muster/runtime/serve/servetest"
	"github.com/musterhq/muster/runtime/serve/view"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// deaf is a loop that never answers.
type deaf struct{}

func (deaf) Visit(func(*world.World)) {}

func TestALoopThatNeverAnswersIsAnErrorAndNotAHang(t *testing.T) {
	s := view.NewSource(deaf{}, view.NewRecorder(clock.Real{}), view.Options{Wait: 1})
	if _, err := s.Snapshot(t.Context()); !errors.Is(err, view.ErrNoAnswer) {
		t.Errorf("got %v", err)
	}
}

// fickle answers until it is cut off.
type fickle struct {
	view.World
	off bool
}

func (f *fickle) Visit(do func(*world.World)) {
	if !f.off {
		f.World.Visit(do)
	}
}

func TestALoopThatIsTooBusyLeavesTheLastPictureAndSaysThatItIsOld(t *testing.T) {
	c := servetest.Busy(t, view.Options{})
	f := &fickle{World: c.Loop}
	s := view.NewSource(f, c.Recorder, view.Options{MaxAge: 1, Wait: int64(time.Second)})
	if got, err := s.Snapshot(t.Context()); err != nil || got.Stale {
		t.Fatalf("the first picture: %v", err)
	}
	f.off = true
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	got, err := s.Snapshot(ctx)
	if err != nil || !got.Stale || len(got.Jobs) == 0 {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestAProcessThatStandsByNamesTheLeader(t *testing.T) {
	s := view.NewSource(deaf{}, view.NewRecorder(clock.Real{}), view.Options{Leader: func() view.Leadership {
		return view.Leadership{Identity: "b", Holder: "a"}
	}})
	_, err := s.Snapshot(t.Context())
	var standby *view.ErrStandby
	if !errors.As(err, &standby) || !strings.Contains(err.Error(), "the leader is a") {
		t.Errorf("got %v", err)
	}
}

func TestASnapshotIsMadeAtMostOnceWhileItIsFresh(t *testing.T) {
	c := servetest.Busy(t, view.Options{MaxAge: int64(time.Hour)})
	first := c.Snapshot()
	c.Post(servetest.Job("more", "root.batch", "", 1, 1))
	if again := c.Snapshot(); again != first {
		t.Errorf("picture %d was made beside picture %d", again.Number, first.Number)
	}
}

func TestQueuesTellGuaranteedMaxUsedAndPendingByGPUType(t *testing.T) {
	s := servetest.Busy(t, view.Options{}).Snapshot()
	llm, ok := s.Queue("research.llm") // as people write it
	if !ok {
		t.Fatal("no queue root.research.llm")
	}
	r := llm.Of("nvidia.com/gpu:H100")
	if *r.Guaranteed != 12_000 || *r.Effective != 12_000 || *r.Max != 24_000 || r.Used != 12_000 || r.Pending != 28_000 || r.Borrowed != 0 {
		t.Errorf("llm: %+v", r)
	}
	root := s.Queues[0]
	if gpu := root.Of("nvidia.com/gpu"); gpu.Used != 32_000 || gpu.Pending != 28_000+8000+8000+6*2000 {
		t.Errorf("root: %+v", gpu)
	}
	batch, _ := s.Queue("root.batch")
	if gpu := batch.Of("nvidia.com/gpu"); gpu.Guaranteed != nil || gpu.Max != nil || gpu.Borrowed != 20_000 {
		t.Errorf("batch: %+v", gpu)
	}
	if r.Entitled == nil || *r.Entitled != 23_000 || llm.Rank == nil || *llm.Rank != 1 {
		t.Errorf("llm is entitled to %v, rank %v", r.Entitled, llm.Rank)
	}
	if llm.Policies.JobOrder != "priority-fifo" || llm.Policies.Fairness != "guaranteed-fair" || root.RunningJobs != 11 || root.PendingJobs != 9 {
		t.Errorf("llm %+v, root runs %d, waits %d", llm.Policies, root.RunningJobs, root.PendingJobs)
	}
}

func TestQueuesComeAsATreeIsRead(t *testing.T) {
	var got []string
	for _, q := range servetest.Busy(t, view.Options{}).Snapshot().Queues {
		got = append(got, q.Path)
	}
	if want := "root root.batch root.research root.research.llm root.research.vision root.serving"; strings.Join(got, " ") != want {
		t.Errorf("got %v", got)
	}
}

func TestJobsTellWhereTheyRunOrWhyTheyWait(t *testing.T) {
	c := servetest.Busy(t, view.Options{})
	s := c.Snapshot()
	train, _ := s.Job("train")
	if train.State != view.Running || train.GPUs != 12_000 || len(s.Tasks("train")) != 3 || train.Groups[0].Running != 3 || !train.Since.Equal(time.Unix(0, servetest.Start+600*spec.Second)) {
		t.Errorf("train: %+v", train)
	}
	large, _ := s.Job("too-large")
	if large.State != view.Pending || large.Reason.Code != "gang-exceeds-max" || large.Reason.Since.IsZero() {
		t.Errorf("too-large: %+v, %+v", large, large.Reason)
	}
	image, _ := s.Job("image")
	if image.State != view.Pending || image.Reason == nil {
		t.Errorf("image: %+v", image)
	}
}

func TestNodesTellWhatIsFreeAndWhoHasIt(t *testing.T) {
	c := servetest.New(t, servetest.Tree(), view.Options{NodeNote: func(string) string { return "draining" }})
	node := servetest.Node("n", "H100")
	c.Post(node, servetest.Job("j", "root.batch", "", 2, 3))
	node.Node.Unschedulable = true
	c.Post(node)
	n, ok := c.Snapshot().Node("n")
	if !ok || n.Tasks != 2 || n.Free["nvidia.com/gpu"] != 2000 || n.Free["cpu"] != 88_000 || n.FreeDevices != 2 || !n.Cordoned || n.Note != "draining" || len(n.Foreign) != 0 {
		t.Errorf("%+v", n)
	}
}

func TestAVictimOnNoticeIsLeavingAndItsPreemptorStarting(t *testing.T) {
	c := servetest.New(t, servetest.Tree(), view.Options{})
	victim := servetest.Job("victim", "root.batch", "", 1, 8)
	victim.Job.Notice = 60 * spec.Second
	c.Post(servetest.Node("n", "H100"), servetest.Node("m", "H100"), victim, servetest.Job("other", "root.batch", "", 1, 8))
	c.Clock.Advance(servetest.Start + spec.Second)
	c.Post(servetest.Job("train", "root.research.llm", "H100", 1, 8))
	s := c.Snapshot()
	states := map[view.State]int{}
	for _, j := range s.Jobs {
		states[j.State]++
	}
	train, _ := s.Job("train")
	if train.State != view.Starting || states[view.Leaving]+states[view.Pending] != 1 || train.Reason.Code != "waiting-for-victims" {
		t.Errorf("states %v, train %+v", states, train)
	}
	e := c.Recorder.Evictions()
	if len(e) != 1 || e[0].For != "train" || e[0].Rule != "reclaim" {
		t.Fatalf("evictions %+v", e)
	}
}

func TestEvictionsKeepTheirTrailNewestFirstAndWithinBounds(t *testing.T) {
	c := servetest.Busy(t, view.Options{})
	all := c.Recorder.Evictions()
	if len(all) != 6 {
		t.Fatalf("%d evictions", len(all))
	}
	if e := all[0]; e.Number != 6 || e.For != "train" || e.Rule != "reclaim" || e.Queue != "root.batch" || !e.Whole || e.Candidates == 0 || !strings.HasPrefix(e.Policy, "least-lost-work") {
		t.Errorf("%+v", e)
	}
	if n := c.Recorder.Counts(); n.Evictions["reclaim"] != 6 || n.Binds == 0 || n.Refused != 0 {
		t.Errorf("%+v", n)
	}
}

func TestAnEvictionOfAnIdleJobThatIsWithdrawnSaysSo(t *testing.T) {
	r := view.NewRecorder(clock.NewVirtual(servetest.Start))
	turn := func(p plan.Plan) {
		p.Now = servetest.Start
		r.Turned(loop.Turn{Result: ledger.Result{Taken: &p}})
	}
	notice := func(job string, tasks ...int32) plan.Eviction {
		return plan.Eviction{Job: job, Tasks: tasks, For: "f", Rule: plan.RuleReclaim, Deadline: servetest.Start + 10*spec.Second, Idle: 3600 * spec.Second}
	}
	turn(plan.Plan{Evictions: []plan.Eviction{notice("wakes", 0, 1), notice("wakes", 2), notice("sleeps", 0)}})
	turn(plan.Plan{Stays: []plan.Stay{{Job: "wakes", Tasks: []int32{0, 1}, For: "f", Reason: plan.StayWoke}}})
	turn(plan.Plan{Ends: []plan.End{{Job: "sleeps", Tasks: []int32{0}}}})
	got := map[string]string{}
	for _, e := range r.Evictions() {
		got[fmt.Sprint(e.Job, e.Tasks)] = fmt.Sprintf("%d %s stayed %v ended %v", e.Idle, e.StayedFor, !e.Stayed.IsZero(), !e.Ended.IsZero())
		if text := e.Sentence(); !strings.Contains(text, "idle for 1h0m0s") || strings.Contains(text, "it works again") != (e.StayedFor == plan.StayWoke) {
			t.Errorf("%s", text)
		}
	}
	want := map[string]string{"wakes[0 1]": "3600000 woke stayed true ended false", "wakes[2]": "3600000  stayed false ended false", "sleeps[0]": "3600000  stayed false ended true"}
	if !maps.Equal(got, want) {
		t.Errorf("got %v", got)
	}
	if n := r.Counts().Stays; n[plan.StayWoke] != 1 || n[plan.StayUnknown] != 0 {
		t.Errorf("%v", n)
	}
}

func TestPoliciesAreCountedByNameAndKind(t *testing.T) {
	c := servetest.Busy(t, view.Options{})
	got := map[string]int64{}
	for _, p := range c.Recorder.Policies() {
		got[p.Kind+" "+p.Name] += p.Calls
	}
	for _, want := range []string{"queue_shares guaranteed-fair", "victim_costs least-lost-work"} {
		if got[want] == 0 {
			t.Errorf("%s was never asked: %v", want, got)
		}
	}
}

func TestUseOverTimeIsSampledFineAndCoarse(t *testing.T) {
	c := servetest.New(t, servetest.Tree(), view.Options{})
	c.Post(servetest.Node("n", "H100"), servetest.Job("j", "root.batch", "", 1, 4))
	const hours = 3
	for i := range int64(hours * 720) {
		c.Clock.Advance(servetest.Start + i*view.FineStep)
		c.Sample()
	}
	end := time.Unix(0, c.Clock.Now())
	near := c.Recorder.Usage("nvidia.com/gpu", end.Add(-time.Hour), "")
	if near.Step != 5 || len(near.Times) != 721 || len(near.Queues) != 1 || near.Queues[0].Used[700] != 4000 || near.Capacity[0] != 8000 {
		t.Errorf("an hour: step %d, %d samples, %d queues", near.Step, len(near.Times), len(near.Queues))
	}
	far := c.Recorder.Usage("nvidia.com/gpu", end.Add(-hours*time.Hour), "root.batch")
	if far.Step != 60 || len(far.Times) != hours*60-1 || far.Queues[0].Used[10] != 4000 {
		t.Errorf("%d hours: step %d, %d samples", hours, far.Step, len(far.Times))
	}
	if none := c.Recorder.Usage("nvidia.com/gpu", end.Add(-time.Hour), "root.research"); len(none.Queues) != 0 {
		t.Errorf("research used %+v", none.Queues)
	}
}

func TestRunSamplesUntilItIsTold(t *testing.T) {
	c := servetest.New(t, servetest.Tree(), view.Options{})
	c.Post(servetest.Node("n", "H100"))
	ctx, cancel := context.WithCancel(t.Context())
	end := make(chan error, 1)
	go func() { end <- c.Source.Run(ctx) }()
	for deadline := time.Now().Add(30 * time.Second); len(c.Recorder.Usage("cpu", time.Time{}, "").Times) < 3; {
		if time.Now().After(deadline) {
			t.Fatal("no three samples in 30 s")
		}
		c.Clock.Advance(c.Clock.Now() + view.FineStep)
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-end; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestReasonsOfJobsThatAreGoneAreForgotten(t *testing.T) {
	c := servetest.New(t, servetest.Tree(), view.Options{})
	c.Post(servetest.Job("a", "root.batch", "", 1, 1))
	first, _ := c.Snapshot().Job("a")
	c.Clock.Advance(servetest.Start + 60*spec.Second)
	c.Post(ledger.JobGone{ID: "a"}, servetest.Job("b", "root.batch", "", 1, 1))
	s := c.Snapshot()
	if _, still := s.Job("a"); still || first.Reason == nil {
		t.Errorf("a: %+v", first)
	}
	if b, _ := s.Job("b"); b.Reason == nil || b.Reason.Since.Before(first.Reason.Since) {
		t.Errorf("b: %+v", b)
	}
}
