package wanted

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/musterhq/muster/hostabi"
	"github.com/musterhq/muster/policies"
	"github.com/musterhq/muster/runtime/config"
	"github.com/musterhq/muster/runtime/reload/oci"
	"github.com/musterhq/muster/runtime/reload/reason"
	"github.com/musterhq/muster/runtime/reload/trust"
)

// Codes of problems, beside those of package config for YAML itself. A code never
// changes its meaning.
const (
	CodeAlias      = "alias"            // anchors, aliases and tags are not for this file
	CodeName       = "policy-name"      // missing, or not a name
	CodeDuplicate  = "duplicate-policy" // two policies of one name
	CodeSource     = "policy-source"    // none, several, or not an address
	CodeDigest     = "digest"           // not sha256: and 64 digits
	CodeUnknownKey = "unknown-signer"   // signedBy names a key that is not in trust.keys
	CodeKey        = "trust-key"        // not a public key, or two of one id
	CodePattern    = "trust-source"     // not a pattern of sources
	CodeMode       = "policy-mode"      // mode, beside, shadowFor and kinds that do not go together
	CodeLimit      = "policy-limit"     // a limit out of range
	CodeParam      = "policy-param"     // a value that no param can have
)

var codes = []string{
	CodeAlias, CodeName, CodeDuplicate, CodeSource, CodeDigest, CodeUnknownKey, CodeKey, CodePattern, CodeMode, CodeLimit, CodeParam,
	config.CodeYAML, config.CodeNotText, config.CodeTooLarge, config.CodeTooDeep, config.CodeExtraDocument, config.CodeDuplicateKey,
	config.CodeUnknownKey, config.CodeWrongType, config.CodeBadInteger, config.CodeBadDuration, config.CodeBadValue,
}

// Codes lists every code that a problem of this file can have.
func Codes() []string { return slices.Clone(codes) }

