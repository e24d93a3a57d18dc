package manifest_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/musterhq/muster/hostabi"
	"github.com/musterhq/muster/runtime/manifest"
)

const aging = `# An order by size, softened by waiting.
name: aged-shortest
version: 1.2
abi: {major: 1, minMinor: 1}
kinds: [job_order]
columns:
  required: [job.gpus, job.duration, job.wait]
  optional: [job.label:team, "job.label:example.com/tier"]
params:
  - {name: aging, type: f64, default: 1, min: 0, max: 10, doc: "how fast waiting counts"}
  - name: floor
    type: duration
    default: 5m
    max: 2h
  - {name: label, type: string, default: "no"}
  - {name: strict, type: bool, default: false}
  - {name: top, type: i64, default: 9007199254740993}
keys:
  - {type: f64, order: desc}
  - {}
reasons: ["", "short", 'old: at last']
fuel: {base: 20_000, perRow: 45}
laws: [row-independent]
license: Apache-2.0
`

func TestAManifestBecomesMetadata(t *testing.T) {
	md, problems := manifest.Parse("policy.yaml", []byte(aging))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	want := hostabi.Metadata{
		Name: "aged-shortest", Version: "1.2", ABI: hostabi.ABIVersion{Major: 1, MinMinor: 1}, Kinds: []string{"job_order"},
		Columns: hostabi.ColumnNames{
			Required: []string{"job.gpus", "job.duration", "job.wait"},
			Optional: []string{"job.label:team", "job.label:example.com/tier"},
		},
		Params: []hostabi.Param{
			{Name: "aging", Type: "f64", Default: 1.0, Min: 0.0, Max: 10.0, Doc: "how fast waiting counts"},
			{Name: "floor", Type: "duration", Default: "5m", Max: "2h"},
			{Name: "label", Type: "string", Default: "no"},
			{Name: "strict", Type: "bool", Default: false},
			{Name: "top", Type: "i64", Default: int64(9007199254740993)},
		},
		Keys: []hostabi.Key{{Type: "f64", Order: "desc"}, {}}, Reasons: []string{"", "short", "old: at last"},
		Fuel: hostabi.Fuel{Base: 20000, PerRow: 45}, Laws: []string{"row-independent"}, License: "Apache-2.0",
	}
	if d := cmp.Diff(want, md); d != "" {
		t.Error(d)
	}
}

func TestAManifestThatSaysNoABIGetsTheLowestThatItNeeds(t *testing.T) {
	for text, want := range map[string]int{
		"name: a\nversion: 1\n": 0,
		"name: a\nversion: 1\nparams: [{name: b, type: bool, default: true}]\n": 1,
		"name: a\nversion: 1\ncolumns: {optional: [job.label:x]}\n":             1,
	} {
		md, problems := manifest.Parse("p", []byte(text))
		if problems != nil || md.ABI != (hostabi.ABIVersion{Major: 1, MinMinor: want}) {
			t.Errorf("%q: %+v, %v", text, md.ABI, problems)
		}
	}
}

// place is LINE:COL CODE of each problem.
func places(ps manifest.Problems) string {
	var out []string
	for _, p := range ps {
		out = append(out, strings.Join(strings.Fields(strings.SplitN(p.Error(), "]", 2)[0]), " ")+"]")
	}
	return strings.Join(out, "\n")
}

