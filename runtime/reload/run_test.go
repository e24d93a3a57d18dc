package reload_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/musterhq/muster/runtime/reload"
	"github.com/musterhq/muster/runtime/reload/oci"
	"github.com/musterhq/muster/runtime/reload/reason"
	"github.com/musterhq/muster/runtime/reload/wanted"
)

// running is a host that follows a policies.yaml until the test ends.
type running struct {
	*host
	yaml, status string
}

func follow(t *testing.T, yaml string, change ...func(*reload.Options)) *running {
	t.Helper()
	r := &running{}
	r.host = newHost(t, append(change, func(o *reload.Options) {
		r.status = filepath.Join(o.Source.Dir, "status.json")
		o.StatusFile = r.status
	})...)
	r.yaml = filepath.Join(r.dir, "policies.yaml")
	if yaml != "" {
		r.write("policies.yaml", []byte(yaml))
	}
	ctx, cancel := context.WithCancel(context.Background())
	end := make(chan error, 1)
	go func() { end <- r.Run(ctx, r.yaml) }()
	t.Cleanup(func() {
		cancel()
		if err := <-end; !errors.Is(err, context.Canceled) {
			t.Errorf("Run ended with %v", err)
		}
	})
	return r
}

// becomes waits until the status file says so of a policy.
func (r *running) becomes(what string, ok func(reload.Status) bool) {
	r.t.Helper()
	var last reload.Status
	defer func() {
		if r.t.Failed() {
			text, _ := json.MarshalIndent(last, "", " ")
			r.t.Logf("status %s", text)
		}
	}()
	eventually(r.t, what, func() bool {
		s, err := reload.ReadStatus(r.status)
		if err != nil {
			return false
		}
		last = s
		return ok(s)
	})
}

func active(name, version string) func(reload.Status) bool {
	return func(s reload.Status) bool {
		p, _ := s.Find(name)
		return p.Active != nil && p.Active.Version == version && p.Active.State == reload.Active
	}
}

const oneOrder = "policies:\n  - name: order\n    source: {file: order.wasm}\n"

func TestARunningSchedulerFollowsItsFiles(t *testing.T) {
	r := follow(t, "")
	r.becomes("there is no file yet", func(s reload.Status) bool { return len(s.Problems) == 1 })
	r.write("order.wasm", module("1.0.0"))
	r.write("policies.yaml", []byte(oneOrder))
	r.becomes("loaded", active("order", "1.0.0"))

	r.write("order.wasm", module("2.0.0")) // in place
	r.becomes("a new version", active("order", "2.0.0"))

	r.write("next.wasm", module("3.0.0")) // by a rename
	if err := os.Rename(filepath.Join(r.dir, "next.wasm"), filepath.Join(r.dir, "order.wasm")); err != nil {
		t.Fatal(err)
	}
	r.becomes("a renamed version", active("order", "3.0.0"))

	half := module("4.0.0")
	r.write("order.wasm", half[:len(half)/2])
	r.becomes("a half file is refused, the version before goes on", func(s reload.Status) bool {
		p, _ := s.Find("order")
		return active("order", "3.0.0")(s) && len(p.Past) > 0 && p.Past[0].State == reload.Refused
	})
	r.write("order.wasm", half)
	r.becomes("the other half came", active("order", "4.0.0"))

	r.write("policies.yaml", []byte("policies:\n  - nme: order\n"))
	r.becomes("a bad policies.yaml changes nothing", func(s reload.Status) bool {
		return len(s.Problems) > 0 && strings.Contains(s.Problems[0], "nme") && active("order", "4.0.0")(s)
	})
	if err := os.Remove(filepath.Join(r.dir, "order.wasm")); err != nil {
		t.Fatal(err)
	}
	r.write("policies.yaml", []byte(oneOrder+"    limits: {timeout: 1s}\n"))
	r.becomes("the module is gone, what runs goes on", func(s reload.Status) bool {
		p, _ := s.Find("order")
		return active("order", "4.0.0")(s) && len(p.Past) > 0 && p.Past[0].Code == reason.NotFound && len(s.Problems) == 0
	})
	r.write("policies.yaml", []byte("policies: []\n"))
	r.becomes("nothing is wanted any more", func(s reload.Status) bool {
		p, _ := s.Find("order")
		return p.Active == nil
	})
}

