package cycle

import (
	"fmt"
	"slices"
	"strings"

	"github.com/musterhq/muster/builtin/gang"
	"github.com/musterhq/muster/builtin/plan"
	"github.com/musterhq/muster/builtin/quota"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/builtin/victim"
	"github.com/musterhq/muster/builtin/world"
)

// verdictKey tells which jobs must fare alike in a cycle: those of one leaf that
// ask for the same, with the same right to preempt. A thousand equal jobs are one
// search.
type verdictKey struct {
	leaf     quota.Q
	shape    string
	missing  int32
	group    int32 // that is served next
	ofGroup  int32 // tasks of it that are missing
	priority int64
	owed     bool
	delayed  bool // its queue makes it wait before it may preempt
}

// verdict is that no node has room. Within its cycle it holds, since placing only
// takes room away; later it holds until a node that could help has grown, if
// nobody was to be evicted.
type verdict struct {
	cycle uint64
	grown uint64
	// World's Epoch, Changes and Moved when it was found, for jobs to which it matters
	// where others are.
	epoch, changes, moved uint64
	failure               gang.Failure
	preemption            string    // why nobody was evicted
	why                   *plan.Why // filled when first told, for jobs that fare as told
	told                  plan.Code
}

func (c *cycle) keyOf(j *world.Job, owed bool) verdictKey {
	k := verdictKey{leaf: j.Queue, shape: j.Shape, missing: j.GangMissing(), priority: j.Spec.Priority, owed: owed, delayed: c.now < victim.DelayedUntil(c.w, j)}
	switch {
	case k.missing == 0:
		k.group = int32(c.nextSurplus(j))
	case len(j.Groups) > 1: // equal sums of different groups are different asks
		k.group = int32(slices.IndexFunc(j.Groups, func(g world.Group) bool { return g.Min > g.Placed+g.Finished }))
		g := &j.Groups[k.group]
		k.ofGroup = g.Min - g.Placed - g.Finished
	}
	return k
}

// verdictOn is what is known of jobs like this one; nil if they must be tried.
func (c *cycle) verdictOn(j *world.Job, owed bool) *verdict {
	key := c.keyOf(j, owed)
	v := c.verdicts[key]
	if v != nil && !c.holds(v, j, owed) {
		delete(c.verdicts, key)
		return nil
	}
	return v
}

func (c *cycle) holds(v *verdict, j *world.Job, owed bool) bool {
	if j.Reserved > 0 || c.w.Feuding() || j.Relates() && !c.unmoved(v, j) {
		return false
	}
	if v.cycle == c.number {
		return true
	}
	if owed || c.outranks(j) {
		return false
	}
	if len(j.Groups) > 1 && j.GangMissing() == 0 && v.grown != c.w.Grown {
		return false // quota may have come free for another group than the one that failed
	}
	for i := range j.Groups {
		if c.w.GrownSince(j.Groups[i].Shape, v.grown) {
			return false
		}
	}
	return !c.w.Quota.TypedMax(j.Queue)
}

// unmoved says whether nothing has changed since a verdict that could give a job another
// company. For a single task that is a change of its terms; what else helps it, room, is
// looked at by others. Several are placed one after the other, and whether the last finds
// its company depends on where the first went: for them, anything may help.
func (c *cycle) unmoved(v *verdict, j *world.Job) bool {
	if j.GangMissing() <= 1 {
		return v.moved == c.w.Moved
	}
	return v.cycle == c.number && v.moved == c.w.Moved || v.changes == c.w.Changes && v.epoch == c.w.Epoch
}

// learn writes down that jobs like this one find no room.
func (c *cycle) learn(j *world.Job, owed bool, f gang.Failure) *verdict {
	if len(c.verdicts) > 1<<16 { // shapes that no longer come
		clear(c.verdicts)
	}
	v := &verdict{cycle: c.number, grown: c.w.Grown, epoch: c.w.Epoch, changes: c.w.Changes, moved: c.w.Moved, failure: f, preemption: c.lastPreemption}
	c.lastPreemption = ""
	c.verdicts[c.keyOf(j, owed)] = v
	return v
}

// wakeForCompany asks for another cycle if tasks that have just been placed may be the
// company that a job before them in order did without.
func (c *cycle) wakeForCompany() {
	for i := range c.waiting {
		if v := c.waiting[i].verdict; v != nil && v.moved != c.w.Moved && c.waiting[i].job.Relates() {
			c.wakeAt(c.now + 1)
			return
		}
	}
}

// noteVerdict keeps why nobody was evicted until the verdict is written.
func (c *cycle) noteVerdict(why string) { c.lastPreemption = why }

// reason is why one job waits.
type reason struct {
	job     *world.Job
	why     *plan.Why
	verdict *verdict // instead of why: to be told in full only if it is news
	block   quota.Block
	// preemption goes with block: why nobody was evicted.
	preemption string
}

func (c *cycle) explain(j *world.Job, y *plan.Why) {
	c.waiting = append(c.waiting, reason{job: j, why: y})
}

func (c *cycle) blockedByNodes(j *world.Job, v *verdict) {
	c.waiting = append(c.waiting, reason{job: j, verdict: v})
}

func (c *cycle) refuse(j *world.Job) {
	c.explain(j, &plan.Why{Code: plan.AdmissionRefused, Text: j.Refused})
}

