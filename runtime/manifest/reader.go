package manifest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/musterhq/muster/hostabi"
)

// reader turns nodes into metadata. A node of the wrong type is reported and read as if
// it were absent, so the rest is still judged.
type reader struct {
	report *report
	where  map[string]pos // of each value, by its JSON path
	broken []string       // paths whose value was reported: nothing else is said of them
}

// isBroken says whether a path, or what stands around it, was reported already.
func (rd *reader) isBroken(path string) bool {
	return slices.ContainsFunc(rd.broken, func(b string) bool {
		rest, below := strings.CutPrefix(path, b)
		return below && (rest == "" || rest[0] == '.' || rest[0] == '[')
	})
}

// at is the place of a JSON path, or of the nearest that stands around it.
func (rd *reader) at(path string) pos {
	for {
		if p, ok := rd.where[path]; ok {
			return p
		}
		cut := max(strings.LastIndexByte(path, '.'), strings.LastIndexByte(path, '['), 0)
		path = path[:cut]
	}
}

// field is one key of a mapping and what reads it.
type field struct {
	key  string
	read func(path string, n node)
}

func (rd *reader) file(n node, md *hostabi.Metadata) {
	rd.object("", n, "the manifest", []field{
		{"name", rd.text(&md.Name)},
		{"version", rd.text(&md.Version)},
		{"abi", func(path string, n node) {
			rd.object(path, n, path, []field{{"major", integer(rd, &md.ABI.Major)}, {"minMinor", integer(rd, &md.ABI.MinMinor)}})
		}},
		{"kinds", rd.texts(&md.Kinds)},
		{"columns", func(path string, n node) {
			rd.object(path, n, path, []field{{"required", rd.texts(&md.Columns.Required)}, {"optional", rd.texts(&md.Columns.Optional)}})
		}},
		{"params", list(rd, &md.Params, rd.param)},
		{"keys", list(rd, &md.Keys, rd.key)},
		{"reasons", rd.texts(&md.Reasons)},
		{"fuel", func(path string, n node) {
			rd.object(path, n, path, []field{{"base", integer(rd, &md.Fuel.Base)}, {"perRow", integer(rd, &md.Fuel.PerRow)}})
		}},
		{"laws", rd.texts(&md.Laws)},
		{"license", rd.text(&md.License)},
		{"source", rd.text(&md.Source)},
	})
}

func (rd *reader) param(path string, n node, p *hostabi.Param) {
	rd.object(path, n, "a param", []field{
		{"name", rd.text(&p.Name)},
		{"type", rd.text(&p.Type)},
		{"default", rd.value(&p.Default)},
		{"min", rd.value(&p.Min)},
		{"max", rd.value(&p.Max)},
		{"doc", rd.text(&p.Doc)},
	})
}

func (rd *reader) key(path string, n node, k *hostabi.Key) {
	rd.object(path, n, "a key", []field{{"type", rd.text(&k.Type)}, {"order", rd.text(&k.Order)}})
}

// object reads a mapping with a fixed set of keys.
func (rd *reader) object(path string, n node, what string, fields []field) {
	rd.where[path] = n.at
	if n.kind != isMapping {
		if n.kind != isNull {
			rd.wrongType(path, n, what, "a mapping", "write key: value pairs")
		}
		return
	}
	for _, e := range n.entries {
		i := slices.IndexFunc(fields, func(f field) bool { return f.key == e.key })
		if i < 0 {
			rd.report.errorf(e.at, CodeUnknownKey, keyHint(e.key, fields), "%s has no key %.60q", what, e.key)
			continue
		}
		child := e.key
		if path != "" {
			child = path + "." + e.key
		}
		rd.where[child] = e.value.at
		if e.value.kind == isNull {
			rd.where[child] = e.at
			continue
		}
		fields[i].read(child, e.value)
	}
}

func keyHint(key string, fields []field) string {
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.key
		if strings.EqualFold(f.key, key) {
			return "did you mean " + f.key + "? (keys are case-sensitive)"
		}
	}
	if near := hostabi.Nearest(key, names); near != "" {
		return "did you mean " + near + "?"
	}
	slices.Sort(names)
	return "known keys: " + strings.Join(names, ", ")
}

func (rd *reader) wrongType(path string, n node, what, want, hint string) {
	rd.broken = append(rd.broken, path)
	rd.report.errorf(n.at, CodeWrongType, hint, "%s must be %s, not %s", what, want, n.kind)
}

// text reads a scalar as written, so that version: 1.0 needs no quotes.
func (rd *reader) text(dst *string) func(string, node) {
	return func(path string, n node) {
		if n.kind != isScalar {
			rd.wrongType(path, n, path, "a text", "write one value, in quotes if it has a colon")
			return
		}
		*dst = n.text
	}
}

func (rd *reader) value(dst *any) func(string, node) {
	return func(path string, n node) {
		if n.kind != isScalar {
			rd.wrongType(path, n, path, "a number, a truth value or a text", "write one value")
			return
		}
		*dst = n.value
	}
}

func (rd *reader) texts(dst *[]string) func(string, node) {
	return list(rd, dst, func(path string, n node, s *string) { rd.text(s)(path, n) })
}

// list reads a sequence, each element by read.
func list[T any](rd *reader, dst *[]T, read func(path string, n node, dst *T)) func(string, node) {
	return func(path string, n node) {
		if n.kind != isList {
			rd.wrongType(path, n, path, "a list", "write [a, b], or a line with - for each entry")
			return
		}
		*dst = make([]T, len(n.items))
		for i, item := range n.items {
			child := fmt.Sprintf("%s[%d]", path, i)
			rd.where[child] = item.at
			read(child, item, &(*dst)[i])
		}
	}
}

func integer[T ~int | ~int64](rd *reader, dst *T) func(string, node) {
	return func(path string, n node) {
		v, err := strconv.ParseInt(strings.ReplaceAll(n.text, "_", ""), 10, 64)
		if n.kind != isScalar || err != nil {
			rd.broken = append(rd.broken, path)
			rd.report.errorf(n.at, CodeBadInteger, "write digits", "%s must be a whole number, not %.40q", path, n.text)
			return
		}
		*dst = T(v)
	}
}
