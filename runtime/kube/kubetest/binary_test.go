package kubetest

import (
	"flag"
	"strings"
	"testing"
)

// recorder is a test that notes how it was ended.
type recorder struct {
	testing.TB
	skipped, failed string
}

func (*recorder) Helper() {}

func (r *recorder) Skipf(format string, args ...any) { r.skipped = format }

func (r *recorder) Fatalf(format string, args ...any) { r.failed = format }

func TestWithoutAClusterTestsAreSkippedButNotInCI(t *testing.T) {
	for ci, inCI := range map[string]bool{"": false, "false": false, "true": true} {
		t.Setenv("CI", ci)
		r := &recorder{TB: t}
		unavailable(r, "there is no network")
		if (r.failed != "") != inCI || (r.skipped != "") == inCI {
			t.Errorf("with CI=%q the test is skipped by %q and failed by %q", ci, r.skipped, r.failed)
		}
		if said := r.skipped + r.failed; !strings.Contains(said, "hint:") {
			t.Errorf("it doesn't say what to do: %q", said)
		}
	}
}

func TestWhoAsksForAShortRunGetsOneInCIToo(t *testing.T) {
	before := flag.Lookup("test.short").Value.String()
	t.Cleanup(func() { _ = flag.Set("test.short", before) })
	t.Setenv("CI", "true")
	if err := flag.Set("test.short", "true"); err != nil {
		t.Fatal(err)
	}
	r := &recorder{TB: t}
	binary(r)
	if r.failed != "" || !strings.Contains(r.skipped, "-short") {
		t.Errorf("the test is skipped by %q and failed by %q", r.skipped, r.failed)
	}
}

func TestTheLastLinesOfAText(t *testing.T) {
	for _, c := range []struct {
		text string
		n    int
		want string
	}{{"", 3, ""}, {"a\n", 3, "a"}, {"a\nb\nc\n", 2, "b\nc"}, {"a\nb", 2, "a\nb"}} {
		if got := lastLines(c.text, c.n); got != c.want {
			t.Errorf("the last %d of %q are %q", c.n, c.text, got)
		}
	}
}
