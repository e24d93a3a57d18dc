package serve_test

import (
	"context"
	"fmt"
	"math"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/gpuprobe/wire"
	"github.com/musterhq/muster/runtime/serve"
	"github.com/musterhq/muster/runtime/serve/servetest"
	"github.com/musterhq/muster/runtime/serve/view"
)

// chromium finds the browser. Without one there is nothing to test; CI has one.
func chromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("no chromium in PATH: tools/toolchains.sh installs it")
	}
	t.Skip("THE PAGE IS NOT TESTED: there is no chromium in PATH (tools/toolchains.sh installs it)")
	return ""
}

// browse opens the page of a cluster in a browser.
func browse(t *testing.T, c *servetest.Cluster, auth serve.Authorizer, options ...chromedp.ExecAllocatorOption) context.Context {
	t.Helper()
	path := chromium(t)
	s, err := serve.Open(serve.Listen{Address: "127.0.0.1:0"}, serve.Handler(serve.Config{Source: c.Source, Clock: c.Clock, Auth: auth}))
	if err != nil {
		t.Fatal(err)
	}
	serving, stop := context.WithCancel(context.Background())
	end := make(chan error, 1)
	go func() { end <- s.Serve(serving) }()
	options = append(append([]chromedp.ExecAllocatorOption{chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.WindowSize(1400, 1000)},
		chromedp.DefaultExecAllocatorOptions[:]...), options...)
	alloc, quit := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, shut := chromedp.NewContext(alloc)
	t.Cleanup(func() {
		shut()
		quit()
		stop()
		if err := <-end; err != nil {
			t.Error(err)
		}
	})
	do(t, ctx, chromedp.Navigate(s.URL()))
	return ctx
}

func do(t *testing.T, ctx context.Context, actions ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	if err := chromedp.Do(ctx, actions...); err != nil {
		t.Fatal(err)
	}
}

// value is what an expression comes to in the page.
func value[T any](t *testing.T, ctx context.Context, expression string) (v T) {
	t.Helper()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// becomes waits until an expression is true in the page.
func becomes(t *testing.T, ctx context.Context, expression string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !value[bool](t, ctx, "Boolean("+expression+")"); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s\n%s", expression, value[string](t, ctx, "document.body.innerText"))
		}
	}
}

const drawn = `document.querySelectorAll('[data-queue]').length > 0 && document.querySelectorAll('#policies tr').length > 1`

// width is the length of a part of a queue's bar, in percent.
func width(queue, resource, part string) string {
	return fmt.Sprintf(`(() => { const b = [...document.querySelectorAll('[data-queue="%s"] svg.bar')].find(b => b.getAttribute('aria-label').startsWith('%s:'));
		const e = b && b.querySelector('.%s'); return e ? Number(e.getAttribute(e.tagName === 'line' ? 'x1' : 'width')) : -1; })()`, queue, resource, part)
}

func TestBarsAreAsLongAsWhatTheyStandFor(t *testing.T) {
	ctx := browse(t, servetest.Busy(t, view.Options{}), nil)
	becomes(t, ctx, drawn)
	for _, c := range []struct {
		queue, resource, part string
		percent               float64 // of the 24 H100, 8 A100 or 32 GPUs of the pool
	}{
		{"root.research.llm", "H100", "used", 50},
		{"root.research.llm", "H100", "mark", 50},
		{"root.research.llm", "H100", "max", 100},
		{"root.research.llm", "H100", "ghost", 50}, // 28 more are asked for, 12 fit into the bar
		{"root.research.llm", "H100", "borrowed", -1},
		{"root.research.vision", "A100", "mark", 50},
		{"root.research.vision", "A100", "ghost", 100},
		{"root.research.vision", "A100", "used", -1},
		{"root.batch", "A100", "borrowed", 100},
		{"root.batch", "H100", "borrowed", 50},
		{"root.batch", "H100", "mark", -1},
		{"root.research", "H100", "used", 50}, // its children are guaranteed as much
		{"root.research", "H100", "borrowed", -1},
		{"root.serving", "all GPUs", "max", 37.5},
		{"root.serving", "all GPUs", "mark", 25},
	} {
		if got := value[float64](t, ctx, width(c.queue, c.resource, c.part)); math.Abs(got-c.percent) > 0.1 {
			t.Errorf("%s %s: %s is %.1f %%, not %.1f", c.queue, c.resource, c.part, got, c.percent)
		}
	}
	label := `[...document.querySelectorAll('[data-queue="root.research.llm"] svg.bar')].map(b => b.getAttribute('aria-label')).join('; ')`
	if got := value[string](t, ctx, label); !strings.Contains(got, "H100: 12 used, 12 guaranteed, max 24, 28 waiting") {
		t.Errorf("who can't see the bars is told %q", got)
	}
}

