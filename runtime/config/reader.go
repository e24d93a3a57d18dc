package config

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"

	"github.com/musterhq/muster/hostabi"
)

// reader turns YAML nodes into values of the schema. A node of the wrong type is
// reported and read as if it were absent, so the rest is still judged.
type reader struct {
	report  *report
	aliases map[*ast.AliasNode]*aliasEnd
	queues  int // read so far
}

// text is a scalar as written, with its place; the zero value is an absent one.
type text struct {
	at     pos
	text   string
	set    bool // present and not null
	quoted bool
	bad    bool // not a scalar, and reported
}

// bare strips anchors, aliases and tags; the alias walk has made sure it ends.
func (r *reader) bare(n ast.Node) ast.Node {
	for {
		switch v := n.(type) {
		case *ast.AnchorNode:
			n = v.Value
		case *ast.TagNode:
			n = v.Value
		case *ast.AliasNode:
			end := r.aliases[v]
			if end == nil { // undefined, and reported
				return nil
			}
			n = end.node
		default:
			return n
		}
	}
}

func isNull(n ast.Node) bool {
	_, null := n.(*ast.NullNode)
	return n == nil || null
}

// pair is one entry of a mapping.
type pair struct {
	key   text
	value ast.Node
}

// pairs lists the entries of a mapping, those merged by "<<" behind its own, and
// reports duplicates. ok is false if the node is absent or not a mapping.
func (r *reader) pairs(n ast.Node, what, hint string) (list []pair, ok bool) {
	n = r.bare(n)
	var values []*ast.MappingValueNode
	switch v := n.(type) {
	case *ast.MappingNode:
		values = v.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{v}
	default:
		if !isNull(n) {
			r.wrongType(n, what, "a mapping", hint)
		}
		return nil, false
	}
	seen := make(map[string]pos, len(values))
	var merged []ast.Node
	for _, v := range values {
		key := keyNode(v.Key)
		if _, merge := key.(*ast.MergeKeyNode); merge {
			merged = append(merged, v.Value)
			continue
		}
		k := r.text(key, "a key")
		if first, dup := seen[k.text]; dup {
			r.report.errorf(k.at, CodeDuplicateKey, "keep one of them", "key %q is already set at line %d", k.text, first.line)
			continue
		}
		seen[k.text] = k.at
		list = append(list, pair{k, v.Value})
	}
	for _, m := range merged {
		list = r.merge(list, seen, m)
	}
	return list, true
}

// merge appends the entries of a "<<" value, which may be a list of mappings,
// that are not there yet.
func (r *reader) merge(list []pair, seen map[string]pos, n ast.Node) []pair {
	from := []ast.Node{n}
	if s, ok := r.bare(n).(*ast.SequenceNode); ok {
		from = s.Values
	}
	for _, m := range from {
		more, _ := r.pairs(m, "<<", "merge a mapping: <<: *name")
		for _, p := range more {
			if _, have := seen[p.key.text]; !have {
				seen[p.key.text] = p.key.at
				list = append(list, p)
			}
		}
	}
	return list
}

// object reads a mapping with a fixed set of keys. field handles each known one.
func (r *reader) object(n ast.Node, what string, keys []string, hint string, field func(key text, v ast.Node)) bool {
	list, ok := r.pairs(n, what, hint)
	for _, p := range list {
		if slices.Contains(keys, p.key.text) {
			field(p.key, p.value)
			continue
		}
		r.report.errorf(p.key.at, CodeUnknownKey, keyHint(p.key.text, keys), "%s has no key %q", what, p.key.text)
	}
	return ok
}

// items lists the elements of a sequence; ok is false if it is absent or not one.
func (r *reader) items(n ast.Node, what, hint string) (list []ast.Node, ok bool) {
	n = r.bare(n)
	if s, is := n.(*ast.SequenceNode); is {
		return s.Values, true
	}
	if !isNull(n) {
		r.wrongType(n, what, "a list", hint)
	}
	return nil, false
}

