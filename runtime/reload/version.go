package reload

import (
	"reflect"
	"slices"
	"sync"

	"github.com/musterhq/muster/builtin/order"
	"github.com/musterhq/muster/policies"
	"github.com/musterhq/muster/runtime/reload/guard"
	"github.com/musterhq/muster/runtime/reload/reason"
	"github.com/musterhq/muster/runtime/reload/shadow"
	"github.com/musterhq/muster/runtime/reload/wanted"
)

// version is one load of one policy, from the first step to its end.
type version struct {
	spec   wanted.Spec
	policy policies.Policy // nil for rules, and before it is compiled
	rules  *Rules
	// guard owns policy once the version is active; before, the version itself does.
	guard   *guard.Policy
	shadow  *shadow.Shadow // while it is a candidate
	dir     string         // temporary folder of rules
	builtin bool           // stands in for a built-in that a shadow is compared with
	gone    chan struct{}  // closed when it is retired
	seen    string         // fingerprint of what was fetched
	record  Version        // m.mu
}

// versions that are not freed yet, and so can be.
func (s *slot) versions() []*version {
	return slices.DeleteFunc([]*version{s.candidate, s.active, s.standby}, func(v *version) bool { return v == nil })
}

// slot is everything under one name that queues use. All but loading is under m.mu.
type slot struct {
	name    string
	loading chan struct{} // holds a token while a version is on its way

	incoming, candidate, active, standby *version

	past []Version // newest first
}

func builtinPolicy(name string) (policies.Policy, bool) { return order.Builtin(name) }

// title names a version for people.
func (v *version) title() string {
	r := &v.record
	name := r.Name
	if name == "" {
		name = r.Spec
	}
	if r.Version != "" {
		name += " " + r.Version
	}
	if len(r.Digest) > 19 {
		name += " (" + r.Digest[:19] + "…)"
	}
	return name
}

// kindNames lists the kinds of a set.
func kindNames(k policies.Kind) (out []string) {
	for _, bit := range []policies.Kind{policies.JobOrder, policies.QueueShares, policies.VictimCosts} {
		if k&bit != 0 {
			out = append(out, bit.String())
		}
	}
	return out
}

// step records a change of state; m.mu is held.
func (m *Manager) step(v *version, s State, code reason.Code, text string) {
	m.stepWith(v, Step{State: s, Code: code, Text: text})
}

func (m *Manager) stepWith(v *version, st Step) {
	st.At = m.opt.Clock.Now()
	r := &v.record
	r.State, r.Code, r.Text, r.Hint, r.Since = st.State, st.Code, st.Text, st.Hint, st.At
	if len(r.History) == maxSteps {
		r.History = slices.Delete(r.History, maxSteps/2, maxSteps/2+1)
	}
	r.History = append(r.History, st)
	if m.opt.Log != nil {
		d := *r
		d.History = nil
		m.opt.Log(Event{Policy: v.spec.Slot(), Version: d, Step: st})
	}
	m.writer.touch()
}

// swap hands the loop everything that is active; m.mu is held, so that swaps come in
// the order of the changes.
func (m *Manager) swap() {
	set := Set{Named: map[string]policies.Policy{}}
	for name, s := range m.slots {
		switch v := s.active; {
		case v == nil:
		case v.rules != nil:
			set.Admission, set.Protection = v.rules.Admission, v.rules.Protection
		default:
			set.Named[name] = v.guard
		}
	}
	m.retired = m.opt.Swap(set)
}

// sameSpec says whether two specs ask for the same.
func sameSpec(a, b wanted.Spec) bool { return reflect.DeepEqual(a, b) }

// digestLocks serialise compiling by digest.
type digestLocks struct {
	mu    sync.Mutex
	locks map[string]*digestLock
}

type digestLock struct {
	sync.Mutex
	users int
}

// lock locks a digest and returns what unlocks it.
func (d *digestLocks) lock(digest string) (unlock func()) {
	d.mu.Lock()
	if d.locks == nil {
		d.locks = map[string]*digestLock{}
	}
	l := d.locks[digest]
	if l == nil {
		l = &digestLock{}
		d.locks[digest] = l
	}
	l.users++
	d.mu.Unlock()
	l.Lock()
	return func() {
		l.Unlock()
		d.mu.Lock()
		defer d.mu.Unlock()
		if l.users--; l.users == 0 {
			delete(d.locks, digest)
		}
	}
}
