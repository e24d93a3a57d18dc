package pods

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"hash/maphash"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apimachinery/pkg/types"
)

// Terms knows the sets of pods that pods speak of: "those with app=web in namespace team".
// Each has an ID, which is a hash of what it says, so the same everywhere and always. A
// term lives as long as a pod that was read uses it (see Forget). One goroutine uses it.
type Terms struct {
	opts      Options
	namespace func(name string) *corev1.Namespace

	terms   map[string]*term
	held    map[types.UID][]string // what each pod uses: sorted ids
	index   map[anchor][]*term
	version uint64
	epoch   uint64 // goes up whenever Counts may be another

	seed   maphash.Seed
	memos  map[uint64]*memo
	wheres map[string]*where // by key, to compile equal rules once
}

// NewTerms makes a registry. namespace looks a namespace up, nil where there is none; its
// labels decide whom a namespaceSelector means.
func NewTerms(o Options, namespace func(name string) *corev1.Namespace) *Terms {
	return &Terms{
		opts: o, namespace: namespace, terms: map[string]*term{}, held: map[types.UID][]string{},
		index: map[anchor][]*term{}, wheres: map[string]*where{},
		seed: maphash.MakeSeed(), memos: map[uint64]*memo{},
	}
}

// kind of a term.
type kind string

const (
	affinity kind = "affinity" // counts pods until they are gone
	spread   kind = "spread"   // counts pods until they are deleted
	once     kind = "once"     // counts the users of one claim
)

// saying is what a term says; its JSON is what the ID is a hash of. A pod is counted if all
// parts select it.
type saying struct {
	Kind  kind   `json:"kind"`
	Parts []part `json:"parts,omitempty"` // sorted, none twice
	Claim string `json:"claim,omitempty"` // namespace/name
}

// part selects the pods of some namespaces by their labels.
type part struct {
	Namespaces []string `json:"namespaces,omitempty"` // sorted
	AnyOf      *all     `json:"namespaceSelector,omitempty"`
	Labels     all      `json:"labels"`
	Nobody     bool     `json:"nobody,omitempty"` // the selector was nil

	namespaces, labels labels.Selector // compiled; namespaces is nil if AnyOf is
}

type term struct {
	id     string
	says   saying
	users  int
	anchor []anchor
	since  uint64 // the version at which it appeared
}

// anchor is a place in the index: a pod is counted by a term only if it has one of the
// term's anchors. A zero namespace stands for any, a zero key for any label.
type anchor struct{ namespace, key, value string }

// anchorsOf picks the narrowest anchors that the parts allow.
func anchorsOf(s *saying) []anchor {
	if len(s.Parts) == 0 {
		return nil
	}
	best := s.Parts[0].anchors()
	for i := range s.Parts[1:] {
		if a := s.Parts[i+1].anchors(); best[0].key == "" && a[0].key != "" {
			best = a
		}
	}
	return best
}

func (p *part) anchors() []anchor {
	spaces := p.Namespaces
	if p.AnyOf != nil {
		spaces = []string{""}
	}
	key, values := "", []string{""}
	for _, r := range p.Labels {
		if r.Op == selection.In {
			key, values = r.Key, r.Values
			break
		}
	}
	var out []anchor
	for _, ns := range spaces {
		for _, v := range values {
			out = append(out, anchor{ns, key, v})
		}
	}
	return out
}

func (s *saying) id() string {
	if s.Kind == once {
		return onceID(s.Claim)
	}
	text, err := json.Marshal(s)
	if err != nil {
		panic(err) // strings only
	}
	sum := sha256.Sum256(text)
	return string(s.Kind) + ":" + hex.EncodeToString(sum[:12])
}

func onceID(claim string) string { return string(once) + ":" + claim }

// intern returns the term that says this, which is new or known. Its parts must compile.
func (t *Terms) intern(s saying) string {
	id := s.id()
	if t.terms[id] == nil {
		t.version++
		t.epoch++
		n := &term{id: id, says: s, anchor: anchorsOf(&s), since: t.version}
		t.terms[id] = n
		for _, a := range n.anchor {
			t.index[a] = append(t.index[a], n)
		}
	}
	return id
}

