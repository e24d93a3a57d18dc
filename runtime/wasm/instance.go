package wasm

import (
	"context"
	"errors"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

	"github.com/musterhq/muster/hostabi"
	"github.com/musterhq/muster/policies"
	"github.com/musterhq/muster/runtime/wasm/meter"
)

const (
	maxSaid  = 512      // bytes of stderr that are kept of one call
	minArena = 64 << 10 // first size of the arena
	maxShift = 4096     // MoveArena stays below

	pageBytes = 64 << 10 // of Wasm memory
)

// instance is one running copy of a module. It is not safe for concurrent use. After
// a trap, or a breach of the ABI, it is discarded.
type instance struct {
	code    *code
	mod     api.Module
	reserve api.Function
	kinds   [4]api.Function // by hostabi.Kind
	ctx     context.Context // leads host functions back to the instance
	pages   uint32          // the most memory, in pages
	gauge

	arena, arenaSize uint32 // lent by the guest; 0 before the first reserve
	shift            uint32 // where in the arena the batch begins; see MoveArena
	stack            [1]uint64

	onLog              func(Level, string)
	logLines, logBytes int
	line, said         []byte
	counters           *[maxCounters]int64
	random             uint64
}

// newInstance starts a copy of a module and runs its _initialize.
func newInstance(ctx context.Context, c *code, m *Module) (*instance, error) {
	in := &instance{code: c, pages: m.opt.MemoryPages, onLog: m.opt.Log, counters: &m.counters}
	in.ctx, in.limit = callContext{in}, m.opt.Timeout
	c.mu.Lock()
	mod, err := c.rt.InstantiateModule(experimental.WithMemoryAllocator(ctx, experimental.MemoryAllocatorFunc(allocate)),
		c.compiled, wazero.NewModuleConfig().WithName("").WithStartFunctions())
	c.mu.Unlock()
	if err != nil {
		return nil, hostFault(policies.CodeTrap, "%s", firstLine(err))
	}
	in.mod = mod
	in.slice, in.rest = counter(mod, meter.ExportSlice), counter(mod, meter.ExportRest)
	in.deep = mod.ExportedGlobal(meter.ExportStack)
	in.reserve = mod.ExportedFunction(hostabi.ExportReserve)
	for _, k := range hostabi.Kinds() {
		in.kinds[k] = mod.ExportedFunction(k.Export())
	}
	if m.init {
		if err := in.invoke(ctx, mod.ExportedFunction(hostabi.ExportInit), initFuel); err != nil {
			in.close()
			return nil, err
		}
	}
	return in, nil
}

// counter is one of the globals that the rewriter has added.
func counter(mod api.Module, name string) api.MutableGlobal {
	return mod.ExportedGlobal(name).(api.MutableGlobal)
}

func (in *instance) close() {
	in.code.mu.Lock()
	defer in.code.mu.Unlock()
	_ = in.mod.Close(context.Background()) // the exit code of a discarded instance says nothing
}

// invoke calls a function whose parameter and result, if any, are in in.stack.
func (in *instance) invoke(ctx context.Context, f api.Function, budget int64) error {
	in.logLines, in.logBytes, in.said = 0, 0, in.said[:0]
	in.fill(ctx, budget)
	err := f.CallWithStack(in.ctx, in.stack[:])
	in.caller = nil
	if err == nil {
		return nil
	}
	if limit := in.fault(); limit != nil {
		return limit
	}
	return trapFault(err, in.lastWords(), in.nearMemoryLimit())
}

// nearMemoryLimit says whether the guest has taken all the memory that it may have,
// but for a last piece that it may have found too small: then a trap is most likely
// a failed allocation. Growing fails without a trap, so there is no surer sign.
func (in *instance) nearMemoryLimit() bool {
	return uint64(in.mod.Memory().Size()) >= uint64(in.pages)*(pageBytes-pageBytes/8)
}

// size is the guest's memory in pages.
func (in *instance) size() uint32 { return in.mod.Memory().Size() / pageBytes }

// room returns the arena, grown to at least size bytes. The view is good until the
// next call into the guest.
func (in *instance) room(ctx context.Context, size uint32) ([]byte, error) {
	if need := size + in.shift; need > in.arenaSize {
		if err := in.grow(ctx, need); err != nil {
			return nil, err
		}
	}
	return in.view(size)
}

// grow asks for twice the last size, so that it happens rarely, and for the exact
// size if the guest refuses that.
func (in *instance) grow(ctx context.Context, size uint32) error {
	for _, want := range [2]uint32{max(size, 2*in.arenaSize, minArena), size} {
		if err := in.lend(ctx, want); err != nil || in.arena != 0 {
			return err
		}
	}
	return hostFault(policies.CodeMemory, "muster_reserve refused %d bytes", size)
}

// lend asks the guest for an arena; it is 0 if the guest refuses.
func (in *instance) lend(ctx context.Context, want uint32) error {
	in.arena, in.arenaSize = 0, 0
	in.stack[0] = uint64(want)
	if err := in.invoke(ctx, in.reserve, reserveFuel+int64(want)); err != nil {
		return outOfMemory(err, want)
	}
	ptr := uint32(in.stack[0])
	if ptr%hostabi.Align != 0 {
		return hostFault(policies.CodeABI, "muster_reserve(%d) returned %d, which is not a multiple of %d", want, ptr, hostabi.Align)
	}
	if ptr != 0 {
		in.arena, in.arenaSize = ptr, want
	}
	return nil
}

// outOfMemory reads a trap inside muster_reserve as what it is: the guest could not
// get the memory.
func outOfMemory(err error, want uint32) error {
	var f *fault
	if errors.As(err, &f) && f.code == policies.CodeTrap {
		return hostFault(policies.CodeMemory, "muster_reserve(%d) failed: %s", want, f.detail)
	}
	return err
}

func (in *instance) view(size uint32) ([]byte, error) {
	b, ok := in.mod.Memory().Read(in.arena+in.shift, size)
	if !ok {
		return nil, hostFault(policies.CodeABI, "muster_reserve returned %d, but %d bytes from there lie outside the memory of %d bytes",
			in.arena, size, in.mod.Memory().Size())
	}
	return b, nil
}

// call sends a laid-out frame and returns the batch after the guest's answer.
func (in *instance) call(ctx context.Context, f *hostabi.Frame, size int, budget int64) ([]byte, error) {
	in.spent = 0
	mem, err := in.room(ctx, uint32(size))
	if err != nil {
		return nil, err
	}
	if err := f.Encode(mem); err != nil {
		return nil, err
	}
	status, mem, err := in.ask(ctx, f.Kind, uint32(size), budget)
	if err == nil && status != hostabi.StatusOK {
		err = statusFault(status, f.ErrorText(mem))
	}
	return mem, err
}

// ask makes the call about the batch that lies in the arena.
func (in *instance) ask(ctx context.Context, k hostabi.Kind, size uint32, budget int64) (hostabi.Status, []byte, error) {
	in.stack[0] = uint64(in.arena + in.shift)
	err := in.invoke(ctx, in.kinds[k], budget)
	in.spent = in.used()
	if err != nil {
		return 0, nil, err
	}
	status := hostabi.Status(uint32(in.stack[0]))
	mem, err := in.view(size)
	return status, mem, err
}

// move makes the next batch lie at another address: the guest is asked for a new arena
// of the same size, and the batch begins later in it than the last one did.
func (in *instance) move(ctx context.Context) error {
	in.shift = (in.shift + hostabi.Align) % maxShift
	return in.lend(ctx, max(in.arenaSize, minArena+maxShift))
}
