package reload_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/musterhq/muster/policies"
	"github.com/musterhq/muster/runtime/reload"
	"github.com/musterhq/muster/runtime/reload/reason"
	"github.com/musterhq/muster/runtime/reload/source"
	"github.com/musterhq/muster/runtime/reload/trust"
	"github.com/musterhq/muster/runtime/reload/wanted"
	"github.com/musterhq/muster/runtime/wasm/wasmtest"
)

// host is a manager with a loop that is only remembered.
type host struct {
	*reload.Manager
	t   testing.TB
	dir string

	mu    sync.Mutex
	set   reload.Set
	swaps int
}

func newHost(t testing.TB, change ...func(*reload.Options)) *host {
	t.Helper()
	h := &host{t: t, dir: t.TempDir()}
	opt := reload.Options{Swap: h.swap, Source: source.Options{Dir: h.dir}}
	for _, f := range change {
		f(&opt)
	}
	var err error
	if h.Manager, err = reload.New(opt); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

func (h *host) swap(s reload.Set) <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.set = s
	h.swaps++
	retired := make(chan struct{})
	close(retired)
	return retired
}

// named is the policy that the next cycle would ask, nil for the built-in.
func (h *host) named(name string) policies.Policy {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.set.Named[name]
}

// write puts a file into the host's folder.
func (h *host) write(name string, content []byte) {
	h.t.Helper()
	path := filepath.Join(h.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		h.t.Fatal(err)
	}
}

// module is a good module of that version: another version has another digest.
func module(version string) []byte {
	return wasmtest.GoodWithMetadata(fmt.Sprintf(`{"name":"order","version":%q}`, version))
}

// file is the spec of a policy in a file.
func file(name, path string) wanted.Spec {
	return wanted.Spec{Name: name, Mode: wanted.Active, Source: wanted.Source{Kind: wanted.FromFile, At: path}}
}

// load loads a spec that must be good.
func (h *host) load(s wanted.Spec) reload.Version {
	h.t.Helper()
	v, err := h.Load(context.Background(), s)
	if err != nil {
		h.t.Fatal(err)
	}
	return v
}

// refused loads a spec that must be refused, and returns why.
func (h *host) refused(s wanted.Spec) *reason.Error {
	h.t.Helper()
	v, err := h.Load(context.Background(), s)
	var e *reason.Error
	if !errors.As(err, &e) {
		h.t.Fatalf("want a refusal, got %v; version %+v", err, v)
	}
	if v.State != reload.Refused || v.Code != e.Code || v.Text == "" {
		h.t.Errorf("the record says %s, %s, %q; the error %v", v.State, v.Code, v.Text, err)
	}
	return e
}

func (h *host) status(name string) reload.PolicyStatus {
	h.t.Helper()
	p, ok := h.Status().Find(name)
	if !ok {
		h.t.Fatalf("no status of %s", name)
	}
	return p
}

// jobs is a batch of n jobs at a time.
func jobs(n int, now int64) *policies.JobBatch {
	b := &policies.JobBatch{Call: policies.Call{Now: now, Cycle: 1}, N: n, Queue: "root.a"}
	for _, c := range []*[]int64{
		&b.Priority, &b.Submit, &b.Wait, &b.GPUs, &b.Dominant, &b.Min, &b.Size, &b.Running, &b.Attempts,
		&b.Duration, &b.Deadline, &b.Evicted, &b.UserShare, &b.Allocated, &b.Use, &b.Keys[0], &b.Keys[1], &b.Keys[2], &b.Keys[3],
	} {
		*c = make([]int64, n)
	}
	for _, c := range []*[]uint32{&b.Job, &b.User, &b.Reason} {
		*c = make([]uint32, n)
	}
	b.Elastic, b.Preemptible = make([]uint8, n), make([]uint8, n)
	b.Serial = make([]uint64, n)
	for i := range n {
		b.Job[i], b.Serial[i], b.Submit[i], b.Priority[i] = uint32(i), uint64(100+i), int64(i), int64(i%7)
	}
	return b
}

// ask asks the active policy for an order of three jobs.
func (h *host) ask(name string, now int64) error {
	h.t.Helper()
	p := h.named(name)
	if p == nil {
		h.t.Fatalf("%s is not active", name)
	}
	return p.ScoreJobs(context.Background(), jobs(3, now))
}

func states(v reload.Version) (out []reload.State) {
	for _, s := range v.History {
		out = append(out, s.State)
	}
	return out
}

