package hostabi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/musterhq/muster/hostabi/wasmbin"
)

// MaxMetadataBytes bounds the custom section.
const MaxMetadataBytes = 64 << 10

// Metadata is the custom section muster.policy: what a policy says of itself,
// readable without running it.
type Metadata struct {
	Name    string      `json:"name,omitempty"`
	Version string      `json:"version,omitempty"`
	ABI     ABIVersion  `json:"abi,omitzero"`
	Kinds   []string    `json:"kinds,omitempty"`
	Columns ColumnNames `json:"columns,omitzero"`
	Params  []Param     `json:"params,omitempty"`
	Keys    []Key       `json:"keys,omitempty"`
	Reasons []string    `json:"reasons,omitempty"`
	Fuel    Fuel        `json:"fuel,omitzero"`
	// Laws are the ids of the laws that the policy claims to keep.
	Laws    []string `json:"laws,omitempty"`
	License string   `json:"license,omitempty"`
	Source  string   `json:"source,omitempty"`
}

// ABIVersion is the major version and the lowest minor one that a policy needs.
type ABIVersion struct {
	Major    int `json:"major"`
	MinMinor int `json:"minMinor"`
}

// ColumnNames are the input columns that a policy wants. If both are empty it gets
// all columns of its kinds.
type ColumnNames struct {
	Required []string `json:"required,omitempty"`
	Optional []string `json:"optional,omitempty"`
}

// Key is one sort key of a job order.
type Key struct {
	Type  string `json:"type,omitempty"`  // i64 (default) or f64
	Order string `json:"order,omitempty"` // asc (default) or desc
}

// Param is one setting of a policy. It travels in a slot of 8 bytes, in the order of the
// metadata: an i64, the bits of an f64, 0 or 1 for a bool, ns for a duration, and for a
// string its index in the dictionary of the batch.
type Param struct {
	Name    string `json:"name"`
	Type    string `json:"type"` // i64, f64, bool, string, duration
	Default any    `json:"default,omitempty"`
	Min     any    `json:"min,omitempty"`
	Max     any    `json:"max,omitempty"`
	Doc     string `json:"doc,omitempty"`
}

// Fuel is what a policy claims to need: for a call, and for each row of its batch.
type Fuel struct {
	Base   int64 `json:"base,omitempty"`
	PerRow int64 `json:"perRow,omitempty"`
}

// MetadataError says what is wrong with a policy's metadata.
type MetadataError struct {
	Where   string // the JSON path
	Problem string
	Hint    string
}

func (e *MetadataError) Error() string {
	return "section " + SectionName + ": " + e.Where + ": " + e.Problem
}

// ReadMetadata returns the metadata of a module, and whether it has any.
func ReadMetadata(m *wasmbin.Module) (Metadata, bool, error) {
	raw, ok := m.Custom(SectionName)
	if !ok {
		return Metadata{}, false, nil
	}
	md, err := ParseMetadata(raw)
	return md, true, err
}

// ParseMetadata reads the JSON of the section and checks it against the schema.
// Unknown keys are ignored, because later versions add some.
func ParseMetadata(raw []byte) (Metadata, error) {
	var md Metadata
	if len(raw) > MaxMetadataBytes {
		return md, &MetadataError{"size", fmt.Sprintf("%d bytes, the limit is %d", len(raw), MaxMetadataBytes), "shorten the reasons"}
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	if err := d.Decode(&md); err != nil {
		return md, &MetadataError{fmt.Sprintf("byte %d", offsetOf(err, len(raw))), err.Error(), "write the section with muster policy annotate"}
	}
	if _, err := d.Token(); err != io.EOF {
		return md, &MetadataError{fmt.Sprintf("byte %d", d.InputOffset()), "text after the JSON object", "write one object"}
	}
	return md, md.check()
}

// offsetOf is the byte at which JSON went wrong; at its end if it is cut off.
func offsetOf(err error, end int) int64 {
	var syntax *json.SyntaxError
	var mismatch *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return syntax.Offset
	case errors.As(err, &mismatch):
		return mismatch.Offset
	}
	return int64(end)
}

func (md *Metadata) check() error {
	if md.ABI.Major != 0 && md.ABI.Major != Major || md.ABI.MinMinor > Minor {
		return &MetadataError{"abi", fmt.Sprintf("needs ABI %d.%d, this host speaks %d.%d", md.ABI.Major, md.ABI.MinMinor, Major, Minor), "update the host"}
	}
	for i, name := range md.Columns.Required {
		c, ok := ColumnByName(name)
		if !ok {
			return &MetadataError{fmt.Sprintf("columns.required[%d]", i), fmt.Sprintf("this host has no column %q", name), "list it under optional, or update the host"}
		}
		if c.Output {
			return &MetadataError{fmt.Sprintf("columns.required[%d]", i), fmt.Sprintf("%s is an output", name), "outputs are always sent, leave it out"}
		}
	}
	if len(md.Keys) > 4 {
		return &MetadataError{"keys", fmt.Sprintf("%d keys, at most 4", len(md.Keys)), "fold keys into one number"}
	}
	for i, k := range md.Keys {
		if k.Type != "" && k.Type != "i64" && k.Type != "f64" || k.Order != "" && k.Order != "asc" && k.Order != "desc" {
			return &MetadataError{fmt.Sprintf("keys[%d]", i), fmt.Sprintf("type %q, order %q", k.Type, k.Order), "types are i64 and f64, orders asc and desc"}
		}
	}
	return nil
}

// KeyFormat is the start value of the column job.key_format.
func (md *Metadata) KeyFormat() uint32 {
	var f uint32
	for i, k := range md.Keys {
		if k.Type == "f64" {
			f |= KeyFloat(i)
		}
		if k.Order == "desc" {
			f |= KeyDescending(i)
		}
	}
	return f
}

// Wants says whether a policy is to be sent a column. Outputs are always sent, but
// for reasons, which mean nothing without a table of them.
func (md *Metadata) Wants(c Column) bool {
	if c.Output {
		return len(md.Reasons) > 0 || c.ID != JobReason && c.ID != VictimReason
	}
	if len(md.Columns.Required)+len(md.Columns.Optional) == 0 {
		return true
	}
	for _, names := range [2][]string{md.Columns.Required, md.Columns.Optional} {
		for _, n := range names {
			if n == c.Name {
				return true
			}
		}
	}
	return false
}
