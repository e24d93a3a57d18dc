package rego

import (
	"context"
	"reflect"
	"strings"
	"testing"
)

func TestPlacementRules(t *testing.T) {
	head := "package muster.placement\n"
	for name, c := range map[string]struct {
		rules string
		want  Where
	}{
		"nothing said allows everything":     {"nodes := {} if false", Where{}},
		"types of a queue":                   {`gpu_types contains "H100" if startswith(input.job.queue, "root.research")`, Where{GPUTypes: []string{"H100"}}},
		"an empty set allows no type":        {`gpu_types contains "H100" if input.job.user == "nobody"`, Where{GPUTypes: []string{}}},
		"types as an array, twice the same":  {`gpu_types := ["L40S", "A100", "A100"]`, Where{GPUTypes: []string{"A100", "L40S"}}},
		"regions and pools":                  {`nodes := {"region": {"eu"}, "pool": ["b", "a"]}`, Where{Nodes: map[string][]string{"pool": {"a", "b"}, "region": {"eu"}}}},
		"a refusal with its reason":          {`deny contains "no region has that type"`, Where{Refused: "no region has that type"}},
		"types that are no texts are broken": {`gpu_types := [1]`, Where{Refused: "the placement rules are broken: gpu_types is [1], not a set of texts"}},
		"nodes that are no object":           {`nodes := "eu"`, Where{Refused: "the placement rules are broken: nodes is eu, not an object of label keys to sets of values"}},
		"two rules that contradict each other refuse": {"nodes := {\"a\": [\"b\"]} if true\nnodes := {\"a\": [\"c\"]} if true", Where{
			Refused: "the placement rules failed: a.rego:3:1: eval_conflict_error: rule data.muster.placement.nodes produced conflicting values: {\"a\": [\"b\"]} at a.rego:2 {\"a\": [\"c\"]} at a.rego:3",
		}},
	} {
		r := load(t, map[string]string{"a.rego": head + c.rules}, nil)
		got, err := r.Place(t.Context(), job())
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %#v (%v), want %#v", name, got, err, c.want)
		}
	}
}

func TestAWithdrawnPlacementIsARefusal(t *testing.T) {
	r := load(t, map[string]string{"a.rego": "package muster.placement\ngpu_types := [\"A100\"]"}, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if w, err := r.Place(ctx, job()); err == nil || !strings.Contains(w.Refused, "withdrawn") {
		t.Errorf("got %+v, %v", w, err)
	}
}

func TestTheLoadGuard(t *testing.T) {
	r := load(t, map[string]string{"a.rego": `package muster.loading

default allow := false

allow if {
	"platform" in input.policy.signers
	startswith(input.policy.source, "oci://registry.internal/")
}

deny contains sprintf("%s may not decide %s", [input.policy.by, kind]) if {
	some kind in input.policy.kinds
	kind == "queue_shares"
	input.policy.by != "root"
}
`}, nil)
	good := LoadRequest{Name: "mine", Source: "oci://registry.internal/mine:1", By: "ann", Signers: []string{"platform"}, Kinds: []string{"job_order"}}
	for name, c := range map[string]struct {
		change func(*LoadRequest)
		code   string
	}{
		"signed and from our registry":             {func(*LoadRequest) {}, CodeAllowed},
		"unsigned":                                 {func(q *LoadRequest) { q.Signers = nil }, CodeNotAllowed},
		"from elsewhere":                           {func(q *LoadRequest) { q.Source = "mine.wasm" }, CodeNotAllowed},
		"fairness is root's":                       {func(q *LoadRequest) { q.Kinds = append(q.Kinds, "queue_shares") }, CodeDenied},
		"fairness by root, from a queue of theirs": {func(q *LoadRequest) { q.Kinds, q.By = append(q.Kinds, "queue_shares"), "root" }, CodeAllowed},
	} {
		q := good
		c.change(&q)
		v, err := r.MayLoad(t.Context(), q)
		if err != nil || v.Code != c.code || v.Allow != (c.code == CodeAllowed) {
			t.Errorf("%s: got %+v (%v), want %s", name, v, err, c.code)
		}
	}
}
