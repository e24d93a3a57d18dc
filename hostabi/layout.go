package hostabi

import "encoding/binary"

// Sizes and alignment of a batch, in bytes. Readers take header and descriptor
// sizes from the header, so that later versions can make both longer.
const (
	HeaderBytes     = 128
	DescriptorBytes = 32
	Align           = 64
	ErrorBytes      = 256
	dictEntryBytes  = 16
	// MaxBatchBytes bounds a batch; a guest's pointers are 32 bits and most
	// languages want them positive.
	MaxBatchBytes = 1 << 30
)

// Magic is the first word of a batch: "MSTR".
const Magic uint32 = 'M' | 'S'<<8 | 'T'<<16 | 'R'<<24

// Offsets of the header's fields. They are frozen; a field may only be added at
// the end.
const (
	offMagic      = 0
	offMajor      = 4
	offMinor      = 6
	offHeader     = 8
	offTotal      = 12
	offKind       = 16
	offRows       = 20
	offInputs     = 24
	offOutputs    = 26
	offDescs      = 28
	offDescBytes  = 32
	offFlags      = 36
	offNow        = 40
	offSeed       = 48
	offCycle      = 56
	offParams     = 64
	offParamCount = 68
	offScratch    = 72
	offScratchLen = 76
	offError      = 80
	offErrorCap   = 84
	offErrorLen   = 88
	offDict       = 92
	offDictCount  = 96
	offGroups     = 100
	offResources  = 104
)

// Offsets of a descriptor's fields.
const (
	descID       = 0
	descType     = 4
	descFlags    = 5
	descElemSize = 6
	descOffset   = 8
	descElements = 12
	descValidity = 16
	descDict     = 20
	descWidth    = 24
)

var le = binary.LittleEndian

func aligned(n uint64) uint64 { return (n + Align - 1) &^ (Align - 1) }
