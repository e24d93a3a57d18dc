// Package quota keeps the queue tree: who is guaranteed what, who may have how
// much at most, and who holds how much now.
//
// Everything that can hold resources is an account: each queue, each user or
// group with a limit in a queue, each user in a leaf, and each queue's
// non-preemptible share. An account has one row of used and one of max in flat
// matrices. A job belongs to a short chain of accounts, and placing a task is one
// addition along that chain; so a parent is the sum of its children by
// construction, and never recomputed.
package quota

import (
	"slices"
	"strings"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/spec"
)

// Q is the index of a queue, and of its account. Parents come before their
// children and siblings are in order of their names; Root is the first.
type Q int32

// Root is the queue that every other one descends from.
const Root Q = 0

// None is the absent queue: the parent of the root.
const None Q = -1

// Account is a row of the used and max matrices. Accounts 0..len(Queues)-1 are
// the queues themselves.
type Account int32

// Queue is the static side of one queue, with inherited settings resolved.
type Queue struct {
	Path     string // "root.research.llm"
	Name     string
	Parent   Q
	Depth    int
	Children []Q // in order of names
	Leaf     bool
	Spec     *spec.Queue

	// Resolved down the tree: own value, else the nearest ancestor's, else the
	// built-in default.
	JobOrder, Victims         string
	StrictFIFO                bool
	ReserveAfter              spec.Duration // < 0: never
	MinRuntime                spec.Duration
	PreemptionDelay           spec.Duration
	IdleAfter, IdleGrace      spec.Duration // IdleAfter <= 0: never
	VictimsDisabled, Fenced   bool
	hasGuarantee, hasTypedMax bool

	nonPreemptible Account // its max is the effective guarantee
}

// Defaults at the root of every tree.
const (
	DefaultJobOrder     = "fifo"
	DefaultFairness     = "guaranteed-fair"
	DefaultVictims      = "least-lost-work"
	DefaultReserveAfter = 300 * spec.Second
	DefaultIdleGrace    = 10 * spec.Second
)

// Tree is the queue tree with its accounts.
type Tree struct {
	Res    *amount.Table
	Queues []Queue
	// Fairness names the policy that shares the pool between the queues.
	Fairness string
	// HalfLife is the time after which past usage counts half, UseMaxAge how long a
	// measurement of use holds.
	HalfLife, UseMaxAge spec.Duration

	r      int // stride of all matrices: at least Res.Len()
	byPath map[string]Q

	used []amount.Amount // account × r
	max  []amount.Amount // account × r; amount.Max where there is no limit
	apps []int64         // running jobs per account
	most []int64         // allowed running jobs per account, 0 = unlimited
	kind []accountKind
	// bounded accounts have a max of anything; the others need not be looked at.
	bounded []bool
	mostAny bool     // some account has a limit on running jobs
	who     []string // user or group of a limit account, else ""
	of      []Q      // queue the account belongs to

	configured []amount.Amount // queue × r; guarantee as written, Unset where absent
	effective  []amount.Amount // queue × r; the same, scaled to what the pool has
	capacity   []amount.Amount // r
	degraded   bool            // some guarantee is scaled down

	past  []wide    // queue → decayed usage at since
	since spec.Time // of the last Advance

	kept kept

	limitAccounts map[limitKey]Account
	userAccounts  map[userKey]Account
	users         map[string]int32
	userNames     []string
}

// Unset marks a guarantee that was not configured.
const Unset amount.Amount = -1

type accountKind uint8

const (
	queueAccount accountKind = iota
	nonPreemptibleAccount
	userLimitAccount
	groupLimitAccount
	userAccount
)

type limitKey struct {
	q     Q
	index int
	who   string
}

type userKey struct {
	q    Q
	user int32
}

