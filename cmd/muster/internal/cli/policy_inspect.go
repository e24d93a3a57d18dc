package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/musterhq/muster/cmd/muster/internal/policyset"
	"github.com/musterhq/muster/hostabi"
	"github.com/musterhq/muster/runtime/wasm"
)

// inspected is what `muster policy inspect` tells of a module.
type inspected struct {
	File     string               `json:"file"`
	Name     string               `json:"name"`
	Version  string               `json:"version,omitempty"`
	Digest   string               `json:"digest"`
	Bytes    int                  `json:"bytes"`
	ABI      string               `json:"abi"`
	NeedsABI string               `json:"needs_abi,omitempty"`
	Kinds    []string             `json:"kinds"`
	Columns  *hostabi.ColumnNames `json:"columns,omitempty"` // nil: all of its kinds
	Params   []hostabi.Param      `json:"params,omitempty"`
	Keys     []hostabi.Key        `json:"keys,omitempty"`
	Reasons  []string             `json:"reasons,omitempty"`
	Laws     []string             `json:"laws,omitempty"`
	Imports  []string             `json:"imports"`
	Exports  []string             `json:"exports"`
	Memory   memoryRange          `json:"memory"`
	Fuel     fuelFacts            `json:"fuel"`
	License  string               `json:"license,omitempty"`
	Source   string               `json:"source,omitempty"`
}

type memoryRange struct {
	Pages uint64 `json:"pages"`               // of 64 KiB, at the start
	Max   uint64 `json:"max_pages,omitempty"` // declared
}

type fuelFacts struct {
	Claimed  *hostabi.Fuel  `json:"claimed,omitempty"`
	Measured []measuredFuel `json:"measured,omitempty"`
}

// measuredFuel is a line through calls of several sizes: Base + PerRow*rows.
type measuredFuel struct {
	Kind   string  `json:"kind"`
	Base   float64 `json:"base"`
	PerRow float64 `json:"per_row"`
	// Exceeds says that a call of 1,024 rows used more than the metadata claim.
	Exceeds bool `json:"exceeds_claim,omitempty"`
}

func (a *app) policyInspect() *cobra.Command {
	var format string
	var measure bool
	c := a.command("inspect X.wasm", "tell what a module is and needs", `
Reads the module without running it, then calls it on small batches to measure what
a call and a row cost in fuel, which is the same on every machine (--measure=false
runs nothing).`, `
  muster policy inspect bin/policies/fair.wasm
  muster policy inspect --measure=false -o json their.wasm`,
		"", cobra.ExactArgs(1), func(ctx context.Context, args []string) error {
			if err := checkFormat(format); err != nil {
				return err
			}
			v, err := inspectModule(ctx, args[0], measure)
			if err != nil {
				return err
			}
			return a.print(format, v, func() error { return a.inspectText(v) })
		})
	formatFlag(c, &format)
	c.Flags().BoolVar(&measure, "measure", true, "run the module to measure its fuel")
	return c
}

func readModule(path string) ([]byte, error) {
	bin, err := os.ReadFile(path)
	if err != nil {
		return nil, failed("`muster policy build` makes a module, `make guests` those that we ship", "cannot read %w", pathFirst(err))
	}
	return bin, nil
}

func moduleName(path string) string { return strings.TrimSuffix(filepath.Base(path), ".wasm") }

func inspectModule(ctx context.Context, path string, measure bool) (*inspected, error) {
	bin, err := readModule(path)
	if err != nil {
		return nil, err
	}
	in, err := wasm.Inspect(moduleName(path), bin)
	if err != nil {
		return nil, &policyset.FileError{Path: path, Err: err}
	}
	md := &in.Metadata
	v := &inspected{
		File: path, Name: in.Name, Version: md.Version, Digest: in.Digest, Bytes: in.Size, ABI: fmt.Sprint(in.ABIMajor),
		Kinds: policyset.Kinds(in.Kinds), Params: md.Params, Keys: md.Keys, Reasons: md.Reasons, Laws: md.Laws,
		Imports: symbols(in.Imports), Exports: symbols(in.Exports), Memory: memoryRange{in.Pages, in.MaxPages},
		License: md.License, Source: md.Source,
	}
	if in.HasMetadata {
		v.NeedsABI = fmt.Sprintf("%d.%d", max(md.ABI.Major, in.ABIMajor), md.ABI.MinMinor)
	}
	if len(md.Columns.Required)+len(md.Columns.Optional) > 0 {
		v.Columns = &md.Columns
	}
	if md.Fuel != (hostabi.Fuel{}) {
		v.Fuel.Claimed = &md.Fuel
	}
	if measure {
		if v.Fuel.Measured, err = measureFuel(ctx, path, bin); err != nil {
			return nil, &policyset.FileError{Path: path, Err: err}
		}
	}
	return v, nil
}

