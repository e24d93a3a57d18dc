package kwok

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/kwok/pkg/apis/v1alpha1"
	"sigs.k8s.io/yaml"
)

// documents reads the configuration as kwok does: one document after the other.
func documents(t *testing.T) (options map[string]any, stages []v1alpha1.Stage) {
	t.Helper()
	for _, text := range regexp.MustCompile(`(?m)^---$`).Split(DefaultConfig.YAML(), -1) {
		var kind struct{ Kind string }
		if err := yaml.Unmarshal([]byte(text), &kind); err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		var err error
		switch kind.Kind {
		case "KwokConfiguration":
			err = yaml.Unmarshal([]byte(text), &options)
		case "Stage":
			var s v1alpha1.Stage
			err = yaml.UnmarshalStrict([]byte(text), &s)
			stages = append(stages, s)
		default:
			t.Errorf("a document of kind %q:\n%s", kind.Kind, text)
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
	}
	return options, stages
}

func TestKwokReadsTheConfiguration(t *testing.T) {
	options, stages := documents(t)
	for name, want := range map[string]any{"podPlayStageParallelism": 32.0, "podsOnNodeSyncParallelism": 4.0, "manageAllNodes": true} {
		if got := options["options"].(map[string]any)[name]; got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	var names []string
	for _, s := range stages {
		names = append(names, s.Name)
		if s.Spec.Next == nil || s.Spec.Selector == nil {
			t.Errorf("stage %s does nothing, or to everything", s.Name)
		}
	}
	want := []string{"node-initialize", "node-heartbeat-with-lease", "pod-ready", "pod-complete", "pod-complete-after", "pod-delete", "pod-checkpoint", "pod-delete-idle"}
	if !slices.Equal(names, want) {
		t.Errorf("stages are %v, want %v", names, want)
	}
}

func TestStagesAndGoAgreeOnTheAnnotations(t *testing.T) {
	text := stages + finish
	for _, a := range []string{RunFor, CheckpointFor, ExitCode} {
		if !strings.Contains(text, `"`+a+`"`) {
			t.Errorf("no stage reads %s", a)
		}
	}
	for _, a := range regexp.MustCompile(`"(muster\.dev/[^"]*)"`).FindAllStringSubmatch(text, -1) {
		if !slices.Contains([]string{RunFor, CheckpointFor, ExitCode}, a[1]) {
			t.Errorf("a stage reads %s, which nothing in Go names", a[1])
		}
	}
}
