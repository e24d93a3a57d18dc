package report

import (
	"bytes"
	"errors"
	"fmt"
	"image/png"
	"os"
	"regexp"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/runtime/sim/score"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fiveQueues plays the shares of the talk's five-queue story through a real
// recorder, with jitter as whole jobs make it.
func fiveQueues(t *testing.T, name string, jitter int64) Run {
	t.Helper()
	guaranteed := []int64{160, 128, 96, 80, 48}
	o := score.Options{}
	for i := range guaranteed {
		o.Queues = append(o.Queues, fmt.Sprintf("root.q%d", i+1))
	}
	r := score.NewRecorder(o)
	rng := uint64(7)
	const minutes = 8 * 60
	for m := range spec.Time(minutes) {
		q := make([]score.QueueSample, 5)
		claims := make([]score.Claim, 5)
		for i, g := range guaranteed {
			q[i] = score.QueueSample{Guaranteed: g * 1000, Max: 512_000}
			if i == 0 {
				q[i].Max = 448_000
			}
			if m >= spec.Time(i)*60 {
				q[i].Demand = 700_000
			}
			claims[i] = score.Claim{Guaranteed: float64(g) * 1000, Max: float64(q[i].Max), Demand: float64(q[i].Demand)}
		}
		for i, v := range score.Ideal(512_000, claims) {
			rng = rng*6364136223846793005 + 1442695040888963407
			q[i].Used = max(0, int64(v)/1000-int64(rng>>33)%(jitter+1)) * 1000
		}
		r.Sample(m*60*spec.Second, q, 512_000, -1)
	}
	for i := range spec.Time(400) {
		wait := i * i / 40 * spec.Second * jitter
		r.Job(score.JobRecord{Queue: o.Queues[i%5], Submit: 0, FirstStart: wait, Pending: wait, Started: true, Finished: true, End: wait + 60*spec.Second, Run: 60 * spec.Second})
	}
	r.Finish(minutes * 60 * spec.Second)
	return Run{Name: name, Card: r.Result(), Series: r.Series(), Notes: []string{"made for a test <b>"}}
}

func TestTheReportIsOneFileThatNeedsNoOther(t *testing.T) {
	var b bytes.Buffer
	runs := []Run{fiveQueues(t, "guaranteed-fair", 5), fiveQueues(t, "fifo & co", 60)}
	if err := HTML(&b, "Five queues <on> 512 GPUs", runs); err != nil {
		t.Fatal(err)
	}
	keep(t, "report.html", b.Bytes())
	page := b.String()
	if m := regexp.MustCompile(`(?i)https?:|<script|src=|href=|@import|url\(`).FindString(page); m != "" {
		t.Errorf("the page refers to something outside: %s", m)
	}
	for _, want := range []string{"Five queues &lt;on&gt; 512 GPUs", "fifo &amp; co", "made for a test &lt;b&gt;", "Jain index", "guaranteed"} {
		if !strings.Contains(page, want) {
			t.Errorf("no %q in the page", want)
		}
	}
	if n := strings.Count(page, "<svg "); n != 4 || n != strings.Count(page, "</svg>") {
		t.Errorf("%d plots", n)
	}
	if len(page) > 1<<20 {
		t.Errorf("%d bytes", len(page))
	}
}

func TestWhatGPUsReallyDidIsDrawnWhereItWasMeasured(t *testing.T) {
	bare := fiveQueues(t, "bare", 5)
	full := fiveQueues(t, "full", 5)
	full.Card.Use = &score.UseFigures{MeasuredGPUHours: 10, BusyGPUHours: 4}
	for i := range full.Card.Queues {
		full.Card.Queues[i].Use = &score.UseFigures{}
		full.Series.Queues[i].Busy = full.Series.Queues[(i+1)%5].Used
	}
	for name, c := range map[string]struct {
		runs []Run
		want int // lines of what was busy
	}{"nobody": {[]Run{bare}, 0}, "one of two": {[]Run{bare, full}, 1}} {
		var b bytes.Buffer
		if err := HTML(&b, name, c.runs); err != nil {
			t.Fatal(err)
		}
		if got := strings.Count(b.String(), "busy: full"); got != c.want || strings.Contains(b.String(), "of that really busy") != (c.want > 0) {
			t.Errorf("%s: %d lines of what is busy", name, got)
		}
	}
}

func TestThePNGIsAPictureOfTheAskedSize(t *testing.T) {
	var b bytes.Buffer
	if err := PNG(&b, "Five queues on 512 GPUs", fiveQueues(t, "", 5).Series, 24, 10); err != nil {
		t.Fatal(err)
	}
	keep(t, "stacked.png", b.Bytes())
	img, err := png.Decode(&b)
	if err != nil {
		t.Fatal(err)
	}
	if d := img.Bounds(); d.Dx() < 1500 || d.Dx() > 1520 || d.Dy() < 625 || d.Dy() > 640 {
		t.Errorf("size %v", d)
	}
	// Every queue's colour is there: nothing is hidden.
	seen := map[[3]uint32]bool{}
	for x := 0; x < img.Bounds().Dx(); x += 3 {
		for y := 0; y < img.Bounds().Dy(); y += 3 {
			r, g, bl, _ := img.At(x, y).RGBA()
			seen[[3]uint32{r >> 8, g >> 8, bl >> 8}] = true
		}
	}
	for i := range 5 {
		c := hue(i)
		if !seen[[3]uint32{uint32(c.R), uint32(c.G), uint32(c.B)}] {
			t.Errorf("the colour of q%d is nowhere", i+1)
		}
	}
}

func TestARunWithoutAnythingIsDrawnOrRefusedButNeverACrash(t *testing.T) {
	empty := score.NewRecorder(score.Options{Queues: []string{"root.a"}})
	r := Run{Name: "nothing", Card: empty.Result(), Series: empty.Series()}
	var b bytes.Buffer
	if err := HTML(&b, "", []Run{r}); err != nil {
		t.Error(err)
	}
	if err := PNG(&b, "", r.Series, 10, 8); err != nil {
		t.Error(err)
	}
	for _, runs := range [][]Run{nil, {{Name: "x"}}} {
		if err := HTML(&b, "", runs); !errors.Is(err, ErrNoRuns) {
			t.Errorf("%v", err)
		}
	}
	if err := PNG(&b, "", nil, 10, 8); !errors.Is(err, ErrNoRuns) {
		t.Errorf("%v", err)
	}
}

func TestTicksAreRoundAndFew(t *testing.T) {
	for _, c := range []struct {
		t    ticks
		high float64
		want string
	}{
		{ticks{9, true}, 24, "0 3 6 9 12 15 18 21 24"},
		{ticks{9, true}, 8, "0 1 2 3 4 5 6 7 8"},
		{ticks{n: 6}, 527, "0 100 200 300 400 500"},
		{ticks{n: 6}, 0.5, "0 0.1 0.2 0.3 0.4 0.5"},
		{ticks{n: 6}, 6212, "0 2000 4000 6000"},
	} {
		var got []string
		for _, tick := range c.t.Ticks(0, c.high) {
			got = append(got, tick.Label)
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("to %v: %s, not %s", c.high, s, c.want)
		}
	}
}

func TestNamesLoseOnlyWhatAllShare(t *testing.T) {
	got := shorter([]string{"root.ml.a", "root.ml.b.c", "root.ml.an-extraordinarily-long-name"})
	if s := strings.Join(got, " "); s != "a b.c an-extraordinarily-lo…" {
		t.Error(s)
	}
	if s := shorter([]string{"root.a"}); s[0] != "a" {
		t.Error(s)
	}
}

func TestManyQueuesAreSummedSoThatTheLegendFits(t *testing.T) {
	s := &score.Series{StepS: 1, Capacity: []float64{40}}
	for i := range 40 {
		s.Queues = append(s.Queues, score.QueueSeries{Name: fmt.Sprintf("q%d", i), Used: []float64{1}, Guaranteed: []float64{1}})
	}
	g := grouped(s)
	if len(g.Queues) != maxAreas || g.Queues[maxAreas-1].Used[0] != 26 || g.Queues[maxAreas-1].Name != "26 others" {
		t.Errorf("%d queues, last %+v", len(g.Queues), g.Queues[len(g.Queues)-1])
	}
	if s.Queues[14].Used[0] != 1 {
		t.Error("the series itself changed")
	}
}

// keep writes what was drawn into the folder named by MUSTER_KEEP, for people
// to look at.
func keep(t *testing.T, name string, data []byte) {
	t.Helper()
	if dir := os.Getenv("MUSTER_KEEP"); dir != "" {
		if err := os.WriteFile(dir+"/"+name, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