// habits are what jobs of the busy hour do: some train, students leave theirs idle.
func habits(job string, task int32) servetest.Doing {
	n := uint32(task)
	for _, b := range []byte(job) {
		n = n*31 + uint32(b)
	}
	switch {
	case strings.Contains(job, "lab"):
		return servetest.Doing{Idle: uint64(n%90+5) * 60_000, Watched: 7_200_000}
	case strings.Contains(job, "embed") && n%3 == 0:
		return servetest.Doing{Idle: uint64(n%50+31) * 60_000}
	case strings.Contains(job, "sweep"):
		return servetest.Doing{Busy: 200 + n%500, Watched: 60_000}
	default:
		return servetest.Doing{Busy: 700 + n%300, Watched: 60_000}
	}
}

// unwell makes GPUs fail, a probe fall silent, and one be missing.
func unwell(probes *servetest.Probes) {
	nodes := probes.Usage()
	nodes[5].GPUs[2].Health, nodes[5].GPUs[2].HealthReason = wire.Health_FAILED, "Xid79"
	nodes[21].GPUs[7].Health, nodes[21].GPUs[7].HealthReason = wire.Health_DEGRADED, "RowRemapPending"
	no := false
	nodes[30].Uses = append(nodes[30].Uses, &wire.Use{Owner: "pod:tools/notebook-0", Gpu: nodes[30].GPUs[1].Uuid, Busy: nodes[30].GPUs[1].Busy, Assigned: &no})
	nodes[40].Connected, nodes[40].Stale = false, true
	probes.Set(append(nodes[:47:47], nodes[48:]...)...)
}

func TestRealUseIsDrawnInsideWhatIsUsed(t *testing.T) {
	c, _ := servetest.Measured(t)
	ctx := browse(t, c, nil)
	becomes(t, ctx, drawn)
	q, _ := c.Snapshot().Queue("root.research.llm")
	m := q.Of("nvidia.com/gpu:H100").Measured
	if m.Idle == 0 || m.Unknown == 0 {
		t.Fatalf("%+v", m)
	}
	for _, c := range []struct {
		queue, resource, part string
		percent               float64
	}{
		{"root.batch", "A100", "busy", 75},
		{"root.batch", "A100", "unmeasured", -1},
		{"root.research.llm", "H100", "busy", -1},
		{"root.research.llm", "H100", "unmeasured", float64(m.Unknown) / 240},
		{"root.research.llm", "H100", "used", 50},
	} {
		if got := value[float64](t, ctx, width(c.queue, c.resource, c.part)); math.Abs(got-c.percent) > 0.1 {
			t.Errorf("%s %s: %s is %.1f %%, not %.1f", c.queue, c.resource, c.part, got, c.percent)
		}
	}
	want := fmt.Sprintf("H100: 12 used (0 busy, %d idle, %d not measured), 12 guaranteed", m.Idle/1000, m.Unknown/1000)
	label := `[...document.querySelectorAll('[data-queue="root.research.llm"] svg.bar')].map(b => b.getAttribute('aria-label')).join('; ')`
	if got := value[string](t, ctx, label); !strings.Contains(got, want) {
		t.Errorf("who can't see the bars is told %q, not %q", got, want)
	}
}