// New builds the accounts of a queue tree. The tree must be valid (spec.Tree and
// runtime/config see to that); a nil root is one leaf that takes everything.
func New(res *amount.Table, cfg spec.Tree) *Tree {
	root := cfg.Root
	if root == nil {
		root = &spec.Queue{Name: "root", Children: []*spec.Queue{{Name: "default"}}}
	}
	t := &Tree{
		Res: res, byPath: map[string]Q{}, limitAccounts: map[limitKey]Account{},
		userAccounts: map[userKey]Account{}, users: map[string]int32{},
		Fairness:  first(root.Fairness, DefaultFairness),
		HalfLife:  firstDuration(cfg.UsageHalfLife, DefaultHalfLife),
		UseMaxAge: firstDuration(cfg.UseMaxAge, DefaultUseMaxAge),
	}
	t.intern(root)
	t.r = res.Len()
	t.addQueues(root)
	t.past = make([]wide, len(t.Queues))
	t.configured = make([]amount.Amount, len(t.Queues)*t.r)
	t.effective = make([]amount.Amount, len(t.Queues)*t.r)
	t.capacity = make([]amount.Amount, t.r)
	for q := range t.Queues {
		t.configure(Q(q))
	}
	for q := range t.Queues {
		t.Queues[q].nonPreemptible = t.addAccount(Q(q), nonPreemptibleAccount, "")
	}
	t.Rescale()
	return t
}

// intern registers every resource the tree mentions before the stride is fixed.
func (t *Tree) intern(q *spec.Queue) {
	for _, rs := range []spec.Resources{q.Guaranteed, q.Max} {
		for _, r := range rs {
			t.Res.Intern(r.Name)
		}
	}
	for _, l := range q.Limits {
		for _, r := range l.Max {
			t.Res.Intern(r.Name)
		}
	}
	for _, c := range q.Children {
		t.intern(c)
	}
}

// addQueues lists the tree breadth first, siblings by name, so that parents come
// first and the index order is the same for any order in the file.
func (t *Tree) addQueues(root *spec.Queue) {
	t.addQueue(root, None)
	for at := 0; at < len(t.Queues); at++ {
		children := slices.Clone(t.Queues[at].Spec.Children)
		slices.SortFunc(children, func(a, b *spec.Queue) int { return strings.Compare(a.Name, b.Name) })
		for _, c := range children {
			id := t.addQueue(c, Q(at))
			t.Queues[at].Children = append(t.Queues[at].Children, id)
		}
	}
}

func (t *Tree) addQueue(s *spec.Queue, parent Q) Q {
	id := Q(len(t.Queues))
	q := Queue{Name: s.Name, Path: s.Name, Parent: parent, Spec: s, Leaf: len(s.Children) == 0 && !s.Parent}
	up := Queue{JobOrder: DefaultJobOrder, Victims: DefaultVictims, ReserveAfter: DefaultReserveAfter, IdleGrace: DefaultIdleGrace}
	if parent != None {
		up = t.Queues[parent]
		q.Path = up.Path + "." + s.Name
		q.Depth = up.Depth + 1
	}
	q.JobOrder = first(s.JobOrder, up.JobOrder)
	q.Victims = first(s.Victims, up.Victims)
	q.StrictFIFO = s.StrictFIFO || up.StrictFIFO
	q.ReserveAfter = firstDuration(s.ReserveAfter, up.ReserveAfter)
	q.MinRuntime = firstDuration(s.MinRuntime, up.MinRuntime)
	q.PreemptionDelay = firstDuration(s.PreemptionDelay, up.PreemptionDelay)
	q.IdleAfter = firstDuration(s.IdleAfter, up.IdleAfter)
	q.IdleGrace = firstDuration(s.IdleGrace, up.IdleGrace)
	q.VictimsDisabled = s.Preemption == spec.PreemptionDisabled || up.VictimsDisabled
	q.Fenced = s.Preemption == spec.PreemptionFence
	t.Queues = append(t.Queues, q)
	t.byPath[q.Path] = id
	t.addAccount(id, queueAccount, "")
	return id
}

