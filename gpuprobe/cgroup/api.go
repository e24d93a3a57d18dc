// Package cgroup finds the pod that a process belongs to, by its cgroup: cgroup v1 and
// v2, the systemd and the cgroupfs driver, containerd and CRI-O, nested nodes and static
// pods. It asks no API server.
package cgroup

import (
	"fmt"
	"hash/fnv"
	"io"
	"strings"
)

// Finder tells the owner of a process. Files is the usual one.
type Finder interface {
	// Owner of a live process. A pid that was used before by another process is looked
	// up anew (they are told apart by their start times).
	Owner(pid uint32) (Owner, error)
	// Exited forgets a process. What it owned is still found by its cgroup for a while.
	Exited(pid uint32)
	// OfCgroup is the owner of a cgroup id that a process was seen in, or that is found
	// below the root of the hierarchy.
	OfCgroup(id uint64) (Owner, bool)
}

// Owner of a process.
type Owner struct {
	// Pod is the UID with dashes, "" of a process outside of pods.
	Pod string
	// Container is its id, 64 hex digits, "" if not told.
	Container string
	// Path of the cgroup, for processes outside of pods.
	Path string
	// Start of the process in clock ticks since boot, which tells it from a later one
	// with the same pid.
	Start uint64
}

// maxName bounds a name in bytes: a report with a longer one is refused as a whole, and who
// may make a cgroup can make its path as long as they like.
const maxName = 200

// Name is the pod's UID, or "host:" and the path. Of a path that is too long it has the
// beginning, and a hash of all.
func (o Owner) Name() string {
	if o.Pod != "" {
		return o.Pod
	}
	if name := "host:" + o.Path; len(name) <= maxName {
		return name
	}
	h := fnv.New64a()
	_, _ = io.WriteString(h, o.Path) // it does not fail
	const digits = len("…") + 16
	return fmt.Sprintf("%s…%016x", strings.ToValidUTF8(("host:" + o.Path)[:maxName-digits], ""), h.Sum64())
}
