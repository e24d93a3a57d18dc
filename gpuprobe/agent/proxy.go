package agent

import (
	"bytes"
	"os"
	"path"
	"strconv"
)

// ProxyOf returns a Config.Proxy that knows the server of MPS by its name below a proc
// file system.
func ProxyOf(proc string) func(pid uint32) bool {
	return func(pid uint32) bool {
		// The kernel keeps 15 bytes of "nvidia-cuda-mps-server".
		comm, err := os.ReadFile(path.Join(proc, strconv.FormatUint(uint64(pid), 10), "comm"))
		return err == nil && bytes.HasPrefix(comm, []byte("nvidia-cuda-mps"))
	}
}