func first(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func firstDuration(a, b spec.Duration) spec.Duration {
	if a != 0 {
		return a
	}
	return b
}

func (t *Tree) configure(q Q) {
	s := t.Queues[q].Spec
	row := t.configured[int(q)*t.r:][:t.r]
	for i := range row {
		row[i] = Unset
	}
	for _, g := range s.Guaranteed {
		d, _ := t.Res.Lookup(g.Name)
		row[d] = g.Amount
		t.Queues[q].hasGuarantee = true
	}
	t.setMax(Account(q), s.Max)
	t.most[q] = s.MaxApps
	t.mostAny = t.mostAny || s.MaxApps > 0
}

func (t *Tree) setMax(a Account, max spec.Resources) {
	for _, m := range max {
		d, _ := t.Res.Lookup(m.Name)
		t.max[int(a)*t.r+int(d)] = m.Amount
		t.bounded[a] = true
		if strings.Contains(m.Name, ":") {
			t.markTyped(t.of[a])
		}
	}
}

// markTyped remembers, at the queue and everything below, that a maximum of one
// GPU type must be watched when nodes are chosen.
func (t *Tree) markTyped(q Q) {
	t.Queues[q].hasTypedMax = true
	for _, c := range t.Queues[q].Children {
		t.markTyped(c)
	}
}

func (t *Tree) addAccount(q Q, kind accountKind, who string) Account {
	a := Account(len(t.kind))
	t.kind = append(t.kind, kind)
	t.who = append(t.who, who)
	t.of = append(t.of, q)
	t.apps = append(t.apps, 0)
	t.most = append(t.most, 0)
	t.bounded = append(t.bounded, kind == nonPreemptibleAccount)
	for range t.r {
		t.used = append(t.used, 0)
		t.max = append(t.max, amount.Max)
	}
	return a
}

// Grow widens the matrices after new resources have been interned.
func (t *Tree) Grow() {
	if t.Res.Len() == t.r {
		return
	}
	old, now := t.r, t.Res.Len()
	t.used = restride(t.used, old, now, 0)
	t.kept.used = restride(t.kept.used, old, now, 0)
	t.max = restride(t.max, old, now, amount.Max)
	t.configured = restride(t.configured, old, now, Unset)
	t.effective = restride(t.effective, old, now, Unset)
	t.capacity = restride(t.capacity, old, now, 0)
	t.r = now
}

func restride(m []amount.Amount, old, now int, fill amount.Amount) []amount.Amount {
	rows := len(m) / old
	out := make([]amount.Amount, rows*now)
	for i := range rows {
		copy(out[i*now:], m[i*old:(i+1)*old])
		for j := old; j < now; j++ {
			out[i*now+j] = fill
		}
	}
	return out
}

// Lookup finds a queue by its full path; a path without "root." is also found.
func (t *Tree) Lookup(path string) (Q, bool) {
	if q, ok := t.byPath[path]; ok {
		return q, true
	}
	q, ok := t.byPath[t.Queues[Root].Name+"."+path]
	return q, ok
}

// Accounts is the number of accounts.
func (t *Tree) Accounts() int { return len(t.kind) }

// R is the number of resources in each row.
func (t *Tree) R() int { return t.r }

// Used is the row of what an account holds now. Do not change it.
func (t *Tree) Used(a Account) []amount.Amount { return t.used[int(a)*t.r:][:t.r] }

// MaxOf is the row of what an account may hold, amount.Max where unlimited.
func (t *Tree) MaxOf(a Account) []amount.Amount { return t.max[int(a)*t.r:][:t.r] }

// Guaranteed is the row of a queue's guarantees as they can be kept by the pool
// now, Unset where none is configured.
func (t *Tree) Guaranteed(q Q) []amount.Amount { return t.effective[int(q)*t.r:][:t.r] }

// Configured is the row of a queue's guarantees as written.
func (t *Tree) Configured(q Q) []amount.Amount { return t.configured[int(q)*t.r:][:t.r] }

// Capacity is what the pool has.
func (t *Tree) Capacity() []amount.Amount { return t.capacity }

// Degraded says whether the pool is too small for its guarantees.
func (t *Tree) Degraded() bool { return t.degraded }

// Apps is the number of running jobs of an account and the most allowed (0 is
// unlimited).
func (t *Tree) Apps(a Account) (running, most int64) { return t.apps[a], t.most[a] }

// TypedMax says whether a maximum of one GPU type binds the queue.
func (t *Tree) TypedMax(q Q) bool { return t.Queues[q].hasTypedMax }

// HasGuarantee says whether any guarantee is configured for the queue.
func (t *Tree) HasGuarantee(q Q) bool { return t.Queues[q].hasGuarantee }
