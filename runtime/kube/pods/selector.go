package pods

import (
	"cmp"
	"errors"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
)

// require is one requirement on labels, of a node selector or a label selector.
type require struct {
	Key    string             `json:"key"`
	Op     selection.Operator `json:"op"`
	Values []string           `json:"values,omitempty"` // sorted, none twice
}

// all is a conjunction: sorted, none twice. The empty one is true of everything.
type all []require

var operators = map[corev1.NodeSelectorOperator]selection.Operator{
	corev1.NodeSelectorOpIn: selection.In, corev1.NodeSelectorOpNotIn: selection.NotIn,
	corev1.NodeSelectorOpExists: selection.Exists, corev1.NodeSelectorOpDoesNotExist: selection.DoesNotExist,
	corev1.NodeSelectorOpGt: selection.GreaterThan, corev1.NodeSelectorOpLt: selection.LessThan,
}

// labelOperators lack the last two: an unknown operator is "", which does not compile.
var labelOperators = map[metav1.LabelSelectorOperator]selection.Operator{
	metav1.LabelSelectorOpIn: selection.In, metav1.LabelSelectorOpNotIn: selection.NotIn,
	metav1.LabelSelectorOpExists: selection.Exists, metav1.LabelSelectorOpDoesNotExist: selection.DoesNotExist,
}

func compareRequire(a, b require) int {
	return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.Op, b.Op), slices.Compare(a.Values, b.Values))
}

func compareAll(a, b all) int { return slices.CompareFunc(a, b, compareRequire) }

func (a all) canonical() all {
	out := slices.Clone(a)
	for i := range out {
		out[i].Values = sorted(out[i].Values)
	}
	slices.SortFunc(out, compareRequire)
	return slices.CompactFunc(out, func(a, b require) bool { return compareRequire(a, b) == 0 })
}

// compile checks the requirements too: the error is about the first that can't be read.
func (a all) compile() (labels.Selector, error) {
	s := labels.NewSelector()
	for _, r := range a {
		req, err := labels.NewRequirement(r.Key, r.Op, r.Values)
		if err != nil {
			return nil, err
		}
		s = s.Add(*req)
	}
	return s, nil
}

// ofLabelSelector is what a label selector requires. The nil selector selects nothing,
// which ok tells.
func ofLabelSelector(s *metav1.LabelSelector) (reqs all, ok bool) {
	if s == nil {
		return nil, false
	}
	for k, v := range s.MatchLabels {
		reqs = append(reqs, require{k, selection.In, []string{v}})
	}
	for _, e := range s.MatchExpressions {
		reqs = append(reqs, require{e.Key, labelOperators[e.Operator], e.Values})
	}
	return reqs.canonical(), true
}

// selector is true of a node if one of Any is true of its labels and its name is in Names.
type selector struct {
	Any   []all  `json:"any,omitempty"`   // none: labels don't matter
	Names *names `json:"names,omitempty"` // nil: the name does not matter
	Never bool   `json:"never,omitempty"` // true of no node; the rest is empty

	compiled []labels.Selector // of Any
}

// newSelector puts the parts into their canonical form.
func newSelector(labelled []all, named names) *selector {
	s := &selector{}
	if named.none() {
		return &selector{Never: true}
	}
	if !named.every() {
		s.Names = &named
	}
	for _, a := range labelled {
		if len(a) == 0 {
			return s
		}
		s.Any = append(s.Any, a.canonical())
	}
	slices.SortFunc(s.Any, compareAll)
	s.Any = slices.CompactFunc(s.Any, func(a, b all) bool { return compareAll(a, b) == 0 })
	return s
}

func (s *selector) compile() error {
	s.compiled = make([]labels.Selector, len(s.Any))
	for i, a := range s.Any {
		var err error
		if s.compiled[i], err = a.compile(); err != nil {
			return err
		}
	}
	return nil
}

func (s *selector) matchesLabels(l labels.Set) bool {
	if s.Never {
		return false
	}
	for _, c := range s.compiled {
		if c.Matches(l) {
			return true
		}
	}
	return len(s.Any) == 0
}

func (s *selector) matchesName(name string) bool { return s.Names == nil || s.Names.has(name) }

// trivial selectors are true of every node.
func (s *selector) trivial() bool { return !s.Never && s.Names == nil && len(s.Any) == 0 }

// branch is one alternative of a node selector: it holds for nodes whose labels are as
// wanted and whose name is in the set.
type branch struct {
	labels all
	names  names
}

var (
	// errMixed: labels and names depend on each other across alternatives. The core asks
	// about labels and names apart, so such a selector has no exact form.
	errMixed = errors.New("alternatives differ both in node names and in other labels")
	// errByName: a label that only names tell can't be compared, and of those besides the
	// host name it is not known who lacks them.
	errByName = errors.New("a label that differs from node to node can only be asked for by its values")
	errNever  = errors.New("true of no node")
)

