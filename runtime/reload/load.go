package reload

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/musterhq/muster/policies"
	"github.com/musterhq/muster/runtime/reload/reason"
	"github.com/musterhq/muster/runtime/reload/source"
	"github.com/musterhq/muster/runtime/reload/trust"
	"github.com/musterhq/muster/runtime/reload/wanted"
)

// checkTime bounds the check of one version, in case it hangs.
const checkTime = 30 * time.Second

// load takes one version through its life up to where it is used. It returns the
// version even if it was refused, for its record.
func (m *Manager) load(ctx context.Context, spec wanted.Spec) (*version, error) {
	if spec.Mode == "" {
		spec.Mode = wanted.Active
	}
	s, v, err := m.begin(spec)
	if err != nil {
		return nil, err
	}
	defer m.work.Done()
	ctx, stop := m.within(ctx)
	defer stop()
	select {
	case s.loading <- struct{}{}:
		defer func() { <-s.loading }()
	case <-ctx.Done():
		return v, m.refuse(s, v, cancelled(ctx.Err()))
	}
	m.mu.Lock()
	s.incoming = v
	m.mu.Unlock()
	err = safely(func() error { return m.prepare(ctx, v) })
	m.mu.Lock()
	s.incoming = nil
	if err == nil && (m.closed || ctx.Err() != nil) {
		err = cancelled(context.Canceled)
	}
	if err == nil {
		err = m.place(s, v)
	}
	m.mu.Unlock()
	if err != nil {
		return v, m.refuse(s, v, err)
	}
	return v, nil
}

// begin makes a version, and the slot for it if there is none.
func (m *Manager) begin(spec wanted.Spec) (*slot, *version, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, nil, reason.New(reason.Closed, spec.Name, "", "the scheduler ends")
	}
	s := m.slots[spec.Slot()]
	if s == nil {
		s = &slot{name: spec.Slot(), loading: make(chan struct{}, 1)}
		m.slots[s.name] = s
	}
	m.number++
	m.work.Add(1)
	v := &version{spec: spec, gone: make(chan struct{})}
	v.record = Version{Number: m.number, Spec: spec.Name, Source: spec.Source.String(), State: Fetching, Code: reason.Done, Since: m.opt.Clock.Now(), History: []Step{}}
	return s, v, nil
}

// refuse records why a version goes no further, and frees what there is of it.
func (m *Manager) refuse(s *slot, v *version, err error) error {
	e := reason.Of(err)
	m.mu.Lock()
	m.stepWith(v, Step{State: Refused, Code: e.Code, Text: e.Error(), Hint: e.Hint})
	s.remember(m.describe(v))
	m.mu.Unlock()
	_ = v.close() // the first error is the one to show
	return e
}

func cancelled(err error) error {
	return &reason.Error{Code: reason.Cancelled, Problem: "the load was cancelled", Again: true, Err: err}
}

// safely turns a panic, of the engine or of a check, into a refusal.
func safely(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = reason.New(reason.Broken, "", "this is a bug; please report it with the module", "the engine or the check panicked: %v", p)
		}
	}()
	return f()
}

// prepare takes a version from its source to checked. Nothing of it is in use so far.
func (m *Manager) prepare(ctx context.Context, v *version) error {
	a, err := m.fetch(ctx, v)
	if err != nil {
		return err
	}
	if err := m.verify(ctx, v, a); err != nil {
		return err
	}
	if err := m.compile(ctx, v, a); err != nil {
		return err
	}
	return m.check(ctx, v)
}

