package pattern

import (
	"errors"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestPatternsThatCantBeReadSayWhatIsWrong(t *testing.T) {
	for text, why := range map[string]string{
		"":                   "no such phase",
		"sleepy":             "no such phase",
		"busy, idle":         "for how long",
		"busy for 30s":       "nothing is said of the time after",
		"repeat":             "1 to 64 phases",
		"busy for ever":      "no duration",
		"busy for 1us, idle": "a duration is from",
		"busy=2":             "no share",
		"busy=NaN":           "no share",
		"idle=1":             "takes no value",
		"duty=2ms":           "no period",
		"duty=30s/20s":       "longer than its period",
		"train=0/20s":        "no share",
		strings.Repeat("idle for 1s,", 70) + "idle": "1 to 64 phases",
	} {
		_, err := Parse(text)
		var wrong *Error
		if !errors.As(err, &wrong) || !strings.Contains(wrong.Why, why) || wrong.Hint == "" {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestWhatPodsDo(t *testing.T) {
	s := time.Second
	for _, c := range []struct {
		pattern string
		at      time.Duration
		busy    uint32        // of the last 5 s
		idle    time.Duration // -1 if it never did anything
		wakes   time.Duration // after 5 s of nothing; -1 if never
	}{
		{"busy", 10 * s, 1000, 0, -1},
		{"busy=0.25", 10 * s, 250, 0, -1},
		{"idle", 10 * s, 0, -1, -1},
		{"busy for 30s, idle", 40 * s, 0, 10 * s, -1},
		{"busy for 30s, idle", 32 * s, 600, 2 * s, -1},
		{"idle for 5m, busy", 60 * s, 0, -1, 300 * s},
		{"idle for 3s, busy", s, 0, -1, -1},
		{"duty=2ms/20s", 30 * s, 0, 10*s - 2*time.Millisecond, 40 * s},
		{"duty=1s/4s", 10 * s, 200, s, -1},
		{"train=0.9/2s", 100 * s, 880, 0, -1},
		{"hang", 10 * s, 1000, 0, -1},
		{"busy for 10s, idle for 10s, repeat", 75 * s, 0, 5 * s, 80 * s},
		{"busy for 10s, idle for 10s, repeat", 65 * s, 1000, 0, 80 * s},
	} {
		p := Must(c.pattern)
		idle := time.Duration(-1)
		if last, ok := p.LastActive(c.at); ok {
			idle = c.at - last
		}
		wakes, ok := p.NextWake(c.at, 5*s)
		if !ok {
			wakes = -1
		}
		if got := p.Busy(c.at, 5*s); got != c.busy {
			t.Errorf("%s at %v: busy %d‰, not %d", c.pattern, c.at, got, c.busy)
		}
		if idle != c.idle || wakes != c.wakes {
			t.Errorf("%s at %v: idle %v, wakes at %v; not %v, %v", c.pattern, c.at, idle, wakes, c.idle, c.wakes)
		}
	}
}

func TestSayingNothingIsNoPattern(t *testing.T) {
	if p := Must("idle"); p.IsZero() || !p.Equal(Must("idle")) || p.Equal(Must("busy")) || !(Pattern{}).IsZero() {
		t.Errorf("%+v", p)
	}
}

func TestAHangLaunchesNothing(t *testing.T) {
	p := Must("busy for 1s, hang")
	if a, b := p.Launches(2*time.Second), p.Launches(time.Hour); a != 1000 || b != 1000 {
		t.Errorf("%d launches, then %d", a, b)
	}
	if _, hangs := p.HangsSince(time.Second - 1); hangs {
		t.Error("it hangs before it does")
	}
	if at, hangs := p.HangsSince(time.Hour); !hangs || at != time.Second {
		t.Errorf("after an hour it hangs %v, since %v", hangs, at)
	}
}

// drawPattern makes patterns of whole tenths of seconds.
func drawPattern(t *rapid.T) string {
	tenths := func(label string, to int) string {
		return (time.Duration(rapid.IntRange(1, to).Draw(t, label)) * 100 * time.Millisecond).String()
	}
	n := rapid.IntRange(1, 4).Draw(t, "phases")
	repeats := rapid.Bool().Draw(t, "repeats")
	var out []string
	for i := range n {
		what := rapid.SampledFrom([]string{"busy", "idle", "busy=0.5", "hang", "duty"}).Draw(t, "what")
		if what == "duty" {
			on := rapid.IntRange(1, 20).Draw(t, "on")
			what = "duty=" + (time.Duration(on) * 100 * time.Millisecond).String() + "/" +
				(time.Duration(on+rapid.IntRange(0, 30).Draw(t, "off")) * 100 * time.Millisecond).String()
		}
		if repeats || i < n-1 {
			what += " for " + tenths("length", 80)
		}
		out = append(out, what)
	}
	if repeats {
		out = append(out, "repeat")
	}
	return strings.Join(out, ", ")
}

// slow walks through a pattern in steps of 100 ms.
type slow struct{ on []int64 } // permille in each step

func walk(p Pattern, steps int) (s slow) {
	k, left, d := 0, p.phases[0].length, time.Duration(0)
	for range steps {
		ph := &p.phases[k]
		share := int64(0)
		if ph.isOn(d) {
			share = ph.share
		}
		s.on = append(s.on, share)
		d += 100 * time.Millisecond
		if ph.length > 0 && d >= left {
			k, d = (k+1)%len(p.phases), 0
			left = p.phases[k].length
		}
	}
	return s
}

func TestPatternsAgreeWithAWalkStepByStep(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := drawPattern(t)
		p, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		const step, steps, quiet = 100 * time.Millisecond, 600, 10
		s := walk(p, steps)
		at := rapid.IntRange(0, steps/2).Draw(t, "at")
		now := time.Duration(at) * step
		window := rapid.IntRange(1, 50).Draw(t, "window")
		sum := int64(0)
		from := max(0, at-window)
		for i := from; i < at; i++ {
			sum += s.on[i]
		}
		if at > from {
			want := sum / int64(at-from)
			if got := int64(p.Busy(now, time.Duration(window)*step)); got < want-1 || got > want+1 {
				t.Fatalf("%s: busy %d‰ at %v, not %d", text, got, now, want)
			}
		}
		last := now
		i := at
		for ; i >= 0 && s.on[i] == 0; i-- {
			last = time.Duration(i) * step
		}
		if got, ok := p.LastActive(now); ok != (i >= 0) || ok && got != last {
			t.Fatalf("%s: at %v last active at %v %v, not %v", text, now, got, ok, last)
		}
		wake, silence := -1, 0
		for i := range s.on {
			if s.on[i] > 0 {
				if silence >= quiet && i > at {
					wake = i
					break
				}
				silence = 0
			} else {
				silence++
			}
		}
		got, ok := p.NextWake(now, quiet*step)
		if wake >= 0 && (!ok || got != time.Duration(wake)*step) || wake < 0 && ok && got < steps*step {
			t.Fatalf("%s: after %v it wakes at %v %v, not in step %d", text, now, got, ok, wake)
		}
	})
}

func FuzzPattern(f *testing.F) {
	for _, s := range []string{"busy", "idle for 5m, busy=0.5", "duty=2ms/20s", "train=0.9/1m for 5m, hang for 1s, repeat", "busy for"} {
		f.Add(s, int64(time.Minute))
	}
	f.Fuzz(func(t *testing.T, s string, ns int64) {
		p, err := Parse(s)
		if err != nil {
			var wrong *Error
			if !errors.As(err, &wrong) {
				t.Fatal(err)
			}
			return
		}
		at := time.Duration(max(0, ns)) % (100 * 24 * time.Hour)
		if busy := p.Busy(at, 5*time.Second); busy > 1000 {
			t.Fatalf("busy %d‰", busy)
		}
		if last, ok := p.LastActive(at); ok && (last > at || last < 0) {
			t.Fatalf("active at %v, later than %v", last, at)
		}
		if wake, ok := p.NextWake(at, 5*time.Second); ok && wake <= at {
			t.Fatalf("wakes at %v, before %v", wake, at)
		}
		if again, err := Parse(p.String()); err != nil || len(again.phases) != len(p.phases) {
			t.Fatalf("%q can't be read again: %v", p, err)
		}
	})
}
