//go:build linux && (amd64 || arm64)

package bpf

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"syscall"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/link"
)

// objects are the programs and maps of c/watch.c in the kernel.
type objects struct {
	Start      *ebpf.Program `ebpf:"start"`
	Launch     *ebpf.Program `ebpf:"launch"`
	ExitLast   *ebpf.Program `ebpf:"exit_last"`
	ExitLeader *ebpf.Program `ebpf:"exit_leader"`
	Counts     *ebpf.Map     `ebpf:"counts"`
	Started    *ebpf.Map     `ebpf:"started"`
	Events     *ebpf.Map     `ebpf:"events"`
	Lost       *ebpf.Map     `ebpf:"lost"`
}

// Every place for a program or map is closed, also if only some were loaded.
func (o *objects) close() {
	for _, p := range []*ebpf.Program{o.Start, o.Launch, o.ExitLast, o.ExitLeader} {
		_ = p.Close()
	}
	for _, m := range []*ebpf.Map{o.Counts, o.Started, o.Events, o.Lost} {
		_ = m.Close()
	}
}

// refusal is why there is no Probe.
type refusal struct{ reason, detail string }

func (r *refusal) Error() string { return r.reason + ": " + r.detail }

// load brings the programs into the kernel. cgroups is false if they can't tell cgroups,
// with the reason in detail.
func load(k kernel, o Options) (objs *objects, cgroups bool, detail string, err error) {
	if err := features.HaveBPFLinkUprobeMulti(); err != nil {
		return nil, false, "", explain(err, NoUprobeMulti, "uprobe_multi")
	}
	if err := hasPIDFilter(); err != nil {
		return nil, false, "", err
	}
	v1 := k.cgroupV1 && o.object != "lite" || o.object == "v1"
	if v1 {
		if objs, err = loadObject(loadV1, o); err == nil {
			return objs, true, "", nil
		}
		detail = fmt.Sprintf("%s: cgroup ids of version 1 need the kernel's BTF: %v", NoBTF, err)
	}
	objs, err = loadObject(loadLite, o)
	if err != nil {
		return nil, false, "", explain(err, AttachFailed, "load the programs")
	}
	return objs, !v1, detail, nil
}

func loadObject(spec func() (*ebpf.CollectionSpec, error), o Options) (*objects, error) {
	s, err := spec()
	if err != nil {
		return nil, err
	}
	if o.Overrun > 0 {
		if err := s.Variables["overrun"].Set(uint32(min(o.Overrun, math.MaxUint32))); err != nil {
			return nil, err
		}
	}
	objs := &objects{}
	if err := s.LoadAndAssign(objs, nil); err != nil {
		return nil, err
	}
	return objs, nil
}

// hasPIDFilter tells whether uprobe_multi counts all threads of a pid: before the fix
// 46ba0e49b642 (6.10, 6.9.4, 6.6.33) only the first. The fix also made -1 an invalid pid,
// where before it was one that is not there, by which libbpf tells as well.
func hasPIDFilter() error {
	program, err := ebpf.NewProgram(minimalProgram())
	if err != nil {
		return explain(err, AttachFailed, "load a program")
	}
	defer func() { _ = program.Close() }()
	self, err := link.OpenExecutable("/proc/self/exe")
	if err != nil {
		return explain(err, AttachFailed, "open the own program")
	}
	l, err := self.UprobeMulti(nil, program, &link.UprobeMultiOptions{Addresses: []uint64{1}, PID: math.MaxUint32})
	switch {
	case err == nil:
		_ = l.Close()
	case errors.Is(err, syscall.EINVAL):
		return nil
	}
	return &refusal{KernelTooOld, "uprobe_multi of this kernel sees only the first thread of a process: " +
		"6.6.33, 6.9.4 or 6.10 is needed"}
}

// explain turns an error into a refusal. What the kernel forbids although we have the
// capabilities is most often a seccomp profile.
func explain(err error, reason, what string) error {
	var verifier *ebpf.VerifierError
	switch {
	case errors.As(err, &verifier):
		return &refusal{AttachFailed, fmt.Sprintf("%s: %v", what, verifier)}
	case errors.Is(err, fs.ErrPermission):
		return &refusal{NoCapability, fmt.Sprintf("%s: %v. With CAP_BPF and CAP_PERFMON there, "+
			"a seccomp profile may forbid bpf(2)", what, err)}
	}
	return &refusal{reason, fmt.Sprintf("%s: %v", what, err)}
}

// minimalProgram returns 0.
func minimalProgram() *ebpf.ProgramSpec {
	return &ebpf.ProgramSpec{
		Type:         ebpf.Kprobe,
		AttachType:   ebpf.AttachTraceUprobeMulti,
		License:      "Dual MIT/GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
	}
}
