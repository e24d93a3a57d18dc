package config

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// document is the first YAML document of a text, known to be finite.
type document struct {
	body    ast.Node                     // nil if the document is empty
	aliases map[*ast.AliasNode]*aliasEnd // what each alias stands for
}

func parseYAML(r *report, text []byte) (*document, bool) {
	if !checkText(r, text) {
		return nil, false
	}
	source, shielded := shield(strings.TrimPrefix(string(text), "\ufeff"))
	r.shielded = shielded
	file, err := parseTokens(source)
	if err != nil {
		reportSyntax(r, err)
		return nil, false
	}
	doc := &document{}
	for i, d := range file.Docs {
		switch {
		case i == 0:
			doc.body = d.Body
		case d.Body != nil:
			r.warnf(nodePos(d.Body), CodeExtraDocument, "put everything into one document",
				"YuniKorn and Muster read the first document of a file only")
		}
	}
	return doc, doc.resolveAliases(r)
}

// checkText refuses what the YAML library would take without a word.
func checkText(r *report, text []byte) bool {
	if len(text) > MaxBytes {
		r.errorf(pos{1, 1}, CodeTooLarge, "split it into partitions, or look for generated parts",
			"the file has %d bytes, the most is %d", len(text), MaxBytes)
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
		at.col++
		if c == '\n' {
			at = pos{at.line + 1, 1}
		}
	}
	return true
}

// syntaxError is a fault found before or by the YAML library.
type syntaxError struct {
	at      pos
	code    string
	message string
}

func (e *syntaxError) Error() string { return e.message }

// parseTokens runs the YAML library. It is guarded against deep nesting first,
// because it recurses and a stack overflow can't be recovered from.
func parseTokens(source string) (file *ast.File, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &syntaxError{pos{1, 1}, CodeYAML, fmt.Sprintf("the YAML library failed: %v", p)}
		}
	}()
	if err := checkFlow(source); err != nil {
		return nil, err
	}
	tokens := lexer.Tokenize(source)
	if err := checkNesting(tokens); err != nil {
		return nil, err
	}
	return parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
}

// checkFlow stops a text of nothing but opening brackets before the scanner,
// which is slow on it. Brackets in strings count too, so the bound is generous.
func checkFlow(source string) error {
	depth := 0
	for i := range len(source) {
		switch source[i] {
		case '[', '{':
			if depth++; depth > 20*maxNest {
				return tooDeep(pos{1 + strings.Count(source[:i], "\n"), 1})
			}
		case ']', '}':
			depth = max(depth-1, 0)
		}
	}
	return nil
}

func tooDeep(at pos) error {
	return &syntaxError{at, CodeTooDeep, fmt.Sprintf("nested deeper than %d levels", maxNest)}
}

// Bounds of what makes the YAML library recurse, or slow: it goes one call deeper
// for each key of a block mapping, each document, and for some tags and anchors,
// and its time grows with the square of the keys of a flow mapping and of the
// values that are left out.
const (
	maxKeys  = 10_000 // of one mapping
	maxMarks = 10_000 // tags, anchors, documents and empty values of a file
)

// checkNesting bounds the recursion of the parser. (Levels by indentation are
// bounded by MaxBytes, since each costs a longer line than the last.)
func checkNesting(tokens token.Tokens) error {
	g := guard{}
	for _, t := range tokens {
		if t.Position == nil {
			continue
		}
		if err := g.next(t); err != nil {
			return err
		}
	}
	return nil
}

// guard counts, token by token, what opens a level.
type guard struct {
	line  int
	flow  []flowOpen // brackets not yet closed
	run   int        // indicators like "- " in a row on this line
	marks int        // tags, anchors, ends of documents, values left out
	maps  []openMap  // block mappings around this token, the innermost last
	key   int        // column of the last token that could be a key
	last  *token.Token
}

type openMap struct{ column, keys int }

type flowOpen struct {
	mapping bool
	colon   bool // in the entry that is being read
	entries int
}

