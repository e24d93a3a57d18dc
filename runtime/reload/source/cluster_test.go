package source_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/musterhq/muster/runtime/reload/reason"
	"github.com/musterhq/muster/runtime/reload/source"
	"github.com/musterhq/muster/runtime/reload/wanted"
)

func zipped(t *testing.T, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(b); err != nil || w.Close() != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// fromKeys fetches from a ConfigMap team/order with these keys.
func fromKeys(t *testing.T, at string, keys map[string][]byte) (*source.Artifact, error) {
	return source.Fetch(t.Context(), wanted.Source{Kind: wanted.FromConfigMap, At: at}, "", source.Options{
		ConfigMap: func(_ context.Context, namespace, name string) (map[string][]byte, error) {
			if namespace != "team" || name != "order" {
				return nil, reason.New(reason.NotFound, name, "", "there is no such ConfigMap")
			}
			return keys, nil
		},
	})
}

func TestAConfigMapThatHoldsNoPolicyIsRefusedWithWhatToDo(t *testing.T) {
	for name, tt := range map[string]struct {
		at   string
		keys map[string][]byte
		code reason.Code
		hint string
	}{
		"another ConfigMap":   {"team/other", nil, reason.NotFound, ""},
		"another key":         {"team/order/b.wasm", map[string][]byte{"a.wasm": {1}}, reason.NotFound, "its keys are a.wasm"},
		"nothing in it":       {"team/order", nil, reason.EmptyFolder, "name the key"},
		"data without rules":  {"team/order", map[string][]byte{"a.yaml": []byte("x: 1")}, reason.EmptyFolder, "name the key"},
		"two modules":         {"team/order", map[string][]byte{"a.wasm": {1}, "b.wasm.gz": {1}}, reason.Ambiguous, "name one as the key"},
		"not packed":          {"team/order", map[string][]byte{"a.wasm.gz": []byte("no")}, reason.NotAPolicy, "gzip"},
		"cut off":             {"team/order", map[string][]byte{"a.wasm.gz": zipped(t, make([]byte, 9999))[:20]}, reason.NotAPolicy, "gzip"},
		"a bomb":              {"team/order", map[string][]byte{"a.wasm.gz": zipped(t, make([]byte, source.MaxModule+1))}, reason.TooLarge, "debug"},
		"a damaged signature": {"team/order", map[string][]byte{"a.wasm": {1}, "a.wasm.sig": []byte("{")}, reason.Unsigned, "sign again"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := fromKeys(t, tt.at, tt.keys)
			var e *reason.Error
			if !errors.As(err, &e) || e.Code != tt.code || !strings.Contains(e.Hint, tt.hint) {
				t.Errorf("got %v", err)
			}
		})
	}
	if _, err := source.Fetch(t.Context(), wanted.Source{Kind: wanted.FromConfigMap, At: "team/order"}, "", source.Options{}); reason.Of(err).Code != reason.NotFound {
		t.Errorf("without a cluster: %v", err)
	}
}

func TestRulesInAClusterAreFiles(t *testing.T) {
	a, err := fromKeys(t, "team/order", map[string][]byte{"a.rego": []byte("package a"), "data.json": []byte("{}"), "README": nil})
	if err != nil {
		t.Fatal(err)
	}
	if got := slices.Sorted(maps.Keys(a.Files)); !a.IsRules() || !slices.Equal(got, []string{"a.rego", "data.json"}) {
		t.Errorf("files %v", got)
	}
	one, err := source.Fetch(t.Context(), wanted.Source{Kind: wanted.FromInline, At: "rules", Text: "package a"}, "", source.Options{})
	if err != nil || !one.IsRules() || string(one.Files["policy.rego"]) != "package a" {
		t.Errorf("inline: %+v, %v", one, err)
	}
	two, err := source.Fetch(t.Context(), wanted.Source{Kind: wanted.FromInline, At: "rules", Text: "package b"}, "", source.Options{})
	if err != nil || two.Content == one.Content || two.Fingerprint() == one.Fingerprint() {
		t.Errorf("another text has the same digest, %v", err)
	}
}
