package trace

import (
	"fmt"
	"strings"
)

// Codes of problems. They are stable: scripts may compare them.
const (
	CodeFile         = "trace.file"          // not there, not readable, or too large
	CodeTruncated    = "trace.truncated"     // a compressed file ends in the middle
	CodeFormat       = "trace.format"        // unknown or unclear format
	CodeSyntax       = "trace.syntax"        // not CSV, YAML or SWF at this place
	CodeColumns      = "trace.columns"       // a row with missing or extra columns
	CodeColumn       = "trace.column"        // the header lacks, repeats or has an unknown column
	CodeNumber       = "trace.number"        // not a number of the needed kind
	CodeNegative     = "trace.negative"      // a number below 0
	CodeOverflow     = "trace.overflow"      // a number above its limit
	CodeValue        = "trace.value"         // a number or word that makes no sense here
	CodeEmpty        = "trace.empty"         // nothing where something is needed
	CodeDuplicate    = "trace.duplicate"     // an id, name or key for the second time
	CodeUnknownQueue = "trace.unknown-queue" // no such queue
	CodeNotLeaf      = "trace.not-leaf"      // jobs in a queue that has children
	CodeCycle        = "trace.cycle"         // queues that are their own ancestors
	CodePattern      = "trace.pattern"       // not a pattern of what GPUs do
	CodeDuration     = "trace.duration"      // not a duration, as in 30m
)

// MaxProblems is how many problems are kept; the rest is only counted.
const MaxProblems = 20

// Problem is one thing that is wrong with an input, and where. Line and Col
// start at 1; they are 0 when the problem is the whole file.
type Problem struct {
	File    string `json:"file"`
	Line    int    `json:"line,omitempty"`
	Col     int    `json:"col,omitempty"`
	Code    string `json:"code"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", p.Line, p.Col)
	}
	fmt.Fprintf(&b, ": %s [%s]", p.Message, p.Code)
	if p.Hint != "" {
		b.WriteString("; " + p.Hint)
	}
	return b.String()
}

// Problems is the error of every reader: the first MaxProblems and the count.
type Problems struct {
	List  []Problem `json:"problems"`
	Total int       `json:"total"`
}

func (p *Problems) Error() string {
	var b strings.Builder
	for i, q := range p.List {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(q.String())
	}
	if p.Total > len(p.List) {
		fmt.Fprintf(&b, "\nand %d more problems", p.Total-len(p.List))
	}
	return b.String()
}

func (p *Problems) add(q Problem) {
	p.Total++
	if len(p.List) < MaxProblems {
		p.List = append(p.List, q)
	}
}

// at reports a problem at a cell.
func (p *Problems) at(c cell, code, message, hint string) {
	p.add(Problem{File: c.file, Line: c.line, Col: c.col, Code: code, Message: message, Hint: hint})
}

func (p *Problems) file(name, code, message, hint string) {
	p.add(Problem{File: name, Code: code, Message: message, Hint: hint})
}

// err is p as an error, nil when there is no problem.
func (p *Problems) err() error {
	if p.Total == 0 {
		return nil
	}
	return p
}
