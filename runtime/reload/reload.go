// Package reload is the life cycle of policies: it fetches what an operator wants
// loaded, verifies, compiles and checks it beside the running scheduler, lets it run as
// a shadow if so wished, makes it active between two cycles, and takes it out of use
// when it fails too often.
//
//	fetched → verified → compiled → checked → (shadow →) active → retired
//	             any step → refused          active ⇄ quarantined
//
// A version that is refused leaves no trace but its record: what ran before goes on.
// The version before the active one stays ready, so that a rollback can't fail. A
// version is closed when no cycle uses it any more and its last call has returned;
// nothing waits for a finalizer.
package reload

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/musterhq/muster/builtin/cycle"
	"github.com/musterhq/muster/policies"
	"github.com/musterhq/muster/runtime/clock"
	"github.com/musterhq/muster/runtime/reload/reason"
	"github.com/musterhq/muster/runtime/reload/shadow"
	"github.com/musterhq/muster/runtime/reload/source"
	"github.com/musterhq/muster/runtime/reload/trust"
	"github.com/musterhq/muster/runtime/reload/wanted"
)

// Set is what the loop is given: the active policies by the names that queues use, and
// the active rules. Rules that are not loaded are nil.
type Set struct {
	Named      map[string]policies.Policy
	Admission  cycle.Admission
	Protection cycle.Protection
}

// Rules is one policy in Rego, opened.
type Rules struct {
	Admission  cycle.Admission
	Protection cycle.Protection
	Close      func() error // nil if there is nothing to close
}

// LoadRequest is what load rules judge.
type LoadRequest struct {
	Name    string        // what queues name
	Source  string        // kind and place
	Digest  string        // of the module or rules
	Signers []string      // ids of the trusted keys that signed it
	Kinds   policies.Kind // what it decides; 0 for rules
	Rules   bool
	Mode    string // active or shadow
	By      string // who asked, as the caller says
}

// Options are what a Manager needs of the outside. Swap is required, the others have
// defaults or are left out.
type Options struct {
	// Swap makes a set the one of the next cycle; retired is closed when no cycle uses
	// an older one (loop.Loop.Swap). It must be quick and must not call the Manager.
	Swap func(Set) (retired <-chan struct{})
	// Compile makes a policy of a module; nil is the Wasm engine (see Engine).
	Compile func(ctx context.Context, module []byte, s wanted.Spec) (policies.Policy, error)
	// OpenRules makes rules of a folder or bundle; nil refuses rules.
	OpenRules func(ctx context.Context, path string, s wanted.Spec) (Rules, error)
	// Check tries a policy before it is used, within a second or so; the summary is
	// kept in the status. nil checks nothing.
	Check func(ctx context.Context, p policies.Policy) (summary string, err error)
	// Guard says who may load what; nil allows everything that trust does.
	Guard func(ctx context.Context, r LoadRequest) error
	// Builtin finds a built-in policy for a shadow to be compared with; nil is
	// order.Builtin.
	Builtin func(name string) (policies.Policy, bool)
	// Names names rows in shadow reports.
	Names shadow.Names
	// Source says where files are and how to reach registries.
	Source source.Options
	// By is who asks, for the guard.
	By string
	// Clock dates the history; nil is the real one.
	Clock clock.Clock
	// StatusFile is written after every change; "" writes none.
	StatusFile string
	// Log hears of every step; it must be quick and must not call the Manager.
	Log func(Event)
}

// Event is one step of one version.
type Event struct {
	Policy  string
	Version Version
	Step    Step
}

// Manager has the policies of one scheduler. Its methods may be called from any
// goroutine.
type Manager struct {
	opt    Options
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	work   sync.WaitGroup // closers and timers
	apply  sync.Mutex     // one Apply at a time
	locks  digestLocks
	writer *statusWriter

	// mu is held for moments only, since the loop's goroutine takes it when a policy
	// is quarantined; never while something is fetched, compiled, asked or closed.
	mu       sync.Mutex
	closed   bool
	trust    *wanted.Trust
	keys     trust.Keys
	slots    map[string]*slot
	number   int             // of the last version
	problems []string        // of policies.yaml, while it is not valid
	wanted   map[string]want // what was last applied, by the spec's name
	retired  <-chan struct{} // of the last swap
}

// want is a spec as it was last applied.
type want struct {
	spec wanted.Spec
	err  error  // of its last load
	seen string // fingerprint of what its last load has fetched
	// tries counts the loads in a row that may go well later; then is when the next one
	// is due.
	tries int
	then  int64
}

// New returns a manager without policies.
func New(opt Options) (*Manager, error) {
	if opt.Swap == nil {
		return nil, errors.New("reload: a manager needs a Swap")
	}
	if opt.Clock == nil {
		opt.Clock = clock.Real{}
	}
	if opt.Builtin == nil {
		opt.Builtin = builtinPolicy
	}
	if opt.Compile == nil {
		opt.Compile = Engine(nil)
	}
	m := &Manager{opt: opt, slots: map[string]*slot{}, wanted: map[string]want{}}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	m.writer = newStatusWriter(m, opt.StatusFile)
	return m, nil
}

