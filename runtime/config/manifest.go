package config

import (
	"regexp"
	"strings"
)

// manifestKey is where a ConfigMap has a configuration.
const manifestKey = "queues.yaml"

// configMap is a line that only the manifest of a ConfigMap has: it keeps large configurations from
// being read twice.
var configMap = regexp.MustCompile(`(?m)^\s*"?kind"?:\s*["']?ConfigMap["']?,?\s*$`)

// ParseManifest is ParseOrDefault, but of the manifest of a Kubernetes ConfigMap, as YAML or JSON,
// the text below data, key queues.yaml, is read. Places are those of the manifest where the text
// stands there line by line (as after "queues.yaml: |"), else those of the text alone.
func ParseManifest(file string, text []byte) (f *File, usedDefault bool, problems Problems) {
	inner, is := manifest(file, text)
	switch {
	case !is:
		return ParseOrDefault(file, text)
	case !inner.set:
		r := newReport(file, text)
		r.errorf(inner.at, CodeNoQueues, "put the configuration there, or check the file that it is made from",
			"this is a ConfigMap without text below data, key %s", manifestKey)
		return nil, false, r.finish()
	}
	f, usedDefault, problems = ParseOrDefault(file, []byte(inner.text))
	if at, ok := inner.lines(string(text)); ok {
		return f, usedDefault, moved(problems, at, strings.Split(string(text), "\n"))
	}
	for i := range problems {
		problems[i].File = file + " (data, " + manifestKey + ")"
	}
	return f, usedDefault, problems
}

// embedded is the text that a manifest has; at is its key, or the document if it has none.
type embedded struct {
	at   pos
	text string
	set  bool
}

// manifest finds the configuration in a ConfigMap; ok is false if the text is anything else.
func manifest(file string, text []byte) (e embedded, ok bool) {
	if !configMap.Match(text) {
		return e, false
	}
	r := newReport(file, text) // what is wrong here is told by who reads it as a configuration
	doc, fine := parseYAML(r, text)
	if !fine {
		return e, false
	}
	in := &reader{report: r, aliases: doc.aliases}
	top, _ := in.pairs(doc.body, "the file", "")
	e.at = pos{1, 1}
	for _, p := range top {
		switch p.key.text {
		case "kind":
			ok = in.text(p.value, "kind").text == "ConfigMap"
		case "data":
			e.at = p.key.at
			data, _ := in.pairs(p.value, "data", "")
			for _, d := range data {
				if d.key.text == manifestKey {
					t := in.text(d.value, manifestKey)
					e = embedded{at: d.key.at, text: t.text, set: t.set}
				}
			}
		}
	}
	return e, ok
}

// lines says where in the manifest the text begins: its first line is the one after at.line, its
// first column the one after at.col. ok is false where it is written in another way.
func (e *embedded) lines(whole string) (at pos, ok bool) {
	all := strings.Split(whole, "\n")
	inner := strings.Split(strings.TrimRight(e.text, "\n"), "\n")
	if e.at.line+len(inner) > len(all) {
		return at, false
	}
	below := all[e.at.line:]
	at = pos{e.at.line, -1}
	for i, line := range inner {
		got := strings.TrimRight(below[i], "\r")
		if line == "" && strings.TrimSpace(got) == "" {
			continue
		}
		indent := len(got) - len(line)
		if indent < 0 || got[indent:] != line || strings.TrimSpace(got[:indent]) != "" || at.col >= 0 && indent != at.col {
			return at, false
		}
		at.col = indent
	}
	return at, at.col >= 0
}

// moved puts problems where the text stands.
func moved(ps Problems, at pos, lines []string) Problems {
	for i := range ps {
		p := &ps[i]
		p.Line, p.Col = p.Line+at.line, p.Col+at.col
		if p.Source != "" && p.Line <= len(lines) {
			p.Source = strings.TrimRight(lines[p.Line-1], "\r")
		}
	}
	return ps
}