// name is what a policy may be called, as in queues.yaml.
var name = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_./@:-]{0,127}$`)

// Parse reads a policies.yaml; file is its name in problems. The File is nil if there is
// any error.
func Parse(file string, text []byte) (*File, config.Problems) {
	r := &report{file: file, lines: strings.Split(string(text), "\n")}
	root, ok := r.parse(text)
	if !ok {
		return nil, r.finish()
	}
	rd := &reader{report: r, out: &File{}}
	rd.object(root, "the file", fields{
		"policies": func(n node) { rd.each(n, "policies", rd.policy) },
		"trust":    rd.trust,
	})
	rd.check()
	problems := r.finish()
	if problems.Err() != nil {
		return nil, problems
	}
	return rd.out, problems
}

// reader turns nodes into a File. What is wrong is reported and read as if it were
// absent, so that the rest is still judged.
type reader struct {
	*report
	out     *File
	signers []signer // of signedBy, checked when all keys are known
	names   map[string]pos
}

type signer struct {
	id string
	at pos
}

type fields map[string]func(node)

// object reads a mapping with a fixed set of keys.
func (rd *reader) object(n node, what string, fs fields) bool {
	if n.kind != mapping {
		if n.kind != null {
			rd.errorf(n.at, config.CodeWrongType, "write key: value pairs", "%s must be a mapping, not %s", what, n.kind)
		}
		return false
	}
	for _, e := range n.entries {
		read, ok := fs[e.key]
		if !ok {
			rd.errorf(e.at, config.CodeUnknownKey, fs.hint(e.key), "%s has no key %.60q", what, e.key)
			continue
		}
		if e.value.kind != null {
			read(e.value)
		}
	}
	return true
}

func (fs fields) hint(key string) string {
	known := make([]string, 0, len(fs))
	for k := range fs {
		known = append(known, k)
	}
	slices.Sort(known)
	for _, k := range known {
		if strings.EqualFold(k, key) {
			return "did you mean " + k + "? (keys are case-sensitive)"
		}
	}
	if near := hostabi.Nearest(key, known); near != "" {
		return "did you mean " + near + "?"
	}
	return "known keys: " + strings.Join(known, ", ")
}

func (rd *reader) each(n node, what string, read func(node)) {
	if n.kind != list {
		rd.errorf(n.at, config.CodeWrongType, "write a line with - for each entry", "%s must be a list, not %s", what, n.kind)
		return
	}
	for _, item := range n.list {
		read(item)
	}
}

func (rd *reader) text(what string, to *string) func(node) {
	return func(n node) {
		if n.kind != scalar {
			rd.errorf(n.at, config.CodeWrongType, "write one value", "%s must be a text, not %s", what, n.kind)
			return
		}
		*to = n.text
	}
}

func (rd *reader) truth(what string, to *bool) func(node) {
	return func(n node) {
		v, ok := n.value.(bool)
		if !ok {
			rd.errorf(n.at, config.CodeWrongType, "", "%s must be true or false", what)
		}
		*to = v
	}
}

func (rd *reader) duration(what string, to *time.Duration) func(node) {
	return func(n node) {
		d, err := time.ParseDuration(n.text)
		if n.kind != scalar || err != nil || d <= 0 {
			rd.errorf(n.at, config.CodeBadDuration, "write 25ms, 90s or 1h30m", "%s must be a duration above zero, not %.40q", what, n.text)
			return
		}
		*to = d
	}
}

func (rd *reader) integer(what string, most int64, to *int64) func(node) {
	return func(n node) {
		v, err := strconv.ParseInt(strings.ReplaceAll(n.text, "_", ""), 10, 64)
		if n.kind != scalar || err != nil {
			rd.errorf(n.at, config.CodeBadInteger, "write digits", "%s must be a whole number, not %.40q", what, n.text)
			return
		}
		if v <= 0 || v > most {
			rd.errorf(n.at, CodeLimit, "leave it out for the default", "%s must be from 1 to %d, not %d", what, most, v)
			return
		}
		*to = v
	}
}

// policy reads one entry of policies.
func (rd *reader) policy(n node) {
	if len(rd.out.Policies) >= MaxPolicies {
		if len(rd.out.Policies) == MaxPolicies {
			rd.errorf(n.at, config.CodeTooLarge, "", "more than %d policies", MaxPolicies)
		}
		return
	}
	s := Spec{Mode: Active}
	at := map[string]pos{}
	note := func(key string, f func(node)) func(node) {
		return func(n node) { at[key] = n.at; f(n) }
	}
	signatures := int64(0)
	ok := rd.object(n, "a policy", fields{
		"name":       note("name", rd.text("name", &s.Name)),
		"source":     note("source", func(n node) { s.Source = rd.source(n) }),
		"digest":     rd.digest(&s.Digest),
		"signedBy":   func(n node) { rd.each(n, "signedBy", func(n node) { rd.signer(n, &s) }) },
		"signatures": note("signatures", rd.integer("signatures", trust.MaxSignatures, &signatures)),
		"params":     func(n node) { s.Params = rd.params(n) },
		"limits":     func(n node) { rd.limits(n, &s.Limits) },
		"mode":       rd.mode(&s.Mode),
		"beside":     note("beside", rd.text("beside", &s.Beside)),
		"kinds":      func(n node) { rd.each(n, "kinds", func(n node) { rd.kind(n, &s.Kinds) }) },
		"shadowFor":  rd.duration("shadowFor", &s.ShadowFor),
	})
	s.Signatures = int(signatures)
	if !ok {
		if n.kind == null {
			rd.errorf(n.at, CodeName, "write - name: NAME", "an entry of policies is empty")
		}
		return
	}
	rd.judge(&s, n.at, at)
	rd.out.Policies = append(rd.out.Policies, s)
}

// judge checks what needs more than one key.
func (rd *reader) judge(s *Spec, n pos, at map[string]pos) {
	where := func(key string) pos {
		if p, ok := at[key]; ok {
			return p
		}
		return n
	}
	if !name.MatchString(s.Name) {
		rd.errorf(where("name"), CodeName, "letters, digits and _ . / @ : -, at most 128; it is what queues name", "%.140q is not a name of a policy", s.Name)
	} else if first, dup := rd.names[s.Name]; dup {
		rd.errorf(where("name"), CodeDuplicate, "a shadow has a name of its own, and beside: names the other", "policy %s is already there at line %d", s.Name, first.line)
	} else {
		if rd.names == nil {
			rd.names = map[string]pos{}
		}
		rd.names[s.Name] = where("name")
	}
	if _, ok := at["source"]; !ok {
		rd.errorf(n, CodeSource, "add source: {file: X.wasm}", "policy %s has no source", s.Name)
	}
	if s.Beside != "" && !name.MatchString(s.Beside) {
		rd.errorf(where("beside"), CodeName, "name the policy as queues do", "%.140q is not a name of a policy", s.Beside)
	}
	if s.Beside != "" && s.Mode != Shadow {
		rd.errorf(where("beside"), CodeMode, "write mode: shadow, or leave beside out", "only a shadow runs beside another policy")
	}
	if len(s.SignedBy) > 0 && s.Signatures > len(s.SignedBy) {
		rd.errorf(where("signatures"), CodeMode, "name more keys, or ask for fewer signatures", "%d signatures of %d keys", s.Signatures, len(s.SignedBy))
	}
}

func (rd *reader) source(n node) (s Source) {
	found := 0
	as := func(k SourceKind) func(node) {
		return func(n node) {
			s.Kind = k
			found++
			rd.text(string(k), &s.At)(n)
		}
	}
	ok := rd.object(n, "source", fields{
		"file": as(FromFile), "folder": as(FromFolder), "oci": as(FromOCI), "layout": as(FromLayout),
		"plainHTTP": rd.truth("plainHTTP", &s.PlainHTTP),
	})
	if ok && found != 1 {
		rd.errorf(n.at, CodeSource, "write one of file:, folder:, oci: and layout:", "a source has exactly one place, not %d", found)
		return s
	}
	var err error
	switch s.Kind {
	case FromOCI:
		_, err = oci.Parse(s.At)
	case FromLayout:
		_, err = oci.ParseLayout(s.At)
	}
	if err != nil {
		rd.errorf(n.at, CodeSource, reason.Of(err).Hint, "%.200q is not the address of an artifact", s.At)
	} else if ok && s.At == "" {
		rd.errorf(n.at, CodeSource, "", "the place is empty")
	}
	return s
}

func (rd *reader) digest(to *string) func(node) {
	return func(n node) {
		if !trust.IsDigest(n.text) {
			rd.errorf(n.at, CodeDigest, "muster policy inspect prints it", "a digest is sha256: and 64 hexadecimal digits in lower case, not %.80q", n.text)
			return
		}
		*to = n.text
	}
}

func (rd *reader) signer(n node, s *Spec) {
	var id string
	rd.text("a signer", &id)(n)
	if slices.Contains(s.SignedBy, id) {
		rd.errorf(n.at, config.CodeDuplicateKey, "keep one of them", "%q is there twice", id)
		return
	}
	s.SignedBy = append(s.SignedBy, id)
	rd.signers = append(rd.signers, signer{id, n.at})
}

func (rd *reader) mode(to *string) func(node) {
	return func(n node) {
		if n.text != Active && n.text != Shadow {
			rd.errorf(n.at, config.CodeBadValue, "write active or shadow", "there is no mode %.40q", n.text)
			return
		}
		*to = n.text
	}
}

func (rd *reader) kind(n node, to *policies.Kind) {
	for _, k := range []policies.Kind{policies.JobOrder, policies.QueueShares, policies.VictimCosts} {
		if n.text == k.String() {
			*to |= k
			return
		}
	}
	rd.errorf(n.at, config.CodeBadValue, "write job_order, queue_shares or victim_costs", "there is no kind %.40q", n.text)
}

func (rd *reader) params(n node) map[string]any {
	if n.kind != mapping {
		rd.errorf(n.at, config.CodeWrongType, "write name: value pairs", "params must be a mapping, not %s", n.kind)
		return nil
	}
	out := map[string]any{}
	for _, e := range n.entries {
		if e.value.kind != scalar {
			rd.errorf(e.at, CodeParam, "write one value", "param %s must be a number, a truth value or a text", e.key)
			continue
		}
		out[e.key] = e.value.value
	}
	return out
}

func (rd *reader) limits(n node, l *Limits) {
	rd.object(n, "limits", fields{
		"fuelBase":   rd.integer("fuelBase", 1<<40, &l.FuelBase),
		"fuelPerRow": rd.integer("fuelPerRow", 1<<32, &l.FuelPerRow),
		"memory":     rd.memory(&l.Memory),
		"timeout":    rd.duration("timeout", &l.Timeout),
	})
}

// memory reads bytes with or without Ki, Mi or Gi; a module can have 64 KiB to 4 GiB.
func (rd *reader) memory(to *int64) func(node) {
	return func(n node) {
		digits, shift := n.text, 0
		for suffix, s := range map[string]int{"Ki": 10, "Mi": 20, "MiB": 20, "KiB": 10, "Gi": 30, "GiB": 30} {
			if rest, ok := strings.CutSuffix(n.text, suffix); ok {
				digits, shift = rest, s
			}
		}
		v, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 32)
		if shift == 0 {
			v, err = strconv.ParseInt(digits, 10, 64)
		}
		if n.kind != scalar || err != nil || v <= 0 || v > 4<<30>>shift || v<<shift < 64<<10 {
			rd.errorf(n.at, CodeLimit, "write 16Mi", "memory must be from 64Ki to 4Gi, not %.40q", n.text)
			return
		}
		*to = v << shift
	}
}

// trust reads the section of that name.
func (rd *reader) trust(n node) {
	t := &Trust{Keys: []Key{}, Sources: []Allowed{}}
	if rd.object(n, "trust", fields{
		"keys":    func(n node) { rd.each(n, "keys", func(n node) { rd.key(n, t) }) },
		"sources": func(n node) { rd.each(n, "sources", func(n node) { rd.allowed(n, t) }) },
	}) {
		rd.out.Trust = t
	}
}

func (rd *reader) key(n node, t *Trust) {
	var k Key
	if !rd.object(n, "a key", fields{"id": rd.text("id", &k.ID), "pem": rd.text("pem", &k.PEM), "file": rd.text("file", &k.File)}) {
		return
	}
	switch {
	case !name.MatchString(k.ID):
		rd.errorf(n.at, CodeKey, "write id: NAME, which signedBy and the status use", "%.140q is not a name of a key", k.ID)
	case slices.ContainsFunc(t.Keys, func(o Key) bool { return o.ID == k.ID }):
		rd.errorf(n.at, CodeKey, "while a key is replaced, both have names: team-2025, team-2026", "key %s is there twice", k.ID)
	case (k.PEM == "") == (k.File == ""):
		rd.errorf(n.at, CodeKey, "write one of file: and pem:", "key %s has no text, or two", k.ID)
	case k.PEM != "":
		if _, err := trust.ParsePublic(k.ID, []byte(k.PEM)); err != nil {
			rd.errorf(n.at, CodeKey, "write pem: | and the lines of the public key below it", "key %s is %v", k.ID, err)
		}
	}
	t.Keys = append(t.Keys, k)
}

func (rd *reader) allowed(n node, t *Trust) {
	a := Allowed{Match: n.text}
	if n.kind != scalar && !rd.object(n, "a source", fields{"match": rd.text("match", &a.Match), "unsigned": rd.truth("unsigned", &a.Unsigned)}) {
		return
	}
	kind, _, _ := strings.Cut(a.Match, ":")
	known := slices.Contains([]SourceKind{FromFile, FromFolder, FromOCI, FromLayout, FromConfigMap, FromInline}, SourceKind(kind))
	if !known && strings.Trim(a.Match, "*") != "" || a.Match == "" || len(a.Match) > 512 || strings.Count(a.Match, "*") > 8 {
		rd.errorf(n.at, CodePattern, "write oci:registry.example/policies/* or file:**", "%.80q is not a pattern of sources", a.Match)
		return
	}
	t.Sources = append(t.Sources, a)
}

// check looks at what can only be judged when all of the file is read.
func (rd *reader) check() {
	for _, s := range rd.signers {
		if rd.out.Trust == nil || !slices.ContainsFunc(rd.out.Trust.Keys, func(k Key) bool { return k.ID == s.id }) {
			rd.errorf(s.at, CodeUnknownKey, "list it under trust.keys", "there is no key %q", s.id)
		}
	}
	slices.SortStableFunc(rd.out.Policies, func(a, b Spec) int { return order(a) - order(b) })
}

// order loads what decides before what is compared with it.
func order(s Spec) int {
	if s.Mode == Shadow {
		return 1
	}
	return 0
}

// String names a spec in messages.
func (s Spec) String() string { return fmt.Sprintf("%s (%s)", s.Name, s.Source) }
