package manifest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/musterhq/muster/runtime/config"
)

// pos is a place in the text, both from 1.
type pos struct{ line, col int }

// report collects the problems of one file.
type report struct {
	file     string
	lines    []string
	problems Problems
	shielded bool // see shield
}

func newReport(file string, text []byte) *report {
	return &report{file: file, lines: strings.Split(string(text), "\n")}
}

func (r *report) errorf(at pos, code, hint, format string, args ...any) {
	r.add(config.Error, at, code, hint, fmt.Sprintf(format, args...))
}

func (r *report) warnf(at pos, code, hint, format string, args ...any) {
	r.add(config.Warning, at, code, hint, fmt.Sprintf(format, args...))
}

func (r *report) add(s config.Severity, at pos, code, hint, message string) {
	at = pos{max(at.line, 1), max(at.col, 1)}
	r.problems = append(r.problems, Problem{
		File: r.file, Line: at.line, Col: at.col, Code: code, Severity: s,
		Message: r.restore(message), Hint: hint, Source: r.source(at.line),
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
	return slices.Compact(r.problems)
}
