package usage

import (
	"cmp"
	"slices"
	"sync"

	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/gpuprobe/wire"
	"github.com/musterhq/muster/runtime/clock"
)

// Node is the last state of one node's probe, as Table.Snapshot has it. It may be kept,
// and must not be changed.
type Node struct {
	Name, Boot string
	// Connected says that there is a stream, Stale that nothing of the rest counts any
	// more: it is as it was at At.
	Connected, Stale bool
	At               spec.Time // of the last report
	Sources          []*wire.Source
	GPUs             []*wire.Gpu // by index, then UUID; ages are as of At
	Uses             []*wire.Use // by GPU, then owner; ages and idle times are as of At
}

// TableOptions of a Table. The zero value will do.
type TableOptions struct {
	// Refresh is how long after a pod was told of it is told of again though nothing
	// changed: a measurement ages in the core. 0 is a minute, half of the core's default.
	Refresh spec.Duration
	Clock   clock.Clock // nil is the machine's
}

// DefaultRefresh and DefaultInterval are used where nothing is said.
const (
	DefaultRefresh  = 60 * spec.Second
	DefaultInterval = 10 * spec.Second
)

// A report's interval is believed within these bounds: the next may be a blink away, and
// silence must not pass for life.
const (
	minInterval = 10 * millisecond
	maxInterval = 60 * spec.Second
)

// silentIntervals is after how many intervals without a word a node is not heard of any more.
const silentIntervals = 3

// Table is the last state of every node, and tells the Sink what matters of it. It may be
// used from any goroutine.
type Table struct {
	o     TableOptions
	sink  Sink
	names interner

	mu    sync.RWMutex
	nodes map[string]*nodeState
}

// nodeState is what is known of one node. Lists are replaced, never changed in place.
type nodeState struct {
	name string

	mu       sync.Mutex
	session  *Session // the newest, nil if there is none
	at       spec.Time
	interval spec.Duration
	boot     string
	heard    bool // some report was taken in
	stale    bool
	// forgotAt is when Forget was called, 0 if it was not, or so long ago that whoever is
	// let in now is a node that is back.
	forgotAt spec.Time
	sources  []*wire.Source
	gpus     []gpu // byGPU
	uses     []use // byUse
	told     []told
	health   []GPUHealth // as told, by index and UUID
	// healthTold says that health need not be told again unless it changes.
	healthTold bool
	bucket     bucket
	watch      []string // owners whose wake-up is awaited
}

// NewTable returns a table without nodes.
func NewTable(sink Sink, o TableOptions) *Table {
	if o.Clock == nil {
		o.Clock = clock.Real{}
	}
	o.Refresh = cmp.Or(o.Refresh, DefaultRefresh)
	return &Table{o: o, sink: sink, names: interner{text: map[string]string{}}, nodes: map[string]*nodeState{}}
}

// Session is one stream of one node.
type Session struct {
	table  *Table
	node   *nodeState
	opened spec.Time
	seq    uint64
	full   bool // what it said so far is all there is
}

// Open begins a stream of a node, and ends the one before: old is that, nil if none.
func (t *Table) Open(node string) (s, old *Session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.node(node)
	n.mu.Lock()
	defer n.mu.Unlock()
	now := t.o.Clock.Now()
	s, old = &Session{table: t, node: n, opened: now}, n.session
	n.session = s
	if now-n.forgotAt > backAfter {
		n.forgotAt = 0
	}
	if !n.heard || n.stale {
		n.at, n.interval = now, DefaultInterval
	}
	return s, old
}

// node is one that is made if it was not known. t.mu is held.
func (t *Table) node(name string) *nodeState {
	n := t.nodes[name]
	if n == nil {
		n = &nodeState{name: name}
		t.nodes[name] = n
	}
	return n
}

func (t *Table) find(name string) *nodeState {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.nodes[name]
}

// Verdict is what became of a report.
type Verdict uint8

// Taken reports are in. After a Gap something was missed, and nothing counts until a full
// report comes. An Over session was replaced or closed.
const (
	Taken Verdict = iota
	Gap
	Over
)

// Apply takes in a report. An error is a *Refusal, and changed nothing.
func (s *Session) Apply(r *wire.NodeReport) (Verdict, error) {
	if err := check(s.node.name, r); err != nil {
		return Taken, err
	}
	n := s.node
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.session != s {
		return Over, nil
	}
	now := s.table.o.Clock.Now()
	jumped := n.jumped(now, s.table.sink)
	inOrder := !jumped && r.GetSeq() == s.seq+1 && (s.seq == 0 || r.GetBootId() == n.boot)
	s.seq = r.GetSeq()
	if !r.GetFull() && (!s.full || !inOrder) {
		s.full = false
		return Gap, nil
	}
	if err := n.take(&s.table.names, r, now); err != nil {
		return Taken, err
	}
	s.full = true
	n.tellUses(s.table.sink, s.table.o.Refresh)
	n.tellHealth(s.table.sink)
	return Taken, nil
}

// jumped says that the time since the last report can't be what passed: the clock was set, or
// we were stopped. By what was known then pods would have been idle ever since, or for ever;
// so all of it is unknown.
func (n *nodeState) jumped(now spec.Time, sink Sink) bool {
	if !n.heard || n.stale || now >= n.at && now-n.at <= silentIntervals*n.interval {
		return false
	}
	n.at = now
	n.lose(sink)
	n.told = nil // what was told of the future is news again
	return true
}