func TestEveryGPUIsACellAndWhatIsWrongIsListed(t *testing.T) {
	c, _ := servetest.Measured(t)
	ctx := browse(t, c, nil)
	becomes(t, ctx, `document.querySelectorAll('[data-node]').length === 4`)
	cells := func(node, kind string) int {
		return value[int](t, ctx, fmt.Sprintf(`document.querySelectorAll('[data-node="%s"] .cell.%s').length`, node, kind))
	}
	if sick, stray, busy, stale := cells("a-1", "sick"), cells("a-1", "b3"), cells("h-2", "b3"), cells("h-3", "unknown"); sick != 1 || stray != 7 || busy == 0 || stale != 8 {
		t.Errorf("%d sick, %d and %d busy, %d unknown", sick, stray, busy, stale)
	}
	text := value[string](t, ctx, `document.querySelector('#gpus').innerText`)
	for _, want := range []string{"failed Xid79", "idle for 1 h 0 min", "watched", "used without a request by host:/system.slice/miner.service", "train", "root.research.llm"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not told: %s", want, text)
		}
	}
	do(t, ctx, chromedp.Click(`[data-gpus="unhealthy=true"]`))
	becomes(t, ctx, `document.querySelectorAll('[data-node]').length === 1 && document.querySelectorAll('#gpus tbody tr').length === 1`)
}

func TestWithoutProbesThePageSaysThatNothingIsKnown(t *testing.T) {
	ctx := browse(t, servetest.Busy(t, view.Options{}), nil)
	becomes(t, ctx, `document.querySelector('#strip').innerText.includes('no node has a probe')`)
	if value[bool](t, ctx, `[...document.querySelectorAll('.bar .busy, .bar .unmeasured, path.real, .probed')].some(e => e.checkVisibility())`) {
		t.Error("something that nobody measured is drawn")
	}
}

func TestAQueueThatARuleCreatedIsMarked(t *testing.T) {
	created := func() []view.Created { return []view.Created{{Path: "root.serving", Below: "root"}} }
	ctx := browse(t, servetest.Busy(t, view.Options{Created: created, Stays: int64(10 * time.Second)}), nil)
	becomes(t, ctx, drawn)
	marks := `[...document.querySelectorAll('.made')].map(e => e.closest('[data-queue]').dataset.queue + ': ' + e.textContent).join()`
	if got := value[string](t, ctx, marks); got != "root.serving: made by a rule, goes after 10 s empty" {
		t.Errorf("marked are %q", got)
	}
}

func TestThePageFollowsAChange(t *testing.T) {
	c := servetest.Busy(t, view.Options{})
	ctx := browse(t, c, nil)
	becomes(t, ctx, drawn)
	c.Post(servetest.Job("newcomer", "root.serving", "", 1, 8))
	becomes(t, ctx, `document.querySelector('#jobs').innerText.includes('newcomer')`)
	becomes(t, ctx, width("root.serving", "all GPUs", "used")+" === 25") // claimed, while victims leave
}

// The names of queues, jobs and users come from others. None may become part of the page.
func TestHostileNamesStayText(t *testing.T) {
	const evil = `<img src=x onerror="window.hacked=1">`
	tree := spec.Tree{Root: &spec.Queue{Name: "root", Parent: true, Children: []*spec.Queue{{Name: evil, Max: spec.GPUs(1)}, {Name: `"><script>window.hacked=1</script>`}}}}
	c := servetest.New(t, tree, view.Options{})
	c.Post(servetest.Node("n", "H100"), servetest.Job(evil, "root."+evil, "", 2, 1), servetest.Job(`javascript:alert(1)//"'`, "root."+evil, "H100", 2, 1))
	ctx := browse(t, c, nil)
	becomes(t, ctx, `document.querySelectorAll('#jobs tbody tr').length === 2`)
	value[any](t, ctx, `document.querySelector('#jobs button.link').click()`)
	becomes(t, ctx, `document.querySelector('#detail').open && document.querySelector('.levels')`)
	if value[bool](t, ctx, `Boolean(window.hacked) || document.querySelectorAll('img, script:not([src="page.js"])').length > 0`) {
		t.Error("a name became part of the page")
	}
	if got := value[string](t, ctx, `document.querySelector('#jobs').innerText`); !strings.Contains(got, evil) {
		t.Errorf("the name itself is not shown: %s", got)
	}
}