func (t *Terms) drop(id string) {
	n := t.terms[id]
	for _, a := range n.anchor {
		rest := slices.DeleteFunc(t.index[a], func(o *term) bool { return o == n })
		if t.index[a] = rest; len(rest) == 0 {
			delete(t.index, a)
		}
	}
	delete(t.terms, id)
	t.epoch++
}

// hold notes that a pod uses these terms, in place of those it used before.
func (t *Terms) hold(pod types.UID, ids []string) {
	ids = sorted(ids)
	before := t.held[pod]
	if ids == nil {
		delete(t.held, pod)
	} else {
		t.held[pod] = ids
	}
	for _, id := range ids {
		t.terms[id].users++
	}
	for _, id := range before {
		if n := t.terms[id]; n != nil {
			n.users--
			if n.users == 0 {
				t.drop(id)
			}
		}
	}
}

// Forget says that a pod is gone (one that Read or Foreign has seen): terms that nobody
// uses any more go with it.
func (t *Terms) Forget(pod *corev1.Pod) { t.hold(uid(pod), nil) }

// Len is the number of terms.
func (t *Terms) Len() int { return len(t.terms) }

// Version goes up with each new term, and with Relabelled: pods that were counted at an
// earlier version may count for more now.
func (t *Terms) Version() uint64 { return t.version }

// Relabelled says that a namespace has come or changed its labels, so that pods of it may
// be selected otherwise. It tells whether that matters to any term.
func (t *Terms) Relabelled() bool {
	for _, n := range t.terms {
		if slices.ContainsFunc(n.says.Parts, func(p part) bool { return p.AnyOf != nil }) {
			t.version++
			t.epoch++
			return true
		}
	}
	return false
}

// Counts lists the terms that a pod counts for, sorted: those that select it, its host
// ports and disks, and its claims where only one pod may use them.
func (t *Terms) Counts(pod *corev1.Pod) []string {
	var out []string
	for _, r := range resident(pod) {
		out = append(out, r.counts...)
	}
	if len(t.terms) > 0 {
		out = t.selecting(out, pod)
		out = t.using(out, pod)
	}
	return sorted(out)
}

// CountedSince says whether a term newer than a version counts a pod: if none does, the
// pod's Counts are still those of that version, Relabelled aside.
func (t *Terms) CountedSince(pod *corev1.Pod, version uint64) bool {
	return slices.ContainsFunc(t.using(t.selecting(nil, pod), pod), func(id string) bool { return t.terms[id].since > version })
}

func (t *Terms) selecting(out []string, pod *corev1.Pod) []string {
	var ns *corev1.Namespace
	looked := false
	try := func(a anchor) {
		for _, n := range t.index[a] {
			if !looked && slices.ContainsFunc(n.says.Parts, func(p part) bool { return p.AnyOf != nil }) {
				ns, looked = t.namespace(pod.Namespace), true
			}
			if n.says.selects(pod, ns) {
				out = append(out, n.id)
			}
		}
	}
	for _, space := range []string{pod.Namespace, ""} {
		try(anchor{namespace: space})
		for k, v := range pod.Labels {
			try(anchor{space, k, v})
		}
	}
	return out
}

// selects says whether the pod is a member; ns is its namespace where that is known.
func (s *saying) selects(pod *corev1.Pod, ns *corev1.Namespace) bool {
	if s.Kind == spread && Terminating(pod) {
		return false
	}
	for i := range s.Parts {
		if !s.Parts[i].selects(pod, ns) {
			return false
		}
	}
	return len(s.Parts) > 0
}

func (p *part) selects(pod *corev1.Pod, ns *corev1.Namespace) bool {
	if p.Nobody || !p.labels.Matches(labels.Set(pod.Labels)) {
		return false
	}
	if _, named := slices.BinarySearch(p.Namespaces, pod.Namespace); named {
		return true
	}
	return p.namespaces != nil && ns != nil && p.namespaces.Matches(labels.Set(ns.Labels))
}

// using adds the terms of claims that one pod may use at a time.
func (t *Terms) using(out []string, pod *corev1.Pod) []string {
	for i := range pod.Spec.Volumes {
		if name := claimName(pod, &pod.Spec.Volumes[i]); name != "" {
			if id := onceID(pod.Namespace + "/" + name); t.terms[id] != nil {
				out = append(out, id)
			}
		}
	}
	return out
}
