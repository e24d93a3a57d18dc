package alerts

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// file is a rule file of Prometheus. Decoding is strict: a key with a typo would be
// passed over in silence.
type file struct {
	Groups []struct {
		Name  string `yaml:"name"`
		Rules []rule `yaml:"rules"`
	} `yaml:"groups"`
}

type rule struct {
	Alert       string            `yaml:"alert"`
	Record      string            `yaml:"record"`
	Expr        string            `yaml:"expr"`
	For         string            `yaml:"for"`
	Labels      map[string]string `yaml:"labels"`
	Annotations map[string]string `yaml:"annotations"`
}

func rules(t *testing.T) (out []rule) {
	t.Helper()
	var f file
	if err := yaml.UnmarshalWithOptions(Rules, &f, yaml.Strict()); err != nil {
		t.Fatal(err)
	}
	for _, g := range f.Groups {
		if g.Name == "" || len(g.Rules) == 0 {
			t.Errorf("a group without a name or rules: %+v", g)
		}
		out = append(out, g.Rules...)
	}
	return out
}

var (
	text   = regexp.MustCompile(`"[^"]*"`)
	metric = regexp.MustCompile(`\bmuster[:_][a-z0-9_:]+`)
)

// A rule about a series that no scheduler and no probe has never fires, and nobody notices.
func TestEverySeriesOfARuleIsOneThatThereIs(t *testing.T) {
	known := map[string]bool{}
	for _, folder := range []string{"runtime/serve/metrics", "gpuprobe/metrics"} {
		names, err := os.ReadFile(filepath.Join("..", "..", folder, "testdata", "names.txt"))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(names)) {
			name, _, _ := strings.Cut(line, "{")
			known[name] = true
		}
	}
	for _, r := range rules(t) {
		used := metric.FindAllString(text.ReplaceAllString(r.Expr, ""), -1)
		if len(used) == 0 {
			t.Errorf("%s%s: no series in %s", r.Alert, r.Record, r.Expr)
		}
		for _, name := range used {
			if !known[name] {
				t.Errorf("%s%s: there is no %s", r.Alert, r.Record, name)
			}
		}
		if r.Record != "" {
			known[r.Record] = true // for those that follow
		}
	}
}

func TestEveryAlertSaysHowBadItIsAndWhatToDo(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range rules(t) {
		if r.Record != "" {
			continue
		}
		if seen[r.Alert] || !strings.HasPrefix(r.Alert, "Muster") {
			t.Errorf("%s: names are of ours, and each is there once", r.Alert)
		}
		seen[r.Alert] = true
		if r.For == "" || r.Labels["severity"] != "warning" && r.Labels["severity"] != "info" || r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
			t.Errorf("%s: for, severity, summary or description is missing", r.Alert)
		}
	}
}

func TestEveryAlertIsShownToFireAndNotTo(t *testing.T) {
	text, err := os.ReadFile("muster.tests.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var f struct {
		Tests []struct {
			Alerts []struct {
				Name     string           `yaml:"alertname"`
				Expected []map[string]any `yaml:"exp_alerts"`
			} `yaml:"alert_rule_test"`
		} `yaml:"tests"`
	}
	if err := yaml.Unmarshal(text, &f); err != nil {
		t.Fatal(err)
	}
	fires, silent := map[string]bool{}, map[string]bool{}
	for _, test := range f.Tests {
		for _, a := range test.Alerts {
			if len(a.Expected) > 0 {
				fires[a.Name] = true
			} else {
				silent[a.Name] = true
			}
		}
	}
	for _, r := range rules(t) {
		if r.Alert != "" && (!fires[r.Alert] || !silent[r.Alert]) {
			t.Errorf("%s: muster.tests.yaml shows that it fires: %t, that it does not: %t", r.Alert, fires[r.Alert], silent[r.Alert])
		}
	}
}

// The module tools/alerts plays the tests in Prometheus' own engine. promtool does the same
// and is too large to be built for it; where it is in PATH, or named by MUSTER_PROMTOOL, it
// has the last word.
func TestPromtoolAgrees(t *testing.T) {
	tool := os.Getenv("MUSTER_PROMTOOL")
	if tool == "" {
		var err error
		if tool, err = exec.LookPath("promtool"); err != nil {
			t.Skip("there is no promtool in PATH; tools/alerts has played the rules")
		}
	}
	for _, args := range [][]string{{"check", "rules", "--lint-fatal", "muster.rules.yaml"}, {"test", "rules", "muster.tests.yaml"}} {
		if out, err := exec.Command(tool, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}
