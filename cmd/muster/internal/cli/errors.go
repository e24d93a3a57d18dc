package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/musterhq/muster/cmd/internal/shell"
	"github.com/musterhq/muster/cmd/muster/internal/output"
	"github.com/musterhq/muster/cmd/muster/internal/policyset"
	"github.com/musterhq/muster/hostabi"
	"github.com/musterhq/muster/runtime/config"
	"github.com/musterhq/muster/runtime/manifest"
	"github.com/musterhq/muster/runtime/rego"
	"github.com/musterhq/muster/runtime/reload/reason"
	"github.com/musterhq/muster/runtime/sim/trace"
	"github.com/musterhq/muster/runtime/wasm"
)

// What is said of errors, by the words that all of our programs have for it.
var failed, misused = shell.Failed, shell.Misused

type (
	hinted = shell.Hinted
	silent = shell.Silent
)

// pathFirst turns an error of the file system round, as people say it: the path, then
// what is wrong with it. "open" and "stat" tell nobody anything.
func pathFirst(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return fmt.Errorf("%s: %w", p.Path, p.Err)
	}
	return err
}

// report prints an error, the hint last, and returns the exit code.
func (a *app) report(err error) int {
	var quiet silent
	var h *hinted
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &quiet):
		return int(quiet)
	}
	if list := findingsOf(err); len(list) > 0 {
		for _, f := range list {
			fmt.Fprint(a.err, f.text())
		}
		fmt.Fprintf(a.err, "muster: %s; nothing was run or written\nhint: %s\n", counted(list), "mend what is listed above and try again")
		return exitFailed
	}
	code, hint := exitFailed, "`muster --help` and `muster COMMAND --help` have examples"
	if !a.began {
		code = exitUsage
	}
	var p *policyset.Error
	var file *policyset.FileError
	var refused *reason.Error
	var unwritten *output.Unwritten
	var path *fs.PathError
	switch {
	case errors.As(err, &refused):
		for _, e := range refusals(err) {
			a.tellRefusal(e)
		}
		return exitFailed
	case errors.As(err, &file):
		hint = "a folder of rules holds *.rego files and, if they need one, data.json; policies/library/admission is an example"
		if p, ok := errors.AsType[*fs.PathError](err); ok {
			err = fmt.Errorf("cannot read %s: %w", file.Path, p.Err)
		}
	case errors.As(err, &h):
		code, hint = h.Code, h.Hint
	case errors.As(err, &unwritten), errors.As(err, &path) && path.Op == "write":
		hint = "is there such a folder, with room in it, and may you write to it?"
	case errors.As(err, &p):
		hint = p.Hint
	}
	fmt.Fprintf(a.err, "muster: %s\nhint: %s\n", strings.TrimSpace(err.Error()), hint)
	return code
}

// refusals finds every refusal in an error, which may be several joined.
func refusals(err error) []*reason.Error {
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		var out []*reason.Error
		for _, e := range many.Unwrap() {
			out = append(out, refusals(e)...)
		}
		return out
	}
	var e *reason.Error
	if errors.As(err, &e) {
		return []*reason.Error{e}
	}
	return nil
}

// tellRefusal prints why a policy was refused: where, what, the stable code, and what
// to do about it.
func (a *app) tellRefusal(e *reason.Error) {
	where := e.Where
	if where != "" {
		where += ": "
	}
	hint := e.Hint
	if hint == "" {
		hint = "docs/policy-operators.md explains every code"
	}
	fmt.Fprintf(a.err, "muster: %s%s [%s]\nhint: %s\n", where, e.Problem, e.Code, hint)
}

// finding is one problem of a file, of whatever kind the file is.
type finding struct {
	File     string `json:"file"`
	Line     int    `json:"line,omitempty"` // from 1; 0 when it is the whole file
	Col      int    `json:"col,omitempty"`
	Code     string `json:"code"`
	Severity string `json:"severity"`
	Message  string `json:"message"`
	Hint     string `json:"hint,omitempty"`

	excerpt string
}

