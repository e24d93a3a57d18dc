package pods

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/klog/v2"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/spec"
)

// The reasons of Misfit and Refuses, in the order in which they are looked at.
const (
	ReasonSelector = "selector" // nodeSelector
	ReasonAffinity = "affinity" // required node affinity
	ReasonGPU      = "gpu-type" // GPUs of another vendor
	ReasonTaint    = "taint"
	ReasonTopology = "topology" // a label that the spread constraints need is missing
	ReasonVolume   = "volume"
)

// rules is all there is to know about where a task may run. Its JSON is the key.
type rules struct {
	Selector    *selector    `json:"selector,omitempty"`
	Affinity    *selector    `json:"affinity,omitempty"`
	NoOtherGPU  bool         `json:"noOtherGPU,omitempty"` // asks for nvidia.com/gpu: another vendor's don't do
	Tolerations []toleration `json:"tolerations,omitempty"`
	Topology    []string     `json:"topology,omitempty"` // labels that a node must have
	Volumes     []*selector  `json:"volumes,omitempty"`  // each must be true
	Zones       []zone       `json:"zones,omitempty"`
}

// toleration is the part of corev1.Toleration that a filter looks at.
type toleration struct {
	Key    string                    `json:"key,omitempty"`
	Op     corev1.TolerationOperator `json:"op,omitempty"` // "" is Equal
	Value  string                    `json:"value,omitempty"`
	Effect corev1.TaintEffect        `json:"effect,omitempty"` // "" is any
}

// zone is a label of a volume that says where it can be reached from (VolumeZone).
type zone struct {
	Key    string   `json:"key"`
	Values []string `json:"values"`
}

// where implements spec.Where.
type where struct {
	rules  rules
	key    string
	byName bool
}

// ParseWhere rebuilds what Read has said from its Key.
func ParseWhere(key string) (spec.Where, error) {
	var r rules
	d := json.NewDecoder(bytes.NewReader([]byte(key)))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return nil, fmt.Errorf("reading a placement restriction: %w", err)
	}
	if d.More() {
		return nil, fmt.Errorf("reading a placement restriction: more than one value")
	}
	return newWhere(r)
}

// newWhere brings the rules into canonical form and compiles them.
func newWhere(r rules) (*where, error) {
	w := &where{rules: r.canonical()}
	for _, s := range w.rules.selectors() {
		if err := s.compile(); err != nil {
			return nil, fmt.Errorf("reading a placement restriction: %w", err)
		}
		w.byName = w.byName || s.Names != nil
	}
	text, err := json.Marshal(&w.rules)
	if err != nil {
		return nil, fmt.Errorf("writing a placement restriction: %w", err)
	}
	w.key = string(text)
	return w, nil
}

func (r rules) canonical() rules {
	out := rules{Selector: r.Selector.canonical(), Affinity: r.Affinity.canonical(), NoOtherGPU: r.NoOtherGPU}
	out.Tolerations = canonicalTolerations(r.Tolerations)
	out.Topology = sorted(r.Topology)
	for _, s := range r.Volumes {
		if s = s.canonical(); s != nil {
			out.Volumes = append(out.Volumes, s)
		}
	}
	slices.SortFunc(out.Volumes, compareSelector)
	out.Volumes = slices.CompactFunc(out.Volumes, func(a, b *selector) bool { return compareSelector(a, b) == 0 })
	for _, z := range r.Zones {
		out.Zones = append(out.Zones, zone{z.Key, sorted(z.Values)})
	}
	compare := func(a, b zone) int { return cmp.Or(cmp.Compare(a.Key, b.Key), slices.Compare(a.Values, b.Values)) }
	slices.SortFunc(out.Zones, compare)
	out.Zones = slices.CompactFunc(out.Zones, func(a, b zone) bool { return compare(a, b) == 0 })
	return out
}

// canonical returns nil for a selector that is true of every node.
func (s *selector) canonical() *selector {
	switch {
	case s == nil:
		return nil
	case s.Never:
		return &selector{Never: true}
	}
	named := everyName()
	if s.Names != nil {
		named = names{s.Names.Not, sorted(s.Names.List)}
	}
	if s = newSelector(s.Any, named); s.trivial() {
		return nil
	}
	return s
}

