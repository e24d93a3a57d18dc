//go:build linux && (amd64 || arm64)

package bpf

import (
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// kernel is what the machine and our rights on it are.
type kernel struct {
	release      string
	major, minor int
	capabilities uint64 // effective
	btf          bool
	cgroupV1     bool // the memory controller is in a v1 hierarchy: pods are told apart there
	hostPID      bool
}

// Bits of CapEff, <linux/capability.h>.
const (
	capSysPtrace = 19
	capSysAdmin  = 21
	capPerfmon   = 38
	capBPF       = 39
)

// initPIDNamespace is the inode of the first pid namespace, PROC_PID_INIT_INO.
const initPIDNamespace = 0xEFFFFFFC

func thisKernel() kernel {
	k := readKernel(os.DirFS("/"))
	info, err := os.Stat("/proc/self/ns/pid")
	if err == nil {
		k.hostPID = info.Sys().(*syscall.Stat_t).Ino == initPIDNamespace
	}
	return k
}

func readKernel(root fs.FS) kernel {
	var k kernel
	read := func(path string) string {
		b, _ := fs.ReadFile(root, path)
		return string(b)
	}
	k.release = strings.TrimSpace(read("proc/sys/kernel/osrelease"))
	// Whatever follows the second number does not matter: "6.8-rc1", "6.18.44-fc".
	_, _ = fmt.Sscanf(k.release, "%d.%d", &k.major, &k.minor)
	for line := range strings.Lines(read("proc/self/status")) {
		if value, ok := strings.CutPrefix(line, "CapEff:"); ok {
			k.capabilities, _ = strconv.ParseUint(strings.TrimSpace(value), 16, 64)
		}
	}
	// Name, hierarchy, number of cgroups, enabled. Hierarchy 0 is v2, as is no line at all.
	for line := range strings.Lines(read("proc/cgroups")) {
		if f := strings.Fields(line); len(f) == 4 && f[0] == "memory" {
			k.cgroupV1 = f[1] != "0" && f[3] == "1"
		}
	}
	_, err := fs.Stat(root, "sys/kernel/btf/vmlinux")
	k.btf = err == nil
	return k
}

func (k kernel) atLeast(major, minor int) bool {
	return k.major > major || k.major == major && k.minor >= minor
}

// can tells whether we have a capability, or CAP_SYS_ADMIN, which had been split.
func (k kernel) can(capability int) bool {
	return k.capabilities&(1<<capability|1<<capSysAdmin) != 0
}

// refuse says why this kernel, or what we may do on it, is no ground for probes; "" if
// nothing speaks against trying.
func (k kernel) refuse() (reason, detail string) {
	switch {
	case !k.atLeast(6, 6):
		return KernelTooOld, fmt.Sprintf("kernel %s: uprobe_multi came with 6.6. "+
			"GPUs are still measured by NVML", k.release)
	case !k.can(capBPF) || !k.can(capPerfmon):
		return NoCapability, "CAP_BPF and CAP_PERFMON are needed; " + k.lacking()
	case !k.hostPID:
		return NoHostPID, "the kernel tells pids of the host, and ours are those of a namespace: set hostPID"
	}
	return "", ""
}

func (k kernel) lacking() string {
	var names []string
	if !k.can(capBPF) {
		names = append(names, "CAP_BPF")
	}
	if !k.can(capPerfmon) {
		names = append(names, "CAP_PERFMON")
	}
	return strings.Join(names, " and ") + " missing"
}
