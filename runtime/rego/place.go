package rego

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/musterhq/muster/builtin/spec"
)

// Where says where a job may run. A nil GPUTypes allows all types, an empty one none. A
// node must have one of the values for each key of Nodes.
type Where struct {
	Refused  string // "" allows it somewhere
	GPUTypes []string
	Nodes    map[string][]string
}

// Place asks the placement rules about a job. What goes wrong in the rules is a refusal,
// not an error; the error is that of a ctx that ended, and comes with a refusal.
func (r *Rules) Place(ctx context.Context, j *spec.Job) (Where, error) {
	bounded, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	doc, bad, err := r.ask(ctx, bounded, Placement, inputOf(j), "job "+j.ID)
	if bad != nil {
		return Where{Refused: bad.Messages[0]}, err
	}
	w, problem := where(doc)
	if problem != "" {
		w = Where{Refused: "the placement rules are broken: " + problem}
	}
	return w, nil
}

func where(doc map[string]any) (w Where, problem string) {
	deny, problem := messages(doc)
	if problem != "" || len(deny) > 0 {
		return Where{Refused: join(deny)}, problem
	}
	if v, ok := single(doc, "gpu_types"); ok {
		if w.GPUTypes, ok = textsOf(v); !ok {
			return w, fmt.Sprintf("gpu_types is %v, not a set of texts", v)
		}
	}
	v, ok := single(doc, "nodes")
	if !ok {
		return w, ""
	}
	labels, ok := v.(map[string]any)
	if !ok {
		return w, fmt.Sprintf("nodes is %v, not an object of label keys to sets of values", v)
	}
	w.Nodes = make(map[string][]string, len(labels))
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		if w.Nodes[key], ok = textsOf(labels[key]); !ok {
			return w, fmt.Sprintf("nodes[%q] is %v, not a set of texts", key, labels[key])
		}
	}
	return w, ""
}

// textsOf reads a set or an array of texts, sorted; never nil if it is one.
func textsOf(v any) ([]string, bool) {
	list, ok := v.([]any)
	if !ok {
		return nil, false
	}
	out := make([]string, len(list))
	for i, e := range list {
		if out[i], ok = e.(string); !ok {
			return nil, false
		}
	}
	slices.Sort(out)
	return slices.Compact(out), true
}
