package nvml

import (
	"path/filepath"
	"runtime"
)

// soname of the library; by this name alone the loader searches for it.
const soname = "libnvidia-ml.so.1"

// SearchPaths are where Open looks for the library, in this order: where the loader looks
// (which is where NVIDIA's container runtime puts it), the driver of the GPU operator,
// the folders of GKE, of distributions and of small node systems, below the root under
// which the host's files are mounted ("" if the agent's are the host's).
func SearchPaths(hostRoot string) []string {
	triple := map[string]string{"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}[runtime.GOARCH]
	paths := []string{soname}
	for _, folder := range []string{
		"run/nvidia/driver/usr/lib/" + triple,
		"run/nvidia/driver/usr/lib64",
		"home/kubernetes/bin/nvidia/lib64",
		"usr/lib/" + triple,
		"usr/lib64",
		"usr/lib/" + triple + "/nvidia/current",
		"usr/lib",
		"usr/local/nvidia/lib64",
		"usr/local/glibc/usr/lib",
		"run/opengl-driver/lib",
		"usr/lib/wsl/lib",
	} {
		paths = append(paths, filepath.Join("/", hostRoot, folder, soname))
	}
	return paths
}
