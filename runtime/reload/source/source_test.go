package source

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/musterhq/muster/policies"
	"github.com/musterhq/muster/runtime/reload/reason"
	"github.com/musterhq/muster/runtime/reload/trust"
	"github.com/musterhq/muster/runtime/reload/wanted"
	"github.com/musterhq/muster/runtime/wasm/wasmtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
}

func module(name, version string) []byte {
	return wasmtest.GoodWithMetadata(fmt.Sprintf(`{"name":%q,"version":%q}`, name, version))
}

func fetch(t *testing.T, kind wanted.SourceKind, at string) *Artifact {
	t.Helper()
	a, err := Fetch(context.Background(), wanted.Source{Kind: kind, At: at}, "", Options{})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func notFetched(t *testing.T, kind wanted.SourceKind, at string) *reason.Error {
	t.Helper()
	a, err := Fetch(context.Background(), wanted.Source{Kind: kind, At: at}, "", Options{})
	var e *reason.Error
	if !errors.As(err, &e) {
		t.Fatalf("want a refusal, got %+v, %v", a, err)
	}
	return e
}

func TestAModuleIsReadWithWhatItSaysOfItself(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "order.wasm")
	write(t, path, module("order", "1.2.3"))
	a := fetch(t, wanted.FromFile, path)
	all := policies.JobOrder | policies.QueueShares | policies.VictimCosts
	if a.Name != "order" || a.Version != "1.2.3" || a.Kinds != all || a.IsRules() || a.Content != trust.Digest(module("order", "1.2.3")) || a.Signed != a.Content {
		t.Errorf("%+v", a)
	}
	rel, err := Fetch(context.Background(), wanted.Source{Kind: wanted.FromFile, At: "order.wasm"}, "", Options{Dir: dir})
	if err != nil || rel.Content != a.Content {
		t.Errorf("relative to a folder: %v", err)
	}
}

func TestFilesThatCannotBeAPolicyAreToldApart(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "huge.wasm"), make([]byte, MaxModule+1))
	write(t, filepath.Join(dir, "two", "a.wasm"), module("a", "1"))
	write(t, filepath.Join(dir, "two", "b.wasm"), module("b", "1"))
	write(t, filepath.Join(dir, "text", "README.md"), []byte("x"))
	if err := os.Mkdir(filepath.Join(dir, "empty"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		kind wanted.SourceKind
		at   string
		code reason.Code
	}{
		{wanted.FromFile, "nowhere.wasm", reason.NotFound},
		{wanted.FromFile, "empty", reason.Unreadable},
		{wanted.FromFile, "huge.wasm", reason.TooLarge},
		{wanted.FromFolder, "nowhere", reason.NotFound},
		{wanted.FromFolder, "empty", reason.EmptyFolder},
		{wanted.FromFolder, "text", reason.EmptyFolder},
		{wanted.FromFolder, "two", reason.Ambiguous},
		{"ftp", "x", reason.NotFound},
	} {
		if e := notFetched(t, c.kind, filepath.Join(dir, c.at)); e.Code != c.code || e.Hint == "" {
			t.Errorf("%s:%s: %v", c.kind, c.at, e)
		}
	}
}

func TestAFolderGivesItsNewestVersion(t *testing.T) {
	for _, c := range []struct {
		want     string
		versions []string
	}{
		{"1.10.0", []string{"1.9.0", "1.10.0", "1.2.0"}},
		{"2.0.0", []string{"2.0.0", "2.0.0-rc1"}},
		{"2.0.0-rc9", []string{"2.0.0-rc9", "2.0.0-rc10", "1.9.9"}}, // words are compared as words, as in semantic versions
		{"2.0.0-beta.11", []string{"2.0.0-beta.2", "2.0.0-beta.11"}},
		{"v3", []string{"v3", "2.9"}},
		{"", []string{""}},
	} {
		dir := t.TempDir()
		for i, v := range c.versions {
			write(t, filepath.Join(dir, fmt.Sprintf("%d.wasm", i)), module("order", v))
		}
		if a := fetch(t, wanted.FromFolder, dir); a.Version != c.want {
			t.Errorf("of %v version %s, want %s", c.versions, a.Version, c.want)
		}
	}
}

func TestAFolderOfRulesHasOneDigestWhateverItsTimesAndOtherFiles(t *testing.T) {
	one, two := t.TempDir(), filepath.Join(t.TempDir(), "other")
	for _, dir := range []string{one, two} {
		write(t, filepath.Join(dir, "admission.rego"), []byte("package muster.admission\n"))
		write(t, filepath.Join(dir, "data", "data.json"), []byte("{}"))
	}
	write(t, filepath.Join(two, "README.md"), []byte("not a rule"))
	write(t, filepath.Join(two, ".git", "x.rego"), []byte("hidden"))
	a, b := fetch(t, wanted.FromFolder, one), fetch(t, wanted.FromFolder, two)
	if a.Content != b.Content || !a.IsRules() || len(b.Files) != 2 {
		t.Errorf("%s and %s, files %v", a.Content, b.Content, len(b.Files))
	}
	x, err := a.Tar()
	if err != nil {
		t.Fatal(err)
	}
	if y, _ := b.Tar(); trust.Digest(x) != trust.Digest(y) {
		t.Error("the same rules are packed in two ways")
	}
	write(t, filepath.Join(one, "data", "data.json"), []byte("{ }"))
	if c := fetch(t, wanted.FromFolder, one); c.Content == a.Content {
		t.Error("a change of the data does not change the digest")
	}
	path, err := a.WriteTo(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(filepath.Join(path, "data", "data.json")); err != nil || string(text) != "{}" {
		t.Errorf("what was read is not what is written: %q, %v", text, err)
	}
}

func TestABundleIsTakenForRules(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "src", "a.rego"), []byte("package a\n"))
	packed, err := fetch(t, wanted.FromFolder, filepath.Join(dir, "src")).Tar()
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "rules.tar.gz"), packed)
	a := fetch(t, wanted.FromFile, filepath.Join(dir, "rules.tar.gz"))
	if !a.IsRules() || a.Content != trust.Digest(packed) {
		t.Errorf("%+v", a)
	}
	if path, err := a.WriteTo(dir); err != nil || filepath.Base(path) != "bundle.tar.gz" {
		t.Errorf("%s, %v", path, err)
	}
}

func TestSignaturesBesideAFileAreOfThisVersionOnly(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "order.wasm")
	write(t, path, module("order", "1"))
	a := fetch(t, wanted.FromFile, path)
	if len(a.Signatures) != 0 {
		t.Fatal("there is no signature yet")
	}
	text, err := trust.EncodeFile(a.Signed, []trust.Signature{{Scheme: trust.Muster, Bytes: []byte("x")}})
	if err != nil {
		t.Fatal(err)
	}
	write(t, path+trust.Extension, text)
	signed := fetch(t, wanted.FromFile, path)
	if len(signed.Signatures) != 1 || signed.Fingerprint() == a.Fingerprint() || signed.Content != a.Content {
		t.Errorf("%d signatures, fingerprints %s and %s", len(signed.Signatures), signed.Fingerprint(), a.Fingerprint())
	}
	write(t, path, module("order", "2"))
	if old := fetch(t, wanted.FromFile, path); len(old.Signatures) != 0 {
		t.Error("a signature of the version before counts")
	}
	write(t, path+trust.Extension, []byte("{"))
	if e := notFetched(t, wanted.FromFile, path); e.Code != reason.Unsigned || !e.Again {
		t.Errorf("a damaged signature file: %v", e)
	}
}