// take replaces the state by a full report, or changes it by another.
func (n *nodeState) take(in *interner, r *wire.NodeReport, now spec.Time) error {
	gpus := make([]gpu, len(r.GetGpus()))
	for i, g := range r.GetGpus() {
		gpus[i] = readGPU(in, g)
	}
	uses := make([]use, len(r.GetUses()))
	for i, u := range r.GetUses() {
		uses[i] = readUse(in, u, now)
	}
	oldGPUs, oldUses := n.gpus, n.uses
	if r.GetFull() {
		oldGPUs, oldUses = nil, nil
	}
	gone := make([]useKey, len(r.GetGoneUses()))
	for i, k := range r.GetGoneUses() {
		gone[i] = useKey{k.GetOwner(), k.GetGpu()}
	}
	gpus = merged(oldGPUs, gpus, r.GetGoneGpus(), (*gpu).key, byGPU)
	uses = merged(oldUses, uses, gone, (*use).key, byUse)
	if len(gpus) > MaxGPUs {
		return refuse("too-many-gpus", "node %s: more than %d GPUs", n.name, MaxGPUs)
	}
	if len(uses) > MaxUses {
		return refuse("too-many-uses", "node %s: more than %d uses", n.name, MaxUses)
	}
	n.gpus, n.uses, n.sources = gpus, uses, keepSources(n.sources, r.GetSources())
	n.boot, n.at, n.heard, n.stale = r.GetBootId(), now, true, false
	n.interval = DefaultInterval
	if ms := r.GetIntervalMs(); ms > 0 {
		n.interval = min(max(spec.Duration(ms)*millisecond, minInterval), maxInterval)
	}
	return nil
}

// keepSources keeps the old list if the new one says the same: it rarely changes.
func keepSources(old, now []*wire.Source) []*wire.Source {
	if slices.EqualFunc(old, now, func(a, b *wire.Source) bool {
		return a.GetName() == b.GetName() && a.GetUp() == b.GetUp() && a.GetReason() == b.GetReason() && a.GetDetail() == b.GetDetail()
	}) {
		return old
	}
	return now
}

// Close ends a session: what the node said is stale, unless a newer session goes on.
func (s *Session) Close() {
	if s.over() {
		s.table.drop(s.node)
	}
}

// over ends a session, and says whether the node is no more.
func (s *Session) over() (gone bool) {
	n := s.node
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.session != s {
		return false
	}
	n.session = nil
	n.lose(s.table.sink)
	return n.forgotAt != 0
}

// lose makes all that the node said unknown, and tells so once.
func (n *nodeState) lose(sink Sink) {
	if n.heard && !n.stale {
		n.stale = true
		n.tellLost(sink)
	}
}

// Silent are the sessions of which nothing was heard for three intervals.
func (t *Table) Silent() (out []*Session) {
	now := t.o.Clock.Now()
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, n := range t.nodes {
		n.mu.Lock()
		if n.session != nil && now-n.at > silentIntervals*n.interval {
			out = append(out, n.session)
		}
		n.mu.Unlock()
	}
	return out
}

// backAfter is how long after a node was deleted its name is that of another node, if
// somebody has a token for it: the API server deletes the pods of a node, and with them
// their tokens, a minute or so after the node.
const backAfter = 10 * 60 * spec.Second

// Forget drops a node that is no more; one that has a stream when that has ended.
func (t *Table) Forget(node string) {
	n := t.find(node)
	if n == nil {
		return
	}
	n.mu.Lock()
	n.forgotAt = t.o.Clock.Now()
	n.mu.Unlock()
	t.drop(n)
}

// drop takes a node out that is gone and has no session.
func (t *Table) drop(n *nodeState) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.forgotAt != 0 && n.session == nil && t.nodes[n.name] == n {
		delete(t.nodes, n.name)
	}
}

// HealthAgain has the health of all nodes told anew with their next reports.
func (t *Table) HealthAgain() {
	for _, n := range t.all() {
		n.mu.Lock()
		n.healthTold = false
		n.mu.Unlock()
	}
}

// all nodes, sorted by name.
func (t *Table) all() []*nodeState {
	t.mu.RLock()
	out := make([]*nodeState, 0, len(t.nodes))
	for _, n := range t.nodes {
		out = append(out, n)
	}
	t.mu.RUnlock()
	slices.SortFunc(out, func(a, b *nodeState) int { return cmp.Compare(a.name, b.name) })
	return out
}

// Snapshot is the state of all nodes that were heard of, sorted by name.
func (t *Table) Snapshot() []Node {
	all := t.all()
	out := make([]Node, 0, len(all))
	for _, n := range all {
		if node, ok := n.show(); ok {
			out = append(out, node)
		}
	}
	return out
}

// One is the state of one node; not ok if it was never heard of.
func (t *Table) One(name string) (Node, bool) {
	n := t.find(name)
	if n == nil {
		return Node{}, false
	}
	return n.show()
}

func (n *nodeState) show() (Node, bool) {
	n.mu.Lock()
	out := Node{Name: n.name, Boot: n.boot, Connected: n.session != nil, Stale: n.stale, At: n.at, Sources: n.sources}
	gpus, uses, heard := n.gpus, n.uses, n.heard
	n.mu.Unlock()
	if !heard {
		return Node{}, false
	}
	out.GPUs, out.Uses = make([]*wire.Gpu, len(gpus)), make([]*wire.Use, len(uses))
	for i := range gpus {
		out.GPUs[i] = gpus[i].wire()
	}
	for i := range uses {
		out.Uses[i] = uses[i].wire(out.At)
	}
	return out, true
}