func compareSelector(a, b *selector) int {
	if a.Never != b.Never {
		return map[bool]int{true: -1, false: 1}[a.Never]
	}
	x, y := everyName(), everyName()
	if a.Names != nil {
		x = *a.Names
	}
	if b.Names != nil {
		y = *b.Names
	}
	not := func(n names) int { return map[bool]int{true: 1}[n.Not] }
	return cmp.Or(slices.CompareFunc(a.Any, b.Any, compareAll), cmp.Compare(not(x), not(y)), slices.Compare(x.List, y.List))
}

func canonicalTolerations(list []toleration) []toleration {
	var out []toleration
	for _, t := range list {
		if t.Op == corev1.TolerationOpEqual {
			t.Op = ""
		}
		if t.Effect != corev1.TaintEffectPreferNoSchedule {
			out = append(out, t)
		}
	}
	slices.SortFunc(out, func(a, b toleration) int {
		return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.Op, b.Op), cmp.Compare(a.Value, b.Value), cmp.Compare(a.Effect, b.Effect))
	})
	return slices.Compact(out)
}

// selectors lists those that are set.
func (r *rules) selectors() []*selector {
	var out []*selector
	for _, s := range []*selector{r.Selector, r.Affinity} {
		if s != nil {
			out = append(out, s)
		}
	}
	return append(out, r.Volumes...)
}

// Key implements spec.Where: canonical JSON, which ParseWhere reads.
func (w *where) Key() string { return w.key }

// ByName implements spec.Where.
func (w *where) ByName() bool { return w.byName }

// Misfit implements spec.Where.
func (w *where) Misfit(n *spec.Node) string {
	set := labels.Set(n.Labels)
	switch r := &w.rules; {
	case r.Selector != nil && !r.Selector.matchesLabels(set):
		return ReasonSelector
	case r.Affinity != nil && !r.Affinity.matchesLabels(set):
		return ReasonAffinity
	case r.NoOtherGPU && otherGPUs(n.Capacity):
		return ReasonGPU
	case !r.tolerate(n.Taints):
		return ReasonTaint
	case !hasAll(set, r.Topology):
		return ReasonTopology
	case !r.reaches(set):
		return ReasonVolume
	}
	return ""
}

// Refuses implements spec.Where.
func (w *where) Refuses(node string) string {
	r := &w.rules
	switch {
	case r.Selector != nil && !r.Selector.matchesName(node):
		return ReasonSelector
	case r.Affinity != nil && !r.Affinity.matchesName(node):
		return ReasonAffinity
	}
	for _, v := range r.Volumes {
		if !v.matchesName(node) {
			return ReasonVolume
		}
	}
	return ""
}

// otherGPUs says that a node's GPUs are of another vendor: they have a name of their own
// besides the total.
func otherGPUs(capacity spec.Resources) bool {
	return slices.ContainsFunc(capacity, func(r spec.Resource) bool { return otherVendor(r.Name) && r.Amount > 0 })
}

func otherVendor(name string) bool { return amount.IsGPU(name) && name != amount.GPUName }

// tolerate is TaintToleration's filter: taints that only ask to be avoided don't count.
func (r *rules) tolerate(taints []spec.Taint) bool {
	for i := range taints {
		t := corev1.Taint{Key: taints[i].Key, Value: taints[i].Value, Effect: corev1.TaintEffect(taints[i].Effect)}
		switch t.Effect {
		case corev1.TaintEffectPreferNoSchedule:
			continue
		case "":
			t.Effect = corev1.TaintEffectNoSchedule
		}
		if !slices.ContainsFunc(r.Tolerations, func(o toleration) bool { return o.tolerates(&t) }) {
			return false
		}
	}
	return true
}

func (o toleration) tolerates(t *corev1.Taint) bool {
	full := corev1.Toleration{Key: o.Key, Operator: o.Op, Value: o.Value, Effect: o.Effect}
	return full.ToleratesTaint(klog.Logger{}, t, true)
}

func hasAll(set labels.Set, keys []string) bool {
	return !slices.ContainsFunc(keys, func(k string) bool { return !set.Has(k) })
}

// reaches says whether all volumes can be had on nodes with these labels.
func (r *rules) reaches(set labels.Set) bool {
	for _, v := range r.Volumes {
		if !v.matchesLabels(set) {
			return false
		}
	}
	return inZones(set, r.Zones)
}
