package report

import (
	"encoding/json"
	"encoding/xml"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func sample() *Report {
	r := &Report{
		Kind:   Kind,
		Policy: Policy{Name: "fair", Version: "1.0.0", Digest: "sha256:0011", ABI: "1.0", Kinds: []string{"job_order"}},
		Suite:  Suite{Version: "1.0.0", Laws: "sha256:22", Seed: 7},
		Host:   Machine{Version: "(devel)", Arch: "linux/amd64"},
		Claims: Claims{Confirmed: []string{"time-shift"}},
		Measured: Measured{
			Bytes: 5, PeakPages: 40, Fuel: []Fuel{{"job_order", 100, 12.5, 0.999}},
			Time: &Time{CompileMs: 30, NanosecondsARow: map[string]float64{"job_order": 40}, SuiteSeconds: 2},
		},
		Laws: []Law{
			{ID: "core/a", Profile: "core", Severity: "must", Outcome: Kept, Statement: "A holds."},
			{ID: "core/b", Profile: "core", Severity: "must", Outcome: Skipped, Note: "for modules only"},
			{ID: "order/c", Profile: "job-order", Severity: "should", Outcome: Broken, What: `1 < 2 & "3"`, Statement: "C <holds>."},
			{ID: "order/d", Profile: "strict", Severity: "claimed", Outcome: NotClaimed},
		},
		Failures: []Failure{{Law: "order/c", What: "seen", Seed: 7, Batch: []byte("MSTR1"), With: []byte("MSTR2")}},
	}
	r.Judge([]string{"core", "job-order", "fairness", "strict"})
	return r
}

func TestALawThatShouldHoldMakesAReportPartialAndOneThatMustFailsIt(t *testing.T) {
	r := sample()
	if r.Result != Partial || len(r.Profiles) != 2 {
		t.Errorf("%s with %+v", r.Result, r.Profiles)
	}
	r.Laws[0].Outcome = Broken
	r.Judge([]string{"core", "job-order"})
	core, _ := r.Profile("core")
	if r.Result != Failed || core.Result != Failed || core.Broken != 1 || core.Skipped != 1 || core.Failed[0] != "core/a" {
		t.Errorf("%s, core %+v", r.Result, core)
	}
}

func TestAReportIsReadBackAsItWasWritten(t *testing.T) {
	want := sample()
	src, err := want.YAML()
	if err != nil {
		t.Fatal(err)
	}
	got, err := Read(src)
	if err != nil {
		t.Fatalf("%v\n%s", err, src)
	}
	want.Failures = nil
	for i := range want.Laws {
		want.Laws[i].Statement = "" // the document of the suite has it
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	for _, bad := range []string{"", "kind: Pod\n", "kind: [\n"} {
		if _, err := Read([]byte(bad)); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

func TestWriteLeavesEveryFile(t *testing.T) {
	dir := t.TempDir()
	paths, err := sample().Write(dir)
	if err != nil {
		t.Fatal(err)
	}
	if want := 5 + 3; len(paths) != want {
		t.Errorf("%d files, want %d: %q", len(paths), want, paths)
	}
	read := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	if got := string(read("repro/order-c.seed7.other.mbatch")); got != "MSTR2" {
		t.Errorf("the second batch is %q", got)
	}
	if side := string(read("repro/order-c.seed7.yaml")); !strings.Contains(side, "law: order/c") || !strings.Contains(side, "order-c.seed7.mbatch") {
		t.Error(side)
	}
	var shield struct{ Message string }
	if err := json.Unmarshal(read(FileShield), &shield); err != nil || shield.Message != "partial" {
		t.Error(shield, err)
	}
	for _, name := range []string{FileBadge, FileJUnit} {
		if err := xml.Unmarshal(read(name), new(struct{ XMLName xml.Name })); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	page := string(read(FileHTML))
	if !strings.Contains(page, "<dd>time-shift</dd>") || !strings.Contains(page, "<dt>refuted</dt><dd>none</dd>") {
		t.Error("the page does not say which claims are confirmed and refuted")
	}
	if !strings.Contains(page, "1 &lt; 2 &amp; &#34;3&#34;") || strings.Contains(page, "http") || strings.Contains(page, "<script") {
		t.Error("the page does not escape what was seen, or needs something from elsewhere")
	}
}

func TestASecondReportRemovesTheFailuresOfTheFirst(t *testing.T) {
	dir := t.TempDir()
	r := sample()
	if _, err := r.Write(dir); err != nil {
		t.Fatal(err)
	}
	r.Failures = nil
	if _, err := r.Write(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, DirRepro)); !os.IsNotExist(err) {
		t.Error("what broke once is still there", err)
	}
}

func TestJUnitFailsOnlyForWhatCounts(t *testing.T) {
	r := sample()
	out, err := r.JUnit()
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(out), "<failure") || !strings.Contains(string(out), "should hold: 1 &lt; 2") {
		t.Errorf("%s", out)
	}
	r.Laws[2].Severity = "must"
	if out, _ = r.JUnit(); !strings.Contains(string(out), "<failure") {
		t.Errorf("%s", out)
	}
}
