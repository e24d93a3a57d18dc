package ledger

import (
	"slices"

	"github.com/musterhq/muster/builtin/plan"
	"github.com/musterhq/muster/builtin/quota"
	"github.com/musterhq/muster/builtin/world"
)

// verify takes the units of a plan that still hold: first the ends of notices,
// then preemptors with their victims and starts in the order of deciding.
func (l *Ledger) verify(p *plan.Plan) (*plan.Plan, []Stale) {
	v := &verifier{l: l, w: l.world, from: p, to: &plan.Plan{Cycle: p.Cycle, Now: p.Now, Policies: p.Policies, Events: p.Events, Wake: p.Wake}}
	for _, e := range p.Ends {
		v.end(e)
	}
	for _, s := range p.Stays {
		v.stay(s)
	}
	for _, r := range p.Reserved { // what is lifted may have made room
		if r.Until == 0 {
			v.reservation(r)
		}
	}
	v.units()
	for _, r := range p.Reserved {
		if r.Until != 0 {
			v.reservation(r)
		}
	}
	return v.to, v.stale
}

// units takes preemptors and starts in the order in which they were decided, which
// their numbers tell: a later one may build on an earlier one.
func (v *verifier) units() {
	claims := unitsOf(v.from.Claims, func(c plan.Claim) int32 { return c.Unit })
	binds := unitsOf(v.from.Binds, func(b plan.Bind) int32 { return b.Unit })
	for len(claims)+len(binds) > 0 {
		if len(binds) == 0 || len(claims) > 0 && claims[0][0].Unit < binds[0][0].Unit {
			v.preemptor(claims[0])
			claims = claims[1:]
			continue
		}
		v.start(binds[0])
		binds = binds[1:]
	}
}

// end takes the end of a notice for the victims that have not left by themselves.
func (v *verifier) end(e plan.End) {
	j, all := v.w.Job(e.Job), e.Tasks
	e.Tasks = nil
	for _, i := range all {
		if j != nil && int(i) < len(j.Tasks) && j.Tasks[i].State == world.Releasing {
			e.Tasks = append(e.Tasks, i)
		}
	}
	if len(e.Tasks) == 0 {
		return
	}
	n := v.w.NoticeOf(j, e.Tasks)
	if n != nil && n.IdleAfter > 0 && !v.w.StillIdle(n, v.from.Now) {
		v.drop(e.Job, "its GPUs are busy again") // the next cycle lets it stay
		return
	}
	for _, i := range e.Tasks {
		v.w.Condemn(&j.Tasks[i])
	}
	v.to.Ends = append(v.to.Ends, e)
}

// stay takes back an eviction, if all of the victims are still there.
func (v *verifier) stay(s plan.Stay) {
	j := v.w.Job(s.Job)
	if j == nil {
		return
	}
	n := v.w.NoticeOf(j, s.Tasks)
	there := func(t *world.Task) bool { return t.Revocable() }
	if n == nil || len(n.Tasks) != len(s.Tasks) || !all(n.Tasks, there) {
		v.drop(s.Job, "some of the victims have gone")
		return
	}
	if _, ok := v.w.StayAll(n); ok {
		v.to.Stays = append(v.to.Stays, s)
	}
}

func all(tasks []*world.Task, is func(*world.Task) bool) bool {
	return !slices.ContainsFunc(tasks, func(t *world.Task) bool { return !is(t) })
}

type verifier struct {
	l        *Ledger
	w        *world.World
	from, to *plan.Plan
	stale    []Stale
	leaving  []*world.Task // victims of the preemptors taken so far
}

// unitsOf splits a list at the changes of its unit numbers.
func unitsOf[T any](items []T, unit func(T) int32) (out [][]T) {
	for i := 0; i < len(items); {
		k := i + 1
		for k < len(items) && unit(items[k]) == unit(items[i]) {
			k++
		}
		out = append(out, items[i:k])
		i = k
	}
	return out
}

func (v *verifier) drop(job, reason string) { v.stale = append(v.stale, Stale{job, reason}) }

