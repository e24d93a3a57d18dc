// Package mirror keeps the scheduler's view of a cluster and the cluster in step. It
// takes what informers report (pods, nodes, groups) and posts what that means to the
// loop, as events about jobs and tasks; it takes the plans that the loop makes and says
// which pods to bind, to warn and to evict.
//
// It works by level, not by edge: an informer's report only marks a job or a node as
// dirty. Flush then compares what the API says with what the ledger was told, and posts
// the difference. So a report that was missed, doubled or out of order does no harm, and
// a scheduler that starts anew comes to the same state by the same code.
//
// A pod takes a slot, the number of a task of its job, and gives it back when it ends;
// a pod that replaces another takes its slot, and with it the place that is kept for it.
package mirror

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/runtime/clock"
	"github.com/musterhq/muster/runtime/kube/act"
	"github.com/musterhq/muster/runtime/kube/groups"
	"github.com/musterhq/muster/runtime/kube/pods"
	"github.com/musterhq/muster/runtime/ledger"
)

// Options say what a mirror stands between. Funcs are called with the mirror locked:
// they must not call it back.
type Options struct {
	// Schedulers are the names in spec.schedulerName that we answer to.
	Schedulers []string
	// Post hands events to the loop and returns how many were posted so far; Applied is
	// how many of them the loop had taken in when it made the plan that Act is given.
	Post    func(...ledger.Event) uint64
	Applied func() uint64
	// Do carries out work; Forget says that a pod is gone for good.
	Do     func(act.Work)
	Forget func(act.Pod)
	// Abandon drops the record of a gang that can't be finished as it was intended.
	Abandon func(act.Unit)
	// Group hears how the group object of a job stands; nil if nobody wants to know.
	Group func(groups.Key, groups.State)
	// Await hears whose wake-up on a node is waited for, as owners that probes know
	// (report.proto); all of them, each time. nil if nobody wants to know.
	Await func(node string, owners []string)
	// Objects and Groups look up what pods refer to.
	Objects pods.Objects
	Groups  groups.Objects
	// Queue resolves the queue of a job: a leaf's full path, or why there is none. A Problem
	// that is not Fatal says that it will be there in a moment: the job waits for
	// QueuesGrown, and its pods are not bothered with it.
	Queue func(info groups.Info, namespace string) (path string, why *pods.Problem)
	// Asked is called by Begin when Queue was asked for each job there is, before anything
	// about a job is posted; nil if nobody wants to know.
	Asked func()
	// Now is the wall clock, by default Clock's; Clock is the real one by default.
	Now   func() time.Time
	Clock clock.Clock
	// Reading of pods, groups and nodes.
	GroupOptions groups.Options
	PodOptions   pods.Options
	Waits        Waits
	// StayOnFailedGPUs leaves pods on GPUs that failed; such GPUs get no new ones either way.
	StayOnFailedGPUs bool
	Log              *slog.Logger
}

// Waits are how long the mirror waits for what others may never do.
type Waits struct {
	// Placeholder is how long places are held for declared pods that do not exist.
	Placeholder time.Duration
	// Lost is how long the place of a gang's member that died is kept for the pod that
	// replaces it.
	Lost time.Duration
	// Linger is how long a job without any pod is remembered: its controller may be
	// making new ones.
	Linger time.Duration
	// Complete is how long a gang may run in part, some pods bound and others that exist
	// without room, before it is taken off whole.
	Complete time.Duration
}

func (w Waits) withDefaults() Waits {
	set := func(d *time.Duration, to time.Duration) {
		if *d == 0 {
			*d = to
		}
	}
	set(&w.Placeholder, 15*time.Minute) // YuniKorn's placeholderTimeoutInSeconds
	set(&w.Lost, time.Minute)
	set(&w.Linger, 30*time.Second)
	set(&w.Complete, time.Minute)
	return w
}

