package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Severity says whether a problem refuses the file.
type Severity string

// The severities. A warning tells of a setting that YuniKorn, or Muster, does
// not act on; the file is used all the same.
const (
	Error   Severity = "error"
	Warning Severity = "warning"
)

// Problem is one fault of a file.
type Problem struct {
	File     string   `json:"file"`
	Line     int      `json:"line"` // from 1
	Col      int      `json:"col"`  // from 1, in characters
	Code     string   `json:"code"` // one of Codes()
	Severity Severity `json:"severity"`
	Message  string   `json:"message"`
	Hint     string   `json:"hint,omitempty"`
	// Source is the text of the line, for the excerpt.
	Source string `json:"source,omitempty"`
}

// Error prints the problem: where and what, the line with a caret under the
// column, and the hint.
func (p Problem) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s:%d:%d: %s[%s]: %s", p.File, p.Line, p.Col, p.Severity, p.Code, p.Message)
	if p.Source != "" {
		number := fmt.Sprintf("%5d", p.Line)
		line, caret := excerpt(p.Source, p.Col)
		fmt.Fprintf(&b, "\n%s | %s\n%s | %s", number, line, strings.Repeat(" ", len(number)), caret)
	}
	if p.Hint != "" {
		fmt.Fprintf(&b, "\n  hint: %s", p.Hint)
	}
	return b.String()
}

// excerptWidth is how much of a very long line is shown around the column.
const excerptWidth = 120

func excerpt(source string, col int) (line, caret string) {
	runes := []rune(source)
	at := min(max(col-1, 0), len(runes))
	from := 0
	if len(runes) > excerptWidth {
		from = min(max(at-excerptWidth/2, 0), len(runes)-excerptWidth)
		runes = runes[from : from+excerptWidth]
	}
	pad := make([]rune, 0, at-from+1)
	for _, c := range runes[:at-from] {
		if c != '\t' {
			c = ' '
		}
		pad = append(pad, c)
	}
	return string(runes), string(append(pad, '^'))
}

// Problems are all faults of one file, sorted by position.
type Problems []Problem

// Error prints all problems, one after the other.
func (ps Problems) Error() string {
	parts := make([]string, len(ps))
	for i, p := range ps {
		parts[i] = p.Error()
	}
	return strings.Join(parts, "\n")
}

// Err returns the problems, warnings included, if one of them is an error, and
// nil otherwise.
func (ps Problems) Err() error {
	if slices.ContainsFunc(ps, func(p Problem) bool { return p.Severity == Error }) {
		return ps
	}
	return nil
}

// Count returns how many errors and how many warnings there are.
func (ps Problems) Count() (errors, warnings int) {
	for _, p := range ps {
		if p.Severity == Error {
			errors++
		} else {
			warnings++
		}
	}
	return errors, warnings
}

// pos is a place in the text, both from 1.
type pos struct{ line, col int }

// maxProblems bounds what a hostile file can make us print.
const maxProblems = 10_000

// report collects the problems of one file.
type report struct {
	file     string
	lines    []string
	problems Problems
	seen     map[problemKey]bool // an alias shows the same fault many times
	overflow bool
	shielded bool // see shield
}

type problemKey struct {
	at            pos
	code, message string
}

func newReport(file string, text []byte) *report {
	return &report{file: file, lines: strings.Split(string(text), "\n"), seen: map[problemKey]bool{}}
}

func (r *report) errorf(at pos, code, hint, format string, args ...any) {
	r.add(Error, at, code, hint, fmt.Sprintf(format, args...))
}

func (r *report) warnf(at pos, code, hint, format string, args ...any) {
	r.add(Warning, at, code, hint, fmt.Sprintf(format, args...))
}

func (r *report) add(s Severity, at pos, code, hint, message string) {
	at = pos{max(at.line, 1), max(at.col, 1)}
	message = r.restore(message)
	key := problemKey{at, code, message}
	if r.overflow || r.seen[key] {
		return
	}
	if len(r.problems) == maxProblems {
		r.overflow = true
		s, at, code, hint = Error, pos{len(r.lines), 1}, CodeTooManyProblems, "correct these first"
		message = fmt.Sprintf("more than %d problems, the rest are not listed", maxProblems)
	}
	r.seen[key] = true
	r.problems = append(r.problems, Problem{
		File: r.file, Line: at.line, Col: at.col, Code: code, Severity: s,
		Message: message, Hint: hint, Source: r.source(at.line),
	})
}

func (r *report) source(line int) string {
	if line > len(r.lines) {
		return ""
	}
	s := strings.TrimRight(r.lines[line-1], "\r")
	if len(s) > 4*1024 || !utf8.ValidString(s) {
		return ""
	}
	return s
}

func (r *report) finish() Problems {
	slices.SortStableFunc(r.problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col),
			cmp.Compare(a.Code, b.Code), cmp.Compare(a.Message, b.Message))
	})
	return r.problems
}
