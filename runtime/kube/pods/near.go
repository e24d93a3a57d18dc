package pods

import (
	"cmp"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"

	"github.com/musterhq/muster/builtin/spec"
)

// nearness gathers how a pod stands to others.
type nearness struct {
	pod      *corev1.Pod
	terms    *Terms
	near     spec.Near
	used     []string // ids of registered terms
	topology []string // labels that a node must have
	problems []Problem
}

func (n *nearness) fatal(code, field, text, hint string) {
	n.problems = append(n.problems, Problem{Code: code, Field: field, Text: text, Hint: hint, Fatal: true})
}

func (n *nearness) intern(s saying) string {
	id := n.terms.intern(s)
	n.used = append(n.used, id)
	return id
}

// domain is the core's name of a topology key: a label that no two nodes share means the
// node itself.
func (n *nearness) domain(key string) string {
	if n.terms.opts.perNode(key) {
		return ""
	}
	return key
}

const (
	affinityField     = "spec.affinity.podAffinity"
	antiAffinityField = "spec.affinity.podAntiAffinity"
	spreadField       = "spec.topologySpreadConstraints"
	requiredField     = ".requiredDuringSchedulingIgnoredDuringExecution"
)

// needs reads required affinity. A pod is counted only if all terms of the pod select it
// (InterPodAffinity), so all of them together are one term, in each of their topologies.
func (n *nearness) needs(list []corev1.PodAffinityTerm) {
	says := saying{Kind: affinity}
	var keys []string
	for i := range list {
		p, ok := n.part(&list[i], fmt.Sprintf("%s%s[%d]", affinityField, requiredField, i))
		if !ok {
			return
		}
		says.Parts = append(says.Parts, p)
		keys = append(keys, n.domain(list[i].TopologyKey))
	}
	if len(list) == 0 {
		return
	}
	slices.SortFunc(says.Parts, comparePart)
	says.Parts = slices.CompactFunc(says.Parts, func(a, b part) bool { return comparePart(a, b) == 0 })
	id := n.intern(says)
	for _, key := range sorted(keys) {
		n.near.Needs = append(n.near.Needs, spec.Term{ID: id, Topology: key})
	}
}

// avoids reads required anti-affinity, each term for itself.
func (n *nearness) avoids(list []corev1.PodAffinityTerm) {
	for i := range list {
		p, ok := n.part(&list[i], fmt.Sprintf("%s%s[%d]", antiAffinityField, requiredField, i))
		if ok {
			id := n.intern(saying{Kind: affinity, Parts: []part{p}})
			n.near.Avoids = append(n.near.Avoids, spec.Term{ID: id, Topology: n.domain(list[i].TopologyKey)})
		}
	}
}

// part reads whom one term means.
func (n *nearness) part(t *corev1.PodAffinityTerm, field string) (part, bool) {
	p := part{Namespaces: sorted(t.Namespaces)}
	if t.NamespaceSelector != nil {
		spaces, _ := ofLabelSelector(t.NamespaceSelector)
		p.AnyOf = &spaces
	} else if p.Namespaces == nil {
		p.Namespaces = []string{n.pod.Namespace}
	}
	n.choose(&p, t.LabelSelector, t.MatchLabelKeys, t.MismatchLabelKeys)
	return p, n.compile(&p, field) && n.hasTopology(t.TopologyKey, field)
}

func (n *nearness) hasTopology(key, field string) bool {
	if key == "" {
		n.fatal("bad-selector", field+".topologyKey", "the topology key is empty", "name a node label")
	}
	return key != ""
}

// choose sets the labels that a part selects by. matchLabelKeys and mismatchLabelKeys take
// the pod's own values, unless the API server has put them into the selector already
// (KEP-3633, KEP-3243).
func (n *nearness) choose(p *part, s *metav1.LabelSelector, same, other []string) {
	reqs, ok := ofLabelSelector(s)
	p.Nobody = !ok
	add := func(keys []string, op selection.Operator) {
		for _, k := range keys {
			value, has := n.pod.Labels[k]
			merged := slices.ContainsFunc(reqs, func(r require) bool { return r.Key == k && r.Op == op })
			if ok && has && !merged {
				reqs = append(reqs, require{k, op, []string{value}})
			}
		}
	}
	add(same, selection.In)
	add(other, selection.NotIn)
	p.Labels = reqs.canonical()
}

func (n *nearness) compile(p *part, field string) bool {
	var err error
	if p.labels, err = p.Labels.compile(); err != nil {
		n.fatal("bad-selector", field+".labelSelector", err.Error(), "correct the selector")
		return false
	}
	if p.AnyOf == nil {
		return true
	}
	if p.namespaces, err = p.AnyOf.compile(); err != nil {
		n.fatal("bad-selector", field+".namespaceSelector", err.Error(), "correct the selector")
		return false
	}
	return true
}

