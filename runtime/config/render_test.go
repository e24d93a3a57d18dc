package config

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/spec"
)

// Random trees are drawn so that they keep the rules of a configuration: amounts
// shrink on the way down, and every queue below a maxapplications has one.

var (
	nameGen = rapid.StringMatching(`[a-z0-9_:#/@-]{1,12}`)
	textGen = rapid.OneOf(
		rapid.StringMatching(`[ -~]{0,12}`), rapid.String().Filter(printable),
		rapid.SampledFrom([]string{"yes", "null", "~", "1", "1.5", "a: b", "# no", "- x", "\"", "'", `\`, "é", " x ", "[a", "a\nb", "\t"}),
	)
	resourceGen = rapid.SampledFrom([]string{"cpu", "memory", "nvidia.com/gpu", "nvidia.com/gpu:H100", "pods", "example.com/fpga", "true"})
)

// printable leaves out what YAML forbids, and what Go can't write as UTF-8.
func printable(s string) bool {
	for _, c := range s {
		if c < ' ' && c != '\t' && c != '\n' || c == 0x7f || c == 0xfffd || c == shieldRune {
			return false
		}
	}
	return true
}

func drawTree(t *rapid.T) *spec.Tree {
	tree := &spec.Tree{
		Root:          drawQueue(t, "root", 0, 3, 1000, true),
		Placement:     rapid.SampledFrom([]string{"", "fragmentation", "binpack", "spread"}).Draw(t, "placement"),
		UsageHalfLife: rapid.Int64Range(0, 1<<50).Draw(t, "half-life"),
		UseMaxAge:     rapid.SampledFrom([]int64{0, 1, 120e9}).Draw(t, "max age"),
	}
	for range rapid.IntRange(0, 3).Draw(t, "rules") {
		tree.Rules = append(tree.Rules, drawRule(t, 2))
	}
	return tree
}

func drawQueue(t *rapid.T, name string, depth, width int, apps int64, root bool) *spec.Queue {
	q := drawShared(t, apps)
	if root {
		q.Guaranteed, q.Max = nil, nil
	}
	q.Name = name
	if !root {
		q.MaxApps = rapid.Int64Range(1, apps).Draw(t, "apps")
	} else {
		q.MaxApps = apps
	}
	q.SubmitACL = rapid.SampledFrom([]string{"", "*", "alice", "alice,bob dev", " dev"}).Draw(t, "submit")
	q.AdminACL = rapid.SampledFrom([]string{"", "admin"}).Draw(t, "admin")
	q.Parent = root || rapid.Bool().Draw(t, "parent")
	if rapid.Bool().Draw(t, "limited") {
		q.Limits = drawLimits(t, q)
	}
	if rapid.Bool().Draw(t, "templated") {
		q.Template = drawShared(t, apps)
		q.Template.MaxApps = rapid.Int64Range(0, 9).Draw(t, "template apps")
	}
	if depth == 3 {
		return q
	}
	for i := range rapid.IntRange(0, width).Draw(t, "children") {
		child := fmt.Sprintf("%d%.10s", i, nameGen.Draw(t, "name"))
		q.Children = append(q.Children, drawQueue(t, child, depth+1, width, q.MaxApps, false))
		q.Parent = true
	}
	// Children may not be guaranteed more than their parent has.
	for _, c := range q.Children {
		if len(q.Guaranteed)+len(q.Max) > 0 {
			c.Guaranteed = nil
		}
		c.Max = nil
		dropGuarantees(c)
	}
	return q
}

func dropGuarantees(q *spec.Queue) {
	for _, c := range q.Children {
		c.Guaranteed, c.Max = nil, nil
		dropGuarantees(c)
	}
}

// drawShared draws what queues and templates have in common.
func drawShared(t *rapid.T, _ int64) *spec.Queue {
	duration := rapid.OneOf(rapid.Just(int64(0)), rapid.Int64Range(1, 1<<60))
	policy := rapid.OneOf(rapid.Just(""), rapid.StringMatching(`[a-z][a-z0-9-]{0,8}`))
	q := &spec.Queue{
		Weight:   rapid.Int64Range(0, 1<<62).Draw(t, "weight"),
		JobOrder: policy.Draw(t, "order"), Fairness: policy.Draw(t, "fairness"), Victims: policy.Draw(t, "victims"),
		StrictFIFO:      rapid.Bool().Draw(t, "strict"),
		ReserveAfter:    rapid.OneOf(duration, rapid.Int64Range(-1000, -1)).Draw(t, "reserve"),
		MinRuntime:      duration.Draw(t, "runtime"),
		PreemptionDelay: duration.Draw(t, "delay"),
		IdleAfter:       rapid.OneOf(duration, rapid.Just(int64(-1))).Draw(t, "idle after"),
		IdleGrace:       duration.Draw(t, "idle grace"),
		Preemption:      rapid.SampledFrom([]spec.PreemptionPolicy{"", "default", "fence", "disabled"}).Draw(t, "preemption"),
		Guaranteed:      drawResources(t, 0, 1000),
		Max:             drawResources(t, 1000, amount.Limit),
	}
	for range rapid.IntRange(0, 2).Draw(t, "properties") {
		if q.Properties == nil {
			q.Properties = map[string]string{}
		}
		q.Properties["x"+textGen.Draw(t, "key")] = "v" + textGen.Draw(t, "value")
	}
	if q.JobOrder != "" && rapid.Bool().Draw(t, "sorted") {
		q.Properties = map[string]string{propSortPolicy: "fair", propSortPriority: "nonsense"}
	}
	return q
}

func drawResources(t *rapid.T, low, high amount.Amount) spec.Resources {
	var out spec.Resources
	for range rapid.IntRange(0, 3).Draw(t, "resources") {
		a := rapid.Int64Range(int64(low), int64(high)).Draw(t, "amount")
		out = out.Set(resourceGen.Draw(t, "resource"), amount.Amount(a))
	}
	return out
}

func drawLimits(t *rapid.T, q *spec.Queue) []spec.Limit {
	return []spec.Limit{{
		Name: textGen.Draw(t, "limit"), Users: []string{"u_" + rapid.StringMatching(`[a-z0-9:#/_.@-]{0,6}`).Draw(t, "user")},
		Groups: []string{"dev", "*"}, MaxApps: q.MaxApps,
	}, {Name: "all", Users: []string{"*"}, MaxApps: q.MaxApps}}
}

func drawRule(t *rapid.T, depth int) spec.PlacementRule {
	r := spec.PlacementRule{
		Name:   rapid.SampledFrom([]string{"user", "provided", "tag"}).Draw(t, "rule"),
		Value:  rapid.StringMatching(`[a-z]{1,5}`).Draw(t, "value"),
		Create: rapid.Bool().Draw(t, "create"),
	}
	if rapid.Bool().Draw(t, "filtered") {
		r.Filter = spec.RuleFilter{Type: "deny", Users: []string{"^a.*"}, Groups: []string{"x", "y:z"}}
	}
	if depth > 0 && rapid.Bool().Draw(t, "nested") {
		parent := drawRule(t, depth-1)
		r.Parent = &parent
	}
	return r
}

func TestRenderedTreeParsesBackToTheSameTree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tree := drawTree(t)
		text := Render(tree)
		file, problems := Parse("rendered.yaml", text)
		if err := problems.Err(); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		if diff := cmp.Diff(*tree, file.Partitions[0].Tree, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("tree changed (-drawn +parsed):\n%s\n%s", diff, text)
		}
	})
}