// blockedByQuota notes which account is full.
func (c *cycle) blockedByQuota(j *world.Job, b quota.Block) {
	c.waiting = append(c.waiting, reason{job: j, block: b, preemption: c.lastPreemption})
	c.lastPreemption = ""
}

// tellBlock tells which account is full; old is what was told before, and is told
// again if nothing in it has changed.
func (c *cycle) tellBlock(r *reason, old *plan.Why) *plan.Why {
	b := &r.block
	queue, kind, who := c.w.Quota.Describe(b.Account)
	code := blockCode(b, kind)
	if old != nil && old.Code == code && old.Queue == queue && old.Used == b.Used && old.Max == b.Max && old.Need == b.Need && old.Preemption == r.preemption {
		return old
	}
	y := &plan.Why{Code: code, Queue: queue, Who: who, Used: b.Used, Max: b.Max, Need: b.Need, Preemption: r.preemption}
	if !b.TooMany {
		y.Resource = c.w.Res.Name(b.Dim)
	}
	return y
}

func blockCode(b *quota.Block, kind string) plan.Code {
	switch {
	case b.TooMany:
		return plan.MaxApps
	case kind == "user":
		return plan.UserLimit
	case kind == "group":
		return plan.GroupLimit
	case kind == "non-preemptible":
		return plan.OutsideGuarantee
	case b.Forever:
		return plan.GangExceedsMax
	default:
		return plan.QueueMax
	}
}

// explainWaiting adds the jobs whose reason is news to the plan. Only then are
// nodes counted, once for all jobs that fare alike.
func (c *cycle) explainWaiting() {
	for i := range c.waiting {
		r := &c.waiting[i]
		old, _ := r.job.Notes.(*plan.Why)
		switch {
		case r.why != nil:
		case r.verdict == nil:
			r.why = c.tellBlock(r, old)
		case old != nil && old.Code == r.verdict.code(r.job) && old.Preemption == r.verdict.preemption:
			r.why = old
		default:
			r.why = c.tell(r.job, r.verdict)
		}
		if old != nil && old.Code == r.why.Code && old.Text == r.why.Text {
			continue
		}
		c.out.Pending = append(c.out.Pending, plan.Pending{
			Job: r.job.Spec.ID, Queue: c.w.Quota.Queues[r.job.Queue].Path, Why: r.why,
		})
	}
}

func (v *verdict) code(j *world.Job) plan.Code {
	switch {
	case j.Reserved > 0:
		return plan.WaitingReservation
	case v.failure.Banned != 0:
		return plan.TypedMax
	case v.failure.Of > 1:
		return plan.GangNoRoom
	default:
		return plan.NoRoom
	}
}

func (c *cycle) tell(j *world.Job, v *verdict) *plan.Why {
	code := v.code(j)
	if v.why != nil && v.told == code {
		return v.why
	}
	g := &j.Groups[v.failure.Group]
	y := c.x.Explain(g.Shape, v.failure.Banned, j, c.w.Nearby(j, v.failure.Group))
	y.Code, y.Placed, y.Of, y.Preemption = code, v.failure.Placed, v.failure.Of, v.preemption
	switch {
	case code == plan.TypedMax:
		b := v.failure.Typed
		y.Queue, _, y.Who = c.w.Quota.Describe(b.Account)
		y.Resource, y.Used, y.Max, y.Need = c.w.Res.Name(b.Dim), b.Used, b.Max, b.Need
	case code != plan.WaitingReservation && len(j.Groups) == 1 && c.x.Capacity(g.Shape, int64(max(1, g.Min))) < int64(max(1, g.Min)):
		y.Code = plan.GangExceedsPool
	}
	y.Text = boundsText(&v.failure, c.w.Shapes[g.Shape].Only)
	v.why, v.told = y, code
	return y
}

// boundsText says what bounds the places of a job beside the nodes themselves.
func boundsText(f *gang.Failure, only *world.Only) string {
	var parts []string
	switch {
	case f.Within && f.Topology == "":
		parts = append(parts, "all of the gang on one node")
	case f.Within:
		parts = append(parts, "all of the gang in one "+f.Topology)
	}
	if only != nil {
		parts = append(parts, fmt.Sprintf("%s: %s", only.Rule, only))
	}
	return strings.Join(parts, "; ")
}

// sayDegraded tells once that the pool is too small for its guarantees.
func (c *cycle) sayDegraded() {
	if now := c.w.Quota.Degraded(); now != c.degraded {
		c.degraded = now
		if now {
			c.event(plan.EventDegraded, nil, "the pool is smaller than its guarantees: every queue is guaranteed a part in proportion")
		}
	}
}

func victimsText(got *victim.Outcome) string {
	tasks := 0
	for _, v := range got.Victims {
		tasks += len(v.Tasks)
	}
	switch {
	case tasks == 0:
		return "its place is being vacated"
	case tasks == 1:
		return "1 task is leaving"
	case len(got.Victims) == 1:
		return fmt.Sprintf("%d tasks of 1 job are leaving", tasks)
	default:
		return fmt.Sprintf("%d tasks of %d jobs are leaving", tasks, len(got.Victims))
	}
}

// head is the first job of a leaf that quota allows and nodes do not.
type head struct {
	job   *world.Job
	since spec.Time
}
