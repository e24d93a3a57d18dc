// Package manifest reads policy.yaml, in which an author says what a policy is, and
// writes it into a module as the custom section muster.policy.
//
// A file is judged as a whole: Parse reports every problem it has, each with line,
// column, a stable code and a hint, in the same form as the problems of queues.yaml.
// What the metadata may say is hostabi's affair; this package adds places in the text,
// and what can only be asked of an author: a name, a version, columns of the kinds that
// are decided.
package manifest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/musterhq/muster/hostabi"
	"github.com/musterhq/muster/runtime/config"
)

// MaxBytes is the largest file. A section of the module holds no more either.
const MaxBytes = hostabi.MaxMetadataBytes

// Problem is one fault of a file, Problems are all of them, sorted by position. They
// are those of queues.yaml, so that both look alike.
type (
	Problem  = config.Problem
	Problems = config.Problems
)

// Codes of problems beside hostabi's Meta codes. A code never changes its meaning.
const (
	CodeYAML         = config.CodeYAML         // the text is not YAML
	CodeNotText      = config.CodeNotText      // not UTF-8, or has control characters
	CodeTooLarge     = config.CodeTooLarge     // beyond MaxBytes
	CodeTooDeep      = config.CodeTooDeep      // nested deeper than any manifest
	CodeDuplicateKey = config.CodeDuplicateKey // a key twice in one mapping
	CodeUnknownKey   = config.CodeUnknownKey   // not in the schema
	CodeWrongType    = config.CodeWrongType    // a list where a mapping belongs, and the like
	CodeBadInteger   = config.CodeBadInteger   // not a whole number
	CodeAlias        = "alias"                 // anchors, aliases and tags are not for manifests
	CodeMissing      = "missing-key"           // name and version
	CodeUnknownKind  = "unknown-kind"
	CodeOtherKind    = "other-kind"     // a column of a kind that the policy does not decide
	CodeLaterColumn  = "unknown-column" // warning: an optional column that this version does not have
	CodeUnused       = "unused"         // keys, reasons or laws without a kind that has them
	CodeNoPolicy     = "no-policy"      // the module has no marker of the ABI
)

// Parse reads the text of a policy.yaml; file is its name in problems. The metadata
// are good if Problems.Err is nil: there may be warnings even then.
func Parse(file string, src []byte) (hostabi.Metadata, Problems) {
	r := newReport(file, src)
	root, ok := r.parseYAML(src)
	if !ok {
		return hostabi.Metadata{}, r.finish()
	}
	rd := &reader{report: r, where: map[string]pos{"": {1, 1}}}
	var md hostabi.Metadata
	rd.file(root, &md)
	if md.ABI.Major == 0 {
		md.ABI = hostabi.ABIVersion{Major: hostabi.Major, MinMinor: needs(&md)}
	}
	md.Normalize()
	for _, p := range md.Problems() {
		if rd.isBroken(p.Where) {
			continue
		}
		r.errorf(rd.at(p.Where), p.Code, p.Hint, "%s: %s", p.Where, p.Problem)
	}
	rd.author(&md)
	return md, r.finish()
}

// needs is the lowest minor version that has what the metadata ask for.
func needs(md *hostabi.Metadata) int {
	if len(md.Params) > 0 || len(md.LabelColumns()) > 0 {
		return 1
	}
	return 0
}

// author checks what is asked of a file, and not of every section of a module.
func (rd *reader) author(md *hostabi.Metadata) {
	for _, key := range []struct{ name, value, example string }{{"name", md.Name, "my-policy"}, {"version", md.Version, "0.1.0"}} {
		if key.value == "" && !rd.isBroken(key.name) {
			rd.report.errorf(rd.at(key.name), CodeMissing, "write "+key.name+": "+key.example, "the policy has no %s", key.name)
		}
	}
	for i, k := range md.Kinds {
		where := fmt.Sprintf("kinds[%d]", i)
		switch {
		case kindByName(k) == 0:
			rd.report.errorf(rd.at(where), CodeUnknownKind, kindHint(), "%s: there is no kind %.40q", where, k)
		case slices.Contains(md.Kinds[:i], k):
			rd.report.errorf(rd.at(where), hostabi.MetaTwice, "name each kind once", "%s: %s is named before", where, k)
		}
	}
	for i, name := range md.Columns.Optional {
		_, known := hostabi.ColumnByName(name)
		if !known && !strings.HasPrefix(name, hostabi.LabelPrefix) {
			where := fmt.Sprintf("columns.optional[%d]", i)
			rd.report.warnf(rd.at(where), CodeLaterColumn, "check its spelling; a later host may have it", "%s: this version has no column %.60q", where, name)
		}
	}
	if need := needs(md); md.ABI.MinMinor < need {
		rd.report.errorf(rd.at("abi"), hostabi.MetaABI, fmt.Sprintf("write abi: {major: 1, minMinor: %d}, or leave it out", need),
			"abi: params and labels came with ABI 1.%d, the policy asks for 1.%d", need, md.ABI.MinMinor)
	}
	if len(md.Kinds) > 0 {
		for _, m := range mismatches(md, kindsOf(md.Kinds)) {
			rd.report.errorf(rd.at(m.Where), m.Code, m.Hint, "%s: %s", m.Where, m.Problem)
		}
	}
}

func kindByName(name string) hostabi.Kind {
	for _, k := range hostabi.Kinds() {
		if k.String() == name {
			return k
		}
	}
	return 0
}

func kindsOf(names []string) []hostabi.Kind {
	var out []hostabi.Kind
	for _, n := range names {
		if k := kindByName(n); k != 0 {
			out = append(out, k)
		}
	}
	return out
}

func kindHint() string {
	names := make([]string, 0, len(hostabi.Kinds()))
	for _, k := range hostabi.Kinds() {
		names = append(names, k.String())
	}
	return "kinds are " + strings.Join(names, ", ")
}
