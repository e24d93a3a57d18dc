//go:build unix

package wasm

import (
	"syscall"

	"github.com/tetratelabs/wazero/experimental"
)

// mapped is guest memory outside of Go's heap: the address space of its limit is
// taken at once, pages are taken when touched. So growing copies nothing, the base
// never moves, and a guest that grows to its limit without touching it costs
// nothing (the engine's default took 166 ms and 279 MiB for a limit of 64 MiB).
type mapped struct{ all []byte }

func allocate(_, limit uint64) experimental.LinearMemory {
	if limit == 0 {
		return &mapped{}
	}
	all, err := syscall.Mmap(-1, 0, int(limit), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		return &heap{}
	}
	return &mapped{all}
}

// Reallocate returns the first size bytes.
func (m *mapped) Reallocate(size uint64) []byte {
	if size > uint64(len(m.all)) {
		return nil
	}
	return m.all[:size]
}

// Free gives the memory back. The guest must not run any more.
func (m *mapped) Free() {
	if m.all != nil {
		_ = syscall.Munmap(m.all) // fails only for an address that was never mapped
		m.all = nil
	}
}
