// Package conformance holds what Muster must do: stories, each one behaviour on a
// small cluster told in a language that can be read aloud (stories/README.md), and
// laws over random small worlds. Both run the production path, runtime/loop over
// runtime/ledger and builtin/cycle, on a virtual clock.
package conformance

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/musterhq/muster/builtin/cycle"
	"github.com/musterhq/muster/builtin/plan"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/builtin/world"
	"github.com/musterhq/muster/policies"
	"github.com/musterhq/muster/runtime/clock"
	"github.com/musterhq/muster/runtime/ledger"
	"github.com/musterhq/muster/runtime/loop"
)

// maxTurns is how many turns one instant may take to come to rest. A tale that
// needs more goes round in circles, which is an error.
const maxTurns = 1000

// Tale is one story as it unfolds: a cluster that does what it is told, at once
// unless the story says otherwise.
type Tale struct {
	// After is called after every turn; nil calls nobody.
	After func(loop.Turn)
	// Load finds the policy of a `policy` line ("library/fifo-reversed"); nil if
	// the teller has none.
	Load func(source string) (policies.Policy, error)
	// Module is the module of a `load` line, for the life cycle to load; nil as Load.
	Module func(source string) ([]byte, error)

	ctx   context.Context
	clock *clock.Virtual
	tree  spec.Tree
	set   cycle.Set
	loop  *loop.Loop // nil until the first command that needs it

	agenda agenda
	wake   spec.Time // of the last plan
	jobs   map[string]*run
	// victimsTake is how long victims need to be gone, after their notice if they
	// have one.
	victimsTake spec.Duration
	saves       map[string]spec.Duration // job: time to save its work after a notice

	out     narration
	life    *life             // nil until a story loads a policy
	chosen  []policies.Policy // by the story itself
	uses    []plan.PolicyUse  // of the last turn that asked a policy
	allUses []plan.PolicyUse
}

// run is what the cluster knows about a job and the scheduler does not.
type run struct {
	lasts   spec.Duration // 0: until somebody ends it
	running bool
	number  int // of starts; an end that was foreseen for an earlier one is void
}

// NewTale returns an empty cluster. Policies that are named like a built-in take
// its place.
func NewTale(ctx context.Context, named map[string]policies.Policy) *Tale {
	t := &Tale{ctx: ctx, clock: clock.NewVirtual(0), jobs: map[string]*run{}, saves: map[string]spec.Duration{}}
	t.set.Named = maps.Clone(named)
	if t.set.Named == nil {
		t.set.Named = map[string]policies.Policy{}
	}
	return t
}

// command is one verb of the language. block is the indented lines below it.
type command struct {
	do   func(t *Tale, words, block []string) error
	help string
}

func (t *Tale) now() spec.Time { return t.clock.Now() }

// world is the state for reading.
func (t *Tale) world() *world.World { return t.theLoop().Ledger().World() }

func (t *Tale) theLoop() *loop.Loop {
	if t.loop == nil {
		t.loop = loop.New(ledger.New(t.tree), t.set, t, t.clock)
	}
	return t.loop
}

// Play carries out lines of the language and returns what is to be told.
func (t *Tale) Play(lines []string) (string, error) {
	t.out = narration{}
	for i := 0; i < len(lines); {
		k := i + 1
		for k < len(lines) && strings.HasPrefix(lines[k], " ") {
			k++
		}
		if err := t.line(lines[i], lines[i+1:k]); err != nil {
			return "", fmt.Errorf("%q: %w", lines[i], err)
		}
		i = k
	}
	return t.out.String(), nil
}

func (t *Tale) line(line string, block []string) error {
	words := strings.Fields(line)
	if len(words) == 0 || strings.HasPrefix(words[0], "#") {
		return nil
	}
	c, ok := commands()[words[0]]
	if !ok {
		return fmt.Errorf("no such command")
	}
	return c.do(t, words[1:], block)
}

// post hands an event to the loop; the next turn takes it in.
func (t *Tale) post(ev ledger.Event) { t.theLoop().Post(ev) }

// turn takes one turn and tells nothing.
func (t *Tale) turn() loop.Turn {
	turn := t.theLoop().Turn(t.ctx)
	t.wake = turn.Taken.Wake
	if len(turn.Taken.Policies) > 0 {
		t.uses = turn.Taken.Policies
		t.allUses = append(t.allUses, turn.Taken.Policies...)
	}
	if t.After != nil {
		t.After(turn)
	}
	t.catchUp()
	return turn
}

