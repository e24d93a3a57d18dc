package mirror

import (
	"cmp"
	"math"
	"reflect"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/runtime/kube/act"
	"github.com/musterhq/muster/runtime/kube/groups"
	"github.com/musterhq/muster/runtime/kube/pods"
	"github.com/musterhq/muster/runtime/ledger"
)

// reconcile posts what has changed about a job.
func (m *Mirror) reconcile(j *job) {
	m.release(j)
	if j.doubted {
		if m.o.Now().Before(j.retry) {
			return
		}
		m.retell(j)
	}
	if len(j.pods) == 0 {
		m.orphan(j)
		return
	}
	j.idle = time.Time{}
	j.renew()
	m.inform(j)
	if !m.resolve(j) {
		for p := range j.pods { // what runs of it counts as a stranger's
			if p.on != nil {
				m.stale[p.on] = true
			}
		}
		m.tellAll(j)
		return
	}
	j.reseat()
	m.seat(j)
	m.gang(j)
	m.submit(j)
	for _, s := range j.slots {
		m.aim(s)
	}
	m.watch(j)
	m.tellAll(j)
	m.tellGroup(j)
}

// retell forgets what the ledger was told about the job: submit tells it anew.
func (m *Mirror) retell(j *job) {
	if j.posted {
		m.post(ledger.JobGone{ID: j.id}, j.slots...)
	}
	j.forget()
	j.doubted = false
}

// release takes the slots from pods that ended, and forgets pods that are gone.
func (m *Mirror) release(j *job) {
	for _, p := range j.members() {
		if !p.over() {
			continue
		}
		switch {
		case p.gone, p.doomed():
		case p.obj.Status.Phase == corev1.PodSucceeded:
			j.succeeded++
		default:
			j.failed++
		}
		if s := p.slot; s != nil {
			m.vacate(s, p)
		}
		if p.gone || p.slot == nil {
			delete(j.pods, p)
			p.job = nil
		}
	}
}

// vacate frees the slot of a pod that ended. If it did its work, so did the task. The
// place of a gang's member that died while the others live is kept for a while.
func (m *Mirror) vacate(s *slot, p *pod) {
	s.unissue()
	s.pod, p.slot = nil, nil
	switch {
	case p.obj.Status.Phase == corev1.PodSucceeded:
		s.ended = true
	case s.state == placed && s.chunk.filled() < s.chunk.min && s.job.lacks(s.chunk.group) && p.node() != "" && replaced(p) && s.job.others(p) && m.nodes[s.node] != nil && m.nodes[s.node].posted != nil:
		s.keep = m.o.Now().Add(m.o.Waits.Lost)
		m.post(ledger.TaskLost{Job: s.job.id, Task: s.index}, s)
		s.state = claimed
	default:
		m.absent(s)
	}
}

// replaced says whether somebody will make another pod in the place of this one.
func replaced(p *pod) bool {
	return slices.ContainsFunc(p.obj.OwnerReferences, func(o metav1.OwnerReference) bool { return o.Controller != nil && *o.Controller })
}

// lacks says whether fewer pods of a group have a place than must run together: a pod that
// was made while the one that it replaces still ended has one of its own.
func (j *job) lacks(group string) bool {
	have, least := int32(0), int32(0)
	for _, c := range j.chunks {
		if c.group != group {
			continue
		}
		least += c.min
		for _, s := range c.slots {
			if s.ended || !s.keep.IsZero() || s.pod != nil && s.state.holds() {
				have++
			}
		}
	}
	return have < least
}

// others says whether another pod of the gang is bound.
func (j *job) others(than *pod) bool {
	for p := range j.pods {
		if p != than && !p.over() && p.node() != "" {
			return true
		}
	}
	return false
}

// orphan remembers a job without pods for a while if somebody may make new ones.
func (m *Mirror) orphan(j *job) {
	now := m.o.Now()
	if j.idle.IsZero() {
		j.idle = now
	}
	for _, s := range j.slots {
		s.keep = time.Time{}
		m.aim(s)
	}
	if j.dialect != "pod" && now.Before(j.idle.Add(m.o.Waits.Linger)) {
		return
	}
	if j.posted {
		m.post(ledger.JobGone{ID: j.id}, j.slots...)
	}
	delete(m.jobs, j.id)
}

