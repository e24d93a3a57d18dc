package reload

import (
	"context"
	"fmt"
	"os"

	"github.com/musterhq/muster/policies"
	"github.com/musterhq/muster/runtime/reload/guard"
	"github.com/musterhq/muster/runtime/reload/reason"
	"github.com/musterhq/muster/runtime/reload/shadow"
	"github.com/musterhq/muster/runtime/reload/wanted"
)

// place puts a checked version to use; m.mu is held.
func (m *Manager) place(s *slot, v *version) error {
	if v.rules != nil {
		for _, other := range m.slots {
			if other != s && other.active != nil && other.active.rules != nil {
				return reason.New(reason.Ambiguous, v.spec.Name, "put all packages into one folder or bundle", "the rules %s are active already", other.name)
			}
		}
	}
	if v.spec.Mode == wanted.Shadow || v.spec.ShadowFor > 0 && s.active != nil && v.rules == nil {
		return m.shadow(s, v)
	}
	if k := v.spec.Kinds; k != 0 && v.rules == nil && v.policy.Info().Kinds&k != k {
		return wrongKind(v, k)
	}
	m.replace(s, v, reason.Done)
	return nil
}

func wrongKind(v *version, k policies.Kind) error {
	return reason.New(reason.WrongKind, v.spec.Name, "muster policy inspect shows what a module exports",
		"it decides %v, wanted is %v", kindNames(v.policy.Info().Kinds), kindNames(k))
}

// replace makes v active; the version before stays ready for a rollback, and the one
// before that is closed. m.mu is held.
func (m *Manager) replace(s *slot, v *version, code reason.Code) {
	old, older := s.active, s.standby
	if v.policy != nil {
		v.guard = guard.New(v.policy, guard.Options{
			Now:     m.opt.Clock.Now,
			Changed: func(c guard.Change) { m.guarded(v, c) },
		})
	}
	text := ""
	if old != nil {
		text = "in place of " + old.title()
	}
	m.step(v, Active, code, text)
	m.activate(s, v)
	switch {
	case old == nil:
	case old.record.Digest == v.record.Digest && sameSpec(old.spec, v.spec):
		m.retire(s, old, reason.Replaced, "by itself, started anew") // the one before is worth more
	default:
		m.step(old, Retired, reason.Replaced, "by "+v.title()+"; ready for a rollback")
		s.standby = old
		if older != nil {
			m.retire(s, older, reason.Replaced, "by "+old.title())
		}
	}
}

// activate makes v the active version of a slot from the next cycle on; m.mu is held.
// What becomes of the one before is up to the caller.
func (m *Manager) activate(s *slot, v *version) {
	if s.active != nil && s.active.guard != nil {
		s.active.guard.Detach()
	}
	s.active = v
	if c := s.candidate; c != nil {
		c.shadow.Beside(v.guard.Info()) // it is compared with what decides now
		m.listen(s, c)
	}
	m.swap()
}

// shadow lets v run beside the active version; m.mu is held.
func (m *Manager) shadow(s *slot, v *version) error {
	if v.rules != nil {
		return reason.New(reason.WrongKind, v.spec.Name, "write mode: active; try rules with muster policy test", "rules can't run as a shadow")
	}
	beside, err := m.beside(s, v)
	if err != nil {
		return err
	}
	common := v.policy.Info().Kinds & beside.guard.Info().Kinds
	if k := v.spec.Kinds; common == 0 || k != 0 && common&k != k {
		return wrongKind(v, max(k, beside.guard.Info().Kinds))
	}
	if old := s.candidate; old != nil {
		s.active.guard.Detach()
		m.retire(s, old, reason.Replaced, "by "+v.title())
	}
	if s.active == nil {
		s.active = beside
		m.step(beside, Active, reason.Done, "built in; a shadow is compared with it")
		m.swap()
	}
	v.shadow = shadow.Start(beside.guard.Info(), v.policy, shadow.Options{Kinds: v.spec.Kinds, Names: m.opt.Names, Clock: m.opt.Clock})
	s.candidate = v
	m.step(v, Shadow, reason.Done, "beside "+beside.title())
	m.listen(s, v)
	if v.spec.ShadowFor > 0 {
		m.work.Go(func() { m.promoteLater(s, v) })
	}
	return nil
}

// beside is what a shadow is compared with: the active version, or the built-in.
func (m *Manager) beside(s *slot, v *version) (*version, error) {
	if s.active != nil && s.active.rules == nil {
		return s.active, nil
	}
	p, ok := m.opt.Builtin(s.name)
	if !ok || s.active != nil {
		return nil, reason.New(reason.NotFound, v.spec.Name, "load it first, or set beside: to another one",
			"there is no policy %q that a shadow could run beside", s.name)
	}
	m.number++
	b := &version{spec: wanted.Spec{Name: s.name, Mode: wanted.Active}, policy: p, builtin: true, gone: make(chan struct{})}
	b.record = Version{Number: m.number, Spec: s.name, Source: "builtin"}
	b.describe(p.Info())
	b.guard = guard.New(p, guard.Options{Now: m.opt.Clock.Now, Changed: func(c guard.Change) { m.guarded(b, c) }})
	return b, nil
}

