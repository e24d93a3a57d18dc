//go:build !linux || !(amd64 || arm64)

package nvml

import (
	"fmt"
	"runtime"
)

// Open says that there is no NVML here: the agent runs on 64-bit Linux.
func Open(...string) (Library, error) {
	return nil, fmt.Errorf("%w: gpuprobe reads NVML on linux/amd64 and linux/arm64, this is %s/%s",
		ErrNotSupported, runtime.GOOS, runtime.GOARCH)
}