// start takes the tasks of one unit, all or none.
func (v *verifier) start(unit []plan.Bind) {
	m := v.w.Mark()
	for _, b := range unit {
		if why := v.place(b.Job, b.Task, b.Node, b.Devices, world.Bound, b.Nominated); why != "" {
			v.w.Rollback(m)
			v.drop(b.Job, why)
			return
		}
	}
	if why := v.apart(unit[0].Job); why != "" {
		v.w.Rollback(m)
		v.drop(unit[0].Job, why)
		return
	}
	v.w.Keep(m)
	v.to.Binds = append(v.to.Binds, unit...)
}

// apart says that a unit would run without the rest of its gang, which an event
// took away.
func (v *verifier) apart(job string) string {
	if v.w.Job(job).GangMissing() > 0 {
		return "its gang has broken up"
	}
	return ""
}

// place puts one task where the plan wants it, or says why it can't. A claimed
// task that is to start must be where it was.
func (v *verifier) place(job string, task int32, node string, dev uint64, s world.State, nominated bool) string {
	j := v.w.Job(job)
	n, ok := v.w.NodeNamed(node)
	switch {
	case j == nil || int(task) >= len(j.Tasks):
		return "the job is gone"
	case !ok || !v.w.Usable(n, j):
		return "node " + node + " is gone or closed"
	}
	t := &j.Tasks[task]
	if nominated && t.State == world.Claimed {
		if t.Node != n || !v.w.Settled(t) {
			return "its place on " + node + " is not free"
		}
		v.w.Bind(t, v.from.Now)
		return ""
	}
	if t.State != world.Pending {
		return "a task is " + t.State.String()
	}
	if why := v.obstacle(t, n, dev, s == world.Bound); why != "" {
		return why
	}
	v.w.Place(t, n, dev, s, v.from.Now)
	return ""
}

// obstacle is why a task that waits may not be put on a node, "" if it may.
func (v *verifier) obstacle(t *world.Task, n world.NodeIx, dev uint64, needsRoom bool) string {
	j, node := t.Job, v.w.Nodes[n].Name
	shape := j.Groups[t.Group].Shape
	switch {
	case !v.w.Usable(n, j):
		return "node " + node + " is gone or closed"
	case !v.w.RunsOn(shape, n):
		return "node " + node + " changed"
	case v.w.Nearby(j, int(t.Group)).Refusal(n) != world.Fit:
		return "node " + node + " is no longer among the right ones (" + string(v.w.Nearby(j, int(t.Group)).Refusal(n)) + ")"
	case !j.Running() && v.w.Quota.AppsFit(j.Chain).Blocked:
		return "the number of running jobs is reached"
	case v.w.Quota.Fits(j.Chain, v.w.Charge(shape, v.w.Nodes[n].Class), 1).Blocked:
		return "quota is taken"
	case needsRoom && !v.room(shape, n, dev):
		return "node " + node + " has no room"
	}
	return ""
}

// room says whether the devices and everything else that a task asks are free.
func (v *verifier) room(shape world.ShapeID, n world.NodeIx, dev uint64) bool {
	s := &v.w.Shapes[shape]
	for _, e := range s.Request {
		if v.w.FreeOf(n, e.Dim) < e.Amount {
			return false
		}
	}
	each := int32(1000)
	if s.Milli > 0 {
		each = s.Milli
	}
	devices := v.w.Dev(n)
	for i := range 64 {
		if dev&(1<<i) != 0 && (i >= len(devices) || devices[i] < each) {
			return false
		}
	}
	return true
}

// preemptor takes the claims of a job together with the evictions for it: the
// victims must still run, and their going must still make the place.
func (v *verifier) preemptor(unit []plan.Claim) {
	id := unit[0].Job
	victims := v.victimsFor(id)
	m := v.w.Mark()
	why := v.trial(unit, victims)
	v.w.Rollback(m)
	if why != "" {
		v.drop(id, why)
		return
	}
	for _, e := range victims {
		v.evict(e)
	}
	for _, c := range unit {
		j := v.w.Job(id)
		n, _ := v.w.NodeNamed(c.Node)
		v.w.Place(&j.Tasks[c.Task], n, c.Devices, world.Claimed, v.from.Now)
	}
	v.to.Claims = append(v.to.Claims, unit...)
}