// inform takes over what the pods say about the job.
func (m *Mirror) inform(j *job) {
	list := j.members()
	infos := make([]groups.Info, len(list))
	highest := int64(-1 << 63)
	for i, p := range list {
		infos[i] = p.member.Info
		highest = max(highest, pods.Priority(p.obj))
	}
	j.info, j.dialect = groups.Merge(infos...), list[len(list)-1].member.Dialect
	if j.dialect == "pod" { // a gang of one: it may have nodes kept for it
		j.info.Min = 1
	}
	if !j.info.Created.IsZero() {
		j.submit = m.submitted(j.info.Created)
	}
	if j.info.Priority != nil {
		highest = int64(*j.info.Priority)
	}
	if j.posted && highest != j.priority {
		m.post(ledger.JobPriority{ID: j.id, Priority: highest})
	}
	j.priority = highest
}

// renew has a gang that holds nothing any more start from nothing: places are held for
// its declared pods again.
func (j *job) renew() {
	if j.bound() > 0 || slices.ContainsFunc(j.slots, func(s *slot) bool { return s.state.holds() }) {
		return
	}
	j.begun, j.started = time.Time{}, false
	for _, s := range j.slots {
		s.had = s.pod != nil
	}
}

// resolve finds the job's queue. A job that is in one stays there as long as it holds
// something.
func (m *Mirror) resolve(j *job) bool {
	path, why := m.o.Queue(j.info, j.namespace)
	holding := slices.ContainsFunc(j.slots, func(s *slot) bool { return s.state.holds() })
	switch {
	case path == j.queue && why == nil:
	case holding:
		return true
	case why != nil:
		if j.posted {
			m.retell(j)
		}
		j.trouble, j.queue = why, ""
		return false
	default:
		if j.posted {
			m.retell(j)
		}
		j.queue = path
	}
	j.trouble = nil
	return true
}

// reseat takes the slots from pods that ask for something else than the slot's task does:
// what waits was given other tolerations or labels, say, and what runs has grown in place.
// A bind that is under way, and an eviction, are let go on.
func (j *job) reseat() {
	for _, s := range j.slots {
		p := s.pod
		if p == nil || p.over() || p.key == s.chunk.key || p.node() == "" && s.issued != nil || s.state == leaving {
			continue
		}
		a, b := &p.task, &s.chunk.task
		if p.node() != "" && slices.Equal(a.Request, b.Request) || p.node() == "" && exchangeable(a, b) {
			continue
		}
		s.unissue()
		s.pod, p.slot = nil, nil
	}
}

// exchangeable says whether tasks ask for the same. What they count for does not matter:
// it is told apart from them (JobNear).
func exchangeable(a, b *pods.Task) bool {
	x, y := a.Near, b.Near
	x.Counts, y.Counts = nil, nil
	return slices.Equal(a.Request, b.Request) && slices.Equal(a.GPUTypes, b.GPUTypes) && slices.Equal(a.Bind, b.Bind) &&
		a.Where.Key() == b.Where.Key() && reflect.DeepEqual(x, y)
}

// seat gives each pod that may be scheduled, or already runs, a slot.
func (m *Mirror) seat(j *job) {
	for _, g := range j.info.Groups {
		m.declare(j, g)
	}
	for _, p := range j.members() {
		if p.slot != nil || p.over() || p.node() == "" && !p.offered() {
			continue
		}
		s := j.freeSlot(p)
		if s == nil {
			s = j.add(p.member.Group, p.key, p.task, p.member.Leader)
		}
		s.pod, p.slot, s.ended, s.had = p, s, false, true
		s.chunk.leader = s.chunk.leader || p.member.Leader
		if p.on != nil { // it counted as a stranger until now
			m.stale[p.on] = true
		}
		m.issueKept(s)
	}
}

// freeSlot finds a slot that nobody has for a pod: one whose place is kept first. A
// declared slot of the pod's group takes the pod's shape if it is not told yet.
func (j *job) freeSlot(p *pod) *slot {
	var best *slot
	for _, c := range j.chunks {
		if c.group != p.member.Group {
			continue
		}
		if c.declared && !c.posted && c.key != p.key {
			c.key, c.task, c.declared = p.key, p.task, false
		}
		if c.key != p.key {
			continue
		}
		for _, s := range c.slots {
			if s.pod == nil && (best == nil || rank(s) < rank(best)) {
				best = s
			}
		}
	}
	return best
}

