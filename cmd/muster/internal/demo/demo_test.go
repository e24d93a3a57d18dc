package demo

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"regexp"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/cycle"
	"github.com/musterhq/muster/builtin/order"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/policies"
	"github.com/musterhq/muster/runtime/loop"
	"github.com/musterhq/muster/runtime/sim/trace"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// dressed is a built-in policy that pretends to be a Wasm module, so that these
// tests need none; the scripts of cmd/muster play the demo with real ones.
type dressed struct {
	policies.Policy
	name string
}

func (d dressed) Info() policies.Info {
	i := d.Policy.Info()
	i.Name, i.Digest = d.name, "sha256:"+strings.Repeat("0", 60)+d.name[:4]
	return i
}

func builtin(t *testing.T, name, as string) policies.Policy {
	t.Helper()
	p, ok := order.Builtin(name)
	if !ok {
		t.Fatalf("no built-in %s", name)
	}
	return dressed{p, as}
}

func built(t *testing.T) Policies {
	t.Helper()
	return Policies{
		Shares: builtin(t, "guaranteed-fair", "shares"), Victims: builtin(t, "least-lost-work", "victims"),
	}
}

// inHand are job orders that are there already; the scripts of cmd/muster play with
// modules that live by their life cycle.
type inHand struct {
	first, next policies.Policy
	loop        *loop.Loop
	rest        cycle.Set
}

func orders(t *testing.T) *inHand {
	t.Helper()
	return &inHand{first: builtin(t, "fifo", "fifo"), next: builtin(t, "fair", "fair-order")}
}

func (h *inHand) Begin(_ context.Context, l *loop.Loop, rest cycle.Set, _ bool) (policies.Info, error) {
	h.loop, h.rest = l, rest
	return h.use(h.first), nil
}

func (h *inHand) Swap(context.Context) (policies.Info, error) { return h.use(h.next), nil }
func (h *inHand) End() error                                  { return nil }

func (h *inHand) use(p policies.Policy) policies.Info {
	set := h.rest
	set.Named = maps.Clone(set.Named)
	set.Named[RoleOrder] = p
	h.loop.Swap(set)
	return p.Info()
}

// played plays the two-queue story after a change to it.
func played(t *testing.T, change func(*story)) (kept bool, text string) {
	t.Helper()
	return playedStory(t, "two", change)
}

func playedStory(t *testing.T, name string, change func(*story)) (kept bool, text string) {
	t.Helper()
	var out bytes.Buffer
	s, err := storyNamed(name, built(t))
	if err != nil {
		t.Fatal(err)
	}
	change(s)
	kept, err = play(t.Context(), s, Options{Out: &out, Policies: s.policies, Orders: orders(t)})
	if err != nil {
		t.Fatal(err)
	}
	return kept, out.String()
}

func TestTheStoryOfTwoQueuesEndsAsPromised(t *testing.T) {
	if kept, text := played(t, func(*story) {}); !kept {
		t.Fatal(text)
	}
}

func TestEachPromiseBites(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*story)
		want   string
	}{
		"one GPU more than there will be": {func(s *story) {
			v := trace.Talk1Promise()[1]
			v.Used[0] = v.Used[0].Add(1000)
			s.promises[1] = exactly(s.names, v)
		}, "at 0:10 a held 60 instead of 61"},
		"one eviction fewer": {func(s *story) {
			v := trace.Talk1Promise()[1]
			v.Evicted--
			s.promises[1] = exactly(s.names, v)
		}, "at 0:10 40 had been evicted instead of 39"},
		"a boundary that comes a second too early": {func(s *story) {
			v := trace.Talk1Promise()[1]
			v.From -= spec.Second
			s.promises[1] = exactly(s.names, v)
		}, "at 0:09 a held 100 instead of 60"},
		"preemption is off": {(*story).disablePreemption, "at 0:10 a held 100 instead of 60"},
		"a promise about a time that never comes": {func(s *story) {
			s.promises[0] = neverOwed(s.names, 9*hour, 10*hour)
		}, "the story never came that far"},
		"a max that is passed": {func(s *story) {
			s.promises[0] = reaches(s.names, 0, 90_000, 0, hour)
		}, "at 0:00 a held 100"},
		"a max that is never reached": {func(s *story) {
			s.promises[0] = reaches(s.names, 1, 90_000, 0, hour)
		}, "b had never held 90"},
		"fair shares that are far": {func(s *story) {
			v := trace.Talk1Promise()[1]
			v.Used = []amount.Amount{40_000, 60_000}
			s.promises[1] = nearAtEnd(s.names, v, largestGang)
		}, "a ended with 60, not near 40"},
		"a fuller pool than there is": {func(s *story) {
			s.trace.Jobs = s.trace.Jobs[:50]
			s.promises[0] = busy(51, 0, 10*minute)
		}, "it was 50.00 %"},
		"a guarantee that nobody gives back": {func(s *story) {
			s.disablePreemption()
			s.promises[1] = neverOwed(s.names, 0, hour)
		}, "at 0:10 b held 0 and was owed 40"},
		"a policy that is not Wasm": {func(s *story) {
			s.policies.Shares, _ = order.Builtin("guaranteed-fair")
		}, "queue_shares was decided by guaranteed-fair, which is builtin"},
		"a swap that does not happen": {func(s *story) { s.swapAt = 5 * hour }, "1 policies ordered the jobs"},
		"an event that makes no sense": {func(s *story) {
			s.trace.Jobs = append(s.trace.Jobs, s.trace.Jobs[0])
		}, "duplicate-job"},
	} {
		t.Run(name, func(t *testing.T) {
			kept, text := played(t, c.change)
			if kept || !strings.Contains(text, "FAIL") || !strings.Contains(text, c.want) {
				t.Fatalf("kept %v, want a FAIL with %q:\n%s", kept, c.want, text)
			}
		})
	}
}