// union joins alternatives into one selector.
func union(branches []branch) (*selector, error) {
	branches = slices.DeleteFunc(slices.Clone(branches), func(b branch) bool { return b.names.none() })
	if len(branches) == 0 {
		return &selector{Never: true}, nil
	}
	joined := joinNames(branches)
	named := joined[0].names
	var labelled []all
	for _, b := range joined {
		if !b.names.equal(named) {
			return nil, errMixed
		}
		labelled = append(labelled, b.labels)
	}
	return newSelector(labelled, named), nil
}

// joinNames makes one branch of those that want the same labels, in canonical order.
func joinNames(branches []branch) []branch {
	var out []branch
	for _, b := range branches {
		b.labels = b.labels.canonical()
		i, found := slices.BinarySearchFunc(out, b.labels, func(o branch, a all) int { return compareAll(o.labels, a) })
		if found {
			out[i].names = out[i].names.or(b.names)
			continue
		}
		out = slices.Insert(out, i, b)
	}
	return out
}

// reader turns node selectors into selectors, given which labels tell nodes apart.
type reader struct {
	opts    *Options
	objects Objects
}

// required reads the terms of a node selector, ORed; an empty term, or one that can't be
// read, selects nothing (nodeaffinity.LazyErrorNodeSelector). fields says whether
// matchFields counts: a volume's affinity is looked at without a node name.
func (r reader) required(ns *corev1.NodeSelector, fields bool) (*selector, error) {
	branches, err := r.branches(ns, fields)
	if err != nil {
		return nil, err
	}
	return union(branches)
}

func (r reader) branches(ns *corev1.NodeSelector, fields bool) ([]branch, error) {
	var out []branch
	for i := range ns.NodeSelectorTerms {
		b, err := r.term(&ns.NodeSelectorTerms[i], fields)
		switch {
		case errors.Is(err, errNever):
		case err != nil:
			return nil, err
		default:
			out = append(out, b)
		}
	}
	return out, nil
}

func (r reader) term(t *corev1.NodeSelectorTerm, fields bool) (branch, error) {
	b := branch{names: everyName()}
	if len(t.MatchExpressions) == 0 && len(t.MatchFields) == 0 {
		return b, errNever
	}
	for _, e := range t.MatchExpressions {
		if err := r.expression(&b, e); err != nil {
			return b, err
		}
	}
	for _, f := range t.MatchFields {
		named, err := nodeNames(f)
		if err != nil {
			return b, err
		}
		if fields {
			b.names = b.names.and(named)
		}
	}
	return b, nil
}

func (r reader) expression(b *branch, e corev1.NodeSelectorRequirement) error {
	req := require{e.Key, operators[e.Operator], e.Values}
	if _, err := (all{req}).compile(); err != nil {
		return errNever
	}
	if !r.opts.perNode(e.Key) {
		b.labels = append(b.labels, req)
		return nil
	}
	named, err := r.byLabel(req)
	b.names = b.names.and(named)
	return err
}

// byLabel answers a requirement on a per-node label by names. A host name that no node has
// yet is taken for the name that such a node will have.
func (r reader) byLabel(req require) (names, error) {
	host := req.Key == corev1.LabelHostname // which every node has
	switch {
	case req.Op == selection.In:
		return theseNames(r.having(req)...), nil
	case req.Op == selection.NotIn:
		return theseNames(r.having(req)...).not(), nil
	case host && req.Op == selection.Exists:
		return everyName(), nil
	case host && req.Op == selection.DoesNotExist:
		return names{}, nil
	default:
		return names{}, errByName
	}
}

func (r reader) having(req require) []string {
	var out []string
	for _, v := range req.Values {
		nodes := r.objects.NodesWith(req.Key, v)
		if len(nodes) == 0 && req.Key == corev1.LabelHostname && !r.objects.HasNode(v) {
			nodes = []string{v}
		}
		out = append(out, nodes...)
	}
	return out
}

// nodeNames reads a requirement of matchFields, whose only field is metadata.name; any
// other is empty on every node.
func nodeNames(f corev1.NodeSelectorRequirement) (names, error) {
	in := f.Operator == corev1.NodeSelectorOpIn
	if len(f.Values) != 1 || !in && f.Operator != corev1.NodeSelectorOpNotIn {
		return names{}, errNever
	}
	named := theseNames(f.Values[0])
	if f.Key != metav1.ObjectNameField {
		named = names{Not: f.Values[0] == ""}
	}
	if !in {
		named = named.not()
	}
	return named, nil
}

// selected reads a nodeSelector.
func (r reader) selected(want map[string]string) (*selector, error) {
	b := branch{names: everyName()}
	for k, v := range want {
		req := require{k, selection.In, []string{v}}
		if !r.opts.perNode(k) {
			b.labels = append(b.labels, req)
			continue
		}
		named, err := r.byLabel(req)
		if err != nil {
			return nil, err
		}
		b.names = b.names.and(named)
	}
	return union([]branch{b})
}
