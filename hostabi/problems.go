package hostabi

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The codes of MetadataError. They are stable.
const (
	MetaNotJSON  = "not-json"
	MetaTooLarge = "too-large"
	MetaType     = "wrong-type"
	MetaABI      = "abi-version"
	MetaName     = "bad-name"
	MetaText     = "bad-text"
	MetaColumn   = "bad-column"
	MetaParam    = "bad-param"
	MetaKey      = "bad-key"
	MetaFuel     = "bad-fuel"
	MetaLimit    = "too-many"
	MetaTwice    = "twice"
)

// Bounds of the metadata.
const (
	maxKeys    = 4
	maxReasons = 4096
	maxLaws    = 64
	maxName    = 100  // bytes
	maxText    = 4096 // bytes
)

// checker collects what is wrong.
type checker struct{ problems []*MetadataError }

func (c *checker) add(code, hint, where, format string, args ...any) {
	c.problems = append(c.problems, &MetadataError{where, code, fmt.Sprintf(format, args...), hint})
}

// Problems says everything that is wrong with the metadata, in the order of the
// struct; nil if nothing is. Columns, kinds and laws that this version does not know
// are wrong only where the policy requires them.
func (md *Metadata) Problems() []*MetadataError {
	c := &checker{}
	c.name("name", md.Name)
	c.text("version", md.Version)
	c.abi(md.ABI)
	c.columns(&md.Columns)
	c.params(md.Params)
	c.keys(md.Keys)
	c.reasons(md.Reasons)
	if md.Fuel.Base < 0 || md.Fuel.PerRow < 0 {
		c.add(MetaFuel, "leave it out if you make no claim", "fuel", "%d for a call and %d for a row, want 0 or more", md.Fuel.Base, md.Fuel.PerRow)
	}
	c.laws(md.Laws)
	c.text("license", md.License)
	c.text("source", md.Source)
	return c.problems
}

// name holds the name of a policy to what can stand in a file name, an image reference
// and a line of a log. An empty one stands for the file's.
func (c *checker) name(where, name string) {
	ok := len(name) <= maxName
	for i, r := range name {
		ok = ok && (letter(r) || digit(r) || i > 0 && strings.ContainsRune("._-", r))
	}
	if !ok {
		c.add(MetaName, "begin with a letter or digit, then letters, digits, dots, dashes and underscores, at most 100", where, "%.120q is no name", name)
	}
}

func letter(r rune) bool { return 'a' <= r|0x20 && r|0x20 <= 'z' }

func digit(r rune) bool { return '0' <= r && r <= '9' }

// text refuses what would spoil a line of a log: control characters and excess.
func (c *checker) text(where, s string) {
	switch {
	case len(s) > maxText:
		c.add(MetaText, "shorten it", where, "%d bytes, at most %d", len(s), maxText)
	case !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl):
		c.add(MetaText, "write it in one line of UTF-8", where, "%.60q has characters that can't be printed", s)
	}
}

func (c *checker) abi(v ABIVersion) {
	switch {
	case v.Major < 0 || v.MinMinor < 0:
		c.add(MetaABI, "write {major: 1, minMinor: 0}", "abi", "version %d.%d", v.Major, v.MinMinor)
	case v.Major != 0 && v.Major != Major || v.MinMinor > Minor:
		c.add(MetaABI, "update the host, or build the policy with an older SDK", "abi", "needs ABI %d.%d, this host speaks %d.%d",
			max(v.Major, 1), v.MinMinor, Major, Minor)
	}
}

func (c *checker) columns(names *ColumnNames) {
	seen, labels := map[string]bool{}, 0
	for _, list := range []struct {
		where    string
		names    []string
		required bool
	}{{"columns.required", names.Required, true}, {"columns.optional", names.Optional, false}} {
		for i, name := range list.names {
			where := fmt.Sprintf("%s[%d]", list.where, i)
			if seen[name] {
				c.add(MetaTwice, "name each column once", where, "%q is named before", name)
			}
			seen[name] = true
			if key, isLabel := strings.CutPrefix(name, LabelPrefix); isLabel {
				labels++
				c.label(where, key)
				continue
			}
			c.column(where, name, list.required)
		}
	}
	if labels > MaxLabels {
		c.add(MetaLimit, "read fewer labels", "columns", "%d labels, at most %d", labels, MaxLabels)
	}
}

func (c *checker) label(where, key string) {
	if key == "" || len(key) > maxLabelKey || strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		c.add(MetaColumn, "write job.label: and the label's key, as in job.label:team", where, "%.60q is no key of a label", key)
	}
}

func (c *checker) column(where, name string, required bool) {
	column, ok := ColumnByName(name)
	switch {
	case ok && column.Output:
		c.add(MetaColumn, "outputs are always sent, leave it out", where, "%s is an output", name)
	case !ok && required:
		c.add(MetaColumn, columnHint(name), where, "this host has no column %.60q", name)
	}
}

// columnHint names the column that was meant, if one is near.
func columnHint(name string) string {
	var inputs []string
	for _, cs := range columns {
		for _, c := range cs {
			if !c.Output {
				inputs = append(inputs, c.Name)
			}
		}
	}
	if best := Nearest(name, inputs); best != "" {
		return "did you mean " + best + "?"
	}
	return "list it under optional, or update the host"
}

