package manifest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/musterhq/muster/hostabi"
	"github.com/musterhq/muster/hostabi/wasmbin"
)

// Mismatch is one thing that metadata say and the module does not hold to.
type Mismatch struct {
	Where   string // the JSON path
	Code    string
	Problem string
	Hint    string
}

// Mismatches are all of them, in the order of the metadata; it is the error of
// Annotate.
type Mismatches []Mismatch

func (ms Mismatches) Error() string {
	lines := make([]string, len(ms))
	for i, m := range ms {
		lines[i] = fmt.Sprintf("%s: %s\n  hint: %s", m.Where, m.Problem, m.Hint)
	}
	return strings.Join(lines, "\n")
}

// Annotate writes metadata into a module as its section muster.policy, in place of one
// that is there; all other bytes stay as they are. Kinds and ABI that the metadata leave
// out are filled in. The error is a *hostabi.MetadataError for metadata that no host
// would take, Mismatches for metadata that do not fit the module, or the reader's for
// bytes that are no module.
func Annotate(bin []byte, md hostabi.Metadata) ([]byte, error) {
	if problems := md.Problems(); len(problems) > 0 {
		return nil, problems[0]
	}
	m, err := wasmbin.Read(bin)
	if err != nil {
		return nil, fmt.Errorf("reading the module: %w", err)
	}
	if err := fit(&md, m); err != nil {
		return nil, err
	}
	content, err := md.JSON()
	if err != nil {
		return nil, err
	}
	return wasmbin.SetCustom(bin, hostabi.SectionName, content)
}

// fit compares metadata with the exports of the module.
func fit(md *hostabi.Metadata, m *wasmbin.Module) error {
	var out Mismatches
	if _, ok := m.Export(hostabi.ExportMarker); !ok {
		out = append(out, Mismatch{
			"exports", CodeNoPolicy, "the module does not export " + hostabi.ExportMarker,
			"build it with a Muster SDK; is this the file that you meant?",
		})
	}
	var exported []hostabi.Kind
	for _, k := range hostabi.Kinds() {
		if _, ok := m.Export(k.Export()); ok {
			exported = append(exported, k)
		}
	}
	for i, name := range md.Kinds {
		if k := kindByName(name); k != 0 && !slices.Contains(exported, k) {
			out = append(out, Mismatch{
				fmt.Sprintf("kinds[%d]", i), CodeOtherKind, fmt.Sprintf("the module does not export %s", k.Export()),
				"leave the kind out, or register the policy in the source",
			})
		}
	}
	for _, k := range exported {
		if len(md.Kinds) > 0 && !slices.Contains(md.Kinds, k.String()) {
			out = append(out, Mismatch{"kinds", CodeOtherKind, fmt.Sprintf("the module exports %s, the metadata do not say so", k.Export()), "add " + k.String()})
		}
	}
	out = append(out, mismatches(md, exported)...)
	if len(out) > 0 {
		return out
	}
	if len(md.Kinds) == 0 {
		for _, k := range exported {
			md.Kinds = append(md.Kinds, k.String())
		}
	}
	if md.ABI.Major == 0 {
		md.ABI = hostabi.ABIVersion{Major: hostabi.Major, MinMinor: max(md.ABI.MinMinor, needs(md))}
	}
	return nil
}

// mismatches are the parts of the metadata that mean nothing for the kinds decided.
func mismatches(md *hostabi.Metadata, kinds []hostabi.Kind) Mismatches {
	var out Mismatches
	for _, list := range []struct {
		where string
		names []string
	}{{"columns.required", md.Columns.Required}, {"columns.optional", md.Columns.Optional}} {
		for i, name := range list.names {
			if k := kindOfColumn(name); k != 0 && !slices.Contains(kinds, k) {
				out = append(out, Mismatch{
					fmt.Sprintf("%s[%d]", list.where, i), CodeOtherKind, fmt.Sprintf("%s is a column of %s, which the policy does not decide", name, k),
					"leave it out, or add the kind",
				})
			}
		}
	}
	orders := slices.Contains(kinds, hostabi.KindJobOrder)
	if len(md.Keys) > 0 && !orders {
		out = append(out, Mismatch{"keys", CodeUnused, "only a job_order has keys", "leave them out"})
	}
	if len(md.Reasons) > 0 && !orders && !slices.Contains(kinds, hostabi.KindVictimCosts) {
		out = append(out, Mismatch{"reasons", CodeUnused, "only a job_order and victim_costs give reasons", "leave them out"})
	}
	if i := slices.Index(md.Laws, "row-independent"); i >= 0 && !orders {
		out = append(out, Mismatch{fmt.Sprintf("laws[%d]", i), CodeUnused, "row-independent is a law of job orders", "leave it out"})
	}
	return out
}

// kindOfColumn is the kind of an input column, 0 for anything else.
func kindOfColumn(name string) hostabi.Kind {
	if strings.HasPrefix(name, hostabi.LabelPrefix) {
		return hostabi.KindJobOrder
	}
	if c, ok := hostabi.ColumnByName(name); ok && !c.Output {
		return c.Kind
	}
	return 0
}