func TestOperatorsAskThroughTheFolderBesideTheFile(t *testing.T) {
	r := follow(t, oneOrder)
	r.write("order.wasm", module("1.0.0"))
	r.becomes("loaded", active("order", "1.0.0"))
	r.write("order.wasm", module("2.0.0"))
	r.becomes("a new version", active("order", "2.0.0"))
	ask := func(op string) {
		t.Helper()
		if err := reload.Ask(r.yaml, reload.Request{Op: op, Name: "order", By: "ann"}); err != nil {
			t.Fatal(err)
		}
	}
	ask(reload.OpRollback)
	r.becomes("rolled back", active("order", "1.0.0"))
	time.Sleep(300 * time.Millisecond)
	if got := r.status1().Active.Version; got != "1.0.0" {
		t.Errorf("what was rolled back came again by itself: %s", got)
	}
	ask(reload.OpReload)
	r.becomes("reloaded", active("order", "2.0.0"))
	ask("explode")
	r.becomes("nonsense is told", func(s reload.Status) bool {
		return len(s.Problems) > 0 && strings.Contains(s.Problems[0], "explode")
	})
	if left, err := os.ReadDir(r.yaml + ".requests"); err != nil || len(left) != 0 {
		t.Errorf("requests are left: %v, %v", left, err)
	}
}

func (r *running) status1() reload.PolicyStatus { return r.host.status("order") }

func TestAPolicyAppliedTwiceIsLoadedOnce(t *testing.T) {
	h := newHost(t)
	h.write("order.wasm", module("1.0.0"))
	f, problems := wanted.Parse("policies.yaml", []byte(oneOrder+"  - name: gone\n    source: {file: gone.wasm}\n"))
	if f == nil {
		t.Fatal(problems)
	}
	for range 3 {
		if err := h.Apply(context.Background(), f); err == nil || !strings.Contains(err.Error(), "policy gone") {
			t.Errorf("the one that is not there: %v", err)
		}
	}
	if h.swaps != 1 {
		t.Errorf("%d swaps", h.swaps)
	}
	f.Policies[0].Params = map[string]any{"x": 1}
	err := h.Apply(context.Background(), f)
	if err == nil || !strings.Contains(err.Error(), "bad-params") {
		t.Errorf("a setting that it does not have: %v", err)
	}
	if err := h.ask("order", 0); err != nil {
		t.Error(err)
	}
}

// A registry: a tag is resolved once; what fails for a while is tried again.
func TestATagIsFrozenAndARegistryThatIsDownIsTriedAgain(t *testing.T) {
	real := registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(true))
	var down atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if down.Load() {
			http.Error(w, "down", http.StatusInternalServerError)
			return
		}
		real.ServeHTTP(w, r)
	}))
	defer server.Close()
	opt := oci.Options{Client: server.Client()}
	ref, err := oci.Parse(strings.TrimPrefix(server.URL, "http://") + "/policies/order:1")
	if err != nil {
		t.Fatal(err)
	}
	ref.PlainHTTP = true
	push := func(version string) string {
		t.Helper()
		d, err := oci.Push(context.Background(), ref, oci.Package{MediaType: oci.MediaModule, Content: module(version)}, opt)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	first := push("1.0.0")
	down.Store(true)
	at := fmt.Sprintf("policies:\n  - name: order\n    source: {oci: %q, plainHTTP: true}\n", strings.TrimPrefix(ref.String(), "oci:"))
	r := follow(t, at, func(o *reload.Options) { o.Source.OCI = opt })
	r.becomes("the registry is down", func(s reload.Status) bool {
		p, _ := s.Find("order")
		return len(p.Past) > 0 && p.Past[0].Code == reason.RegistryError
	})
	down.Store(false)
	r.becomes("it came back", active("order", "1.0.0"))
	if origin := r.status1().Active.Origin; !strings.HasSuffix(origin, "@"+first) {
		t.Errorf("origin %s", origin)
	}
	second := push("2.0.0")
	r.write("something", nil) // wakes the follower
	time.Sleep(300 * time.Millisecond)
	if got := r.status1().Active.Version; got != "1.0.0" {
		t.Errorf("the tag moved, and so did the policy: %s", got)
	}
	if v, err := r.Reload(context.Background(), "order"); err != nil || v.Version != "2.0.0" || !strings.HasSuffix(v.Origin, second) {
		t.Errorf("%+v, %v", v, err)
	}
	server.Client().CloseIdleConnections()
}

func TestTheHistoryIsBounded(t *testing.T) {
	h := newHost(t)
	h.write("order.wasm", module("1.0.0"))
	s := file("order", "order.wasm")
	for range 40 {
		h.load(s)
	}
	text, err := json.Marshal(h.Status())
	if err != nil || len(text) > 64<<10 {
		t.Errorf("%d bytes of status, %v", len(text), err)
	}
}