func TestAJobIsExplainedAndTheKeyboardIsEnough(t *testing.T) {
	ctx := browse(t, servetest.Busy(t, view.Options{}), nil)
	becomes(t, ctx, drawn)
	value[any](t, ctx, `[...document.querySelectorAll('#jobs button.link')].find(b => b.textContent === 'too-large').focus()`)
	do(t, ctx, chromedp.KeyEvent("\r"))
	becomes(t, ctx, `document.querySelector('#detail .blocked')`)
	text := value[string](t, ctx, `document.querySelector('#detail').innerText`)
	for _, want := range []string{"gang-exceeds-max", "What would help", "✗ structure", "policy (not reached)"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not told: %s", want, text)
		}
	}
	do(t, ctx, chromedp.KeyEvent("\x1b"))
	becomes(t, ctx, `!document.querySelector('#detail').open && location.hash === ''`)
}

func TestWithoutATokenThePageAsksForOne(t *testing.T) {
	c := servetest.Busy(t, view.Options{})
	ctx := browse(t, c, register{"secret": {Allowed: true, User: "ann"}})
	becomes(t, ctx, `!document.querySelector('#login').hidden`)
	do(t, ctx, chromedp.SendKeys("#token", "secret\r"))
	becomes(t, ctx, drawn)
	if !value[bool](t, ctx, `document.querySelector('#login').hidden`) {
		t.Error("it goes on asking")
	}
}

func TestTwoHundredQueuesAreFoldedAndFound(t *testing.T) {
	root := &spec.Queue{Name: "root", Parent: true}
	for o := range 20 {
		org := &spec.Queue{Name: fmt.Sprintf("org-%02d", o), Parent: true, Guaranteed: spec.GPUs(8)}
		for q := range 9 {
			org.Children = append(org.Children, &spec.Queue{Name: fmt.Sprintf("team-%d", q), Max: spec.GPUs(8)})
		}
		root.Children = append(root.Children, org)
	}
	c := servetest.New(t, spec.Tree{Root: root}, view.Options{})
	c.Post(servetest.Node("n", "H100"))
	ctx := browse(t, c, nil)
	becomes(t, ctx, `document.querySelectorAll('[data-queue]').length === 21`)
	do(t, ctx, chromedp.Click(`[data-queue="root.org-07"] .twist`))
	becomes(t, ctx, `document.querySelectorAll('[data-queue]').length === 30`)
	do(t, ctx, chromedp.SendKeys("#filter", "org-11.team-3"))
	becomes(t, ctx, `document.querySelectorAll('[data-queue]').length === 1`)
}

// Every user may have a queue of their own, side by side.
func TestOfThousandsOfQueuesTheFirstAreDrawnAndMoreWhenAskedFor(t *testing.T) {
	root := &spec.Queue{Name: "root", Parent: true}
	for u := range 2500 {
		root.Children = append(root.Children, &spec.Queue{Name: fmt.Sprintf("user-%04d", u)})
	}
	c := servetest.New(t, spec.Tree{Root: root}, view.Options{})
	c.Post(servetest.Node("n", "H100"))
	ctx := browse(t, c, nil)
	becomes(t, ctx, `document.querySelectorAll('[data-queue]').length === 100`)
	value[any](t, ctx, `document.querySelector('[data-key="more queues"]').click()`)
	becomes(t, ctx, `document.querySelectorAll('[data-queue]').length === 200 && document.querySelector('.more').innerText === 'show more (2301)'`)
	do(t, ctx, chromedp.SendKeys("#filter", "user-2345"))
	becomes(t, ctx, `document.querySelectorAll('[data-queue]').length === 1 && !document.querySelector('.more')`)
}

