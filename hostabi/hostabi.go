// Package hostabi is the wire between the host and a policy in Wasm: the schema of
// the columns, the layout of a batch in guest memory with encoder and decoder, and
// the metadata that a module carries. abi.md says the same in prose, complete
// enough to write an SDK from.
//
// It knows nothing of any Wasm engine and nothing of the policies' Go types.
package hostabi

//go:generate go run ./schema/gen

import "fmt"

// Version of the ABI. The major version is in the name of the marker export; a
// new minor version only adds columns, header fields at the end and exports.
const (
	Major = 1
	Minor = 1
)

// Names of the exports, of the allowed import module and of the custom section.
const (
	ExportMemory  = "memory"
	ExportMarker  = "muster_abi_v1"
	ExportReserve = "muster_reserve"
	ExportInit    = "_initialize"
	ImportModule  = "muster_v1"
	SectionName   = "muster.policy"
)

// Kind is a kind of policy, as batches say it.
type Kind uint32

// The kinds of policy.
const (
	KindJobOrder    Kind = 1
	KindQueueShares Kind = 2
	KindVictimCosts Kind = 3
)

// Kinds lists every kind of this version.
func Kinds() []Kind { return []Kind{KindJobOrder, KindQueueShares, KindVictimCosts} }

func (k Kind) String() string {
	switch k {
	case KindJobOrder:
		return "job_order"
	case KindQueueShares:
		return "queue_shares"
	case KindVictimCosts:
		return "victim_costs"
	default:
		return fmt.Sprintf("kind(%d)", uint32(k))
	}
}

// Export is the name of the function that a module exports to decide this kind.
func (k Kind) Export() string { return "muster_" + k.String() }

// Status is what a guest's function returns.
type Status uint32

// The statuses of a guest. Any other is read as StatusInternal.
const (
	StatusOK        Status = 0
	StatusAbstain   Status = 1
	StatusBadInput  Status = 2
	StatusBadParams Status = 3
	StatusInternal  Status = 4
)

// Type is the type of a column's elements.
type Type uint8

// The types. Dict32 is an index into the dictionary of the batch.
const (
	I64    Type = 1
	F64    Type = 2
	U32    Type = 3
	Dict32 Type = 4
	U8     Type = 5
	I32    Type = 6
)

// Size is the width of one element in bytes, 0 for an unknown type.
func (t Type) Size() int {
	switch t {
	case I64, F64:
		return 8
	case U32, Dict32, I32:
		return 4
	case U8:
		return 1
	default:
		return 0
	}
}

func (t Type) String() string {
	names := [...]string{"type(0)", "i64", "f64", "u32", "dict32", "u8", "i32"}
	if int(t) < len(names) {
		return names[t]
	}
	return fmt.Sprintf("type(%d)", uint8(t))
}

// Shape says how many elements a column has.
type Shape uint8

// The shapes: one element for each row; for each row and resource, row-major; for
// each resource; one in all.
const (
	ShapeRow Shape = iota
	ShapeMatrix
	ShapeResource
	ShapeBatch
)

func (s Shape) elements(rows, resources int) uint64 {
	switch s {
	case ShapeMatrix:
		return uint64(rows) * uint64(resources)
	case ShapeResource:
		return uint64(resources)
	case ShapeBatch:
		return 1
	default:
		return uint64(rows)
	}
}

// Flag is a bit of a column descriptor.
type Flag uint8

// The flags of a column descriptor. FlagAbsent marks an input that the host has no
// values for in this batch; its elements are 0.
const (
	FlagNullable Flag = 1
	FlagOutput   Flag = 2
	FlagGroup    Flag = 4
	FlagMatrix   Flag = 8
	FlagResource Flag = 16
	FlagBatch    Flag = 32
	FlagAbsent   Flag = 64
)

// ColumnID is the frozen number of a column.
type ColumnID uint32

// Column is one column of the schema.
type Column struct {
	ID     ColumnID
	Name   string // frozen: job.priority
	Kind   Kind
	Type   Type
	Shape  Shape
	Output bool
	// Nullable columns come with a validity bitmap where an element is not known; such
	// an element is -1.
	Nullable bool
	Unit     string
	Doc      string
}

// Columns returns the columns of a kind, inputs first, in the order of their ids.
// Do not change it.
func Columns(k Kind) []Column {
	if k < 1 || int(k) > len(columns) {
		return nil
	}
	return columns[k-1]
}

// ColumnByName finds a column of any kind.
func ColumnByName(name string) (Column, bool) {
	for _, cs := range columns {
		for _, c := range cs {
			if c.Name == name {
				return c, true
			}
		}
	}
	return Column{}, false
}

// ColumnByID finds a column of any kind.
func ColumnByID(id ColumnID) (Column, bool) {
	for _, c := range Columns(Kind(id >> 8)) {
		if c.ID == id {
			return c, true
		}
	}
	return Column{}, false
}

// KeyFloat is the bit of the column job.key_format that says that key i holds f64
// instead of i64.
func KeyFloat(i int) uint32 { return 1 << (2 * i) }

// KeyDescending is the bit that says that key i sorts descending.
func KeyDescending(i int) uint32 { return 2 << (2 * i) }
