package doctor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/musterhq/muster/runtime/reload"
	"github.com/musterhq/muster/runtime/reload/wanted"
	"github.com/musterhq/muster/runtime/serve"
	"github.com/musterhq/muster/runtime/serve/view"
	"github.com/musterhq/muster/runtime/wasm/wasmtest"
)

// loaded is a policy of which a version decides that needs this ABI; "" is a built-in.
func loaded(name, needs string) serve.Policy {
	p := serve.Policy{Name: name, BuiltIn: needs == ""}
	if !p.BuiltIn {
		p.Active = &reload.Version{Number: 1, Name: name, Version: "1.0.0", ABI: needs, State: reload.Active}
	}
	return p
}

func TestVersionsOfTheABIThatDoNotAgreeAreTold(t *testing.T) {
	tooNew := loaded("order", "1.0")
	tooNew.Refused = &reload.Version{Version: "2.0.0", State: reload.Refused, Code: "bad-metadata", Text: "abi: needs ABI 1.7, this host speaks 1.1"}
	other := serve.Policy{Name: "order", Refused: &reload.Version{State: reload.Refused, Code: "abi-version", Text: "the module speaks ABI 2, this host speaks 1"}}
	broken := loaded("order", "1.0")
	broken.Refused = &reload.Version{Version: "2.0.0", State: reload.Refused, Code: "truncated", Text: "it ends in the middle"}
	shadowed := loaded("order", "1.0")
	shadowed.Shadow = &reload.Version{ABI: "1.1"}
	for name, c := range map[string]struct {
		list         []serve.Policy
		spoken, ours string
		state        State
		text         string
	}{
		"an old scheduler":           {nil, "", "1.1", Skipped, "does not say"},
		"built-ins only":             {[]serve.Policy{loaded("fifo", "")}, "1.1", "1.1", OK, "speaks policy ABI 1.1; no module is loaded"},
		"all alike":                  {[]serve.Policy{loaded("a", "1.0"), loaded("b", "1.0")}, "1.1", "1.1", OK, "the 2 modules it has need 1.0"},
		"a range, with the shadow":   {[]serve.Policy{shadowed}, "1.1", "1.1", OK, "the 2 modules it has need 1.0 to 1.1"},
		"ten is more than nine":      {[]serve.Policy{loaded("a", "1.10"), loaded("b", "1.9")}, "1.10", "1.10", OK, "1.9 to 1.10"},
		"refused for another reason": {[]serve.Policy{broken}, "1.1", "1.1", OK, "needs 1.0"},
		"a version that is too new":  {[]serve.Policy{tooNew}, "1.1", "1.7", Warning, "speaks policy ABI 1.1, which is not that of order 2.0.0: the version before decides"},
		"nothing else decides":       {[]serve.Policy{other}, "1.1", "1.1", Failure, "not that of order: a built-in decides"},
		"a scheduler that is behind": {[]serve.Policy{loaded("a", "1.0")}, "1.0", "1.1", Warning, "speaks policy ABI 1.0 and this muster 1.1"},
		"a scheduler that is ahead":  {[]serve.Policy{loaded("a", "1.2")}, "1.2", "1.1", OK, "needs 1.2"},
	} {
		got := abi(c.list, c.spoken, c.ours)
		if got.State != c.state || !strings.Contains(got.Text, c.text) {
			t.Errorf("%s: %s %s", name, got.State, got.Text)
		}
		if got.State != OK && got.Hint == "" {
			t.Errorf("%s: no hint", name)
		}
	}
}

// What the check above is given comes from real modules, through the life cycle and the
// API: a module of another ABI is refused, and said to be.
func TestWhatAModuleNeedsIsKnownFromTheModule(t *testing.T) {
	m, err := reload.New(reload.Options{
		Swap: func(reload.Set) <-chan struct{} {
			retired := make(chan struct{})
			close(retired)
			return retired
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	load := func(module []byte) {
		t.Helper()
		path := filepath.Join(t.TempDir(), "order.wasm")
		if err := os.WriteFile(path, module, 0o600); err != nil {
			t.Fatal(err)
		}
		_, _ = m.Load(t.Context(), wanted.Spec{Name: "order", Source: wanted.Source{Kind: wanted.FromFile, At: path}}) // the status says what came of it
	}
	check := func(state State, text string) {
		t.Helper()
		list := serve.Policies(&view.Snapshot{}, m.Status(), nil)
		if got := abi(list, view.PolicyABI, view.PolicyABI); got.State != state || !strings.Contains(got.Text, text) {
			t.Errorf("%s %s %v", got.State, got.Text, got.Details)
		}
	}
	load(wasmtest.OtherVersion())
	check(Failure, "a built-in decides instead")
	load(wasmtest.GoodWithMetadata(`{"name":"order","version":"1.0.0","abi":{"major":1,"minMinor":1}}`))
	check(OK, "the one module it has needs 1.1")
	load(wasmtest.GoodWithMetadata(`{"name":"order","version":"2.0.0","abi":{"major":1,"minMinor":99}}`))
	check(Warning, "the version before decides")
	load(wasmtest.Good())
	check(OK, "the one module it has needs 1.0")
}
