package operator

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/musterhq/muster/runtime/reload/trust"
	"github.com/musterhq/muster/runtime/reload/wanted"
)

const commented = `# what our cluster runs
policies:
  # the order of everybody
  - name: order
    source: {file: order.wasm} # since May
  - name: shares
    source: {file: shares.wasm}
`

func put(t *testing.T, text string, s wanted.Spec) (string, *wanted.File) {
	t.Helper()
	out, err := Put("policies.yaml", []byte(text), s)
	if err != nil {
		t.Fatal(err)
	}
	f, problems := wanted.Parse("policies.yaml", out)
	if err := problems.Err(); err != nil {
		t.Fatalf("%v in\n%s", err, out)
	}
	return string(out), f
}

func TestAPolicyIsPutInPlaceOfTheOneOfItsNameAndEverythingElseStays(t *testing.T) {
	text, f := put(t, commented, wanted.Spec{Name: "order", Source: wanted.Source{Kind: wanted.FromFile, At: "new.wasm"}, Params: map[string]any{"patience": int64(3)}})
	if len(f.Policies) != 2 || f.Policies[0].Source.At != "new.wasm" || f.Policies[0].Params["patience"] == nil || f.Policies[1].Name != "shares" {
		t.Errorf("%+v", f.Policies)
	}
	if !strings.HasPrefix(text, "# what our cluster runs\n") {
		t.Errorf("the comment is gone:\n%s", text)
	}
}

func TestAPolicyOfANewNameComesAtTheEnd(t *testing.T) {
	for name, text := range map[string]string{"some": commented, "none": "", "an empty list": "# ours\npolicies: []\n", "trust only": "trust:\n  keys: []\n"} {
		_, f := put(t, text, wanted.Spec{Name: "z", Source: wanted.Source{Kind: wanted.FromLayout, At: "b/z:1"}, Mode: wanted.Shadow, Beside: "order"})
		last := f.Policies[len(f.Policies)-1]
		if last.Name != "z" || last.Mode != wanted.Shadow || last.Beside != "order" || last.Source.At != "b/z:1" {
			t.Errorf("%s: %+v", name, last)
		}
	}
}

func TestHalfAPairOfKeysIsNeverLeft(t *testing.T) {
	path := filepath.Join(t.TempDir(), "k")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := NewKey(path, trust.Ed25519); err == nil {
		t.Fatal("it overwrote a file")
	}
	if _, err := os.Stat(path + ".pub"); err == nil {
		t.Error("the public half was left")
	}
}