// evict takes an eviction, unless it was taken for another unit of the same job.
func (v *verifier) evict(e plan.Eviction) {
	j := v.w.Job(e.Job)
	if slices.Contains(v.leaving, &j.Tasks[e.Tasks[0]]) {
		return
	}
	for _, i := range e.Tasks {
		if e.Idle > 0 {
			v.w.EvictRevocably(&j.Tasks[i])
		} else {
			v.w.Evict(&j.Tasks[i])
		}
		v.leaving = append(v.leaving, &j.Tasks[i])
	}
	v.to.Evictions = append(v.to.Evictions, e)
}

func (v *verifier) victimsFor(id string) (out []plan.Eviction) {
	for _, e := range v.from.Evictions {
		if e.For == id {
			out = append(out, e)
		}
	}
	return out
}

// trial releases the victims, those taken before too, and places the claims on
// what is then free.
func (v *verifier) trial(unit []plan.Claim, victims []plan.Eviction) string {
	for _, t := range v.leaving {
		v.w.Vacate(t)
	}
	for _, e := range victims {
		j := v.w.Job(e.Job)
		if j == nil {
			return "victim " + e.Job + " is gone"
		}
		for _, i := range e.Tasks {
			if int(i) < len(j.Tasks) && slices.Contains(v.leaving, &j.Tasks[i]) {
				continue
			}
			if int(i) >= len(j.Tasks) || j.Tasks[i].State != world.Bound {
				return "victim " + e.Job + " no longer runs"
			}
			if e.Idle > 0 && v.awake(&j.Tasks[i]) {
				return "victim " + e.Job + " is busy again"
			}
			v.vacate(&j.Tasks[i], e.Idle > 0)
		}
	}
	if why := v.belowGuarantee(unit[0].Job, victims); why != "" {
		return why
	}
	for _, c := range unit {
		if why := v.place(c.Job, c.Task, c.Node, c.Devices, world.Bound, false); why != "" {
			return why
		}
	}
	return v.apart(unit[0].Job)
}

// awake says that a victim that was chosen for being idle is so no more.
func (v *verifier) awake(t *world.Task) bool {
	quiet, ok := v.w.Quiet([]*world.Task{t}, v.from.Now)
	return v.w.GPUs(t) > 0 && (!ok || quiet < v.w.Quota.Queues[t.Job.Queue].IdleAfter)
}

// vacate takes a victim off its node in a trial.
func (v *verifier) vacate(t *world.Task, revocably bool) {
	if revocably {
		v.w.EvictRevocably(t)
	}
	v.w.Vacate(t)
}

// belowGuarantee says that a queue, just below its common ancestor with the
// preemptor, no longer holds its guarantee without the victims of reclaim: an
// event took what made it borrow. A unit that straddled the guarantee excuses its
// queue.
func (v *verifier) belowGuarantee(id string, victims []plan.Eviction) string {
	tree, by := v.w.Quota, v.w.Job(id)
	if by == nil {
		return ""
	}
	side := func(e plan.Eviction) quota.Q {
		from := v.w.Job(e.Job).Queue
		return tree.Below(from, tree.CommonAncestor(from, by.Queue))
	}
	for _, e := range victims {
		straddled := slices.ContainsFunc(victims, func(o plan.Eviction) bool { return o.Rule == plan.RuleStraddle && side(o) == side(e) })
		if e.Rule != plan.RuleReclaim || straddled {
			continue
		}
		q := side(e)
		used := tree.Used(quota.Account(q))
		for i := range by.Groups {
			for _, r := range v.w.Shapes[by.Groups[i].Shape].Request {
				if g := tree.Guaranteed(q)[r.Dim]; r.Amount > 0 && g != quota.Unset && used[r.Dim] < g {
					return tree.Queues[q].Path + " would fall below its guarantee"
				}
			}
		}
	}
	return ""
}

func (v *verifier) reservation(r plan.Reservation) {
	n, ok := v.w.NodeNamed(r.Node)
	if !ok || !v.w.Nodes[n].Present {
		return
	}
	j := v.w.Job(r.Job)
	switch {
	case r.Until == 0 && v.w.Nodes[n].ReservedFor != nil:
		v.w.Reserve(n, nil)
	case r.Until != 0 && j != nil && v.w.Nodes[n].ReservedFor == nil:
		v.w.Reserve(n, j)
	default:
		return
	}
	v.to.Reserved = append(v.to.Reserved, r)
}
