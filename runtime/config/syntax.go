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

// checkNesting bounds the recursion of the parser: open brackets, and indicators
// like "- " that open a level each, on one line. (Levels by indentation are
// bounded by MaxBytes, since each costs a longer line than the last.)
func checkNesting(tokens token.Tokens) error {
	open, run, line := 0, 0, 0
	for _, t := range tokens {
		if t.Position == nil {
			continue
		}
		if t.Position.Line != line {
			line, run = t.Position.Line, 0
		}
		switch t.Type {
		case token.MappingStartType, token.SequenceStartType:
			open++
			run = 0
		case token.MappingEndType, token.SequenceEndType:
			open = max(open-1, 0)
			run = 0
		case token.CollectEntryType:
			run = 0
		case token.SequenceEntryType, token.MappingKeyType, token.MappingValueType,
			token.AnchorType, token.AliasType, token.TagType:
			run++
		}
		if open > maxNest || run > maxNest {
			return tooDeep(pos{t.Position.Line, t.Position.Column})
		}
	}
	return nil
}

func reportSyntax(r *report, err error) {
	var own *syntaxError
	var theirs *yaml.SyntaxError
	switch {
	case errors.As(err, &own):
		hint := "a mapping or list that deep is a mistake"
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
