package demo

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/plan"
	"github.com/musterhq/muster/builtin/quota"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/builtin/world"
	"github.com/musterhq/muster/policies"
	"github.com/musterhq/muster/runtime/sim"
)

// state is the cluster as it is from now until the next decision.
type state struct {
	now      spec.Time
	capacity amount.Amount
	queues   []queueState
	evicted  int        // since the beginning; who is under notice is not yet
	jobs     []jobState // that have come; of a story that shows them
}

type queueState struct {
	guaranteed, max, demand amount.Amount
	used                    amount.Amount // by what runs, victims under notice too
	waiting                 int           // jobs
	// busy is what of used really computes, idle what does nothing; unknown where
	// nobody can tell of some of it.
	busy, idle amount.Amount
	unknown    bool
}

// borrowed is what the queue holds above its guarantee.
func (q queueState) borrowed() amount.Amount { return max(0, q.used-q.guaranteed) }

// player follows a run: it keeps the state, tells the beats, tests the promises,
// and makes simulated time last.
type player struct {
	ctx   context.Context
	story *story
	view  view
	pace  *pace

	began  bool
	now    state
	beat   int // the next to be told
	orders []orderUse
	calls  map[string]*plan.PolicyUse // by kind

	// Since the last beat: GPUs freed by evictions, evicted jobs and the first
	// start, per queue.
	freed      amount.Amount
	evicted    []int
	firstStart []string
	ousted     []string // evicted at once
	gone       []string // evicted when their time was over
	told       []string // that they are to go
	stayed     []string // who were to go

	evictedAt map[string]spec.Time

	started                map[string]bool
	beforeSwap, sinceStart []spec.Duration // waits of the jobs that started
}

// orderUse is a job-order policy and the first and last time it decided.
type orderUse struct {
	info        string
	first, last spec.Time
}

func newPlayer(ctx context.Context, s *story, o Options) *player {
	p := &player{ctx: ctx, story: s, view: newView(o), pace: newPace(ctx, o, s), calls: map[string]*plan.PolicyUse{}, started: map[string]bool{}, evictedAt: map[string]spec.Time{}}
	p.now.queues = make([]queueState, len(s.names))
	p.forget()
	p.view.open(p)
	return p
}

func (p *player) forget() {
	n := len(p.story.names)
	p.freed, p.evicted, p.firstStart = 0, make([]int, n), make([]string, n)
	p.ousted, p.gone, p.told, p.stayed = nil, nil, nil, nil
}

// observe takes in one cycle. Several cycles may belong to one instant: only the
// last state of an instant lasts.
func (p *player) observe(o sim.Observation) {
	p.look(o.Now, o.World)
	p.count(o)
	p.lookAtJobs(o.Now, o.World) // once more: who was evicted is known now
}

// look takes in the state of an instant.
func (p *player) look(now spec.Time, w *world.World) {
	if p.began && now > p.now.now {
		p.settle(now)
	}
	p.began = true
	p.now.now = now
	p.now.capacity = w.Quota.Capacity()[amount.GPU]
	running := make([]queueState, len(w.Quota.Queues))
	w.EachPlaced(func(t *world.Task) { running[t.Job.Queue].add(w, t, now) })
	for i, l := range p.story.trace.Leaves() {
		if q, ok := w.Quota.Lookup(l.Path); ok {
			p.now.queues[i] = queueOf(w, q, running[q])
		}
	}
	p.lookAtJobs(now, w)
}

// add counts a task if it runs.
func (q *queueState) add(w *world.World, t *world.Task, now spec.Time) {
	if t.State != world.Bound && t.State != world.Releasing {
		return
	}
	gpus := w.GPUs(t)
	q.used = q.used.Add(gpus)
	busy, idle, ok := w.UseOf(t, now)
	q.unknown = q.unknown || !ok
	q.busy = q.busy.Add(gpus.Scale(amount.Amount(busy), amount.Amount(amount.One)))
	if idle > 0 {
		q.idle = q.idle.Add(gpus)
	}
}

// queueOf is the state of a queue of which it is known what runs.
func queueOf(w *world.World, q quota.Q, s queueState) queueState {
	t := w.Quota
	s.guaranteed, s.max = t.Guaranteed(q)[amount.GPU], t.MaxOf(quota.Account(q))[amount.GPU]
	s.demand = t.Used(quota.Account(q))[amount.GPU]
	for _, j := range w.PendingIn(q) {
		if j.Waiting == 0 {
			continue
		}
		s.waiting++
		for g := range j.Groups {
			group := &j.Groups[g]
			each, _ := w.Shapes[group.Shape].Request.Get(amount.GPU)
			s.demand = s.demand.Add(each.Mul(int64(group.Size - group.Placed - group.Finished)))
		}
	}
	return s
}

