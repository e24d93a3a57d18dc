package reload_test

import (
	"fmt"
	"os"
	"runtime/debug"
	"testing"
)

// resident is the memory of the process, in bytes, after Go's heap has given back what
// it does not use.
func resident(t *testing.T) int64 {
	t.Helper()
	debug.FreeOSMemory()
	raw, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	var space, pages int64
	if _, err := fmt.Sscan(string(raw), &space, &pages); err != nil {
		t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}
