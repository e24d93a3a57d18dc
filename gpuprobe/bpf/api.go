// Package bpf sees processes start and stop using a GPU, and their launches, by small
// eBPF programs on the driver's library libcuda. It is the only door to cilium/ebpf.
//
// Rare calls (cuInit, creation of a context) and exits are watched always. Launches are
// watched only for pids that are armed, because a probe on the launch path costs from 0.3
// to 12 µs a call: those that NVML calls idle, whose next launch is the edge that the
// scheduler waits for. A busy job pays nothing.
package bpf

import "time"

// Watcher is what the agent uses: Probe (the kernel's) or Fake. All methods may be called
// from any goroutine.
type Watcher interface {
	// Status says whether launches can be seen at all, and if not why.
	Status() Status
	// Library has the probes put on a library file as well, such as the libcuda that a
	// process has mapped (a path that leads to it from here: /proc/PID/root/...). A file
	// that already has them (by device and inode) is left alone.
	Library(path string) error
	// Arm has every launch of the pids counted, from now on, and of no others: the call
	// replaces the set. It returns when the probes are in place. Of a pid whose libraries
	// can't be told it has those counted that go through the ones with probes.
	Arm(pids []uint32) error
	// Armed says since when every launch of a pid has been seen, without a gap; false if
	// that is not so. After Overrun a pid is not armed any more.
	Armed(pid uint32) (since time.Time, ok bool)
	// Counts are the launches of all pids so far, and when the last one was.
	Counts() (map[uint32]Count, error)
	// Events are what can't wait: starts, exits and the first launch of an armed pid. The
	// channel is closed by Close. Lost counts those for which there was no room.
	Events() <-chan Event
	Lost() uint64
	Close() error
}

// Status of a Watcher.
type Status struct {
	Up     bool
	Reason string // one of the constants below, "" if it is up
	Detail string // for people; if it is up, what is seen only in part
	// Libraries have probes, with the place of each: "entry+4 (push)", by path.
	Libraries []Library
	// CgroupV1 says that cgroup ids are those of the v1 memory hierarchy.
	CgroupV1 bool
}

// Reasons why a Watcher is not up. NoBTF is one only where cgroup ids need BTF (v1): the
// watcher is then up all the same, its ids are 0, and Detail says so.
const (
	NoCapability  = "NoCapability"  // CAP_BPF and CAP_PERFMON, or a seccomp profile that allows bpf(2)
	KernelTooOld  = "KernelTooOld"  // 6.6 is needed, with the fix of uprobe_multi's pid filter
	NoUprobeMulti = "NoUprobeMulti" // the kernel was built without
	NoHostPID     = "NoHostPID"     // pids here are not those of the host
	NoLibrary     = "NoLibrary"     // no libcuda.so.1 so far; it is looked for again
	AttachFailed  = "AttachFailed"  // a kernel that should, and does not
	Unsupported   = "Unsupported"   // not Linux on amd64 or arm64
	NoBTF         = "NoBTF"
)

// Options of New and Check. The zero value is what an agent on a node wants.
type Options struct {
	// Libraries are the files to watch. If empty, libcuda.so.1 is looked for where
	// drivers are installed, below each of Roots.
	Libraries []string
	// Roots are folders under which the host's files may be seen, "" for the agent's own.
	// If nil: its own, and where the GPU operator and GKE keep the driver.
	Roots []string
	// Overrun is how many launches in a second make a pid busy: 2,000 if 0.
	Overrun int
	// Refresh is how often the files are looked at again, whether one appeared or was
	// replaced: 10 s if 0.
	Refresh time.Duration

	object string // tests choose between lite and v1
	room   int    // and how many events wait
}

// Finding is a line of `muster-probe check`.
type Finding struct {
	Name   string // "capabilities"
	OK     bool
	Detail string // what was found, and what to do if it is not OK
}

// Library is a file that has probes.
type Library struct {
	Path    string
	Device  uint64
	Inode   uint64
	Symbols int    // functions with a probe: those that start and those that launch
	Place   string // of the launch probes: "entry+4 (push)"
}

// Count of one pid.
type Count struct {
	Launches uint64
	Cgroup   uint64 // id, the inode of its directory; 0 is unknown, as before the first launch
	// Last launch that was counted; zero if none.
	Last time.Time
}

// Event is one edge.
type Event struct {
	Kind   Kind
	PID    uint32 // thread group
	Cgroup uint64 // 0 is unknown
	At     time.Time
}

// Kind of an Event.
type Kind uint8

// Started is the first cuInit or context of a process, Exited the end of one that was
// started or armed under our eyes, Woke the first
// launch of a pid since it was armed, Overrun that an armed pid launches more than
// 2,000 times a second: it is disarmed, as it is plainly busy.
const (
	Started Kind = iota + 1
	Exited
	Woke
	Overrun
)
