package live

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/plan"
	"github.com/musterhq/muster/builtin/quota"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/builtin/world"
	"github.com/musterhq/muster/runtime/loop"
)

// tally is what the cycles did since the beginning.
type tally struct {
	cycles, started, evicted int
	refused                  int // events that made no sense
	calls, fallbacks         int
	deciding                 []plan.PolicyUse
	failing                  string // the last fallback told
}

// turned takes in one turn. It runs on the loop's goroutine.
func (c *cluster) turned(t loop.Turn) {
	c.names.observe(c.loop.Ledger().World())
	s := &c.tally
	s.cycles++
	s.refused += len(t.Refused)
	s.started += len(t.Taken.Binds)
	s.evicted += len(t.Taken.Evictions)
	for _, u := range t.Taken.Policies {
		s.calls += u.Calls
		s.fallbacks += u.Fallbacks
		c.decided(u)
		c.fellBack(u)
	}
}

// decided keeps who was asked last, of each kind and name.
func (c *cluster) decided(u plan.PolicyUse) {
	i := slices.IndexFunc(c.tally.deciding, func(o plan.PolicyUse) bool { return o.Kind == u.Kind && o.Name == u.Name })
	if i < 0 {
		c.tally.deciding = append(c.tally.deciding, u)
		return
	}
	c.tally.deciding[i] = u
}

// fellBack tells of a call that the built-in answered, once for each policy and code
// until something else fails.
func (c *cluster) fellBack(u plan.PolicyUse) {
	if u.Fallbacks == 0 {
		return
	}
	key := u.Kind + u.Name + u.Digest + u.Code
	if key == c.tally.failing {
		return
	}
	c.tally.failing = key
	c.out.say("%s %s: fallback, built-in %s decides: %s", u.Kind, u.Name, u.Fallback, u.Failure)
}

// table prints the queues if it is time.
func (c *cluster) table(at spec.Time) {
	if c.tabled.IsZero() {
		c.tabled = c.began
	}
	if time.Since(c.tabled) < c.o.Every {
		return
	}
	c.tabled = time.Now()
	c.manager.WriteStatus()
	s := &c.tally
	var b strings.Builder
	fmt.Fprintf(&b, "at %s h of simulated time: %d cycles, %d tasks started, %d evicted, %d of %d calls answered by the built-in\n",
		clock(at-c.o.Trace.Start), s.cycles, s.started, s.evicted, s.fallbacks, s.calls)
	rows := tabwriter.NewWriter(&b, 0, 4, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(rows, "  queue\tguaranteed\tused\tof it idle\tborrowed\twaiting jobs\t")
	w := c.loop.Ledger().World()
	idle := idleGPUs(w, at)
	for _, l := range c.o.Trace.Leaves() {
		q, ok := w.Quota.Lookup(l.Path)
		if !ok {
			continue
		}
		used, guaranteed := w.Quota.Used(quota.Account(q))[amount.GPU], w.Quota.Guaranteed(q)[amount.GPU]
		fmt.Fprintf(rows, "  %s\t%s\t%s\t%s\t%s\t%d\t\n", l.Path, gpus(guaranteed), gpus(used), gpus(idle[q]), gpus(max(0, used-guaranteed)), len(w.PendingIn(q)))
	}
	_ = rows.Flush() // into memory
	c.out.say("%s", strings.TrimRight(b.String(), "\n"))
	if line := c.who(); line != "" {
		c.out.print("  " + line)
	}
}

// idleFor is from when on GPUs are told as idle, as on the page.
const idleFor = 5 * 60 * spec.Second

// idleGPUs are those that do nothing, as far as it is known, by queue.
func idleGPUs(w *world.World, now spec.Time) map[quota.Q]amount.Amount {
	out := map[quota.Q]amount.Amount{}
	w.EachPlaced(func(t *world.Task) {
		if _, idle, known := w.UseOf(t, now); known && idle >= idleFor {
			out[t.Job.Queue] = out[t.Job.Queue].Add(w.GPUs(t))
		}
	})
	return out
}

// who says which policies were asked since the last table.
func (c *cluster) who() string {
	var out []string
	for _, u := range c.tally.deciding {
		out = append(out, fmt.Sprintf("%s by %s %s (%s)", u.Kind, u.Name, u.Version, shortDigest(u.Digest)))
	}
	c.tally.deciding = c.tally.deciding[:0]
	return strings.Join(out, ", ")
}

func (c *cluster) summary() {
	s := &c.tally
	c.out.say("ended after %s: %d cycles, %d tasks started, %d evicted, %d of %d calls answered by the built-in, %d events refused",
		time.Since(c.began).Round(time.Second), s.cycles, s.started, s.evicted, s.fallbacks, s.calls, s.refused)
}

func gpus(a amount.Amount) string {
	return strings.TrimSuffix(fmt.Sprintf("%.1f", float64(a)/1000), ".0")
}

// clock is a simulated time as hours and minutes.
func clock(t spec.Time) string {
	minutes := t / (60 * spec.Second)
	return fmt.Sprintf("%d:%02d", minutes/60, minutes%60)
}
