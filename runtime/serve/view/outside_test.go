package view_test

import (
	"strings"
	"testing"

	"github.com/musterhq/muster/runtime/ledger"
	"github.com/musterhq/muster/runtime/serve/servetest"
	"github.com/musterhq/muster/runtime/serve/view"
)

// gate is an adapter that knows why jobs are not in the world.
type gate map[string]view.Reason

func (g gate) Extra(id string) []view.Reason {
	if r, ok := g[id]; ok {
		return []view.Reason{r, {Code: "gang-incomplete", Text: "1 of 2"}}
	}
	return nil
}

func TestJobsThatNoQueueTakesAreListedWithTheReason(t *testing.T) {
	why := gate{
		"team/pod/b": {Code: "acl-denied", Text: "eve may not submit"},
		"team/pod/a": {Code: "no-queue", Text: "queue root.batsh is not in the configuration"},
		"train":      {Code: "gated", Text: "one of its pods is"},
	}
	waiting := func() []string { return []string{"train", "team/pod/b", "team/pod/b", "on-its-way", "team/pod/a"} }
	s := servetest.Busy(t, view.Options{Extra: why, Outside: waiting}).Snapshot()
	var got []string
	for _, j := range s.Outside {
		got = append(got, j.ID+" "+j.Reason.Code)
		if j.State != view.Outside || j.State.Waits() || j.Groups == nil {
			t.Errorf("%+v", j)
		}
	}
	if strings.Join(got, ", ") != "team/pod/a no-queue, team/pod/b acl-denied" {
		t.Errorf("got %v: train is in the world, and of the one on its way nothing is known", got)
	}
	if j, ok := s.OutsideJob("team/pod/b"); !ok || j.ID != "team/pod/b" {
		t.Errorf("%+v", j)
	}
	if _, ok := s.OutsideJob("train"); ok {
		t.Error("train is in the world")
	}
	if len(s.Jobs) != 20 || s.Pool.Pending != 9 {
		t.Errorf("%d jobs, %d pending: those outside are not counted with the others", len(s.Jobs), s.Pool.Pending)
	}
}

func TestWhoIsOutsideIsToldWhatLetsHimIn(t *testing.T) {
	s := servetest.Busy(t, view.Options{}).Snapshot()
	for _, c := range []struct{ code, text, help string }{
		{"no-queue", "queue root.batsh is not in the configuration", "did you mean the queue root.batch?"},
		{"no-queue", `no placement rule takes the queue "servng" that the job names`, "did you mean the queue root.serving?"},
		{"no-queue", `no placement rule takes the queue "x" that the job names; queue root.research.lm is not in the configuration`, "did you mean the queue root.research.llm?"},
		{"no-queue", "queue root.elsewhere is not in the configuration", "`muster get queues` lists the queues"},
		{"no-queue", "queue root.researc is not in the configuration", "`muster get queues` lists the queues"}, // research is no leaf
		{"no-queue", "the job names none", "muster.dev/queue"},
		{"acl-denied", "eve may not submit", "submitacl"},
		{"queue-draining", "it goes", "another queue"},
		{"gated", "its pods have gates", ""},
	} {
		e, ok := s.ExplainJob("team/pod/x", nil, []view.Reason{{Code: c.code, Text: c.text}})
		if !ok || e.State != "outside" || !strings.Contains(e.Summary, c.text) || !strings.Contains(e.Unblock, c.help) || c.help == "" && e.Unblock != "" {
			t.Errorf("%s: %+v", c.text, e)
		}
	}
}

func TestTheQueueThatMayHaveBeenMeantIsFound(t *testing.T) {
	s := servetest.Busy(t, view.Options{}).Snapshot()
	for path, want := range map[string]string{
		"root.reserch": "root.research", "reserch": "root.research", "batsh": "root.batch", "root.research.llmm": "root.research.llm",
		"": "", "x": "", "somewhere.else": "",
	} {
		if got := s.Near(path); got != want {
			t.Errorf("%q may mean %q, not %q", path, got, want)
		}
	}
}

func TestTasksWithoutAPodAreNoPartOfAJobsSize(t *testing.T) {
	c := servetest.New(t, servetest.Tree(), view.Options{})
	ray := servetest.Job("ray", "root.batch", "", 4, 1)
	ray.Job.Tasks[0].Min = 2
	c.Post(servetest.Node("n", "H100"), ray)
	for _, scaled := range []struct {
		task, size int32
		state      view.State
	}{{3, 3, view.Running}, {2, 2, view.Running}} {
		c.Post(ledger.TaskAbsent{Job: "ray", Task: scaled.task})
		j, _ := c.Snapshot().Job("ray")
		if g := j.Groups[0]; g.Size != scaled.size || g.Running != scaled.size || g.Waiting != 0 || j.State != scaled.state {
			t.Errorf("without task %d: %+v", scaled.task, j)
		}
	}
	c.Post(ledger.TaskAbsent{Job: "ray", Task: 1})
	if j, _ := c.Snapshot().Job("ray"); j.Groups[0].Size != 2 {
		t.Errorf("the gang needs two, whether they have pods or not: %+v", j.Groups[0])
	}
}

func TestPartsOfGPUsAreReadable(t *testing.T) {
	for a, want := range map[int64]string{
		0: "0", 8000: "8", 250: "0.25", 1500: "1.5", 9875: "9.875", 70_112: "70.1", 15_990: "15.9", 10_001: "10", -2500: "-2.5", -70_112: "-70.1",
	} {
		if got := view.Quantity("nvidia.com/gpu:H100", a); got != want {
			t.Errorf("%d is %q, not %q", a, got, want)
		}
	}
	if got := view.Quantity("cpu", 1500); got != "1500m" {
		t.Errorf("cores are told as %q", got)
	}
}