// Nearest returns the word that was meant by another, empty if none is near: no more
// than three letters away, and no more than half of them.
func Nearest(word string, among []string) string {
	best, distance := "", min(4, len(word)/2+1)
	for _, w := range among {
		if d := editDistance(word, w); d < distance {
			best, distance = w, d
		}
	}
	return best
}

// editDistance is the number of letters to change, insert or delete (Levenshtein),
// for texts of up to 64 bytes; longer ones are far from everything.
func editDistance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	var row [65]int
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

func (c *checker) keys(keys []Key) {
	if len(keys) > maxKeys {
		c.add(MetaLimit, "fold keys into one number", "keys", "%d keys, at most %d", len(keys), maxKeys)
	}
	for i, k := range keys {
		if k.Type != "" && k.Type != "i64" && k.Type != "f64" || k.Order != "" && k.Order != "asc" && k.Order != "desc" {
			c.add(MetaKey, "types are i64 and f64, orders asc and desc", fmt.Sprintf("keys[%d]", i), "type %.20q, order %.20q", k.Type, k.Order)
		}
	}
}

func (c *checker) reasons(reasons []string) {
	if len(reasons) > maxReasons {
		c.add(MetaLimit, "fold reasons together", "reasons", "%d reasons, at most %d", len(reasons), maxReasons)
	}
	for i, r := range reasons {
		c.text(fmt.Sprintf("reasons[%d]", i), r)
	}
}

func (c *checker) laws(laws []string) {
	if len(laws) > maxLaws {
		c.add(MetaLimit, "claim fewer laws", "laws", "%d laws, at most %d", len(laws), maxLaws)
	}
	for i, law := range laws {
		where := fmt.Sprintf("laws[%d]", i)
		if law == "" {
			c.add(MetaName, "ids of laws look like row-independent", where, "an empty id")
		}
		c.name(where, law)
		if slices.Contains(laws[:i], law) {
			c.add(MetaTwice, "claim each law once", where, "%q is claimed before", law)
		}
	}
}

func (c *checker) params(params []Param) {
	if len(params) > MaxParams {
		c.add(MetaLimit, "fold settings together", "params", "%d params, at most %d", len(params), MaxParams)
	}
	seen := map[string]bool{}
	for i := range params {
		p := &params[i]
		where := fmt.Sprintf("params[%d]", i)
		if !paramName(p.Name) {
			c.add(MetaParam, "begin with a letter, then letters, digits, dots, dashes and underscores, at most 64", where+".name", "%.80q can't name a param", p.Name)
		}
		if seen[p.Name] {
			c.add(MetaTwice, "give each param its own name", where+".name", "%q is named before", p.Name)
		}
		seen[p.Name] = true
		c.text(where+".doc", p.Doc)
		c.param(where, p)
	}
}

func paramName(s string) bool {
	for i, r := range s {
		if !letter(r) && (i == 0 || !digit(r) && !strings.ContainsRune("._-", r)) {
			return false
		}
	}
	return s != "" && len(s) <= 64
}

// param checks the values of one param against its type and each other.
func (c *checker) param(where string, p *Param) {
	if !slices.Contains([]string{ParamI64, ParamF64, ParamBool, ParamString, ParamDuration}, p.Type) {
		c.add(MetaParam, "types are i64, f64, bool, string and duration", where+".type", "unknown type %.40q", p.Type)
		return
	}
	if p.Default == nil {
		c.add(MetaParam, "a policy must be usable without settings", where+".default", "%.80s has no default", p.Name)
	}
	ordered := p.Type != ParamBool && p.Type != ParamString
	values := map[string]any{}
	for _, v := range []struct {
		name  string
		value any
	}{{"default", p.Default}, {"min", p.Min}, {"max", p.Max}} {
		if v.value == nil {
			continue
		}
		typed, ok := paramValue(p.Type, v.value)
		switch {
		case !ordered && v.name != "default":
			c.add(MetaParam, "leave it out", where+"."+v.name, "a %s has no order", p.Type)
		case !ok:
			c.add(MetaParam, paramHint(p.Type), where+"."+v.name, "%.60s is not of type %s", fmt.Sprint(v.value), p.Type)
		default:
			values[v.name] = typed
		}
	}
	if text, ok := values["default"].(string); ok {
		c.text(where+".default", text)
	}
	c.order(where, p, values)
}

func (c *checker) order(where string, p *Param, values map[string]any) {
	def, low, high := values["default"], values["min"], values["max"]
	switch {
	case low != nil && high != nil && below(high, low):
		c.add(MetaParam, "swap them", where+".max", "the maximum %v is below the minimum %v", p.Max, p.Min)
	case def != nil && low != nil && below(def, low):
		c.add(MetaParam, "choose a default inside the bounds", where+".default", "the default %v is below the minimum %v", p.Default, p.Min)
	case def != nil && high != nil && below(high, def):
		c.add(MetaParam, "choose a default inside the bounds", where+".default", "the default %v is above the maximum %v", p.Default, p.Max)
	}
}

func below(a, b any) bool {
	switch x := a.(type) {
	case int64:
		return x < b.(int64)
	case float64:
		return x < b.(float64)
	}
	return false
}

func paramHint(typ string) string {
	return map[string]string{
		ParamI64:      "write a whole number of 64 bits",
		ParamF64:      "write a finite number",
		ParamBool:     "write true or false",
		ParamString:   "write a text in quotes",
		ParamDuration: `write a text like "90s" or "5m", or a whole number of ns`,
	}[typ]
}
