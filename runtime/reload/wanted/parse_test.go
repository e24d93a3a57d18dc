package wanted

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/musterhq/muster/policies"
	"github.com/musterhq/muster/runtime/reload/trust"
)

var pin = "sha256:" + strings.Repeat("ab", 32)

func everything(t testing.TB) string {
	_, public, err := trust.Generate(trust.Ed25519)
	if err != nil {
		t.Fatal(err)
	}
	return `# policies of the big cluster
trust:
  keys:
    - id: platform-2026
      pem: |
        ` + strings.ReplaceAll(strings.TrimSpace(string(public)), "\n", "\n        ") + `
    - {id: security, file: keys/security.pub}
  sources:
    - oci:registry.example:5000/policies/*
    - match: file:tests/**
      unsigned: true
policies:
  - name: next
    source: {layout: "bundles/order:2.0"}
    mode: shadow
    beside: research-order
    kinds: [job_order]
    shadowFor: 24h
  - name: research-order
    source:
      oci: registry.example:5000/policies/order:1.4
      plainHTTP: false
    digest: ` + pin + `
    signedBy: [platform-2026, security]
    signatures: 2
    params: {half-life: 7d12h, weight: 3, factor: 0.5, strict: true}
    limits: {fuelBase: 2_000_000, fuelPerRow: 9000, memory: 16Mi, timeout: 25ms}
    shadowFor: 10m
  - name: rules
    source: {folder: rules}
  - name: fair
    source: {file: fair.wasm}
`
}