// settle takes turns until nothing more is decided at this instant.
func (t *Tale) settle() error {
	for range maxTurns {
		turn := t.turn()
		t.out.turn(turn)
		if !t.theLoop().Busy() && turn.Taken.Empty() {
			return nil
		}
	}
	return errors.New("the scheduler does not come to rest")
}

// advance moves the clock, stopping wherever something happens.
func (t *Tale) advance(d spec.Duration) error {
	end := t.now() + d
	if err := t.settle(); err != nil {
		return err
	}
	for {
		at, ok := t.next()
		if !ok || at > end {
			break
		}
		t.clock.Advance(at)
		t.happen(at)
		if err := t.settle(); err != nil {
			return err
		}
	}
	t.clock.Advance(end)
	return nil
}

// next is when something happens by itself: an entry of the agenda, or the time
// at which the last plan asked to be woken.
func (t *Tale) next() (spec.Time, bool) {
	at, ok := spec.Time(0), false
	if len(t.agenda) > 0 {
		at, ok = t.agenda[0].at, true
	}
	if t.wake > t.now() && (!ok || t.wake < at) {
		at, ok = t.wake, true
	}
	return at, ok
}

// happen carries out the agenda up to a time.
func (t *Tale) happen(at spec.Time) {
	for len(t.agenda) > 0 && t.agenda[0].at <= at {
		d := heap.Pop(&t.agenda).(due)
		if d.job != "" && (t.jobs[d.job] == nil || !t.jobs[d.job].running || t.jobs[d.job].number != d.run) {
			continue
		}
		if d.say != "" {
			t.out.say(at, d.say)
		}
		if d.ends {
			delete(t.jobs, d.job)
		}
		t.post(d.ev)
	}
}

// Act is the cluster at work: it ends victims and lets jobs begin.
func (t *Tale) Act(now spec.Time, r ledger.Result) {
	for _, v := range r.Taken.Evictions {
		if v.Notify {
			if after, ok := t.saves[v.Job]; ok {
				t.later(now+after, due{ev: ledger.Saved{Job: v.Job}, say: v.Job + " has saved its work"})
			}
			continue
		}
		t.leave(now, v.Job, v.Tasks)
	}
	for _, e := range r.Taken.Ends {
		t.leave(now, e.Job, e.Tasks)
	}
	for _, b := range r.Taken.Binds {
		t.begin(now, b.Job)
	}
}

func (t *Tale) leave(now spec.Time, job string, tasks []int32) {
	ev := ledger.Evicted{Job: job, Tasks: tasks}
	if w := t.world().Job(job); w != nil && (w.Placed == 0 || w.GangMissing() > 0) {
		t.stop(job)
	}
	if t.victimsTake == 0 {
		t.post(ev)
		return
	}
	t.later(now+t.victimsTake, due{ev: ev, say: job + " is gone"})
}

// begin notes that a job runs once its gang is together; its end is then known.
func (t *Tale) begin(now spec.Time, job string) {
	r, w := t.jobs[job], t.world().Job(job)
	if r == nil || r.running || w == nil || w.GangMissing() > 0 {
		return
	}
	r.running = true
	r.number++
	if r.lasts > 0 {
		t.later(now+r.lasts, due{ev: ledger.JobGone{ID: job}, job: job, run: r.number, say: job + " is done", ends: true})
	}
}

func (t *Tale) stop(job string) {
	if r := t.jobs[job]; r != nil {
		r.running = false
	}
}

// due is an entry of the agenda.
type due struct {
	at   spec.Time
	seq  int
	ev   ledger.Event
	say  string
	job  string // with run: void unless that start of the job still runs
	run  int
	ends bool
}

func (t *Tale) later(at spec.Time, d due) {
	d.at = at
	if n := len(t.agenda); n > 0 {
		d.seq = 1
		for _, o := range t.agenda {
			d.seq = max(d.seq, o.seq+1)
		}
	}
	heap.Push(&t.agenda, d)
}

type agenda []due

func (a agenda) Len() int { return len(a) }
func (a agenda) Less(i, j int) bool {
	return a[i].at < a[j].at || a[i].at == a[j].at && a[i].seq < a[j].seq
}
func (a agenda) Swap(i, j int) { a[i], a[j] = a[j], a[i] }

// Push is for package heap.
func (a *agenda) Push(x any) { *a = append(*a, x.(due)) }

// Pop is for package heap.
func (a *agenda) Pop() any {
	old := *a
	x := old[len(old)-1]
	*a = old[:len(old)-1]
	return x
}

// clockText writes a time since the start of the story.
func clockText(at spec.Time) string {
	s := time.Duration(at).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
