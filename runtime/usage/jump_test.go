package usage_test

import (
	"testing"

	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/runtime/usage"
)

// wallClock is a machine's clock, which may be set.
type wallClock struct{ now spec.Time }

func (c *wallClock) Now() int64                { return c.now }
func (c *wallClock) Wake(t int64) <-chan int64 { return nil }

// A scheduler's clock is set, forward by an hour or back, or it stood still for so long.
// No pod is idle for that: the first report after it says what holds, if it says all.
func TestAClockThatIsSetMakesNobodyIdle(t *testing.T) {
	for name, by := range map[string]spec.Duration{"forward": 3600 * spec.Second, "back": -3600 * spec.Second} {
		for _, full := range []bool{false, true} {
			c, s := &wallClock{1e6 * spec.Second}, &sink{}
			table := usage.NewTable(s, usage.TableOptions{Clock: c})
			session, _ := table.Open("n")
			seq := uint64(0)
			send := func(full bool, idle uint64, want usage.Verdict) {
				t.Helper()
				seq++
				if v, err := session.Apply(report(seq, full, use("p", 0, 0, idle, idle))); err != nil || v != want {
					t.Fatalf("%s: verdict %d, %v", name, v, err)
				}
			}
			send(true, 20, usage.Taken)
			c.now += 10 * spec.Second
			send(false, 30, usage.Taken)
			c.now += by + 10*spec.Second
			if full {
				send(true, 40, usage.Taken)
			} else {
				send(false, 40, usage.Gap)
				if p := s.last["p"]; p.Known {
					t.Errorf("%s: until it says all, nothing is known of it: %+v", name, p)
				}
				if got := table.Silent(); len(got) != 0 {
					t.Errorf("%s: it is not silent, it was asked for more", name)
				}
				send(true, 40, usage.Taken)
			}
			if p := s.last["p"]; !p.Known || p.Idle != 40*spec.Second || p.Watched != 40*spec.Second || p.At != c.now {
				t.Errorf("%s, full %v: idle %d s at %d s from now", name, full, p.Idle/spec.Second, (p.At-c.now)/spec.Second)
			}
			c.now += 10 * spec.Second
			send(false, 50, usage.Taken)
			if p := s.last["p"]; p.Idle > 50*spec.Second || p.At > c.now {
				t.Errorf("%s, full %v: idle %d s at %d s from now", name, full, p.Idle/spec.Second, (p.At-c.now)/spec.Second)
			}
			// That it woke is news.
			c.now += spec.Second
			send(false, 0, usage.Taken)
			if p := s.last["p"]; p.Idle != 0 || p.At != c.now {
				t.Errorf("%s, full %v: awake: %+v", name, full, p)
			}
		}
	}
}