func (g *guard) next(t *token.Token) error {
	at := pos{t.Position.Line, t.Position.Column}
	if g.isAbsent(t) {
		g.marks++
	}
	g.last = t
	if at.line != g.line {
		g.line, g.run, g.key = at.line, 0, at.col
		g.leave(at.col)
	}
	switch t.Type {
	case token.MappingStartType, token.SequenceStartType:
		g.flow, g.run = append(g.flow, flowOpen{mapping: t.Type == token.MappingStartType}), 0
	case token.MappingEndType, token.SequenceEndType:
		g.flow, g.run = g.flow[:max(len(g.flow)-1, 0)], 0
	case token.CollectEntryType:
		g.run = 0
		if n := len(g.flow); n > 0 {
			g.flow[n-1].entries++
			g.flow[n-1].colon = false
		}
	case token.MappingKeyType, token.MappingValueType:
		g.run++
		g.addKey()
	case token.AnchorType, token.TagType, token.DocumentHeaderType, token.DocumentEndType, token.DirectiveType:
		g.run++
		g.marks++
	case token.SequenceEntryType, token.AliasType:
		g.run++
	default:
		g.key = at.col
	}
	return g.check(at)
}

// isAbsent says whether t shows that the token before it has no value: "- " or
// "key:" with nothing behind it, for which the library shifts all tokens.
func (g *guard) isAbsent(t *token.Token) bool {
	if g.last == nil {
		return false
	}
	ends := t.Type == token.CollectEntryType || t.Type == token.MappingEndType
	if n := len(g.flow); ends && n > 0 && g.flow[n-1].mapping && !g.flow[n-1].colon {
		return g.last.Type != token.MappingStartType // {a}, but not {}
	}
	entry := t.Type == token.SequenceEntryType
	nextLine := t.Position.Line != g.last.Position.Line
	switch g.last.Type {
	case token.SequenceEntryType:
		return nextLine && t.Position.Column <= g.last.Position.Column
	case token.MappingValueType:
		return ends || nextLine && (t.Position.Column < g.key || t.Position.Column == g.key && !entry)
	}
	return false
}

func (g *guard) check(at pos) error {
	switch {
	case len(g.flow) > maxNest || g.run > maxNest:
		return tooDeep(at)
	case g.marks > maxMarks:
		return &syntaxError{at, CodeTooLarge, fmt.Sprintf("more than %d tags, anchors, documents and empty values", maxMarks)}
	case len(g.maps) > 0 && g.maps[len(g.maps)-1].keys > maxKeys,
		len(g.flow) > 0 && g.flow[len(g.flow)-1].mapping && g.flow[len(g.flow)-1].entries > maxKeys:
		return &syntaxError{at, CodeTooLarge, fmt.Sprintf("a mapping with more than %d keys", maxKeys)}
	}
	return nil
}

// leave ends the mappings that are indented further than a line that starts here.
func (g *guard) leave(column int) {
	for len(g.maps) > 0 && g.maps[len(g.maps)-1].column > column {
		g.maps = g.maps[:len(g.maps)-1]
	}
}

// addKey counts a key of the block mapping at the column of the last token.
func (g *guard) addKey() {
	if n := len(g.flow); n > 0 {
		g.flow[n-1].colon = true
		return
	}
	g.leave(g.key)
	if n := len(g.maps); n > 0 && g.maps[n-1].column == g.key {
		g.maps[n-1].keys++
		return
	}
	g.maps = append(g.maps, openMap{g.key, 1})
}

func reportSyntax(r *report, err error) {
	var own *syntaxError
	var theirs *yaml.SyntaxError
	switch {
	case errors.As(err, &own):
		hint := "no configuration needs that; look for generated or repeated parts"
		if own.code == CodeYAML {
			hint = "report this file as a bug"
		}
		r.errorf(own.at, own.code, hint, "%s", own.message)
	case errors.As(err, &theirs):
		at := pos{1, 1}
		if theirs.Token != nil && theirs.Token.Position != nil {
			at = pos{theirs.Token.Position.Line, theirs.Token.Position.Column}
		}
		r.errorf(at, CodeYAML, "check indentation (spaces only), quotes, brackets and colons at or before this place",
			"not valid YAML: %s", theirs.Message)
	default:
		r.errorf(pos{1, 1}, CodeYAML, "check indentation (spaces only), quotes, brackets and colons", "not valid YAML: %v", err)
	}
}
