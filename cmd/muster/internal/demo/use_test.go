package demo

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/gpuprobe/pattern"
	"github.com/musterhq/muster/runtime/sim/trace"
)

func TestTheStoryOfUseEndsAsPromised(t *testing.T) {
	kept, text := playedStory(t, "use", func(*story) {})
	if !kept {
		t.Fatal(text)
	}
	told := strings.Join(strings.Fields(text), " ")
	for _, want := range []string{
		"0:00 product is away, and research holds all 32 GPUs, 24 of them borrowed",
		"24 of the 32 GPUs are held and do nothing: eval (since 1:10), notebook-ann (since 0:20) and notebook-bob (since 1:25).",
		"notebook-ann has done nothing for 70 minutes, so it is to go at 1:40, unless it wakes up.",
		"train is as old and saves its work often: it would cost least to evict, but it is busy, and stays.",
		"its eviction is taken back: eval stays, and has lost nothing. notebook-bob has done nothing for 40 minutes, so it is to go at 2:15",
		"notebook-bob has slept on, and goes. product holds 16. Probes on the nodes tell what GPUs really do: 32 of the 32 in use are busy.",
	} {
		if !strings.Contains(told, want) {
			t.Errorf("it does not tell %q:\n%s", want, text)
		}
	}
}

// with changes the use of a job of the story.
func with(id, use string) func(*story) {
	return func(s *story) {
		i := slices.IndexFunc(s.trace.Jobs, func(j trace.Job) bool { return j.ID == id })
		s.trace.Jobs[i].Use = pattern.Must(use)
	}
}

func TestEachPromiseOfTheStoryOfUseBites(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*story)
		want   string
	}{
		"nobody measures":         {func(s *story) { s.trace = s.trace.Unmeasured() }, "never told to go: at 1:30 train was: evicted at 1:30"},
		"preemption is off":       {(*story).disablePreemption, "product 8, 1 evicted in all: at 1:40 research held 32 instead of 24"},
		"the queue has no rule":   {func(s *story) { s.trace.Queues.Root.Children[0].IdleAfter = -1 }, "FAIL  0:00-3:00    train, which is busy"},
		"less time to wake up":    {func(s *story) { s.trace.Queues.Root.Children[0].IdleGrace = 3 * minute }, "eval was: evicted at 2:03"},
		"more time to wake up":    {func(s *story) { s.trace.Queues.Root.Children[0].IdleGrace = 11 * minute }, "at 1:40 notebook-ann was: is to go at 1:41"},
		"eval sleeps on":          {with("eval", "busy for 70m, idle"), "at 2:05 eval was: is to go at 2:10"},
		"eval was never idle":     {with("eval", "busy"), "told at 2:00 to go, wakes up at 2:05 and stays: at 2:00 eval was: busy"},
		"train takes a rest":      {with("train", "busy for 30m, idle for 3h, busy"), "train was: is to go at 1:40"},
		"ann's notebook wakes up": {with("notebook-ann", "busy for 20m, idle for 75m, busy"), "notebook-ann was: busy"},
		"a job that does not come": {func(s *story) {
			s.trace.Jobs = slices.DeleteFunc(s.trace.Jobs, func(j trace.Job) bool { return j.ID == "notebook-bob" })
		}, "notebook-bob was not there"},
	} {
		t.Run(name, func(t *testing.T) {
			kept, text := playedStory(t, "use", c.change)
			if kept || !strings.Contains(text, c.want) {
				t.Fatalf("kept %v, want a FAIL with %q:\n%s", kept, c.want, text)
			}
		})
	}
}

func TestWithoutProbesTheStoryDoesNotPretend(t *testing.T) {
	var out bytes.Buffer
	kept, err := Run(t.Context(), Options{Out: &out, Policies: built(t), Orders: orders(t), Stories: []string{"use"}, WithoutProbes: true})
	if kept || err != nil {
		t.Fatalf("kept %v, %v", kept, err)
	}
	text := strings.Join(strings.Fields(out.String()), " ")
	for _, want := range []string{"Nobody knows of a GPU that does nothing.", "train has to go at once.", "research 8 32 16 ?"} {
		if !strings.Contains(text, want) {
			t.Errorf("it does not tell %q:\n%s", want, out.String())
		}
	}
	for _, lie := range []string{"are busy", "but it is busy", "slept on"} {
		if strings.Contains(text, lie) {
			t.Errorf("it tells %q:\n%s", lie, out.String())
		}
	}
}

func TestThePictureShowsWhatIsHeldAndIdleAndWhatEachJobDoes(t *testing.T) {
	all, last := storyOnScreen(t, "use", 100, 30, false)
	for _, want := range []string{"  busy  used  guar.", "▁ idle", "in use 32 of 32 GPUs (100 %), 32 busy, evicted so far 2 jobs", "notebook-ann  evicted at 1:40", "serve-2       busy"} {
		if !strings.Contains(strings.Join(last, "\n"), want) {
			t.Errorf("no %q in\n%s", want, strings.Join(last, "\n"))
		}
	}
	for _, want := range []string{"notebook-ann  is to go at 1:40", "eval          idle since 1:10", "serve-1       waits", "▒▒▒▁▁▁"} {
		if !strings.Contains(all, want) {
			t.Errorf("there was never %q", want)
		}
	}
}

func TestABarShowsHowMuchOfItIsIdle(t *testing.T) {
	for _, c := range []struct {
		q                 queueState
		own, lent, nought int
	}{
		{queueState{used: 32_000, guaranteed: 8_000, max: 32_000}, 8, 24, 0},
		{queueState{used: 32_000, idle: 16_000, guaranteed: 8_000, max: 32_000}, 8, 8, 16},
		{queueState{used: 32_000, idle: 28_000, guaranteed: 8_000, max: 32_000}, 4, 0, 28},
		{queueState{used: 4_000, idle: 4_000, guaranteed: 8_000, max: amount.Max}, 0, 0, 4},
	} {
		got := bar(c.q, 32_000, 32, brush{})
		if strings.Count(got, "█") != c.own || strings.Count(got, "▒") != c.lent || strings.Count(got, "▁") != c.nought || len([]rune(got)) != 34 {
			t.Errorf("%+v: %q", c.q, got)
		}
	}
}
