package world

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/musterhq/muster/builtin/spec"
)

// Only is where rules let a job run. It comes on top of what the job itself asks for,
// and never widens that.
type Only struct {
	Rule string // that says so, for people
	// Types are the GPU types left for tasks with GPUs: nil leaves all, empty none.
	Types []string
	// Labels has, for each key, the values of which a node must have one.
	Labels map[string][]string
}

// noType is the name of no GPU type.
const noType = "\x00none"

// among is what is left of the types that a group accepts, sorted; empty is any.
func (o *Only) among(accepted []string) []string {
	types := slices.Clone(accepted)
	if o != nil && o.Types != nil {
		types = slices.Clone(o.Types)
		if len(accepted) > 0 {
			types = slices.DeleteFunc(types, func(t string) bool { return !slices.Contains(accepted, t) })
		}
		if len(types) == 0 {
			types = []string{noType}
		}
	}
	slices.Sort(types)
	return slices.Compact(types)
}

// key tells shapes apart that are narrowed differently, and why: the groups' own types
// count too, since they decide what is told.
func (o *Only) key(g *spec.TaskGroup) string {
	if o == nil {
		return ""
	}
	own := slices.Sorted(slices.Values(g.GPUTypes))
	return fmt.Sprintf("|%q%q%q", o.Rule, own, o.String())
}

func (o *Only) allows(labels map[string]string) bool {
	//muster:anyorder all must hold, whichever is looked at first
	for key, values := range o.Labels {
		if have, ok := labels[key]; !ok || !slices.Contains(values, have) {
			return false
		}
	}
	return true
}

// String says what is left, for people: "only GPU type A100, only nodes with region
// eu or us".
func (o *Only) String() string {
	var parts []string
	switch {
	case o.Types == nil:
	case len(o.Types) == 0:
		parts = append(parts, "no GPUs")
	default:
		parts = append(parts, "only GPU type "+strings.Join(slices.Sorted(slices.Values(o.Types)), " or "))
	}
	for _, key := range slices.Sorted(maps.Keys(o.Labels)) {
		values := strings.Join(slices.Sorted(slices.Values(o.Labels[key])), " or ")
		if values == "" {
			values = "a value that does not exist"
		}
		parts = append(parts, "only nodes with "+key+" "+values)
	}
	return strings.Join(parts, ", ")
}

func (o *Only) same(p *Only) bool {
	if o == nil || p == nil {
		return o == p
	}
	return o.Rule == p.Rule && (o.Types == nil) == (p.Types == nil) && o.String() == p.String()
}

// Narrow lets a job that holds nothing run only where rules say, nil being wherever
// it asks for. The job's spec stays as it is. Not for what-ifs: whoever takes a cycle
// back narrows again as it was.
func (w *World) Narrow(j *Job, only *Only) {
	if j.Only.same(only) {
		return
	}
	j.Only = only
	for i := range j.Groups {
		g := &j.Groups[i]
		w.Shapes[g.Shape].Tasks -= int64(g.Size)
		g.Shape = w.shapeOf(&j.Own.Tasks[i], only)
		w.Shapes[g.Shape].Tasks += int64(g.Size)
	}
	j.Shape = signature(j)
}

// HoldsNothing says whether no task of the job sits on a node, not even on its way out.
func (j *Job) HoldsNothing() bool {
	idle := j.Waiting
	for i := range j.Groups {
		idle += j.Groups[i].Finished + j.Groups[i].Absent
	}
	return int(idle) == len(j.Tasks)
}
