package view_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/musterhq/muster/builtin/plan"
	"github.com/musterhq/muster/runtime/serve/servetest"
	"github.com/musterhq/muster/runtime/serve/view"
)

// text writes an explanation a line per level, for comparing.
func text(e *view.Explanation) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", e.Summary)
	for _, l := range e.Levels {
		fmt.Fprintf(&b, "%s: %s: %s\n", l.Level, l.Verdict, l.Text)
		for _, d := range l.Details {
			fmt.Fprintf(&b, "  %s\n", d)
		}
	}
	if e.Unblock != "" {
		fmt.Fprintf(&b, "unblock: %s\n", e.Unblock)
	}
	return b.String()
}

func same(t *testing.T, got, want string) {
	t.Helper()
	if want = strings.TrimPrefix(want, "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestAJobThatCanNeverFitIsToldSoAtTheFirstLevel(t *testing.T) {
	c := servetest.Busy(t, view.Options{})
	e, ok := c.Snapshot().ExplainJob("too-large", c.Recorder.Evictions(), nil)
	if !ok {
		t.Fatal("not known")
	}
	same(t, text(e), `
too-large waits in root.research.llm since 2027-01-15 08:00:00Z: gang-exceeds-max: root.research.llm uses 12 of 24 nvidia.com/gpu, needs 28 more
structure: blocked: gang-exceeds-max: root.research.llm uses 12 of 24 nvidia.com/gpu, needs 28 more
  worker: 7 × 4 nvidia.com/gpu, 4 nvidia.com/gpu:H100, 4 cpu, 16Gi memory on H100
policy: not reached: 
quota: not reached: 
order: not reached: 
fit: not reached: 
victims: not reached: 
unblock: a smaller gang, or a higher max of nvidia.com/gpu in root.research.llm; waiting alone does not help
`)
}

func TestAJobWithoutRoomIsToldWhichNodesWereLookedAt(t *testing.T) {
	c := servetest.Busy(t, view.Options{})
	e, _ := c.Snapshot().ExplainJob("late", nil, []view.Reason{{Code: "pods-missing", Text: "1 of 2 pods is not there yet"}})
	if len(e.Extra) != 1 || len(e.Levels) != 6 {
		t.Fatalf("%+v", e)
	}
	fit := e.Levels[4]
	if fit.Level != "fit" || fit.Verdict != view.Blocked || fit.Code != "gang-no-room" || !strings.Contains(strings.Join(fit.Details, "; "), "4 of 4 nodes short of GPUs") {
		t.Errorf("fit: %+v", fit)
	}
	if order := e.Levels[3]; !strings.HasPrefix(order.Text, "7th of the 7 jobs that wait in root.batch, by submit time; fifo orders them") {
		t.Errorf("order: %+v", order)
	}
	if e.Unblock == "" {
		t.Error("nothing would help?")
	}
}

func TestAVictimIsToldForWhomItWasEvictedAndAtWhichCost(t *testing.T) {
	c := servetest.Busy(t, view.Options{})
	victim := c.Recorder.Evictions()[0].Job
	e, _ := c.Snapshot().ExplainJob(victim, c.Recorder.Evictions(), nil)
	if len(e.Evictions) != 1 || !strings.Contains(e.Summary, "last evicted at 2027-01-15 08:10:00Z, whole, for train (reclaim): 0.3 GPU-hours unsaved; cost ") {
		t.Errorf("%s", e.Summary)
	}
}

func TestARunningJobIsToldWhereAndSinceWhen(t *testing.T) {
	c := servetest.Busy(t, view.Options{})
	e, _ := c.Snapshot().ExplainJob("train", nil, nil)
	if len(e.Tasks) != 3 || !strings.HasPrefix(e.Summary, "train runs 3 of 3 tasks in root.research.llm on h-") || !strings.HasSuffix(e.Summary, " since 2027-01-15 08:10:00Z") {
		t.Errorf("%s, %d tasks", e.Summary, len(e.Tasks))
	}
}

func TestWhatNobodyKnowsIsNotExplained(t *testing.T) {
	s := servetest.Busy(t, view.Options{}).Snapshot()
	_, job := s.ExplainJob("x", nil, nil)
	_, queue := s.ExplainQueue("x")
	_, node := s.ExplainNode("x")
	if job || queue || node {
		t.Errorf("job %v, queue %v, node %v", job, queue, node)
	}
	if e, ok := s.ExplainJob("x", nil, []view.Reason{{Code: "gated", Text: "its pods have scheduling gates"}}); !ok || e.State != "outside" || !strings.Contains(e.Summary, "its pods have scheduling gates [gated]") {
		t.Error("what the adapter knows of a job is told though the world does not have it")
	}
}

func TestAQueueIsExplainedByWhatItHoldsAndWhoWaits(t *testing.T) {
	e, _ := servetest.Busy(t, view.Options{}).Snapshot().ExplainQueue("root.research.llm")
	same(t, text(e), `
root.research.llm runs 1 jobs, 1 wait
quota: note: what it holds and may hold
  uses 12 cpu, 28 more asked for, entitled to 40
  uses 48Gi memory, 112Gi more asked for, entitled to 160Gi
  uses 12 of at most 24 nvidia.com/gpu, guaranteed 12, 28 more asked for, entitled to 23
  uses 12 of at most 24 nvidia.com/gpu:H100, guaranteed 12, 28 more asked for, entitled to 23
policy: note: guaranteed-fair shares the pool, priority-fifo orders its jobs, least-lost-work prices victims
  rank 1: it is served after those that are owed their guarantee
order: note: 1 jobs wait
  1 gang-exceeds-max (the oldest is too-large)
`)
}

func TestAQueueThatUsesLessThanItHoldsIsExplained(t *testing.T) {
	probes := &servetest.Probes{}
	c := servetest.Busy(t, probes.Into(view.Options{}))
	probes.Report(c, func(_ string, task int32) servetest.Doing {
		return []servetest.Doing{{Busy: 500}, {Idle: 3_600_000}, {Unknown: true}}[task]
	})
	e, _ := c.Snapshot().ExplainQueue("root.research.llm")
	want := "uses 12 of at most 24 nvidia.com/gpu, guaranteed 12, 28 more asked for, entitled to 23; really busy: 2 GPUs, 4 idle, 4 not measured"
	if got := e.Levels[0].Details[2]; got != want {
		t.Errorf("got %s", got)
	}
}

func TestANodeIsExplainedByWhatIsFreeAndWhoIsOnIt(t *testing.T) {
	e, _ := servetest.Busy(t, view.Options{}).Snapshot().ExplainNode("a-1")
	if len(e.Tasks) != 4 || e.Tasks[0].Job == "" || !strings.HasPrefix(e.Summary, "a-1 has 4 tasks and 0 of 8 GPUs wholly free; it takes new tasks") {
		t.Errorf("%s: %+v", e.Summary, e.Tasks)
	}
}

// A code that is new and belongs to no level would be told at the wrong one.
func TestEveryReasonCodeBelongsToALevel(t *testing.T) {
	for code, want := range map[plan.Code]string{
		plan.GangExceedsMax: "structure", plan.GangExceedsPool: "structure", plan.AdmissionRefused: "policy",
		plan.QueueMax: "quota", plan.UserLimit: "quota", plan.GroupLimit: "quota", plan.MaxApps: "quota", plan.OutsideGuarantee: "quota", plan.TypedMax: "quota",
		plan.BehindBlocked: "order", plan.NotConsidered: "order", plan.NoRoom: "fit", plan.GangNoRoom: "fit",
		plan.WaitingForVictims: "victims", plan.WaitingReservation: "victims",
	} {
		if got := view.LevelOf(code); got != want {
			t.Errorf("%s is of level %s, not %s", code, got, want)
		}
	}
}
