package hostabi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"

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
	Where   string // the JSON path: params[2].default; "byte 17" where JSON itself breaks
	Code    string // Meta…, stable
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

// ParseMetadata reads the JSON of the section and checks it against the schema; the
// error is a *MetadataError, the first of Metadata.Problems. Unknown keys are ignored,
// because later versions add some. Values of params come out as int64, float64, bool
// or string, by their types; a duration keeps the form in which it was written.
func ParseMetadata(raw []byte) (Metadata, error) {
	var md Metadata
	if len(raw) > MaxMetadataBytes {
		return md, &MetadataError{"size", MetaTooLarge, fmt.Sprintf("%d bytes, the limit is %d", len(raw), MaxMetadataBytes), "shorten the reasons and the docs of the params"}
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(&md); err != nil {
		return Metadata{}, unreadable(err, len(raw))
	}
	if _, err := d.Token(); err != io.EOF {
		return Metadata{}, &MetadataError{fmt.Sprintf("byte %d", d.InputOffset()), MetaNotJSON, "text after the JSON object", "write one object"}
	}
	md.Normalize()
	if problems := md.Problems(); len(problems) > 0 {
		return md, problems[0]
	}
	return md, nil
}

// unreadable says where JSON went wrong: the path of a value of the wrong type, else
// the byte; the end if the text is cut off.
func unreadable(err error, end int) *MetadataError {
	var syntax *json.SyntaxError
	var mismatch *json.UnmarshalTypeError
	at := int64(end)
	switch {
	case errors.As(err, &mismatch) && mismatch.Field != "":
		return &MetadataError{
			mismatch.Field, MetaType, fmt.Sprintf("a %s (byte %d), want %s", mismatch.Value, mismatch.Offset, jsonKind(mismatch.Type)),
			"see hostabi/abi.md, section 5",
		}
	case errors.As(err, &mismatch):
		at = mismatch.Offset
	case errors.As(err, &syntax):
		at = syntax.Offset
	}
	return &MetadataError{fmt.Sprintf("byte %d", at), MetaNotJSON, err.Error(), "write the section with muster policy annotate"}
}

// jsonKind is what a Go type is called in JSON.
func jsonKind(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "a text"
	case reflect.Int, reflect.Int64:
		return "a whole number"
	case reflect.Slice:
		return "a list"
	}
	return "an object"
}

// JSON returns the content of the section for these metadata. Parsing it gives the
// same metadata back.
func (md *Metadata) JSON() ([]byte, error) {
	raw, err := json.Marshal(md)
	if err != nil {
		return nil, fmt.Errorf("metadata of %s: %w", md.Name, err)
	}
	if len(raw) > MaxMetadataBytes {
		return nil, &MetadataError{"size", MetaTooLarge, fmt.Sprintf("%d bytes, the limit is %d", len(raw), MaxMetadataBytes), "shorten the reasons and the docs of the params"}
	}
	return raw, nil
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
		return c.ID < LabelBase
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
