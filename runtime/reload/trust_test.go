package reload_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/musterhq/muster/policies"
	"github.com/musterhq/muster/runtime/reload"
	"github.com/musterhq/muster/runtime/reload/reason"
	"github.com/musterhq/muster/runtime/reload/trust"
	"github.com/musterhq/muster/runtime/reload/wanted"
)

// signers are two people with keys.
func signers(t *testing.T) (map[string]*trust.Signer, []wanted.Key) {
	t.Helper()
	out, keys := map[string]*trust.Signer{}, []wanted.Key{}
	for id, a := range map[string]trust.Algorithm{"platform": trust.Ed25519, "security": trust.ECDSA, "stranger": trust.Ed25519} {
		private, public, err := trust.Generate(a)
		if err != nil {
			t.Fatal(err)
		}
		if out[id], err = trust.ParsePrivate(private); err != nil {
			t.Fatal(err)
		}
		if id != "stranger" {
			keys = append(keys, wanted.Key{ID: id, PEM: string(public)})
		}
	}
	return out, keys
}

// sign writes the signature file of a module.
func (h *host) sign(name string, module []byte, by ...*trust.Signer) {
	h.t.Helper()
	var sigs []trust.Signature
	for _, s := range by {
		sig, err := s.Sign(trust.Digest(module))
		if err != nil {
			h.t.Fatal(err)
		}
		sigs = append(sigs, sig)
	}
	text, err := trust.EncodeFile(trust.Digest(module), sigs)
	if err != nil {
		h.t.Fatal(err)
	}
	h.write(name+trust.Extension, text)
}

func TestWhereThereIsTrustOnlyWhatItNamesIsLoaded(t *testing.T) {
	by, keys := signers(t)
	h := newHost(t)
	if err := h.Trust(&wanted.Trust{Keys: keys, Sources: []wanted.Allowed{{Match: "file:good/*"}, {Match: "file:lab/*", Unsigned: true}}}); err != nil {
		t.Fatal(err)
	}
	m := module("1.0.0")
	for _, dir := range []string{"good", "lab", "elsewhere"} {
		h.write(dir+"/order.wasm", m)
	}
	if e := h.refused(file("order", "elsewhere/order.wasm")); e.Code != reason.SourceDenied {
		t.Errorf("a source that is not allowed: %v", e)
	}
	if e := h.refused(file("order", "good/../elsewhere/order.wasm")); e.Code != reason.SourceDenied {
		t.Errorf("a way round the pattern: %v", e)
	}
	if v := h.load(file("lab", "lab/order.wasm")); len(v.Signers) != 0 {
		t.Errorf("signed by %v", v.Signers)
	}
	if e := h.refused(file("order", "good/order.wasm")); e.Code != reason.Unsigned {
		t.Errorf("unsigned: %v", e)
	}
	h.sign("good/order.wasm", m, by["stranger"])
	if e := h.refused(file("order", "good/order.wasm")); e.Code != reason.WrongSigner {
		t.Errorf("signed by a stranger: %v", e)
	}
	h.sign("good/order.wasm", module("2.0.0"), by["platform"])
	if e := h.refused(file("order", "good/order.wasm")); e.Code != reason.Unsigned {
		t.Errorf("a signature of another version: %v", e)
	}
	h.sign("good/order.wasm", m, by["platform"], by["stranger"])
	if v := h.load(file("order", "good/order.wasm")); !slices.Equal(v.Signers, []string{"platform"}) {
		t.Errorf("signed by %v", v.Signers)
	}
}