// Names that have no place to break in are broken anyway: none lies on what is beside it.
func TestLongNamesStayInTheirPlace(t *testing.T) {
	const long = "team_of_people_who_love_underscores_and_never_stop_writing_them_down"
	tree := spec.Tree{Root: &spec.Queue{Name: "root", Parent: true, Children: []*spec.Queue{
		{Name: "a-department-with-a-name-that-nobody-shortens", Parent: true, Children: []*spec.Queue{{Name: long, Max: spec.GPUs(8)}}},
	}}}
	queue := "root.a-department-with-a-name-that-nobody-shortens." + long
	c := servetest.New(t, tree, view.Options{})
	c.Post(servetest.Node("n", "NVIDIA-H100-80GB-HBM3"), servetest.Job("namespace/"+long, queue, "", 3, 4))
	ctx := browse(t, c, nil)
	becomes(t, ctx, `document.querySelectorAll('#jobs tbody tr').length === 1 && `+drawn)
	for _, w := range []int{1280, 390} {
		do(t, ctx, chromedp.EmulateViewport(int64(w), 844))
		becomes(t, ctx, fmt.Sprintf(`document.documentElement.clientWidth === %d`, w))
		if got := value[int](t, ctx, `document.documentElement.scrollWidth`); got != w {
			t.Errorf("at %d pixels the page is %d wide", w, got)
		}
		if out := value[string](t, ctx, `[...document.querySelectorAll('.name button.link')].filter(b => b.getBoundingClientRect().right > b.closest('.name').getBoundingClientRect().right + 1).map(b => b.textContent).join()`); out != "" {
			t.Errorf("at %d pixels %s leaves its place", w, out)
		}
	}
	if lines := value[int](t, ctx, `Math.max(...[...document.querySelectorAll('.what')].map(e => e.getClientRects().length && Math.round(e.getBoundingClientRect().height / parseFloat(getComputedStyle(e).lineHeight) )))`); lines > 2 {
		t.Errorf("the type of the GPUs takes %d lines", lines)
	}
}

// What is too wide for a telephone is scrolled inside its own part, and names don't fall
// apart at their hyphens.
func TestThePageFitsATelephone(t *testing.T) {
	probes := &servetest.Probes{}
	c := servetest.HourOf(t, probes.Into(view.Options{}), func(c *servetest.Cluster) { probes.Report(c, habits) })
	ctx := browse(t, c, nil)
	do(t, ctx, chromedp.EmulateViewport(390, 844))
	becomes(t, ctx, `document.querySelectorAll('#usage svg.chart').length === 3 && document.querySelectorAll('#jobs tbody tr').length > 5 && `+drawn)
	becomes(t, ctx, `document.documentElement.clientWidth === 390`)
	if w := value[int](t, ctx, `document.documentElement.scrollWidth`); w != 390 {
		t.Errorf("the page is %d pixels wide", w)
	}
	broken := value[string](t, ctx, `[...document.querySelectorAll('td .keep')].filter(e => e.getClientRects().length > 1).map(e => e.textContent).join(', ')`)
	if broken != "" {
		t.Errorf("in two lines: %s", broken)
	}
}

// With MUSTER_SCREENSHOT=FILE the page of a busy hour is written as a picture, in the
// colours of MUSTER_SCHEME.
func TestUseOverTimeIsStackedUpToWhatIsUsed(t *testing.T) {
	probes := &servetest.Probes{}
	c := servetest.HourOf(t, probes.Into(view.Options{}), func(c *servetest.Cluster) { probes.Report(c, habits) })
	unwell(probes)
	ctx := browse(t, c, nil, chromedp.WindowSize(1400, 1900), chromedp.Flag("force-dark-mode", os.Getenv("MUSTER_SCHEME") == "dark"))
	becomes(t, ctx, `document.querySelectorAll('#usage svg.chart').length === 3 && `+drawn)
	areas := value[int](t, ctx, `document.querySelectorAll('#usage svg.chart')[0].querySelectorAll('path.area').length`)
	u := c.Recorder.Usage("nvidia.com/gpu:A100", time.Unix(0, c.Clock.Now()).Add(-time.Hour), "")
	if areas != len(u.Queues) || areas < 2 {
		t.Errorf("%d areas of %d queues", areas, len(u.Queues))
	}
	becomes(t, ctx, `document.querySelectorAll('[data-node]').length === 48`)
	if n := value[int](t, ctx, `document.querySelectorAll('#usage svg.chart path.real').length`); n != 3 {
		t.Errorf("what is really used is drawn in %d of 3 charts", n)
	}
	if file := os.Getenv("MUSTER_SCREENSHOT"); file != "" {
		png, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, png, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
