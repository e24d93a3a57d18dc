package bpf

import "path/filepath"

const soname = "libcuda.so.1"

// driverRoots are where the host's files may be seen from: our own root (the container
// runtime or a mount puts the driver there), the GPU operator's driver container, GKE.
var driverRoots = []string{"", "/run/nvidia/driver", filepath.Join("/", "home", "kubernetes", "bin", "nvidia"), "/host"}

// driverFolders are where distributions and installers put the driver's libraries. The
// first are those of the NVIDIA container toolkit, lib64 alone is GKE's.
var driverFolders = []string{
	"/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib", "/lib64",
	"/usr/lib/x86_64-linux-gnu/nvidia/current", "/usr/lib/aarch64-linux-gnu/nvidia/current",
	"/usr/lib/wsl/lib", "/usr/local/nvidia/lib64", "/lib", "/run/opengl-driver/lib",
}

// candidates are the files to look for, whether they exist or not.
func (o Options) candidates() []string {
	if len(o.Libraries) > 0 {
		return o.Libraries
	}
	roots := o.Roots
	if roots == nil {
		roots = driverRoots
	}
	var paths []string
	for _, root := range roots {
		for _, folder := range driverFolders {
			paths = append(paths, filepath.Join(root+"/", folder, soname))
		}
	}
	return paths
}
