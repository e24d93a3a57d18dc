package manifest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// Bounds of the text, far above any manifest: the YAML library recurses, and is slow
// on brackets that never close.
const (
	maxNest  = 50
	maxNodes = 20_000
	maxLine  = 8 << 10 // bytes
)

// node is a piece of YAML without the library's types. The zero value is a null.
type node struct {
	at      pos
	kind    nodeKind
	text    string // a scalar as written
	value   any    // a scalar: string, bool, int64, uint64 or float64
	items   []node
	entries []entry
}

type entry struct {
	key   string
	at    pos // of the key
	value node
}

type nodeKind uint8

const (
	isNull nodeKind = iota
	isScalar
	isList
	isMapping
)

func (k nodeKind) String() string {
	return [...]string{"empty", "a single value", "a list", "a mapping"}[k]
}

// parseYAML reads the first document. It is false if the text can't be read at all.
func (r *report) parseYAML(text []byte) (node, bool) {
	if !r.checkText(text) {
		return node{}, false
	}
	source := strings.TrimPrefix(string(text), "\ufeff")
	if at, deep := tooDeep(source); deep {
		r.errorf(at, CodeTooDeep, "no manifest needs that", "nested deeper than %d levels", maxNest)
		return node{}, false
	}
	if n := slices.IndexFunc(r.lines, func(line string) bool { return len(line) > maxLine }); n >= 0 {
		r.errorf(pos{n + 1, 1}, CodeTooLarge, "break it", "a line of %d bytes, the most is %d", len(r.lines[n]), maxLine)
		return node{}, false
	}
	source, r.shielded = shield(source)
	file, err := parseSource(source)
	if err != nil {
		r.syntax(err)
		return node{}, false
	}
	c := converter{report: r}
	for i, d := range file.Docs {
		if i > 0 && d.Body != nil {
			r.errorf(nodePos(d.Body), CodeYAML, "put everything into one document", "a second document; only the first would be read")
		}
	}
	if len(file.Docs) == 0 || file.Docs[0].Body == nil {
		return node{}, true
	}
	root := c.convert(file.Docs[0].Body, 0)
	if c.count > maxNodes {
		r.errorf(pos{1, 1}, CodeTooLarge, "no manifest needs that", "more than %d values", maxNodes)
		return node{}, false
	}
	return root, true
}

func (r *report) checkText(text []byte) bool {
	if len(text) > MaxBytes {
		r.errorf(pos{1, 1}, CodeTooLarge, "shorten the reasons and the docs of the params", "the file has %d bytes, the most is %d", len(text), MaxBytes)
		return false
	}
	at := pos{1, 1}
	for i := 0; i < len(text); {
		c, n := utf8.DecodeRune(text[i:])
		if c == utf8.RuneError && n == 1 {
			r.errorf(at, CodeNotText, "save it as UTF-8", "byte 0x%02x is not UTF-8", text[i])
			return false
		}
		if c < ' ' && c != '\t' && c != '\n' && c != '\r' || c == 0x7f {
			r.errorf(at, CodeNotText, "remove it", "control character 0x%02x is not allowed in YAML", c)
			return false
		}
		i += n
		if at.col++; c == '\n' {
			at = pos{at.line + 1, 1}
		}
	}
	return true
}

// tooDeep looks for what makes the library recurse: brackets, runs of "- " and "? " in
// one line, and indentation. Brackets in texts count too, so a pair of them counts once.
func tooDeep(source string) (at pos, deep bool) {
	brackets := 0
	for n, line := range strings.Split(source, "\n") {
		indent := len(line) - len(strings.TrimLeft(line, " -?:\t"))
		for _, c := range line {
			switch c {
			case '[', '{':
				brackets++
			case ']', '}':
				brackets = max(brackets-1, 0)
			}
		}
		if brackets > maxNest || indent > 4*maxNest {
			return pos{n + 1, 1}, true
		}
	}
	return pos{}, false
}

// parseSource runs the YAML library, which may panic on what is not YAML.
func parseSource(source string) (file *ast.File, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the YAML library failed: %v", p)
		}
	}()
	return parser.ParseBytes([]byte(source), 0, parser.AllowDuplicateMapKey())
}

func (r *report) syntax(err error) {
	at, message := pos{1, 1}, err.Error()
	var theirs *yaml.SyntaxError
	if errors.As(err, &theirs) {
		message = theirs.Message
		if theirs.Token != nil && theirs.Token.Position != nil {
			at = pos{theirs.Token.Position.Line, theirs.Token.Position.Column}
		}
	}
	r.errorf(at, CodeYAML, "check indentation (spaces only), quotes, brackets and colons at or before this place", "not valid YAML: %s", message)
}

// shieldRune stands for a colon inside a plain text while the library reads it.
const shieldRune = '\uf03a'

// shield hides the colons inside of words: YAML reads [job.label:team] as a list of one
// text, the library as a list of one mapping.
func shield(source string) (string, bool) {
	if strings.ContainsRune(source, shieldRune) {
		return source, false
	}
	out := make([]byte, 0, len(source))
	last := 0
	for i := 1; i+1 < len(source); i++ {
		if source[i] == ':' && !strings.ContainsRune(" \t\r\n,[]{}\"'", rune(source[i-1])) &&
			!strings.ContainsRune(" \t\r\n,[]{}", rune(source[i+1])) {
			out = append(out, source[last:i]...)
			out = utf8.AppendRune(out, shieldRune)
			last = i + 1
		}
	}
	return string(append(out, source[last:]...)), true
}

func (r *report) restore(s string) string {
	if !r.shielded {
		return s
	}
	return strings.ReplaceAll(s, string(shieldRune), ":")
}
