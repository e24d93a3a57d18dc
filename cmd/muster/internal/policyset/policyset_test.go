package policyset

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/musterhq/muster/builtin/order"
	"github.com/musterhq/muster/builtin/pack"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/policies"
	"github.com/musterhq/muster/runtime/sim/trace"
	"github.com/musterhq/muster/runtime/wasm/guests"
	"github.com/musterhq/muster/runtime/wasm/wasmtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func write(t *testing.T, name string, bin []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, bin, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func loader(t *testing.T) *Loader {
	t.Helper()
	l := &Loader{}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func TestEveryBuiltInPassesItsTrial(t *testing.T) {
	for _, name := range order.Names(policies.JobOrder | policies.QueueShares | policies.VictimCosts) {
		p, _ := order.Builtin(name)
		if err := Probe(t.Context(), p); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestEveryShippedModulePassesItsTrial(t *testing.T) {
	l := loader(t)
	for _, name := range []string{"fifo", "fifo-reversed", "priority-fifo", "fair", "guaranteed-fair", "least-lost-work"} {
		path, err := guests.Path(name)
		if err != nil {
			t.Fatal(err)
		}
		m, err := l.Load(t.Context(), path)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if m.Info().Name != name {
			t.Errorf("%s is called %s", name, m.Info().Name)
		}
	}
}

func TestAModuleThatCanNotDecideIsRefusedByItsPath(t *testing.T) {
	for name, c := range map[string]struct {
		bin  []byte
		code policies.Code
	}{
		"trap": {wasmtest.Trap(), policies.CodeTrap}, "nan": {wasmtest.NaN(), policies.CodeBadOutput},
		"length": {wasmtest.BadLength(), policies.CodeABI}, "keys": {wasmtest.FiveKeys(), policies.CodeBadOutput},
	} {
		path := write(t, name+".wasm", c.bin)
		_, err := loader(t).Load(t.Context(), path)
		var file *FileError
		var probe *ProbeError
		if !errors.As(err, &file) || file.Path != path || !errors.As(err, &probe) {
			t.Errorf("%s: got %v", name, err)
			continue
		}
		if probe.Call.Code != c.code {
			t.Errorf("%s: want %s, got %s", name, c.code, probe.Call.Code)
		}
	}
}

func TestAFileIsLoadedOnce(t *testing.T) {
	l := loader(t)
	path := write(t, "good.wasm", wasmtest.Good())
	a, err := l.Load(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := l.Load(t.Context(), path); err != nil || a != b {
		t.Fatalf("another module, %v", err)
	}
}

func TestTheNamedPoliciesDecideInEveryQueueAndTheTraceIsNotChanged(t *testing.T) {
	tr := trace.Talk1()
	tr.Queues.Root.Children[0].JobOrder = "priority-fifo"
	path := write(t, "good.wasm", wasmtest.Good())
	set, tree, err := loader(t).Set(t.Context(), Names{JobOrder: "fair", Victims: path, Placement: "binpack"}, tr.Queues)
	if err != nil {
		t.Fatal(err)
	}
	if set.Placement != pack.BinPack {
		t.Errorf("placement %v", set.Placement)
	}
	if set.Named[path] == nil || len(set.Named) != 1 {
		t.Errorf("named %v", set.Named)
	}
	for _, q := range append([]*spec.Queue{tree.Root}, tree.Root.Children...) {
		if q.JobOrder != "fair" || q.Victims != path || q.Fairness != "" {
			t.Errorf("%s has %q, %q and %q", q.Name, q.JobOrder, q.Victims, q.Fairness)
		}
	}
	if tr.Queues.Root.JobOrder != "" || tr.Queues.Root.Children[0].JobOrder != "priority-fifo" {
		t.Error("the trace's own queues were changed")
	}
}

func TestWhatNobodyKnowsIsRefusedWithWhatThereIs(t *testing.T) {
	for _, c := range []struct {
		names Names
		want  string
	}{
		{Names{JobOrder: "sjf"}, `job-order: there is no built-in policy "sjf"`},
		{Names{Fairness: "fifo"}, `fairness: there is no built-in policy "fifo" that decides queue_shares`},
		{Names{Placement: "anywhere"}, "unknown placement strategy"},
		{Names{Victims: "absent.wasm"}, "cannot read policy absent.wasm"},
	} {
		_, _, err := loader(t).Set(t.Context(), c.names, trace.Talk1().Queues)
		var e *Error
		if !errors.As(err, &e) || !strings.Contains(e.Problem, c.want) || e.Hint == "" {
			t.Errorf("%+v: got %v", c.names, err)
		}
	}
}