// rank is the order in which empty slots are taken: kept places, those of the gang,
// surplus, those whose work is done.
func rank(s *slot) int {
	switch {
	case s.state.holds():
		return 0
	case s.ended:
		return 3
	case s.index < s.chunk.slots[0].index+s.chunk.min:
		return 1
	}
	return 2
}

// declare makes slots for a declared group, as many as must run together.
func (m *Mirror) declare(j *job, g groups.Group) {
	have := int32(0)
	for _, c := range j.chunks {
		if c.group == g.Name {
			have += int32(len(c.slots))
		}
	}
	if have > 0 || g.Min <= 0 {
		return
	}
	task, key, declared, ok := m.shapeOf(j, g)
	if !ok {
		return
	}
	for range g.Min {
		s := j.add(g.Name, key, task, g.Leader)
		s.chunk.declared = declared
	}
}

// shapeOf is what a task of a declared group asks for: what the group's first pod does,
// or what was declared.
func (m *Mirror) shapeOf(j *job, g groups.Group) (task pods.Task, key string, declared, ok bool) {
	for _, p := range j.members() {
		if p.member.Group == g.Name && !p.over() && (p.offered() || p.node() != "") {
			return p.task, p.key, false, true
		}
	}
	if g.Request == nil {
		return task, "", false, false
	}
	task = m.declared(g)
	return task, shapeKey(&task), true, true
}

// gang brings the chunks' mins in line with what the job says now.
func (m *Mirror) gang(j *job) {
	for _, c := range j.chunks {
		c.min = 0
	}
	if m.softened(j) {
		return
	}
	total := int32(0)
	for _, g := range j.info.Groups {
		var of []*chunk
		for _, c := range j.chunks {
			if c.group == g.Name {
				of = append(of, c)
			}
		}
		j.raise(of, g.Min)
		total += g.Min
	}
	least := j.info.Min
	if j.info.Whole { // what runs goes together
		least = max(least, j.bound())
	}
	if least > total {
		j.raise(j.chunks, least-total)
	}
}

// bound counts the pods that are bound.
func (j *job) bound() (n int32) {
	for p := range j.pods {
		if p.node() != "" && !p.over() {
			n++
		}
	}
	return n
}

// softened says that the gang waited for so long that its pods may start one by one:
// those of YuniKorn's gangSchedulingStyle Soft.
func (m *Mirror) softened(j *job) bool {
	return j.info.Soft && !j.started && m.o.Now().UnixNano() > j.submit+int64(m.placeholderTime(j))
}

func (m *Mirror) placeholderTime(j *job) time.Duration {
	if t := j.info.GangTimeout; t > 0 {
		return t
	}
	return m.o.Waits.Placeholder
}

// raise adds to the mins of chunks: over slots that have a pod first, and over chunks
// that came first first. Where there are not enough slots, ones without pods make up for
// it: the gang waits for them.
func (j *job) raise(of []*chunk, by int32) {
	for _, room := range []func(*chunk) int32{(*chunk).filled, func(c *chunk) int32 { return int32(len(c.slots)) }} {
		for _, c := range of {
			more := max(0, min(by, room(c)-c.min))
			c.min += more
			by -= more
		}
	}
	if by <= 0 || len(of) == 0 {
		return
	}
	last := of[len(of)-1]
	for range by {
		s := j.add(last.group, last.key, last.task, last.leader)
		s.chunk.min++
	}
}

// filled counts the slots that somebody has, or had to the end.
func (c *chunk) filled() (n int32) {
	for _, s := range c.slots {
		if s.pod != nil || s.ended || !s.keep.IsZero() {
			n++
		}
	}
	return n
}