func TestWhenInterruptedTheDemoEndsWithoutVerdict(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out bytes.Buffer
	kept, err := Run(ctx, Options{Out: &out, Policies: built(t), Orders: orders(t)})
	if kept || !errors.Is(err, context.Canceled) || strings.Contains(out.String(), "Promises") {
		t.Fatalf("kept %v, %v:\n%s", kept, err, out.String())
	}
}

// onScreen plays the two-queue story on a terminal of a size and returns what was
// written and the lines of the last picture.
func onScreen(t *testing.T, width, height int, color bool) (all string, last []string) {
	t.Helper()
	return storyOnScreen(t, "two", width, height, color)
}

func storyOnScreen(t *testing.T, name string, width, height int, color bool) (all string, last []string) {
	t.Helper()
	var out bytes.Buffer
	kept, err := Run(t.Context(), Options{
		Out: &out, Policies: built(t), Orders: orders(t), Stories: []string{name}, Fast: true, Color: color,
		Size: func() (int, int) { return width, height },
	})
	if err != nil || !kept {
		t.Fatalf("kept %v, %v", kept, err)
	}
	all = out.String()
	picture, _, _ := strings.Cut(all[strings.LastIndex(all, "A\r")+2:], "\x1b[J")
	return all, strings.Split(strings.TrimSuffix(picture, "\n"), "\n")
}

var escapes = regexp.MustCompile("\x1b\\[[0-9;?]*[A-Za-z]")

func TestThePictureFitsItsTerminalAndLeavesItAsItWas(t *testing.T) {
	for _, story := range []string{"two", "use"} {
		for _, size := range [][2]int{{72, 22}, {80, 24}, {100, 30}, {300, 80}} {
			all, last := storyOnScreen(t, story, size[0], size[1], true)
			if len(last) >= size[1] {
				t.Errorf("%s, %v: %d lines", story, size, len(last))
			}
			for _, l := range last {
				if n := len([]rune(escapes.ReplaceAllString(l, ""))); n >= size[0] {
					t.Errorf("%s, %v: a line of %d: %q", story, size, n, l)
				}
			}
			if strings.Count(all, "\x1b[?25l") != 1 || strings.Count(all, "\x1b[?25h") != 1 {
				t.Errorf("%s, %v: the cursor is not hidden once and shown once", story, size)
			}
		}
	}
}

func TestThePictureShowsWhatIsOwnAndWhatIsBorrowed(t *testing.T) {
	_, last := onScreen(t, 100, 30, false)
	text := strings.Join(last, "\n")
	for _, want := range []string{
		"Story 1 of 1: two queues share 100 GPUs", "4:00 / 4:00 h",
		" a     ██████████████████████████████████│▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒]   100     60   100            60",
		"in use 100 of 100 GPUs (100 %), evicted so far 40 jobs", "calls, since 0:30",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

func TestWithoutColoursThereIsNoneAndNothingIsLost(t *testing.T) {
	colored, _ := onScreen(t, 90, 30, true)
	bare, _ := onScreen(t, 90, 30, false)
	if regexp.MustCompile("\x1b\\[[0-9;]*m").MatchString(bare) {
		t.Fatal("there are colours")
	}
	if escapes.ReplaceAllString(colored, "") != escapes.ReplaceAllString(bare, "") {
		t.Fatal("the texts differ")
	}
}

func TestATerminalThatIsTooSmallGetsLines(t *testing.T) {
	var out bytes.Buffer
	if _, err := Run(t.Context(), Options{Out: &out, Policies: built(t), Orders: orders(t), Stories: []string{"two"}, Fast: true, Size: func() (int, int) { return 40, 10 }}); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), "\x1b") || !strings.Contains(out.String(), "0:10  b comes with 60 jobs") {
		t.Fatal(out.String())
	}
}

func TestABarIsAlwaysAsWideAsItsCellsAndTwoMarks(t *testing.T) {
	for _, q := range []queueState{
		{},
		{used: 1, max: 100_000},
		{used: 100_000, guaranteed: 60_000, max: 100_000},
		{used: 30_000, guaranteed: 60_000, max: 80_000},
		{guaranteed: 100_000, max: amount.Max},
		{used: 100_000, guaranteed: 100_000, max: 100_000},
	} {
		got := bar(q, 100_000, 50, brush{})
		if n := len([]rune(got)); n != 52 {
			t.Errorf("%+v: %d characters: %q", q, n, got)
		}
		if (q.used > 0) != strings.ContainsAny(got, "█▒") {
			t.Errorf("%+v: a queue that holds something shows it: %q", q, got)
		}
	}
}

func TestRunRefusesAStoryThatIsNotThere(t *testing.T) {
	if _, err := Run(t.Context(), Options{Out: &bytes.Buffer{}, Stories: []string{"three"}}); err == nil {
		t.Fatal("no error")
	}
}