// Mirror is safe for concurrent use.
type Mirror struct {
	o     Options
	terms *pods.Terms

	mu       sync.Mutex
	begun    bool
	pods     map[types.UID]*pod
	names    map[types.NamespacedName]*pod // the newest of each name
	jobs     map[string]*job
	nodes    map[string]*node
	dirty    map[*job]bool
	stale    map[*node]bool // nodes to look at
	waiting  map[*pod]bool  // pods that wait for another object
	refers   map[groups.Key]map[*pod]bool
	volcano  map[groups.Key]bool // groups of Volcano that exist
	version  uint64              // of the terms that were counted last
	renamed  bool                // a namespace has come, gone or changed
	referred bool                // something that pods refer to has
	called   bool                // nodes have other names
	perNode  []string            // labels that name nodes
	out      batch
	knock    chan struct{}

	measured map[*pod]bool      // pods whose use is to be posted
	health   map[string]*health // by node; of nodes where some GPU can't be used
	noticed  map[*pod]time.Time // pods that bear a notice, and since when nobody stands by it
	awaited  map[string]bool    // nodes on which others are waited for than before
	useStats UseStats
}

// batch is what one Flush posts and asks for.
type batch struct {
	events []ledger.Event
	slots  []*slot // touched by the events
	work   act.Work
}

// New returns a mirror of nothing. Until Begin it only collects.
func New(o Options) *Mirror {
	if o.Clock == nil {
		o.Clock = clock.Real{}
	}
	if o.Now == nil {
		o.Now = func() time.Time { return time.Unix(0, o.Clock.Now()) }
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.Waits = o.Waits.withDefaults()
	return &Mirror{
		o: o, terms: pods.NewTerms(o.PodOptions, o.Objects.Namespace),
		pods: map[types.UID]*pod{}, names: map[types.NamespacedName]*pod{}, jobs: map[string]*job{}, nodes: map[string]*node{},
		dirty: map[*job]bool{}, stale: map[*node]bool{}, waiting: map[*pod]bool{},
		refers: map[groups.Key]map[*pod]bool{}, volcano: map[groups.Key]bool{}, perNode: o.PodOptions.PerNodeLabels(),
		knock: make(chan struct{}, 1), measured: map[*pod]bool{}, health: map[string]*health{}, noticed: map[*pod]time.Time{},
		awaited: map[string]bool{},
	}
}

// Run flushes whenever something has changed, a few at a time, and lets time do its
// work once a second, until ctx ends.
func (m *Mirror) Run(ctx context.Context) error {
	tick := m.after(time.Second)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-m.knock:
			select { // a gang's pods come one by one: take them together
			case <-ctx.Done():
			case <-m.after(settle):
			}
		case <-tick:
			m.Sweep()
			tick = m.after(time.Second)
		}
		m.Flush()
	}
}

// after fires once when a time has passed.
func (m *Mirror) after(d time.Duration) <-chan int64 {
	return m.o.Clock.Wake(m.o.Clock.Now() + int64(d))
}

// settle is how long Flush lets reports come in together.
const settle = 3 * time.Millisecond

func (m *Mirror) wake() {
	select {
	case m.knock <- struct{}{}:
	default:
	}
}

// Flush posts what has changed since the last one.
func (m *Mirror) Flush() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.begun {
		m.flush()
	}
}

func (m *Mirror) flush() {
	m.readByName()
	m.readWaiting()
	m.recount()
	m.reconcileNodes()
	for _, j := range sortedKeys(m.dirty, func(j *job) string { return j.id }) {
		m.reconcile(j)
	}
	clear(m.dirty)
	m.reconcileNodes() // on which pods have become ours, or turned out not to be
	m.postUses()
	m.send()
}

func (m *Mirror) reconcileNodes() {
	for _, n := range sortedKeys(m.stale, func(n *node) string { return n.name }) {
		m.reconcileNode(n)
	}
	clear(m.stale)
}

// send posts the batch and hands its work over.
func (m *Mirror) send() {
	if len(m.out.events) > 0 {
		seq := m.o.Post(m.out.events...)
		for _, s := range m.out.slots {
			s.seq = seq
		}
	}
	if !empty(&m.out.work) {
		m.o.Do(m.out.work)
	}
	m.out = batch{slots: m.out.slots[:0]}
	m.await()
}

func empty(w *act.Work) bool {
	return len(w.Units)+len(w.Notices)+len(w.Withdraws)+len(w.Evicts)+len(w.Waiting)+len(w.Events) == 0
}

// post adds an event to the batch; the slots that it is about are told apart from plans
// that were made without knowing it.
func (m *Mirror) post(ev ledger.Event, about ...*slot) {
	m.out.events = append(m.out.events, ev)
	m.out.slots = append(m.out.slots, about...)
}