func TestTheSignersThatASpecNamesMustHaveSigned(t *testing.T) {
	by, keys := signers(t)
	h := newHost(t)
	if err := h.Trust(&wanted.Trust{Keys: keys, Sources: []wanted.Allowed{{Match: "**"}}}); err != nil {
		t.Fatal(err)
	}
	m := module("1.0.0")
	h.write("order.wasm", m)
	h.sign("order.wasm", m, by["platform"])
	s := file("order", "order.wasm")
	s.SignedBy = []string{"security"}
	if e := h.refused(s); e.Code != reason.WrongSigner || !strings.Contains(e.Problem, "security") {
		t.Errorf("signed by somebody else: %v", e)
	}
	s.SignedBy, s.Signatures = []string{"security", "platform"}, 2
	if e := h.refused(s); e.Code != reason.WrongSigner {
		t.Errorf("one of two: %v", e)
	}
	h.sign("order.wasm", m, by["platform"], by["platform"])
	if e := h.refused(s); e.Code != reason.WrongSigner {
		t.Errorf("one who signed twice: %v", e)
	}
	h.sign("order.wasm", m, by["security"], by["platform"])
	if v := h.load(s); !slices.Equal(v.Signers, []string{"platform", "security"}) {
		t.Errorf("signed by %v", v.Signers)
	}
}

func TestKeysMayLieInFiles(t *testing.T) {
	_, keys := signers(t)
	h := newHost(t)
	h.write("keys/a.pub", []byte(keys[0].PEM))
	if err := h.Trust(&wanted.Trust{Keys: []wanted.Key{{ID: "a", File: "keys/a.pub"}}}); err != nil {
		t.Error(err)
	}
	if err := h.Trust(&wanted.Trust{Keys: []wanted.Key{{ID: "a", File: "keys/b.pub"}}}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a key that is not there: %v", err)
	}
	h.write("keys/b.pub", []byte("x"))
	if err := h.Trust(&wanted.Trust{Keys: []wanted.Key{{ID: "a", File: "keys/b.pub"}}}); err == nil {
		t.Error("a key that is none")
	}
}

func TestAPinRefusesEverythingElse(t *testing.T) {
	h := newHost(t)
	h.write("order.wasm", module("1.0.0"))
	s := file("order", "order.wasm")
	s.Digest = trust.Digest(module("2.0.0"))
	if e := h.refused(s); e.Code != reason.DigestDiffers {
		t.Error(e)
	}
	s.Digest = trust.Digest(module("1.0.0"))
	h.load(s)
}

func TestLoadRulesHaveTheLastWordBeforeAnythingIsCompiled(t *testing.T) {
	var asked reload.LoadRequest
	compiled := false
	h := newHost(t, func(o *reload.Options) {
		o.By = "ann"
		o.Guard = func(_ context.Context, r reload.LoadRequest) error {
			asked = r
			if r.Name == "root-order" {
				return errors.New("only platform may load root-order")
			}
			return nil
		}
		engine := reload.Engine(nil)
		o.Compile = func(ctx context.Context, m []byte, s wanted.Spec) (policies.Policy, error) {
			compiled = true
			return engine(ctx, m, s)
		}
	})
	h.write("order.wasm", module("1.0.0"))
	e := h.refused(file("root-order", "order.wasm"))
	if e.Code != reason.GuardRefused || !strings.Contains(e.Problem, "only platform") || compiled {
		t.Errorf("%v, compiled %t", e, compiled)
	}
	want := reload.LoadRequest{
		Name: "root-order", Source: "file:order.wasm", Digest: trust.Digest(module("1.0.0")),
		Kinds: policies.JobOrder | policies.QueueShares | policies.VictimCosts, Mode: wanted.Active, By: "ann",
	}
	if asked.Signers = nil; !equal(asked, want) {
		t.Errorf("asked %+v", asked)
	}
	h.load(file("order", "order.wasm"))
}

func equal(a, b reload.LoadRequest) bool {
	return a.Name == b.Name && a.Source == b.Source && a.Digest == b.Digest && a.Kinds == b.Kinds && a.Mode == b.Mode && a.By == b.By && a.Rules == b.Rules
}

func TestAFileThatVanishesLeavesWhatRuns(t *testing.T) {
	h := newHost(t)
	h.write("order.wasm", module("1.0.0"))
	h.load(file("order", "order.wasm"))
	if err := os.Remove(filepath.Join(h.dir, "order.wasm")); err != nil {
		t.Fatal(err)
	}
	if e := h.refused(file("order", "order.wasm")); e.Code != reason.NotFound || !e.Again {
		t.Error(e)
	}
	if err := h.ask("order", 0); err != nil {
		t.Error(err)
	}
}