func TestEverythingThatAFileCanSayIsRead(t *testing.T) {
	f, problems := Parse("policies.yaml", []byte(everything(t)))
	if problems.Err() != nil {
		t.Fatal(problems)
	}
	f.Trust.Keys[0].PEM = "…"
	want := &File{
		Trust: &Trust{
			Keys:    []Key{{ID: "platform-2026", PEM: "…"}, {ID: "security", File: "keys/security.pub"}},
			Sources: []Allowed{{Match: "oci:registry.example:5000/policies/*"}, {Match: "file:tests/**", Unsigned: true}},
		},
		Policies: []Spec{
			{
				Name: "research-order", Source: Source{Kind: FromOCI, At: "registry.example:5000/policies/order:1.4"}, Digest: pin,
				SignedBy: []string{"platform-2026", "security"}, Signatures: 2, Mode: Active, ShadowFor: 10 * time.Minute,
				Params: map[string]any{"half-life": "7d12h", "weight": uint64(3), "factor": 0.5, "strict": true},
				Limits: Limits{FuelBase: 2_000_000, FuelPerRow: 9000, Memory: 16 << 20, Timeout: 25 * time.Millisecond},
			},
			{Name: "rules", Source: Source{Kind: FromFolder, At: "rules"}, Mode: Active},
			{Name: "fair", Source: Source{Kind: FromFile, At: "fair.wasm"}, Mode: Active},
			{
				Name: "next", Source: Source{Kind: FromLayout, At: "bundles/order:2.0"}, Mode: Shadow,
				Beside: "research-order", Kinds: policies.JobOrder, ShadowFor: 24 * time.Hour,
			},
		},
	}
	if diff := cmp.Diff(want, f); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// Each problem of a bad file is told, at its place.
func TestAllProblemsOfAFileAreToldAtOnce(t *testing.T) {
	text := `polices: []
trust:
  keys:
    - {id: a}
    - {id: a, file: x}
    - {id: b, pem: "-----BEGIN"}
  sources: ["ftp://x", "*********"]
policies:
  - name: two words
    source: {file: x.wasm}
  - name: x
    source: {file: a.wasm, oci: h/r:1}
    digest: sha256:123
    signedBy: [a, nobody]
    signatures: 3
  - name: x
    mode: shadows
    beside: y
    kinds: [jobs]
    shadowFor: -1s
    limits: {memory: 5Gi, fuelBase: 0, timeout: soon}
    params: {a: [1]}
  - source: {oci: "h/R"}
  -
  - 7
`
	f, problems := Parse("policies.yaml", []byte(text))
	if f != nil {
		t.Fatal("it was taken")
	}
	want := []string{
		"1:1 unknown-key", "5:7 trust-key", "4:7 trust-key", "6:7 trust-key", "7:13 trust-source", "7:24 trust-source",
		"9:11 policy-name", "12:13 policy-source", "13:13 digest", "14:19 unknown-signer", "15:17 policy-mode",
		"16:11 duplicate-policy", "16:5 policy-source", "17:11 bad-value", "18:13 policy-mode", "19:13 bad-value", "20:16 bad-duration",
		"21:22 policy-limit", "21:37 policy-limit", "21:49 bad-duration", "22:14 policy-param",
		"23:13 policy-source", "23:5 policy-name", "24:4 policy-name", "25:5 wrong-type",
	}
	var got []string
	for _, p := range problems {
		got = append(got, strings.TrimPrefix(strings.SplitN(p.Error(), ": ", 2)[0], "policies.yaml:")+" "+p.Code)
		if p.Message == "" || !slices.Contains(Codes(), p.Code) {
			t.Errorf("problem %+v", p)
		}
	}
	sort := func(a []string) []string { a = slices.Clone(a); slices.Sort(a); return a }
	if diff := cmp.Diff(sort(want), sort(got)); diff != "" {
		t.Errorf("-want +got:\n%s\n%v", diff, problems)
	}
}

func TestAKeyWithATypoIsGuessed(t *testing.T) {
	_, problems := Parse("p.yaml", []byte("policies:\n  - name: a\n    sorce: {file: x}\n"))
	if len(problems) == 0 || !strings.Contains(problems.Error(), "did you mean source?") {
		t.Errorf("problems %v", problems)
	}
}

func TestAnEmptyFileWantsNothing(t *testing.T) {
	for _, text := range []string{"", "# nothing\n", "policies: []\n", "{}", "policies:\n"} {
		f, problems := Parse("p.yaml", []byte(text))
		if problems.Err() != nil || f == nil || len(f.Policies) != 0 || f.Trust != nil {
			t.Errorf("%q: %+v, %v", text, f, problems)
		}
	}
}

func TestATrustSectionWithNothingInItAllowsNothing(t *testing.T) {
	f, problems := Parse("p.yaml", []byte("trust: {}\n"))
	if problems.Err() != nil {
		t.Fatal(problems)
	}
	if _, ok := f.Trust.Allow("file:x.wasm"); ok {
		t.Error("a source that nobody named is allowed")
	}
	if a, ok := (*Trust)(nil).Allow("file:x.wasm"); !ok || !a.Unsigned {
		t.Error("without the section everything is allowed")
	}
}

func TestPatternsOfSources(t *testing.T) {
	for _, c := range []struct {
		pattern, source string
		want            bool
	}{
		{"oci:reg.example/policies/*", "oci:reg.example/policies/order:1.0", true},
		{"oci:reg.example/policies/*", "oci:reg.example/policies/deep/order:1.0", false},
		{"oci:reg.example/policies/**", "oci:reg.example/policies/deep/order:1.0", true},
		{"oci:reg.example/*", "oci:reg.example.evil/x:1", false},
		{"file:policies/*.wasm", "file:policies/a.wasm", true},
		{"file:policies/*.wasm", "file:policies/a.wasm.txt", false},
		{"**", "layout:x:1", true},
		{"*", "file:a/b", false},
		{"file:a", "file:a", true},
		{"file:a", "file:ab", false},
	} {
		if got := match(c.pattern, c.source); got != c.want {
			t.Errorf("%s for %s: %t", c.pattern, c.source, got)
		}
	}
}

func TestNoDotsGetPastAPattern(t *testing.T) {
	for source, want := range map[Source]string{
		{Kind: FromFile, At: "policies/../../etc/x.wasm"}: "file:../etc/x.wasm",
		{Kind: FromFolder, At: "./rules//"}:               "folder:rules",
		{Kind: FromLayout, At: "a/../b:1"}:                "layout:b:1",
	} {
		if got := source.String(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(everything(f))
	for _, s := range []string{"[[[[", "- - - -", "policies: [{name: a, source: {file: b}}]", "a: &a [*a]", "<<: *a", "? a\n: b", "policies:\n  - !!str x\n", "{a:b: 1}", "trust: {keys: [{id: a, pem: \"x\"}]}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		file, problems := Parse("fuzz.yaml", []byte(text))
		if (file == nil) != (problems.Err() != nil) {
			t.Fatalf("file %v, problems %v", file, problems)
		}
		for _, p := range problems {
			if !slices.Contains(codes, p.Code) || p.Line < 1 || p.Col < 1 || p.Message == "" {
				t.Fatalf("problem %#v", p)
			}
		}
		if file == nil {
			return
		}
		for _, s := range file.Policies {
			if !name.MatchString(s.Name) || s.Source.At == "" || s.Limits.Memory < 0 || s.Mode != Active && s.Mode != Shadow {
				t.Fatalf("taken: %+v", s)
			}
			_, _ = file.Trust.Allow(s.Source.String())
		}
	})
}