func (r *reader) text(n ast.Node, what string) text {
	at := nodePos(n)
	n = r.bare(n)
	switch v := n.(type) {
	case nil, *ast.NullNode:
		return text{at: at}
	case *ast.StringNode:
		return text{at: nodePos(v), text: r.report.restore(v.Value), set: true, quoted: v.Token.Type == token.SingleQuoteType || v.Token.Type == token.DoubleQuoteType}
	case *ast.LiteralNode:
		if v.Value == nil {
			return text{at: at}
		}
		return text{at: nodePos(v), text: r.report.restore(v.Value.Value), set: true, quoted: true}
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode, *ast.MergeKeyNode:
		return text{at: nodePos(n), text: r.report.restore(n.GetToken().Value), set: true, quoted: false}
	default:
		r.wrongType(n, what, "a text or number", "")
		return text{at: at, bad: true}
	}
}

func (r *reader) texts(n ast.Node, what string) []text {
	list, _ := r.items(n, what, "write a list: [a, b]")
	out := make([]text, 0, len(list))
	for _, e := range list {
		out = append(out, r.text(e, "an entry of "+what))
	}
	return out
}

func (r *reader) wrongType(n ast.Node, what, want, hint string) {
	r.report.errorf(nodePos(n), CodeWrongType, hint, "%s must be %s, not %s", what, want, typeName(n))
}

func typeName(n ast.Node) string {
	switch n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	default:
		return "a single value"
	}
}

// boolean accepts what YAML 1.1 calls a boolean, as YuniKorn's decoder does.
func (r *reader) boolean(n ast.Node, what string, unset bool) bool {
	t := r.text(n, what)
	if !t.set {
		return unset
	}
	if !t.quoted {
		switch t.text {
		case "true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON", "y", "Y":
			return true
		case "false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF", "n", "N":
			return false
		}
	}
	r.report.errorf(t.at, CodeWrongType, "", "%s must be true or false, not %q", what, t.text)
	return unset
}

// integer reads a whole number from 0 to 2^63-1; an absent or bad one is 0.
func (r *reader) integer(n ast.Node, what string) integer {
	t := r.text(n, what)
	if !t.set {
		return integer{at: t.at}
	}
	v, err := strconv.ParseUint(strings.ReplaceAll(t.text, "_", ""), 0, 64)
	if err != nil || v > math.MaxInt64 || t.quoted {
		r.report.errorf(t.at, CodeBadInteger, "leave it out, or write 0, for no limit",
			"%s must be a whole number from 0 to %d, not %q", what, int64(math.MaxInt64), t.text)
		return integer{at: t.at, bad: true}
	}
	return integer{at: t.at, value: int64(v)}
}

// integer is a number with its place; a bad one takes part in no comparison.
type integer struct {
	at    pos
	value int64
	bad   bool
}

// duration reads one of Muster's own durations, in nanoseconds.
func (r *reader) duration(n ast.Node, what string, negative bool) int64 {
	t := r.text(n, what)
	if !t.set {
		return 0
	}
	if negative && t.text == "never" {
		return -1
	}
	d, err := time.ParseDuration(t.text)
	if err != nil || d < 0 && !negative {
		hint := "write 90s, 5m or 1h30m"
		if negative {
			hint += ", or never"
		}
		r.report.errorf(t.at, CodeBadDuration, hint, "%s must be a duration, not %q", what, t.text)
		return 0
	}
	return int64(d)
}

// span reads a duration that is longer than nothing.
func (r *reader) span(n ast.Node, what string) int64 {
	t := r.text(n, what)
	if d, err := time.ParseDuration(t.text); err == nil && d == 0 {
		r.report.errorf(t.at, CodeBadDuration, "write 90s, 5m or 168h, or leave it out", "%s must be longer than nothing, not %q", what, t.text)
	}
	return r.duration(n, what, false)
}

// laterKeys are Muster's keys that other versions know.
var laterKeys = []string{"headroom", "sizes", "gpuWeights", "regions"}

func keyHint(key string, keys []string) string {
	if slices.Contains(laterKeys, key) {
		return key + " is not in this version of Muster; remove it"
	}
	lower := make([]string, len(keys))
	for i, k := range keys {
		lower[i] = strings.ToLower(k)
	}
	if i := slices.Index(lower, hostabi.Nearest(strings.ToLower(key), lower)); i >= 0 {
		return "did you mean " + keys[i] + "? (keys are case-sensitive)"
	}
	sorted := slices.SortedFunc(slices.Values(keys), cmp.Compare[string])
	return "known keys: " + strings.Join(sorted, ", ")
}