// submit tells the ledger of the job, or of what it has not heard of it.
func (m *Mirror) submit(j *job) {
	if len(j.chunks) == 0 {
		return
	}
	j.number()
	if !j.posted {
		s := j.spec()
		if err := s.Validate(); err != nil {
			j.trouble = &pods.Problem{Code: "invalid-job", Text: err.Error(), Fatal: true}
			j.forget()
			return
		}
		m.post(ledger.JobSubmitted{Job: s}, j.slots...)
		j.posted = true
		for _, c := range j.chunks {
			c.told()
		}
		return
	}
	var more []spec.TaskGroup
	for _, c := range j.chunks {
		if !c.posted {
			more = append(more, c.spec(j))
			c.told()
			m.out.slots = append(m.out.slots, c.slots...)
		} else if c.min != c.postMin {
			m.post(ledger.JobGang{ID: j.id, Group: c.index, Min: int64(c.min)})
			c.postMin = c.min
		}
	}
	if more != nil {
		m.post(ledger.JobGrown{ID: j.id, Tasks: more})
	}
}

// told says that the ledger knows the chunk: its tasks are pending there.
func (c *chunk) told() {
	c.posted, c.postMin = true, c.min
	for _, s := range c.slots {
		s.state = pending
	}
}

// aim posts what brings the slot's task to where it should be.
func (m *Mirror) aim(s *slot) {
	p := s.pod
	switch {
	case s.ended:
		m.finish(s)
	case p != nil && p.node() != "":
		m.running(s, p.node())
	case p != nil && p.offered() && (s.job.ready() || s.state.holds()):
		m.want(s)
	case p == nil && s.state.holds() && m.kept(s):
	case p == nil && m.holdsPlace(s):
		m.want(s)
	default:
		m.absent(s)
	}
}

// kept says that the place of a pod that is gone waits for the one that replaces it.
func (m *Mirror) kept(s *slot) bool { return s.state != leaving && m.o.Now().Before(s.keep) }

// holdsPlace says whether a place is to be held for a pod that was declared and does
// not exist yet.
func (m *Mirror) holdsPlace(s *slot) bool {
	j := s.job
	if s.had || len(j.pods) == 0 || !s.chunk.holding(j) || !j.ready() || s.index >= s.chunk.slots[0].index+s.chunk.min {
		return false
	}
	if slices.ContainsFunc(j.slots, func(s *slot) bool { return s.state == leaving }) {
		return false // a gang that is being evicted does not come back before it is gone
	}
	if j.begun.IsZero() {
		j.begun = m.o.Now()
	}
	return m.o.Now().Before(j.begun.Add(m.placeholderTime(j)))
}

// holding says whether places of the chunk are held before its pods exist.
func (c *chunk) holding(j *job) bool {
	return slices.ContainsFunc(j.info.Groups, func(g groups.Group) bool { return g.Name == c.group && g.Request != nil })
}

// ready says whether the gang can start: each member has a pod, or a place is to be held
// for it.
func (j *job) ready() bool {
	for _, c := range j.chunks {
		if c.min == 0 {
			continue
		}
		have, holding := int32(0), c.holding(j)
		for _, s := range c.slots {
			if holding && !s.had || s.ended || s.state.holds() || s.pod != nil && (s.pod.offered() || s.pod.node() != "") {
				have++
			}
		}
		if have < c.min {
			return false
		}
	}
	return true
}

func (m *Mirror) want(s *slot) {
	if s.state == absent || s.state == done {
		m.post(ledger.TaskAgain{Job: s.job.id, Task: s.index}, s)
		s.state = pending
	}
}

func (m *Mirror) absent(s *slot) {
	if s.state == absent || s.state == unknown {
		return
	}
	m.post(ledger.TaskAbsent{Job: s.job.id, Task: s.index}, s)
	if s.state == leaving {
		m.awaited[s.node] = true
	}
	s.state, s.node, s.keep = absent, "", time.Time{}
	s.unissue()
}

func (m *Mirror) finish(s *slot) {
	if s.state == done || s.state == unknown {
		return
	}
	if s.state == absent {
		m.post(ledger.TaskAgain{Job: s.job.id, Task: s.index}, s)
	}
	m.post(ledger.TaskFinished{Job: s.job.id, Task: s.index}, s)
	s.state, s.node, s.keep = done, "", time.Time{}
	s.unissue()
}

// running tells the ledger where the API says a task runs, if it has it elsewhere.
func (m *Mirror) running(s *slot, node string) {
	if n := m.nodes[node]; n == nil || n.posted == nil {
		m.absent(s)
		return
	}
	if s.node == node && (s.state == placed || s.state == leaving) {
		m.remeasure(s.pod, false)
		return
	}
	if s.state.holds() {
		m.absent(s)
	}
	m.want(s)
	m.post(ledger.TaskRunning{Job: s.job.id, Task: s.index, Node: node, Since: m.since(s.pod)}, s)
	s.state, s.node = placed, node
	m.remeasure(s.pod, true)
}