// text is the finding for people, its hint last.
func (f finding) text() string {
	var b strings.Builder
	b.WriteString(f.File)
	if f.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", f.Line, f.Col)
	}
	fmt.Fprintf(&b, ": %s: %s [%s]\n", f.Severity, f.Message, f.Code)
	b.WriteString(f.excerpt)
	if f.Hint != "" {
		fmt.Fprintf(&b, "    hint: %s\n", f.Hint)
	}
	return b.String()
}

// counted is "2 errors and 1 warning".
func counted(list []finding) string {
	errs, warnings := tally(list)
	text := plural(errs, "error")
	if warnings > 0 {
		text += " and " + plural(warnings, "warning")
	}
	return text
}

func tally(list []finding) (errs, warnings int) {
	for _, f := range list {
		if f.Severity == string(config.Warning) {
			warnings++
		} else {
			errs++
		}
	}
	return errs, warnings
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// findingsOf takes an error apart into problems with places; none if it is another
// sort of error.
func findingsOf(err error) []finding {
	var (
		cs config.Problems
		ts *trace.Problems
		rs rego.Errors
		we *wasm.LoadError
		pe *policyset.ProbeError
		fe *policyset.FileError
		ms manifest.Mismatches
		me *hostabi.MetadataError
	)
	path := ""
	if errors.As(err, &fe) {
		path = fe.Path
	}
	var out []finding
	switch {
	case errors.As(err, &cs):
		return configFindings(cs)
	case errors.As(err, &ts):
		for _, p := range ts.List {
			out = append(out, finding{File: p.File, Line: p.Line, Col: p.Col, Code: p.Code, Severity: "error", Message: p.Message, Hint: p.Hint})
		}
		if more := ts.Total - len(ts.List); more > 0 {
			out = append(out, finding{File: ts.List[0].File, Code: "trace.more", Severity: "error", Message: fmt.Sprintf("and %d more problems", more)})
		}
	case errors.As(err, &rs):
		for _, p := range rs {
			file := path
			if p.File != "" {
				file = filepath.Join(path, p.File)
			}
			out = append(out, finding{File: file, Line: p.Row, Col: p.Col, Code: p.Code, Severity: "error", Message: p.Message, Hint: p.Hint})
		}
	case errors.As(err, &we):
		out = append(out, finding{File: path, Code: string(we.Code), Severity: "error", Message: place(we.Where) + we.Problem, Hint: we.Hint})
	case errors.As(err, &ms):
		for _, m := range ms {
			out = append(out, finding{File: or(path, "policy.yaml"), Code: m.Code, Severity: "error", Message: m.Where + ": " + m.Problem, Hint: m.Hint})
		}
	case errors.As(err, &me):
		out = append(out, finding{File: or(path, "policy.yaml"), Code: string(wasm.BadMetadata), Severity: "error", Message: me.Where + ": " + me.Problem, Hint: me.Hint})
	case errors.As(err, &pe):
		out = append(out, finding{
			File: path, Code: string(pe.Call.Code), Severity: "error",
			Message: fmt.Sprintf("export %s: failed on a trial batch of 3 rows: %s", pe.Call.Kind, pe.Call.Detail),
			Hint:    "a policy answers for every row with numbers in range, in time; hostabi/abi.md says what is expected",
		})
	}
	return out
}

func place(where string) string {
	if where == "" {
		return ""
	}
	return where + ": "
}

func configFindings(ps config.Problems) []finding {
	out := make([]finding, len(ps))
	for i, p := range ps {
		out[i] = finding{
			File: p.File, Line: p.Line, Col: p.Col, Code: p.Code, Severity: string(p.Severity), Message: p.Message, Hint: p.Hint,
			excerpt: excerpt(p),
		}
	}
	return out
}

// excerpt is the line with a mark under the column. Tabs stay tabs, so that the
// mark stands where it should.
func excerpt(p config.Problem) string {
	if strings.TrimSpace(p.Source) == "" || p.Col < 1 {
		return ""
	}
	var pad strings.Builder
	for i, r := range []rune(p.Source) {
		if i >= p.Col-1 {
			break
		}
		if r != '\t' {
			r = ' '
		}
		pad.WriteRune(r)
	}
	return "    " + p.Source + "\n    " + pad.String() + "^\n"
}
