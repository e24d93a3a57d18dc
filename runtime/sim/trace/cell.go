package trace

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/gpuprobe/pattern"
)

// cell is one value of a file as it was written, and where.
type cell struct {
	file      string
	line, col int
	name      string // of the column or key, for messages
	text      string
}

// record is a row of a table or a mapping of a YAML file.
type record interface {
	// cell returns the value of a column or key; ok is false, and the cell is
	// empty but has a place, when it is absent or blank.
	cell(name string) (c cell, ok bool)
}

// Limits of what is accepted. The sum of two instants and a duration fits an
// int64 of nanoseconds; the sum of all amounts fits an amount.Amount.
const (
	maxSeconds = 2_000_000_000 // 63 years: epoch seconds until 2033
	maxCount   = 1_000_000     // nodes, jobs, tasks of a job
	maxCPU     = 1 << 40       // milli
	maxMiB     = int64(amount.Limit) >> 20
	maxGPUs    = 1_000_000 // whole, per task or queue
	nanoDigits = 9
)

// integer reads a whole number in [low, high]; absent gives def.
func (p *Problems) integer(r record, name string, def, low, high int64) int64 {
	c, ok := r.cell(name)
	if !ok {
		return def
	}
	return p.decimal(c, 0, low, high)
}

// seconds reads a non-negative decimal number of seconds; absent gives 0.
func (p *Problems) seconds(r record, name string) spec.Duration {
	c, ok := r.cell(name)
	if !ok {
		return 0
	}
	return p.decimal(c, nanoDigits, 0, maxSeconds*spec.Second)
}

// milli reads a non-negative decimal number of GPUs in milli-GPUs.
func (p *Problems) milli(r record, name string, def int64) int64 {
	c, ok := r.cell(name)
	if !ok {
		return def
	}
	return p.decimal(c, 3, 0, maxGPUs*1000)
}

// require reports an absent cell.
func (p *Problems) require(r record, name string) (cell, bool) {
	c, ok := r.cell(name)
	if !ok {
		p.at(c, CodeEmpty, name+" is missing", "every entry needs it")
	}
	return c, ok
}

// decimal reads text as a decimal number with at most `digits` significant
// places after the point, scaled by 10^digits, without floating point. Places
// beyond are refused unless they are zeros, except for times, where they are
// cut: traces write more than nanoseconds. What is returned beside a problem is
// within the limits, so that the reader can go on to find the next one.
func (p *Problems) decimal(c cell, digits int, low, high int64) int64 {
	text := c.text
	negative := strings.HasPrefix(text, "-")
	whole, frac, _ := strings.Cut(strings.TrimPrefix(text, "-"), ".")
	if whole == "" || strings.Trim(whole+frac, "0123456789") != "" {
		p.at(c, CodeNumber, fmt.Sprintf("%s: %q is not a number", c.name, clip(text)), "write digits with at most one point, no exponent")
		return low
	}
	if len(frac) > digits {
		if rest := frac[digits:]; digits != nanoDigits && strings.Trim(rest, "0") != "" {
			p.at(c, CodeNumber, fmt.Sprintf("%s: %q has too many decimal places", c.name, clip(text)), fmt.Sprintf("at most %d are kept", digits))
			return low
		}
		frac = frac[:digits]
	}
	n, err := strconv.ParseInt(whole+frac+strings.Repeat("0", digits-len(frac)), 10, 64)
	if negative {
		n = -n
	}
	return p.bound(c, n, err != nil, negative, digits, low, high)
}

func (p *Problems) bound(c cell, n int64, over, negative bool, digits int, low, high int64) int64 {
	scale := int64(1)
	for range digits {
		scale *= 10
	}
	switch {
	case n < 0 && n < low || negative && over:
		p.at(c, CodeNegative, fmt.Sprintf("%s: %s is too small", c.name, clip(c.text)), fmt.Sprintf("the least is %d", low/scale))
	case over || n > high:
		p.at(c, CodeOverflow, fmt.Sprintf("%s: %s is too large", c.name, clip(c.text)), fmt.Sprintf("the largest is %d", high/scale))
	case n < low:
		p.at(c, CodeValue, fmt.Sprintf("%s: %s is too small", c.name, clip(c.text)), fmt.Sprintf("the least is %d", low/scale))
	default:
		return n
	}
	return low
}

// boolean reads true or false; absent gives def.
func (p *Problems) boolean(r record, name string, def bool) bool {
	c, ok := r.cell(name)
	if !ok {
		return def
	}
	switch strings.ToLower(c.text) {
	case "true", "yes", "1":
		return true
	case "false", "no", "0":
		return false
	}
	p.at(c, CodeValue, fmt.Sprintf("%s: %q is neither true nor false", name, clip(c.text)), "write true or false")
	return def
}

// pattern reads what GPUs do; absent gives the zero pattern.
func (p *Problems) pattern(r record, name string) pattern.Pattern {
	c, ok := r.cell(name)
	if !ok {
		return pattern.Pattern{}
	}
	use, err := pattern.Parse(c.text)
	var wrong *pattern.Error
	if errors.As(err, &wrong) {
		p.at(c, CodePattern, fmt.Sprintf("%s: %q: %s", name, clip(wrong.Text), wrong.Why), wrong.Hint)
	}
	return use
}

// duration reads a duration with its unit; absent gives 0. Where it may be never, that
// is -1.
func (p *Problems) duration(r record, name string, mayBeNever bool) spec.Duration {
	c, ok := r.cell(name)
	if !ok {
		return 0
	}
	if mayBeNever && c.text == "never" {
		return -1
	}
	d, err := time.ParseDuration(c.text)
	if err != nil || d <= 0 || d > maxSeconds*time.Second {
		hint := "write 90s, 5m or 1h30m"
		if mayBeNever {
			hint += ", or never"
		}
		p.at(c, CodeDuration, fmt.Sprintf("%s: %q is not a duration above 0", c.name, clip(c.text)), hint)
		return 0
	}
	return int64(d)
}

func text(r record, name string) string {
	c, _ := r.cell(name)
	return c.text
}

// clip keeps a message readable when the input is hostile.
func clip(s string) string {
	if len(s) > 40 {
		return s[:40] + "..."
	}
	return s
}
