package pods

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Gate is something that a node must show before it takes anything, though it is Ready: a
// warm image cache, a fabric check. Exactly one of Condition, Label, Annotation and NoTaint
// is set. Unlike a taint a gate holds for all pods, whatever they tolerate.
type Gate struct {
	Condition  string // a node condition that must be True
	Label      string // a label that must be there, with Value unless that is empty
	Annotation string // likewise an annotation
	NoTaint    string // the key of a taint that must be gone
	Value      string
}

// ParseGate reads a gate as flags and files write it: condition:TYPE, label:KEY[=VALUE],
// annotation:KEY[=VALUE] or no-taint:KEY.
func ParseGate(text string) (Gate, error) {
	kind, rest, _ := strings.Cut(text, ":")
	key, value, valued := strings.Cut(rest, "=")
	valuable := kind == "label" || kind == "annotation"
	if key == "" || valued && (!valuable || value == "") {
		return Gate{}, fmt.Errorf("node gate %q: write condition:TYPE, label:KEY[=VALUE], annotation:KEY[=VALUE] or no-taint:KEY", text)
	}
	switch kind {
	case "condition":
		return Gate{Condition: key}, nil
	case "label":
		return Gate{Label: key, Value: value}, nil
	case "annotation":
		return Gate{Annotation: key, Value: value}, nil
	case "no-taint":
		return Gate{NoTaint: key}, nil
	}
	return Gate{}, fmt.Errorf("node gate %q: unknown kind %q: write condition, label, annotation or no-taint", text, kind)
}

// missing says what keeps the gate closed, "" if it is open.
func (g *Gate) missing(n *corev1.Node) string {
	switch {
	case g.Condition != "":
		if s := condition(n, corev1.NodeConditionType(g.Condition)); s != corev1.ConditionTrue {
			return fmt.Sprintf("condition %s is %s", g.Condition, s)
		}
	case g.Label != "":
		return lacking("label", g.Label, g.Value, n.Labels)
	case g.Annotation != "":
		return lacking("annotation", g.Annotation, g.Value, n.Annotations)
	case slices.ContainsFunc(n.Spec.Taints, func(t corev1.Taint) bool { return t.Key == g.NoTaint }):
		return "taint " + g.NoTaint + " is still there"
	}
	return ""
}

func lacking(kind, key, want string, have map[string]string) string {
	got, ok := have[key]
	switch {
	case !ok:
		return kind + " " + key + " is missing"
	case want != "" && got != want:
		return fmt.Sprintf("%s %s is %q, not %q", kind, key, got, want)
	}
	return ""
}