// listen attaches a candidate to the active version; m.mu is held.
func (m *Manager) listen(s *slot, c *version) {
	info := c.policy.Info()
	s.active.guard.Attach(c.shadow, &info)
}

// Promote makes the shadow beside a policy the active one.
func (m *Manager) Promote(name string) (Version, error) {
	m.mu.Lock()
	s, ok := m.slots[name]
	if !ok || s.candidate == nil || m.closed {
		m.mu.Unlock()
		return Version{}, reason.New(reason.NotFound, name, "load one with mode: shadow", "no shadow runs beside it")
	}
	c := s.candidate
	m.mu.Unlock()
	return m.promote(s, c, "by an operator")
}

// promote waits for the shadow's last call, so that the loop never waits for it, and
// makes the candidate active.
func (m *Manager) promote(s *slot, c *version, text string) (Version, error) {
	c.shadow.Stop()
	m.mu.Lock()
	defer m.mu.Unlock()
	if s.candidate != c || m.closed {
		return Version{}, reason.New(reason.NotFound, s.name, "", "the shadow was replaced meanwhile")
	}
	s.candidate = nil
	if s.active != nil {
		s.active.guard.Detach()
	}
	m.replace(s, c, reason.Promoted)
	c.record.Text += ", " + text
	return m.describe(c), nil
}

// promoteLater promotes a candidate when its time as a shadow is over, if it was asked
// at all and never failed.
func (m *Manager) promoteLater(s *slot, c *version) {
	for {
		select {
		case <-m.opt.Clock.Wake(m.opt.Clock.Now() + int64(c.spec.ShadowFor)):
		case <-c.gone:
			return
		case <-m.ctx.Done():
			return
		}
		r := c.shadow.Report()
		if n := r.Failures(); n > 0 {
			m.mu.Lock()
			if s.candidate == c {
				m.step(c, Shadow, reason.ShadowFault, fmt.Sprintf("not promoted: it failed %d times", n))
			}
			m.mu.Unlock()
			return
		}
		if r.Compared() > 0 {
			_, _ = m.promote(s, c, fmt.Sprintf("after %s as a shadow", c.spec.ShadowFor)) // it was replaced, then
			return
		}
	}
}

// guarded records what a guard has decided. It runs on the loop's goroutine.
func (m *Manager) guarded(v *version, c guard.Change) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch c.State {
	case guard.Quarantined:
		m.stepWith(v, Step{State: Quarantined, Code: reason.Code(c.Fault), Text: c.Text, Hint: "a rollback or loading it again lifts it; the built-in decides meanwhile"})
	case guard.Probation:
		m.step(v, Active, reason.Backoff, "on probation")
	case guard.Good:
		m.step(v, Active, reason.Served, "")
	}
}

// remove takes everything out of a slot that came from one spec; m.mu is held.
func (m *Manager) remove(s *slot, name string) {
	if c := s.candidate; c != nil && c.spec.Name == name {
		m.dropCandidate(s, reason.Removed, "")
	}
	if a := s.active; a != nil && a.spec.Name == name {
		if s.candidate != nil {
			m.dropCandidate(s, reason.Removed, "what it was compared with is gone")
		}
		old := s.standby
		s.active, s.standby = nil, nil
		m.swap()
		m.retire(s, a, reason.Removed, "")
		if old != nil {
			m.retire(s, old, reason.Removed, "")
		}
	}
}

// dropCandidate ends a shadow; a built-in that stood in for it goes, too.
func (m *Manager) dropCandidate(s *slot, code reason.Code, text string) {
	c := s.candidate
	s.candidate = nil
	if s.active != nil {
		s.active.guard.Detach()
	}
	m.retire(s, c, code, text)
	if a := s.active; a != nil && a.builtin && s.standby == nil {
		s.active = nil
		m.swap()
		m.retire(s, a, reason.Removed, "no shadow is compared with it any more")
	}
}

// retire records the end of a version, and closes it when no cycle uses it any more and
// its last call has returned. m.mu is held.
func (m *Manager) retire(s *slot, v *version, code reason.Code, text string) {
	m.step(v, Retired, code, text)
	s.remember(m.describe(v))
	close(v.gone)
	retired := m.retired
	m.work.Go(func() {
		if retired != nil {
			select {
			case <-retired:
			case <-m.ctx.Done(): // the guard still waits for calls under way
			}
		}
		if err := v.close(); err != nil {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.step(v, Retired, reason.Broken, "closing it failed: "+err.Error())
		}
	})
}

func (s *slot) remember(v Version) {
	s.past = append([]Version{v}, s.past[:min(len(s.past), maxPast-1)]...)
}

// close frees a version that nobody asks any more.
func (v *version) close() error {
	var err error
	if v.shadow != nil {
		v.shadow.Stop()
	}
	switch {
	case v.guard != nil:
		err = v.guard.Close()
	case v.policy != nil:
		err = v.policy.Close()
	case v.rules != nil && v.rules.Close != nil:
		err = v.rules.Close()
	}
	if v.dir != "" {
		if e := os.RemoveAll(v.dir); err == nil {
			err = e
		}
	}
	return err
}

// within ends with ctx, and with the manager.
func (m *Manager) within(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(m.ctx, cancel)
	return ctx, func() { stop(); cancel() }
}
