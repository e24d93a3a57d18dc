package muster

import "unsafe"

// arena is the memory that the host writes batches into. The Go collector does not
// move it, and the variable keeps it.
var arena []byte

//go:wasmexport muster_abi_v1
func marker() {}

//go:wasmexport muster_reserve
func reserve(bytes uint32) uint32 {
	arena = nil
	raw := make([]byte, uint64(bytes)+64)
	skip := -uintptr(unsafe.Pointer(&raw[0])) & 63
	arena = raw[skip : skip+uintptr(bytes)]
	return uint32(uintptr(unsafe.Pointer(unsafe.SliceData(arena))))
}

// Arena returns the memory from the batch at a guest address on, nil if that is not
// in the arena. The packages of the kinds call it.
func Arena(batch uint32) []byte {
	base := uint32(uintptr(unsafe.Pointer(unsafe.SliceData(arena))))
	if batch < base || uint64(batch-base) > uint64(len(arena)) {
		return nil
	}
	return arena[batch-base:]
}