func TestAPolicyGoesThroughAllStatesInOrder(t *testing.T) {
	h := newHost(t, func(o *reload.Options) {
		o.Check = func(context.Context, policies.Policy) (string, error) { return "64 batches", nil }
	})
	h.write("order.wasm", module("1.0.0"))
	v := h.load(file("order", "order.wasm"))
	want := []reload.State{reload.Fetched, reload.Verified, reload.Compiled, reload.Checked, reload.Active}
	if !slices.Equal(states(v), want) {
		t.Errorf("history %v, want %v", states(v), want)
	}
	if v.Name != "order" || v.Version != "1.0.0" || v.Check != "64 batches" || !trust.IsDigest(v.Digest) || len(v.Kinds) != 3 {
		t.Errorf("version %+v", v)
	}
	if err := h.ask("order", 0); err != nil {
		t.Error(err)
	}
	if got := h.status("order").Active.Calls.Calls; got != 1 {
		t.Errorf("%d calls counted", got)
	}
}

func TestABadNewVersionNeverDisturbsTheRunningOne(t *testing.T) {
	good := module("1.0.0")
	for name, c := range map[string]struct {
		bad  []byte
		code reason.Code
	}{
		"half written":     {good[:len(good)/2], "truncated"},
		"not Wasm":         {[]byte("<html>404</html>"), "not-wasm"},
		"empty":            {nil, "not-wasm"},
		"forbidden import": {wasmtest.ForbiddenImport(), "forbidden-import"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			h.write("order.wasm", good)
			first := h.load(file("order", "order.wasm"))
			swaps := h.swaps
			h.write("order.wasm", c.bad)
			if e := h.refused(file("order", "order.wasm")); e.Code != c.code && !(c.code == "not-wasm" && e.Code == "truncated") {
				t.Errorf("code %s, want %s (%v)", e.Code, c.code, e)
			}
			st := h.status("order")
			if st.Active == nil || st.Active.Digest != first.Digest || h.swaps != swaps {
				t.Errorf("the running version was disturbed: %+v, %d swaps more", st.Active, h.swaps-swaps)
			}
			if len(st.Past) != 1 || st.Past[0].State != reload.Refused {
				t.Errorf("the refused version is not remembered: %+v", st.Past)
			}
			if err := h.ask("order", 0); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestARollbackBringsTheVersionBeforeBackWithoutItsFile(t *testing.T) {
	h := newHost(t)
	h.write("order.wasm", module("1.0.0"))
	first := h.load(file("order", "order.wasm"))
	h.write("order.wasm", module("2.0.0"))
	h.load(file("order", "order.wasm"))
	if err := os.Remove(filepath.Join(h.dir, "order.wasm")); err != nil {
		t.Fatal(err)
	}
	v, err := h.Rollback("order")
	if err != nil || v.Digest != first.Digest || v.State != reload.Active || v.Code != reason.RolledBack {
		t.Fatalf("rolled back to %+v, %v", v, err)
	}
	if err := h.ask("order", 0); err != nil {
		t.Error(err)
	}
	if got := h.named("order").Info().Version; got != "1.0.0" {
		t.Errorf("version %s decides", got)
	}
	if _, err := h.Rollback("order"); err == nil {
		t.Error("there is nothing before the first version")
	}
}

func TestThreeTrapsQuarantineAndAReloadLifts(t *testing.T) {
	h := newHost(t)
	h.write("order.wasm", wasmtest.Trap())
	h.load(file("order", "order.wasm"))
	now := int64(5 * time.Second)
	for range 3 {
		if err := h.ask("order", now); policies.CodeOf(err) != policies.CodeTrap {
			t.Fatalf("want a trap, got %v", err)
		}
	}
	if err := h.ask("order", now); policies.CodeOf(err) != policies.CodeQuarantined {
		t.Fatalf("the fourth call: %v", err)
	}
	st := h.status("order").Active
	if st.State != reload.Quarantined || st.Code != "trap" || st.Until != now+int64(time.Second) || !strings.Contains(st.Text, "trap") {
		t.Errorf("status %s, code %s, until %d, %q", st.State, st.Code, st.Until, st.Text)
	}
	h.write("order.wasm", module("2.0.0"))
	if _, err := h.Reload(context.Background(), "order"); err != nil {
		t.Fatal(err)
	}
	if err := h.ask("order", now); err != nil {
		t.Errorf("after the reload: %v", err)
	}
}
