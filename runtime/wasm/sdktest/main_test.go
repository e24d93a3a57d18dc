package sdktest

import (
	"errors"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/musterhq/muster/builtin/order"
	"github.com/musterhq/muster/policies"
	"github.com/musterhq/muster/runtime/wasm"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var root = filepath.Join("..", "..", "..")

// example loads the example in a language, or skips the test.
func example(t testing.TB, language string, params map[string]any) *wasm.Module {
	t.Helper()
	bin, err := Example(root, language)
	var missing *Missing
	if errors.As(err, &missing) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	m, err := wasm.Load(t.Context(), bin, wasm.Options{Name: "aged-sjf-" + language, Timeout: wasm.NoTimeout, Params: params})
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

// each runs a test for every language.
func each(t *testing.T, test func(t *testing.T, language string, m *wasm.Module)) {
	for _, language := range Languages() {
		t.Run(language, func(t *testing.T) { test(t, language, example(t, language, nil)) })
	}
}

// native is the built-in of the same rule.
func native(t testing.TB, params map[string]any) policies.Policy {
	t.Helper()
	p, err := order.Configured("sjf-aged", params)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// blank is a batch of n jobs without values.
func blank(n int) *policies.JobBatch {
	b := &policies.JobBatch{N: n, Queue: "root.a", Duration: make([]int64, n), Wait: make([]int64, n)}
	for i := range b.Keys {
		b.Keys[i] = make([]int64, n)
	}
	return b
}

// twin is a batch of the same values with outputs of its own.
func twin(b *policies.JobBatch) *policies.JobBatch {
	c := *b
	for i := range c.Keys {
		c.Keys[i] = make([]int64, b.N)
	}
	return &c
}