// since is when a pod was bound, as far as it tells.
func (m *Mirror) since(p *pod) spec.Time {
	for _, c := range p.obj.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionTrue && !c.LastTransitionTime.IsZero() {
			return nanos(c.LastTransitionTime.Time)
		}
	}
	if t := p.obj.Status.StartTime; t != nil {
		return nanos(t.Time)
	}
	return nanos(m.o.Now())
}

// recountJob tells the ledger what the tasks of a job's chunks count for now. Pods of one
// chunk that count for different terms are taken to count for all of them.
func (m *Mirror) recountJob(j *job) {
	for _, c := range j.chunks {
		var counts []string
		for _, s := range c.slots {
			if s.pod != nil {
				counts = append(counts, s.pod.task.Near.Counts...)
			}
		}
		slices.Sort(counts)
		counts = slices.Compact(counts)
		if slices.Equal(counts, c.task.Near.Counts) {
			continue
		}
		c.task.Near.Counts = counts
		if c.posted {
			m.post(ledger.JobNear{ID: j.id, Group: c.index, Counts: c.spec(j).Near.Counts})
		}
	}
}

// watch notes since when a part of the gang runs without the rest, though that exists.
func (m *Mirror) watch(j *job) {
	bound := slices.ContainsFunc(j.slots, func(s *slot) bool { return s.pod != nil && s.pod.node() != "" })
	waits := slices.ContainsFunc(j.slots, func(s *slot) bool { return s.pod != nil && s.pod.node() == "" })
	missing := j.missing()
	if missing == 0 && j.min() > 0 {
		j.started = true
	}
	switch {
	case j.started || !bound || !waits || missing == 0:
		j.partial = time.Time{}
	case j.partial.IsZero():
		j.partial = m.o.Now()
	}
}

// replacement is how much later than the first bind of its gang a pod is made at least that
// replaces another: the API's times have seconds.
const replacement = time.Second

// wasWhole says whether a gang of which some pods are bound was whole once. Its first pod
// is bound when all are there: one that waits and was made later replaces another. Where
// places are held for pods that are declared, they may also just have come late.
func (m *Mirror) wasWhole(j *job) bool {
	began, waits := spec.Time(math.MaxInt64), []*pod(nil)
	declared := slices.ContainsFunc(j.info.Groups, func(g groups.Group) bool { return g.Request != nil })
	for p := range j.pods { //muster:anyorder the least of them, and all
		switch {
		case p.over():
		case p.node() != "":
			began = min(began, m.since(p))
		default:
			waits = append(waits, p)
		}
	}
	if began == math.MaxInt64 || declared && len(waits) == 0 {
		return false
	}
	late := began + int64(replacement)
	if declared {
		late += int64(m.placeholderTime(j))
	}
	return !slices.ContainsFunc(waits, func(p *pod) bool { return nanos(p.obj.CreationTimestamp.Time) <= late })
}

// tellAll says why the job's pods wait, to those that were not told so yet.
func (m *Mirror) tellAll(j *job) {
	for _, p := range j.members() {
		if p.over() || p.node() != "" {
			continue
		}
		if w, ok := m.waits(j, p); ok {
			m.out.work.Waiting = append(m.out.work.Waiting, w)
		}
		m.tellProblems(p)
	}
}

// tellProblems tells once what of a pod is passed over.
func (m *Mirror) tellProblems(p *pod) {
	for i := range p.told {
		t := &p.told[i]
		m.out.work.Events = append(m.out.work.Events, act.Event{
			About: reference(p), Type: corev1.EventTypeNormal, Reason: camel(t.Code), Text: sentence(t),
		})
	}
	p.told = nil
}

func sortLeadersLast(list []*slot) {
	slices.SortStableFunc(list, func(a, b *slot) int {
		rank := map[bool]int{false: 0, true: 1}
		return cmp.Or(cmp.Compare(rank[a.chunk.leader], rank[b.chunk.leader]), cmp.Compare(b.index, a.index))
	})
}