// count keeps what the beats tell: victims, starts, and who decided.
func (p *player) count(o sim.Observation) {
	for _, e := range o.Plan.Evictions {
		if e.Notify {
			p.told = append(p.told, e.Job)
			continue
		}
		p.now.evicted++
		p.freed = p.freed.Add(amount.Amount(e.GPUs))
		p.evicted[p.leaf(e.Queue)]++
		p.ousted, p.evictedAt[e.Job] = append(p.ousted, e.Job), o.Now
	}
	for _, e := range o.Plan.Ends {
		p.now.evicted++
		p.gone, p.evictedAt[e.Job] = append(p.gone, e.Job), o.Now
	}
	for _, e := range o.Plan.Stays {
		p.stayed = append(p.stayed, e.Job)
	}
	for _, b := range o.Plan.Binds {
		p.start(o, b.Job)
	}
	for _, u := range o.Plan.Policies {
		sum := p.calls[u.Kind]
		if sum == nil {
			sum = &plan.PolicyUse{}
			p.calls[u.Kind] = sum
		}
		sum.Name, sum.Version, sum.Digest = u.Name, u.Version, u.Digest
		sum.Calls += u.Calls
		sum.Fallbacks += u.Fallbacks
		if u.Kind == policies.JobOrder.String() {
			p.ordered(u, o.Now)
		}
	}
}

func (p *player) ordered(u plan.PolicyUse, now spec.Time) {
	info := u.Name + " " + u.Digest
	for i := range p.orders {
		if p.orders[i].info == info {
			p.orders[i].last = now
			return
		}
	}
	p.orders = append(p.orders, orderUse{info, now, now})
}

func (p *player) start(o sim.Observation, id string) {
	j := o.World.Job(id)
	if j == nil || p.started[id] {
		return
	}
	p.started[id] = true
	q := p.leaf(o.World.Quota.Queues[j.Queue].Path)
	if p.firstStart[q] == "" {
		p.firstStart[q] = id
	}
	if wait := o.Now - j.Spec.Submit; o.Now >= p.story.swapAt {
		p.sinceStart = append(p.sinceStart, wait)
	} else {
		p.beforeSwap = append(p.beforeSwap, wait)
	}
}

func (p *player) leaf(path string) int {
	for i, l := range p.story.trace.Leaves() {
		if l.Path == path {
			return i
		}
	}
	return 0
}

// settle lets the present state last until then.
func (p *player) settle(until spec.Time) {
	for _, promise := range p.story.promises {
		promise.hold(&p.now, until)
	}
	p.tell(p.now.now)
	for p.beat < len(p.story.beats) && p.story.beats[p.beat].at < until {
		p.pass(p.story.beats[p.beat].at)
		p.tell(p.story.beats[p.beat].at)
	}
	p.pass(until)
}

// tell says the beats that are due.
func (p *player) tell(now spec.Time) {
	for p.beat < len(p.story.beats) && p.story.beats[p.beat].at <= now {
		b := p.story.beats[p.beat]
		p.beat++
		p.view.say(p, b.at, b.say(p))
		p.pace.pause(func() { p.view.draw(p, b.at) })
		p.forget()
	}
}

// pass shows the clock going on from now to then.
func (p *player) pass(until spec.Time) {
	p.pace.pass(until, func(at spec.Time) { p.view.draw(p, at) })
}

func (p *player) finish(end spec.Time) {
	p.settle(end)
	p.view.draw(p, end)
}

func (p *player) used(i int) string          { return gpus(p.now.queues[i].used) }
func (p *player) demand(i int) amount.Amount { return p.now.queues[i].demand }

// givers says who gave way since the last beat, and how much.
func (p *player) givers() string {
	var out []string
	for i, n := range p.evicted {
		if n > 0 {
			out = append(out, p.story.names[i])
		}
	}
	if len(out) == 0 {
		return "Nobody had to give way."
	}
	return fmt.Sprintf("%s gave %s borrowed GPUs back.", listed(out), gpus(p.freed))
}

// listed is "a, b and c".
func listed(names []string) string {
	last := len(names) - 1
	if last == 0 {
		return names[0]
	}
	return strings.Join(names[:last], ", ") + " and " + names[last]
}

func (p *player) waitBefore() string { return median(p.beforeSwap) }
func (p *player) waitSince() string  { return median(p.sinceStart) }

func median(d []spec.Duration) string {
	if len(d) == 0 {
		return "nothing"
	}
	d = slices.Clone(d)
	slices.Sort(d)
	m := time.Duration(d[len(d)/2])
	switch {
	case m < 2*time.Minute:
		return fmt.Sprintf("%d seconds", int(m.Seconds()))
	case m < 2*time.Hour:
		return fmt.Sprintf("%d minutes", int(m.Minutes()))
	default:
		return fmt.Sprintf("%.1f hours", m.Hours())
	}
}