func symbols(list []wasm.Symbol) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = s.Name
	}
	return out
}

// measureFuel calls each kind with 64 and 1,024 rows and draws the line through them.
func measureFuel(ctx context.Context, path string, bin []byte) (out []measuredFuel, err error) {
	m, err := wasm.Load(ctx, bin, wasm.Options{Name: moduleName(path)})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	const few, many = 64, 1024
	for _, k := range kindsOf(m.Info().Kinds) {
		var fuel [2]int64
		for i, n := range [2]int{few, many} {
			if err := ask(ctx, m, sample(m.Info(), k, n)); err != nil {
				return out, err
			}
			fuel[i] = m.LastFuel()
		}
		slope := float64(fuel[1]-fuel[0]) / (many - few)
		claim := m.Metadata().Fuel
		exceeds := claim != (hostabi.Fuel{}) && (fuel[0] > claim.Base+claim.PerRow*few || fuel[1] > claim.Base+claim.PerRow*many)
		out = append(out, measuredFuel{k.String(), float64(fuel[0]) - slope*few, slope, exceeds})
	}
	return out, nil
}

func (a *app) inspectText(v *inspected) error {
	w := tabwriter.NewWriter(a.out, 0, 4, 2, ' ', 0)
	row := func(name, format string, args ...any) {
		if text := fmt.Sprintf(format, args...); text != "" {
			fmt.Fprintf(w, "%s\t%s\n", name, text)
		}
	}
	row("policy", "%s", identity(v.Name, v.Version))
	row("digest", "%s", v.Digest)
	row("size", "%d bytes, memory from %d KiB", v.Bytes, v.Memory.Pages*64)
	row("abi", "%s%s", v.ABI, needs(v.NeedsABI))
	row("decides", "%s", strings.Join(v.Kinds, ", "))
	if v.Columns == nil {
		row("reads", "every column of its kinds (no columns in the metadata)")
	} else {
		row("reads", "%s", strings.Join(v.Columns.Required, ", "))
		row("reads if there", "%s", strings.Join(v.Columns.Optional, ", "))
	}
	for _, p := range v.Params {
		row("param", "%s", paramText(p))
	}
	for i, k := range v.Keys {
		row("key", "%d: %s, %s", i, or(k.Type, "i64"), or(k.Order, "asc"))
	}
	row("reasons", "%s", strings.Join(v.Reasons, "; "))
	row("claims", "%s", strings.Join(v.Laws, ", "))
	if f := v.Fuel.Claimed; f == nil && len(v.Fuel.Measured) > 0 {
		row("fuel claimed", "nothing (fuel: in policy.yaml)")
	} else if f != nil {
		row("fuel claimed", "%d a call and %d a row", f.Base, f.PerRow)
	}
	for _, f := range v.Fuel.Measured {
		over := ""
		if f.Exceeds {
			over = ", MORE than it claims"
		}
		row("fuel measured", "%s: %.0f a call and %.1f a row%s", f.Kind, f.Base, f.PerRow, over)
	}
	row("imports", "%s", wrapped(v.Imports))
	row("licence", "%s", v.License)
	row("source", "%s", v.Source)
	return w.Flush()
}

// wrapped lists names, a few on a line, below each other in the second column.
func wrapped(names []string) string {
	var b strings.Builder
	width := 0
	for i, n := range names {
		switch {
		case i == 0:
		case width+len(n) > 90:
			b.WriteString(",\n\t")
			width = 0
		default:
			b.WriteString(", ")
		}
		b.WriteString(n)
		width += len(n) + 2
	}
	return b.String()
}

func needs(abi string) string {
	if abi == "" {
		return ""
	}
	return ", needs " + abi
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

func paramText(p hostabi.Param) string {
	s := fmt.Sprintf("%s: %s, default %v", p.Name, p.Type, p.Default)
	if p.Min != nil {
		s += fmt.Sprintf(", at least %v", p.Min)
	}
	if p.Max != nil {
		s += fmt.Sprintf(", at most %v", p.Max)
	}
	if p.Doc != "" {
		s += " (" + p.Doc + ")"
	}
	return s
}