func TestEveryProblemIsSaidAtOnceWithPlaceCodeAndHint(t *testing.T) {
	const text = `name: my policy
abi: {major: 1, minMinor: 0}
kinds: [job_order, weather]
columns:
  required: [job.wait, job.duratoin, victim.cost]
  optional: [job.mood, victim.lost, job.wait]
colums: []
params:
  - {name: aging, type: f64, default: 11, min: 0, max: 10}
  - name: floor
    type: duration
    default: soon
  - [1, 2]
keys:
  - {type: u8}
reasons: short
fuel: {base: lots}
laws: [x, x]
laws: [y]
`
	_, problems := manifest.Parse("policy.yaml", []byte(text))
	want := `policy.yaml:1:1: error[missing-key]
policy.yaml:1:7: error[bad-name]
policy.yaml:2:6: error[abi-version]
policy.yaml:3:20: error[unknown-kind]
policy.yaml:5:24: error[bad-column]
policy.yaml:5:38: error[bad-column]
policy.yaml:6:14: warning[unknown-column]
policy.yaml:6:24: error[other-kind]
policy.yaml:6:37: error[twice]
policy.yaml:7:1: error[unknown-key]
policy.yaml:9:39: error[bad-param]
policy.yaml:12:14: error[bad-param]
policy.yaml:13:5: error[wrong-type]
policy.yaml:15:5: error[bad-key]
policy.yaml:16:10: error[wrong-type]
policy.yaml:17:14: error[bad-integer]
policy.yaml:18:11: error[twice]
policy.yaml:19:1: error[duplicate-key]`
	if d := cmp.Diff(want, places(problems)); d != "" {
		t.Errorf("(-want +got)\n%s\n%s", d, problems)
	}
	for _, p := range problems {
		if p.Hint == "" {
			t.Errorf("no hint: %s", p)
		}
	}
	if all := problems.Error(); !strings.Contains(all, "did you mean job.duration?") || !strings.Contains(all, "did you mean columns?") {
		t.Error(all)
	}
}

func TestTextThatIsNoManifestIsRefused(t *testing.T) {
	for text, code := range map[string]string{
		"name: [":                      manifest.CodeYAML,
		"\xff":                         manifest.CodeNotText,
		"name: a\x00":                  manifest.CodeNotText,
		strings.Repeat("# x\n", 1<<15): manifest.CodeTooLarge,
		strings.Repeat("[", 1<<15):     manifest.CodeTooDeep,
		strings.Repeat("- ", 1<<14):    manifest.CodeTooDeep,
		strings.Repeat("? ", 1<<14):    manifest.CodeTooDeep,
		strings.Repeat("[],", 1<<12):   manifest.CodeTooLarge,
		"name: &a x\nversion: *a":      manifest.CodeAlias,
		"name: !!str x\nversion: 1":    manifest.CodeAlias,
		"name: a\n---\nname: b":        manifest.CodeYAML,
		"- name":                       manifest.CodeWrongType,
		"":                             manifest.CodeMissing,
		"name: {a: b}\nversion: 1":     manifest.CodeWrongType,
	} {
		_, problems := manifest.Parse("p", []byte(text))
		if problems.Err() == nil || !slices.ContainsFunc(problems, func(p manifest.Problem) bool { return p.Code == code }) {
			t.Errorf("%.30q: got %v, want %s", text, problems, code)
		}
	}
}

func TestTheManifestsOfTheShippedPoliciesAreGood(t *testing.T) {
	files, err := filepath.Glob("../../policies/library/*/policy.yaml")
	if err != nil || len(files) < 6 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		src, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		md, problems := manifest.Parse(f, src)
		if problems != nil {
			t.Error(problems)
		}
		if want := filepath.Base(filepath.Dir(f)); md.Name != want {
			t.Errorf("%s: the name is %q", f, md.Name)
		}
	}
}

// FuzzParse: no text panics or takes long, every problem lies in the text, and what is
// good makes a section that a host reads back the same.
func FuzzParse(f *testing.F) {
	f.Add(aging)
	f.Add("name: a\nversion: 1\nparams: [{name: b, type: i64, default: 1e3}]\n")
	f.Add("a: [{b: - c}\n")
	f.Fuzz(func(t *testing.T, text string) {
		md, problems := manifest.Parse("p", []byte(text))
		lines := strings.Count(text, "\n") + 1
		for _, p := range problems {
			if p.Line < 1 || p.Line > lines+1 || p.Col < 1 || p.Code == "" || p.Message == "" {
				t.Fatalf("%+v", p)
			}
		}
		if problems.Err() != nil {
			return
		}
		raw, err := md.JSON()
		if err != nil {
			return // too large once it is written as JSON
		}
		back, err := hostabi.ParseMetadata(raw)
		if err != nil {
			t.Fatalf("%v\n%s", err, raw)
		}
		again, err := back.JSON()
		if err != nil || string(again) != string(raw) {
			t.Fatalf("%v\n%s\n%s", err, raw, again)
		}
	})
}