// Trust replaces whom and what to believe; nil believes everything. Versions that are
// loaded stay. dir is what key files are relative to.
func (m *Manager) Trust(t *wanted.Trust) error {
	keys, err := readKeys(t, m.opt.Source.Dir)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.trust, m.keys = t, keys
	return nil
}

// Apply makes what a file wants so: it loads what is new, has changed or could not be
// loaded before, and removes what is no longer there. One policy that is refused keeps
// no other from being loaded; the error joins all refusals.
func (m *Manager) Apply(ctx context.Context, f *wanted.File) error {
	m.apply.Lock()
	defer m.apply.Unlock()
	if err := m.Trust(f.Trust); err != nil {
		return err
	}
	for _, name := range m.notIn(f) {
		if err := m.Remove(name); err != nil {
			return err
		}
	}
	var errs []error
	for _, s := range f.Policies {
		if m.satisfied(s) {
			continue
		}
		if _, err := m.Load(ctx, s); err != nil {
			errs = append(errs, fmt.Errorf("policy %s: %w", s.Name, err))
		}
	}
	return errors.Join(errs...)
}

// notIn lists the specs that are applied and no longer wanted.
func (m *Manager) notIn(f *wanted.File) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []string
	for _, name := range slices.Sorted(maps.Keys(m.wanted)) {
		if !slices.ContainsFunc(f.Policies, func(s wanted.Spec) bool { return s.Name == name }) {
			out = append(out, name)
		}
	}
	return out
}

func (m *Manager) satisfied(s wanted.Spec) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	w, ok := m.wanted[s.Name]
	return ok && w.err == nil && sameSpec(w.spec, s)
}

// Load takes a policy through all steps, up to active or shadow. On an error, a
// *reason.Error, nothing has changed but the record of what was refused.
func (m *Manager) Load(ctx context.Context, s wanted.Spec) (Version, error) {
	v, err := m.load(ctx, s)
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.closed {
		m.wanted[s.Name] = m.tried(m.wanted[s.Name].tries, s, v, err)
	}
	return m.describe(v), err
}

// Reload fetches a policy again and puts it in place of the one that runs, even if it
// is the same: a quarantine is lifted by it.
func (m *Manager) Reload(ctx context.Context, name string) (Version, error) {
	m.mu.Lock()
	w, ok := m.wanted[name]
	m.mu.Unlock()
	if !ok {
		return Version{}, reason.New(reason.NotFound, name, "muster policy status lists them", "no such policy is loaded")
	}
	return m.Load(ctx, w.spec)
}

// Rollback puts the version before the active one back, from the next cycle on.
// Nothing is fetched or compiled for it. name is what queues name.
func (m *Manager) Rollback(name string) (Version, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, ok := m.slots[name]
	if !ok || s.standby == nil || m.closed {
		return Version{}, reason.New(reason.NotFound, name, "load the version that you want", "there is no earlier version to go back to")
	}
	back, bad := s.standby, s.active
	s.standby = nil
	if back.guard != nil {
		back.guard.Pardon()
	}
	m.step(back, Active, reason.RolledBack, "in place of "+bad.title())
	m.activate(s, back)
	m.retire(s, bad, reason.RolledBack, "in favour of "+back.title())
	return m.describe(back), nil
}

// Remove takes a policy out of use, by the name of its spec. Queues that name it are
// decided by the built-in from the next cycle on.
func (m *Manager) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	w, ok := m.wanted[name]
	if !ok {
		return reason.New(reason.NotFound, name, "muster policy status lists them", "no such policy is loaded")
	}
	delete(m.wanted, name)
	if s, ok := m.slots[w.spec.Slot()]; ok && !m.closed {
		m.remove(s, name)
	}
	return nil
}

// ShadowReport is what the shadow beside a policy would have decided differently.
func (m *Manager) ShadowReport(name string) (shadow.Report, bool) {
	m.mu.Lock()
	s, ok := m.slots[name]
	var sh *shadow.Shadow
	if ok && s.candidate != nil {
		sh = s.candidate.shadow
	}
	m.mu.Unlock()
	if sh == nil {
		return shadow.Report{}, false
	}
	return sh.Report(), true
}

// drainTime is how long Close lets a cycle end that uses what is closed.
const drainTime = 5 * time.Second

// drain waits for the cycle under way. One that takes too long is decided by the
// built-ins from then on: a closed policy answers with an error.
func (m *Manager) drain(retired <-chan struct{}) {
	var machine clock.Real // a virtual clock may stand still by now
	select {
	case <-retired:
	case <-machine.Wake(machine.Now() + int64(drainTime)):
	}
}

// Close takes all policies out of use, waits for the cycle under way, and frees
// everything. Loads under way are cancelled. It must not be called inside a cycle.
func (m *Manager) Close() error {
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return nil
	}
	m.closed = true
	m.retired = m.opt.Swap(Set{Named: map[string]policies.Policy{}})
	for _, name := range slices.Sorted(maps.Keys(m.slots)) {
		s := m.slots[name]
		for _, v := range s.versions() {
			m.retire(s, v, reason.Closed, "")
		}
		s.candidate, s.active, s.standby = nil, nil, nil
	}
	retired := m.retired
	m.mu.Unlock()
	m.drain(retired)
	m.cancel()
	m.work.Wait()
	return m.writer.close()
}
