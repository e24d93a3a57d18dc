//go:build !linux

package reload_test

import (
	"runtime"
	"testing"
)

// resident is the heap in use, where the system does not tell the memory of the process.
func resident(t *testing.T) int64 {
	t.Helper()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse)
}