func comparePart(a, b part) int {
	flag := func(p part) int { return map[bool]int{true: 1}[p.AnyOf != nil] + map[bool]int{true: 2}[p.Nobody] }
	var x, y all
	if a.AnyOf != nil {
		x = *a.AnyOf
	}
	if b.AnyOf != nil {
		y = *b.AnyOf
	}
	return cmp.Or(slices.Compare(a.Namespaces, b.Namespaces), cmp.Compare(flag(a), flag(b)), compareAll(x, y), compareAll(a.Labels, b.Labels))
}

// spreads reads the constraints that must hold. Domains are eligible where the pod's shape
// may run, which is nodeAffinityPolicy Honor (the default) and nodeTaintsPolicy Honor:
//   - nodeAffinityPolicy Ignore is refused, unless the pod selects no nodes and it makes no
//     difference.
//   - nodeTaintsPolicy Ignore (the default) is read as Honor: domains whose nodes are all
//     tainted are not waited for, where kube-scheduler leaves pods pending at MaxSkew.
//     Where it is written out the pod is told (spread-taints).
func (n *nearness) spreads() {
	for i := range n.pod.Spec.TopologySpreadConstraints {
		c := &n.pod.Spec.TopologySpreadConstraints[i]
		field := fmt.Sprintf("%s[%d]", spreadField, i)
		if c.WhenUnsatisfiable == corev1.DoNotSchedule && n.spreadable(c, field) {
			n.spread(c, field)
		}
	}
}

func (n *nearness) spreadable(c *corev1.TopologySpreadConstraint, field string) bool {
	if c.NodeTaintsPolicy != nil && *c.NodeTaintsPolicy == corev1.NodeInclusionPolicyIgnore {
		n.problems = append(n.problems, Problem{
			Code: "spread-taints", Field: field + ".nodeTaintsPolicy", Text: "domains that the pod can't run in because of taints are left out of the skew, as with Honor",
			Hint: "write Honor to say so",
		})
	}
	if c.NodeAffinityPolicy != nil && *c.NodeAffinityPolicy == corev1.NodeInclusionPolicyIgnore && selectsNodes(n.pod) {
		n.fatal("unsupported-spread", field+".nodeAffinityPolicy", "domains that the pod does not select can't be part of the skew", "leave nodeAffinityPolicy out, or write Honor")
		return false
	}
	return n.hasTopology(c.TopologyKey, field)
}

func selectsNodes(pod *corev1.Pod) bool {
	a := pod.Spec.Affinity
	return len(nodeSelector(pod)) > 0 || a != nil && a.NodeAffinity != nil && a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution != nil
}

func (n *nearness) spread(c *corev1.TopologySpreadConstraint, field string) {
	p := part{Namespaces: []string{n.pod.Namespace}}
	n.choose(&p, c.LabelSelector, c.MatchLabelKeys, nil)
	if !n.compile(&p, field) {
		return
	}
	s := spec.Spread{MaxSkew: c.MaxSkew, MinDomains: 1, Self: !p.Nobody && p.labels.Matches(labels.Set(n.pod.Labels))}
	if c.MinDomains != nil {
		s.MinDomains = *c.MinDomains
	}
	s.Term = spec.Term{ID: n.intern(saying{Kind: spread, Parts: []part{p}}), Topology: n.domain(c.TopologyKey)}
	n.near.Spread = append(n.near.Spread, s)
	if s.Topology != "" {
		n.topology = append(n.topology, s.Topology)
	}
}

// claimsOnce keeps other users of ReadWriteOncePod claims off the whole cluster.
func (n *nearness) claimsOnce(claims []string) {
	for _, c := range claims {
		id := n.intern(saying{Kind: once, Claim: c})
		n.near.Avoids = append(n.near.Avoids, spec.Term{ID: id, Topology: Everywhere})
	}
}

func (n *nearness) onNode() {
	for _, u := range resident(n.pod) {
		n.near.Avoids = append(n.near.Avoids, u.terms()...)
	}
}

func compareTerm(a, b spec.Term) int {
	return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Topology, b.Topology))
}

// finish holds the terms and counts the pod for them.
func (n *nearness) finish() spec.Near {
	n.terms.hold(uid(n.pod), n.used)
	n.near.Counts = n.terms.Counts(n.pod)
	n.near.Avoids = n.avoided()
	slices.SortFunc(n.near.Spread, func(a, b spec.Spread) int {
		return cmp.Or(compareTerm(a.Term, b.Term), cmp.Compare(a.MaxSkew, b.MaxSkew), cmp.Compare(a.MinDomains, b.MinDomains))
	})
	n.near.Spread = slices.Compact(n.near.Spread)
	return n.near
}

func (n *nearness) avoided() []spec.Term {
	slices.SortFunc(n.near.Avoids, compareTerm)
	return slices.Compact(n.near.Avoids)
}

// requiredOf returns the required terms of inter-pod affinity and anti-affinity.
func requiredOf(pod *corev1.Pod) (need, avoid []corev1.PodAffinityTerm) {
	a := pod.Spec.Affinity
	if a == nil {
		return nil, nil
	}
	if a.PodAffinity != nil {
		need = a.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution
	}
	if a.PodAntiAffinity != nil {
		avoid = a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution
	}
	return need, avoid
}