func (m *Manager) fetch(ctx context.Context, v *version) (*source.Artifact, error) {
	m.mu.Lock()
	_, ok := m.trust.Allow(v.spec.Source.String())
	m.mu.Unlock()
	if !ok {
		return nil, reason.New(reason.SourceDenied, v.spec.Source.String(), "add it to trust.sources in policies.yaml", "policies may not come from there")
	}
	a, err := source.Fetch(ctx, v.spec.Source, v.spec.Digest, m.opt.Source)
	if err != nil {
		if ctx.Err() != nil {
			return nil, cancelled(ctx.Err())
		}
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	v.seen = a.Fingerprint()
	r := &v.record
	r.Name, r.Version, r.ABI, r.Digest, r.Origin, r.Kinds = a.Name, a.Version, a.ABI, a.Content, a.Origin, kindNames(a.Kinds)
	if a.IsRules() {
		r.Kinds = []string{"rules"}
	}
	m.step(v, Fetched, reason.Done, a.Origin)
	return a, nil
}

// verify holds an artifact against its pin, its signatures and the load rules.
func (m *Manager) verify(ctx context.Context, v *version, a *source.Artifact) error {
	if pin := v.spec.Digest; pin != "" && pin != a.Content && pin != a.Signed {
		return reason.New(reason.DigestDiffers, a.Origin, "change the pin if the new one is wanted", "it is %s, pinned is %s", a.Content, pin)
	}
	m.mu.Lock()
	keys, t := m.keys, m.trust
	m.mu.Unlock()
	signers := keys.Verify(a.Signed, a.Signatures)
	if err := enough(v, t, a, signers); err != nil {
		return err
	}
	if m.opt.Guard != nil {
		r := LoadRequest{
			Name: v.spec.Slot(), Source: v.spec.Source.String(), Digest: a.Content, Signers: signers,
			Kinds: a.Kinds, Rules: a.IsRules(), Mode: v.spec.Mode, By: m.opt.By,
		}
		if err := m.opt.Guard(ctx, r); err != nil {
			return &reason.Error{Code: reason.GuardRefused, Where: v.spec.Name, Problem: "the load rules refuse it: " + err.Error(), Hint: "ask who writes the load rules", Err: err}
		}
	}
	text := "not signed"
	if len(signers) > 0 {
		text = "signed by " + strings.Join(signers, ", ")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	v.record.Signers = signers
	m.step(v, Verified, reason.Done, text)
	return nil
}

// enough says whether those have signed who must.
func enough(v *version, t *wanted.Trust, a *source.Artifact, signers []string) error {
	allowed, _ := t.Allow(v.spec.Source.String())
	need := v.spec.Signatures
	if need == 0 && (len(v.spec.SignedBy) > 0 || !allowed.Unsigned) {
		need = 1
	}
	of := "any trusted key"
	if want := v.spec.SignedBy; len(want) > 0 {
		of = strings.Join(want, ", ")
		signers = slices.DeleteFunc(slices.Clone(signers), func(id string) bool { return !slices.Contains(want, id) })
	}
	if len(signers) >= need {
		return nil
	}
	if len(a.Signatures) == 0 {
		return reason.New(reason.Unsigned, a.Origin, "muster policy sign it", "it is not signed; it must be by %s", of)
	}
	return reason.New(reason.WrongSigner, a.Origin, "muster policy sign it with a key that is trusted",
		"%d of its %d signatures count, %d must, by %s", len(signers), len(a.Signatures), need, of)
}

// compile makes a policy or rules of an artifact; one digest at a time.
func (m *Manager) compile(ctx context.Context, v *version, a *source.Artifact) error {
	unlock := m.locks.lock(a.Content)
	defer unlock()
	if ctx.Err() != nil {
		return cancelled(ctx.Err())
	}
	if a.IsRules() {
		return m.openRules(ctx, v, a)
	}
	p, err := m.opt.Compile(ctx, a.Module, v.spec)
	if err != nil {
		return refusal(v, err)
	}
	v.policy = p
	m.mu.Lock()
	defer m.mu.Unlock()
	v.describe(p.Info())
	m.step(v, Compiled, reason.Done, "")
	return nil
}

// describe takes over what a compiled policy says of itself.
func (v *version) describe(info policies.Info) {
	r := &v.record
	r.Name, r.Version, r.Kinds, r.Params = info.Name, info.Version, kindNames(info.Kinds), info.Params
	if r.Digest == "" {
		r.Digest = info.Digest
	}
}

func (m *Manager) openRules(ctx context.Context, v *version, a *source.Artifact) error {
	if m.opt.OpenRules == nil {
		return reason.New(reason.BadRules, v.spec.Name, "", "rules can't be loaded here")
	}
	dir, err := os.MkdirTemp("", "muster-rules-*")
	if err != nil {
		return err
	}
	v.dir = dir
	path, err := a.WriteTo(dir)
	if err != nil {
		return err
	}
	r, err := m.opt.OpenRules(ctx, path, v.spec)
	if err != nil {
		if ctx.Err() != nil {
			return cancelled(ctx.Err())
		}
		return &reason.Error{Code: reason.BadRules, Where: v.spec.Name, Problem: strings.ReplaceAll(err.Error(), filepath.Dir(path)+string(filepath.Separator), ""), Hint: "muster policy check shows all problems", Err: err}
	}
	v.rules = &r
	m.mu.Lock()
	defer m.mu.Unlock()
	m.step(v, Compiled, reason.Done, "")
	return nil
}

// check tries a policy before anything depends on it.
func (m *Manager) check(ctx context.Context, v *version) error {
	summary := "not checked"
	if m.opt.Check != nil && v.policy != nil {
		ctx, cancel := context.WithTimeout(ctx, checkTime)
		defer cancel()
		var err error
		if summary, err = m.opt.Check(ctx, v.policy); err != nil {
			if errors.Is(context.Cause(ctx), context.Canceled) {
				return cancelled(err)
			}
			return &reason.Error{Code: reason.CheckFailed, Where: v.spec.Name, Problem: "it fails the conformance smoke set: " + err.Error(), Hint: "muster conformance run tells more", Err: err}
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	v.record.Check = summary
	m.step(v, Checked, reason.Done, summary)
	return nil
}

// readKeys reads the keys of a trust section.
func readKeys(t *wanted.Trust, dir string) (trust.Keys, error) {
	if t == nil {
		return nil, nil
	}
	var out trust.Keys
	for _, k := range t.Keys {
		text := []byte(k.PEM)
		if k.File != "" {
			path := k.File
			if !filepath.IsAbs(path) {
				path = filepath.Join(dir, path)
			}
			var err error
			if text, err = os.ReadFile(path); err != nil {
				return nil, fmt.Errorf("key %s: %w", k.ID, err)
			}
		}
		key, err := trust.ParsePublic(k.ID, text)
		if err != nil {
			return nil, fmt.Errorf("key %s: %w", k.ID, err)
		}
		out = append(out, key)
	}
	return out, nil
}
