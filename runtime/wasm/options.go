package wasm

import (
	"math"
	"math/bits"
	"time"
)

// Defaults of Options.
const (
	DefaultMemoryPages uint32        = 1024 // 64 MiB
	DefaultTimeout     time.Duration = 250 * time.Millisecond
	NoTimeout          time.Duration = -1
	DefaultBase        int64         = 10_000_000
	DefaultPerRow      int64         = 100_000
)

// Options are the limits and the settings of one module.
type Options struct {
	// Name is what the policy is called if its metadata do not say; the name of
	// the file, as a rule.
	Name string
	// MemoryPages is the most memory that an instance may have, in pages of
	// 64 KiB; 0 is DefaultMemoryPages.
	MemoryPages uint32
	// Fuel bounds the work of one call, the same on every machine.
	Fuel Budget
	// Timeout bounds one call in wall-clock time; 0 is DefaultTimeout. It is there for
	// work that takes long for its fuel; the guest stops at its next safepoint, some
	// 2^20 units later at most. With NoTimeout only fuel and the caller's context
	// end a call: then answers depend on nothing but the batch, whatever the machine.
	Timeout time.Duration
	// Params are the settings by their names; a setting not given has its default.
	Params map[string]any
	// Interpreter runs the guest in an interpreter instead of machine code, 20 to
	// 100 times slower: to compare, or where no machine code may be made.
	Interpreter bool
	// Log gets the lines that the policy logs, at most 16 lines and 4 KiB a call;
	// nil drops them. It must not call the Module.
	Log func(level Level, line string)
}

// Budget is fuel: Base units for each call, and PerRow for each row of its batch; a
// batch with matrices counts a row once for each resource. A unit is one instruction
// that may have run: the count is an upper bound, close for C, Rust and AssemblyScript
// (0.04 to 8 ns a unit), 10 to 100 times too high for standard Go, whose functions are
// one loop each. The defaults have room for both. 0 is DefaultBase and DefaultPerRow.
type Budget struct{ Base, PerRow int64 }

func (o Options) withDefaults() Options {
	if o.Name == "" {
		o.Name = "unnamed"
	}
	if o.MemoryPages == 0 {
		o.MemoryPages = DefaultMemoryPages
	}
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	if o.Fuel.Base <= 0 {
		o.Fuel.Base = DefaultBase
	}
	if o.Fuel.PerRow <= 0 {
		o.Fuel.PerRow = DefaultPerRow
	}
	return o
}

// of is the budget of a call, with all the fuel there is in place of an overflow.
func (b Budget) of(rows, resources int) int64 {
	high, low := bits.Mul64(uint64(b.PerRow), uint64(rows))
	if high == 0 && resources > 1 {
		high, low = bits.Mul64(low, uint64(resources))
	}
	if high != 0 || low > uint64(math.MaxInt64-b.Base) {
		return math.MaxInt64
	}
	return b.Base + int64(low)
}