func sortedKeys[K comparable](set map[K]bool, name func(K) string) []K {
	keys := make([]K, 0, len(set))
	for k := range set {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b K) int { return strings.Compare(name(a), name(b)) })
	return keys
}

// Begin starts posting: what was collected so far is the state of the cluster.
// Intended are gangs that a former leader had begun to bind; their places are kept.
func (m *Mirror) Begin(intended []act.Unit) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.begun = true
	for _, p := range sortedPods(m.pods) {
		m.read(p)
	}
	for _, n := range m.nodes {
		m.stale[n] = true
	}
	for p := range m.noticed { // whoever gave the notice leads no more
		m.noticed[p] = m.o.Now()
	}
	m.ask()
	m.inherit()
	m.flush()
	m.resume(intended)
	m.send()
	for key := range m.volcano { //muster:anyorder each is about itself
		m.tellEmpty(key)
	}
}

// inherit takes for started what a former leader has seen whole: such a gang runs on when
// a member dies, and must do so under us.
func (m *Mirror) inherit() {
	for _, j := range m.jobs { //muster:anyorder each for itself
		if len(j.pods) > 0 {
			m.inform(j)
			j.started = m.wasWhole(j)
		}
	}
}

// ask has the queue of each job asked for, so that those that are to be created can be
// there before the jobs are; for jobs that run first, as there may not be room for all.
func (m *Mirror) ask() {
	if m.o.Asked == nil {
		return
	}
	jobs := sortedJobs(m.jobs)
	for _, running := range []bool{true, false} {
		for _, j := range jobs {
			if len(j.pods) > 0 && (j.bound() > 0) == running {
				m.inform(j)
				m.o.Queue(j.info, j.namespace)
			}
		}
	}
	m.o.Asked()
}

// resume finishes what a former leader had begun: pods that are not bound yet go where
// it wanted them, before anything else is decided.
func (m *Mirror) resume(intended []act.Unit) {
	for _, u := range intended {
		left := u
		left.Binds = nil
		for _, b := range u.Binds {
			p := m.pods[b.Pod.UID]
			n := m.nodes[b.Node]
			if p == nil || p.over() || p.slot == nil || p.slot.state != pending || n == nil || n.posted == nil || n.posted.Unschedulable {
				continue
			}
			s := p.slot
			m.post(ledger.TaskRunning{Job: s.job.id, Task: s.index, Node: b.Node, Since: nanos(m.o.Now())}, s)
			s.state, s.node = placed, b.Node
			if again, ok := m.issue(s); ok {
				left.Binds = append(left.Binds, again)
			}
		}
		if len(left.Binds) > 0 {
			m.out.work.Units = append(m.out.work.Units, left)
		} else if m.o.Abandon != nil {
			m.o.Abandon(u)
		}
	}
}

// Refused mends the view of a job of which the ledger refused an event: it is forgotten
// there and told anew.
func (m *Mirror) Refused(ev ledger.Event, err error) {
	id := jobOf(ev)
	m.o.Log.Warn("the ledger refused an event", "job", id, "event", ev, "error", err)
	m.mu.Lock()
	defer m.mu.Unlock()
	if j := m.jobs[id]; j != nil {
		j.doubt(m.o.Now())
		m.mark(j)
	}
}

func jobOf(ev ledger.Event) string {
	switch e := ev.(type) {
	case ledger.JobSubmitted:
		return e.Job.ID
	case ledger.JobGrown:
		return e.ID
	case ledger.JobGang:
		return e.ID
	case ledger.JobNear:
		return e.ID
	case ledger.JobPriority:
		return e.ID
	case ledger.TaskAbsent:
		return e.Job
	case ledger.TaskAgain:
		return e.Job
	case ledger.TaskRunning:
		return e.Job
	case ledger.TaskClaimed:
		return e.Job
	case ledger.TaskFinished:
		return e.Job
	case ledger.TaskLost:
		return e.Job
	}
	return ""
}

// mark has the job looked at by the next flush.
func (m *Mirror) mark(j *job) {
	m.dirty[j] = true
	m.wake()
}

func nanos(t time.Time) spec.Time { return t.UnixNano() }

// ours says whether we schedule the pod.
func (m *Mirror) ours(p *corev1.Pod) bool {
	return slices.Contains(m.o.Schedulers, p.Spec.SchedulerName)
}
