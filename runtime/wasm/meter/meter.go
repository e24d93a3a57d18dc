package meter

import (
	"fmt"

	"github.com/musterhq/muster/hostabi/wasmbin"
)

// What an instrumented module imports and exports.
const (
	// ExportSlice and ExportRest are mutable i64 globals: the units left in this slice,
	// and those left after it. Both are 0 in a new instance.
	ExportSlice = "muster_meter_slice"
	ExportRest  = "muster_meter_rest"
	// ExportStack is a mutable i32 global: the room left on the call stack, in slots of
	// about 8 bytes. It is below zero after a call that needed more, which traps, and
	// back at its first value after every call that returns.
	ExportStack = "muster_meter_stack"
	// ImportModule.ImportSafepoint is a function () -> i32, called between two slices:
	// 0 lets the guest go on, anything else makes it trap.
	ImportModule    = "muster_meter"
	ImportSafepoint = "safepoint"

	prefix = "muster_meter"
)

// Config are the prices. A zero is the default.
type Config struct {
	Slice         int64 // units between two safepoints; 2^20
	CallSurcharge int64 // units for each call, beside its instructions; 32
	BulkBytes     int64 // bytes that bulk instructions move for one unit, a power of two; 64
	StackSlots    int64 // room for recursion; 2^17, which is 16,384 small frames
}

// The largest prices. They keep every sum far from the end of 64 bits.
const (
	maxSlice     = 1 << 40
	maxSurcharge = 1 << 20
	maxBulk      = 1 << 20
	maxStack     = 1 << 30
)

// MaxTable is the largest table, in elements, as tables are memory that no page limit
// bounds. A larger one is refused, and none grows beyond it.
const MaxTable = 1 << 17

// Report says what was done.
type Report struct {
	Functions int // functions with code, those that are not charged by themselves included
	Folded    int // leaves that their callers pay for
	Guarded   int // functions that may call themselves, by whatever way
	Loops     int
	Bulk      int // instructions charged by length
	Shortened int // branches that no longer go by way of a jump table
	// BytesBefore and BytesAfter are the sizes of the binaries.
	BytesBefore, BytesAfter int
}

func (c Config) filled() (Config, error) {
	for _, f := range []struct {
		name         string
		value        *int64
		normal, most int64
	}{
		{"Slice", &c.Slice, 1 << 20, maxSlice},
		{"CallSurcharge", &c.CallSurcharge, 32, maxSurcharge},
		{"BulkBytes", &c.BulkBytes, 64, maxBulk},
		{"StackSlots", &c.StackSlots, 1 << 17, maxStack},
	} {
		if *f.value == 0 {
			*f.value = f.normal
		}
		if *f.value < 1 || *f.value > f.most {
			return c, fmt.Errorf("meter: %s is %d, want 1 to %d", f.name, *f.value, f.most)
		}
	}
	if c.BulkBytes&(c.BulkBytes-1) != 0 {
		return c, fmt.Errorf("meter: BulkBytes is %d, want a power of two", c.BulkBytes)
	}
	return c, nil
}

// Instrument returns the module with a meter. The same bytes and prices give the same
// bytes. It refuses what it does not know, and a module that could reach the meter; the
// error is then a *wasmbin.Error with the offset of the byte. It does not validate: an
// invalid module gives an error here or an invalid module.
func Instrument(bin []byte, c Config) ([]byte, Report, error) {
	c, err := c.filled()
	if err != nil {
		return nil, Report{}, err
	}
	secs, err := wasmbin.Sections(bin)
	if err != nil {
		return nil, Report{}, err
	}
	w := &rewriter{bin: bin, price: c}
	w.report.BytesBefore = len(bin)
	out, err := w.module(secs)
	if err != nil {
		return nil, Report{}, err
	}
	w.report.BytesAfter = len(out)
	return out, w.report, nil
}
