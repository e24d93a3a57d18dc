package wasm

// heap is guest memory on Go's heap, for where it cannot be mapped.
type heap struct{ b []byte }

// Reallocate returns size bytes that start with those of before.
func (h *heap) Reallocate(size uint64) []byte {
	if size > uint64(cap(h.b)) {
		h.b = append(make([]byte, 0, size), h.b...)
	}
	h.b = h.b[:size]
	return h.b
}

// Free drops the memory.
func (h *heap) Free() { h.b = nil }
