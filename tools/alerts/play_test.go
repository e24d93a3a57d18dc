package alerts

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The rules that we ship do what their tests say.
func TestOurAlertsFireWhenTheyShouldAndOnlyThen(t *testing.T) {
	files, err := filepath.Glob("../../deploy/alerts/*.tests.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, path := range files {
		f, err := Read(path)
		if err != nil {
			t.Fatal(err)
		}
		for i := range f.Tests {
			t.Run(f.Tests[i].Name, func(t *testing.T) {
				if err := f.Play(t.Context(), &f.Tests[i]); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

const rulesFile = `groups:
  - name: g
    rules:
      - {record: "busy:much", expr: busy > 3}
      - alert: Busy
        expr: busy:much
        for: 2m
        labels: {severity: info}
        annotations: {summary: '{{ $labels.queue }} has {{ $value | printf "%.1f" }}'}
`

const testFile = `rule_files: [rules.yaml]
evaluation_interval: 1m
tests:
  - name: one
    interval: 1m
    input_series:
      - {series: 'busy{queue="a"}', values: '0x2 5x10'}
      - {series: 'busy{queue="b"}', values: '5x2 0 5x10'}
      - {series: 'busy{queue="c"}', values: '5x4 _x9'}
    alert_rule_test:
      - eval_time: 5m
        alertname: Busy
        exp_alerts: [{exp_labels: {queue: a, severity: info}, exp_annotations: {summary: a has 5.0}}, {exp_labels: {queue: c, severity: info}, exp_annotations: {summary: c has 5.0}}]
`

// play plays a test file with one of its lines, or one of the rules', replaced.
func play(t *testing.T, old, now string) error {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"rules.yaml": rulesFile, "tests.yaml": testFile} {
		if old != "" {
			text = strings.ReplaceAll(text, old, now)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f, err := Read(filepath.Join(dir, "tests.yaml"))
	if err != nil {
		return err
	}
	return f.Play(t.Context(), &f.Tests[0])
}

func TestWhatIsNotAsATestSaysIsTold(t *testing.T) {
	if err := play(t, "", ""); err != nil {
		t.Errorf("as it is: %v", err)
	}
	for name, c := range map[string]struct{ old, now, want string }{
		"it fires too early":        {"eval_time: 5m", "eval_time: 4m", "and is\n  map[queue:c severity:info]"}, // a is pending
		"a pause":                   {"5x2 0 5x10", "5x13", "queue:b severity"},
		"another threshold":         {"busy > 3", "busy > 7", "and is\n  "},
		"another label":             {"exp_labels: {queue: c, severity: info}", "exp_labels: {queue: c}", "should be"},
		"another text":              {"c has 5.0", "c has 5", "should be"},
		"the same labels twice":     {"expr: busy > 3", `expr: 'label_replace(busy, "queue", "x", "queue", ".+")'`, "same labelset"},
		"a rule that can't be read": {"expr: busy > 3", "expr: busy >", "unexpected end of input"},
		"a template of nothing":     {"$labels.queue", "$label.queue", `undefined variable "$label"`},
		"a word that is unknown":    {"eval_time: 5m", "eval_tim: 5m", "eval_tim not found"},
		"no time of evaluation":     {"eval_time: 5m", "eval_time: 90s", "rules are evaluated every 1m"},
		"what is not played":        {"for: 2m", "keep_firing_for: 2m", "not played here"},
		"no such file":              {"rule_files: [rules.yaml]", "rule_files: [none.yaml]", "no such file"},
	} {
		if err := play(t, c.old, c.now); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
