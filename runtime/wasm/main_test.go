package wasm_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/musterhq/muster/runtime/wasm"
	"github.com/musterhq/muster/runtime/wasm/guests"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// trusted are the options of most tests: only fuel ends a call, so that a slow machine
// changes nothing. limited has the watchdog too.
var (
	trusted = wasm.Options{Timeout: wasm.NoTimeout}
	limited = wasm.Options{}
)

// library loads a policy of policies/library.
func library(t testing.TB, name string, opt wasm.Options) *wasm.Module {
	t.Helper()
	bin, err := guests.Build(name)
	if err != nil {
		t.Fatal(err)
	}
	opt.Name = name
	m, err := wasm.Load(t.Context(), bin, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}
