//go:build linux && (amd64 || arm64)

package bpf

import (
	"fmt"
	"os"

	"github.com/cilium/ebpf/features"
)

// Check looks at all that a Probe needs, one by one, and in the end tries one.
func Check(o Options) []Finding {
	k := thisKernel()
	findings := []Finding{
		{"kernel", k.atLeast(6, 6), k.release + word(k.atLeast(6, 6), "", ": 6.6 is needed")},
		{"capabilities", k.can(capBPF) && k.can(capPerfmon), capabilityDetail(k)},
		{"host pids", k.hostPID, word(k.hostPID, "the pid namespace is the host's", "in a pid namespace: set hostPID")},
		btfFinding(k),
		{"cgroups", true, word(k.cgroupV1, "version 1 (memory controller)", "version 2")},
		uprobeFinding(),
	}
	findings = append(findings, libraryFindings(k, o)...)
	return append(findings, trialFinding(o))
}

func word(b bool, yes, no string) string {
	if b {
		return yes
	}
	return no
}

func capabilityDetail(k kernel) string {
	if !k.can(capBPF) || !k.can(capPerfmon) {
		return k.lacking()
	}
	return "CAP_BPF and CAP_PERFMON" + word(k.capabilities&(1<<capSysPtrace) != 0, ", and CAP_SYS_PTRACE",
		"; without CAP_SYS_PTRACE an image's own libcuda is out of reach")
}

// btfFinding: only v1 cgroups need it.
func btfFinding(k kernel) Finding {
	switch {
	case k.btf:
		return Finding{"btf", true, "/sys/kernel/btf/vmlinux"}
	case k.cgroupV1:
		return Finding{"btf", false, "none: cgroup ids are unknown with cgroups of version 1"}
	}
	return Finding{"btf", true, "none, and none is needed with cgroups of version 2"}
}

func uprobeFinding() Finding {
	if err := features.HaveBPFLinkUprobeMulti(); err != nil {
		return Finding{"uprobe_multi", false, explain(err, NoUprobeMulti, "uprobe_multi").Error()}
	}
	if err := hasPIDFilter(); err != nil {
		return Finding{"uprobe_multi", false, err.Error()}
	}
	return Finding{"uprobe_multi", true, "links of one process count all its threads"}
}

func libraryFindings(k kernel, o Options) []Finding {
	var findings []Finding
	for _, path := range o.candidates() {
		l, err := openLibrary(path, k.atLeast(6, 18))
		switch {
		case os.IsNotExist(err):
		case err != nil:
			findings = append(findings, Finding{soname, false, err.Error()})
		default:
			l.close()
			findings = append(findings, Finding{
				soname, true,
				fmt.Sprintf("%s: %d symbols, launches at %s", path, l.Symbols, l.Place),
			})
		}
	}
	if findings == nil {
		return []Finding{{soname, false, "not found where drivers put it: is the driver mounted into this container?"}}
	}
	return findings
}

// trialFinding puts probes on what is there and takes them off again.
func trialFinding(o Options) Finding {
	w := New(o)
	defer func() { _ = w.Close() }()
	s := w.Status()
	if !s.Up {
		return Finding{"probes", false, s.Reason + ": " + s.Detail}
	}
	return Finding{"probes", true, join(fmt.Sprintf("attached to %d libraries", len(s.Libraries)), s.Detail)}
}
