package cgroup

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/musterhq/muster/runtime/clock"
)

// Options of Files. The zero value is that of a node.
type Options struct {
	// Proc is where the node's /proc is; "/proc" if empty.
	Proc string
	// Hierarchy is the folder whose folders' inodes are the cgroup ids: the mount of
	// cgroup v2, or of v1's memory. If empty, it is looked for where systems have it.
	// Inside a container with a cgroup namespace of its own there is little to see in it;
	// then only ids that were Seen are known.
	Hierarchy string
	Clock     clock.Clock // the real one if nil
	// Keep is for how long a process that nobody asks for, and the owner of a cgroup
	// after its last process, are remembered. 5 minutes if 0.
	Keep time.Duration
	// Most is how many processes, and how many cgroups, are remembered. 16384 if 0.
	Most int
	// MostFolders bounds one walk through the hierarchy. 65536 if 0.
	MostFolders int
	// WalkEvery is how soon after a walk, or a look at all processes, the next may
	// follow. 5 seconds if 0.
	WalkEvery time.Duration
}

// Files finds owners in the files of /proc. All methods may be called from any goroutine.
type Files struct {
	proc proc
	o    Options

	mu        sync.Mutex
	processes map[uint32]*process
	cgroups   map[uint64]*seen
	sweep     int64 // when to look for what is too old
	lastWalk  int64 // 0 before the first
	failed    error // what kept the last look at a live process from succeeding

	walking sync.Mutex      // one walk, or look at all processes, at a time; taken before mu
	pods    map[string]bool // guarded by walking, as is podsAt
	podsAt  int64
}

// process is one that was looked at.
type process struct {
	owner  Owner
	cgroup uint64 // 0 if not known
	read   int64  // when its cgroup was read
	used   int64
}

// seen is the owner of a cgroup.
type seen struct {
	owner Owner // Start is 0
	used  int64 // when a process or a walk last showed it
}

var _ Finder = (*Files)(nil)

// reread is how long a cgroup that was read is believed. Processes do not move between
// pods, but a runtime may be seen just before it moves its child into the container.
const reread = int64(time.Minute)

// New returns a Finder that has read nothing yet.
func New(o Options) *Files {
	o.Proc = cmp.Or(o.Proc, "/proc")
	o.Keep = cmp.Or(o.Keep, 5*time.Minute)
	o.Most = cmp.Or(o.Most, 16384)
	o.MostFolders = cmp.Or(o.MostFolders, 65536)
	o.WalkEvery = cmp.Or(o.WalkEvery, 5*time.Second)
	if o.Clock == nil {
		o.Clock = clock.Real{}
	}
	if o.Hierarchy == "" {
		o.Hierarchy = findHierarchy()
	}
	return &Files{proc: proc{o.Proc}, o: o, processes: map[uint32]*process{}, cgroups: map[uint64]*seen{}}
}

// Owner reads the start time of the process, and its cgroup if that was not read before.
// A process that is not there, or ends meanwhile, is ErrGone.
func (f *Files) Owner(pid uint32) (Owner, error) {
	p, err := f.process(pid)
	if err != nil {
		return Owner{}, err
	}
	return p.owner, nil
}

// Saw is Owner of a process that was just seen in a cgroup with this id, as eBPF tells:
// the id is found from now on, also where the hierarchy itself can't be seen.
func (f *Files) Saw(cgroup uint64, pid uint32) (Owner, error) {
	p, err := f.process(pid)
	if err != nil {
		return Owner{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	// Where the id of the process's cgroup is known to be another, it is another process.
	if cgroup != 0 && (p.cgroup == 0 || p.cgroup == cgroup) {
		f.remember(cgroup, p.owner)
	}
	return p.owner, nil
}

// Exited forgets a process.
func (f *Files) Exited(pid uint32) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if p := f.processes[pid]; p != nil {
		f.remember(p.cgroup, p.owner)
		delete(f.processes, pid)
	}
}

// process returns what is known of a live process.
func (f *Files) process(pid uint32) (process, error) {
	start, err := f.proc.start(pid)
	if err != nil {
		return process{}, f.note(pid, err)
	}
	if p, ok := f.known(pid, start); ok {
		return p, nil
	}
	p := process{read: f.o.Clock.Now()}
	p.used = p.read
	owner, path, err := f.readOwner(pid)
	if err != nil {
		return process{}, f.note(pid, err)
	}
	// The pid may have got a new process while the old one's file was open.
	again, err := f.proc.start(pid)
	if err == nil && again != start {
		err = fmt.Errorf("%w: its pid was used again", ErrGone)
	}
	if err != nil {
		return process{}, f.note(pid, err)
	}
	p.owner, p.cgroup = owner, f.inode(path)
	p.owner.Start = start
	f.keep(pid, p)
	return p, nil
}

// known is what was read of the same process not long ago.
func (f *Files) known(pid uint32, start uint64) (process, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.o.Clock.Now()
	p := f.processes[pid]
	if p == nil || p.owner.Start != start || now-p.read > reread {
		return process{}, false
	}
	p.used = now
	if c := f.cgroups[p.cgroup]; c != nil {
		c.used = now
	}
	return *p, true
}

func (f *Files) readOwner(pid uint32) (o Owner, path string, err error) {
	text, err := f.proc.read(name(pid), "cgroup")
	if err != nil {
		return Owner{}, "", err
	}
	l, ok := choose(text)
	if !ok {
		return Owner{}, "", fmt.Errorf("process %d: %w: %.80q", pid, ErrMalformed, text)
	}
	return l.owner(), l.path, nil
}

// keep remembers a process, and its cgroup.
func (f *Files) keep(pid uint32, p process) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failed = nil
	if p.used >= f.sweep {
		f.forgetOld(p.used)
	}
	f.processes[pid] = &p
	if len(f.processes) > f.o.Most {
		drop(f.processes, f.o.Most, func(p *process) int64 { return p.used })
	}
	f.remember(p.cgroup, p.owner)
}

// remember says whose a cgroup is. The first to say so is believed: a cgroup has one
// owner as long as it lives, and its id is not used again soon.
func (f *Files) remember(cgroup uint64, o Owner) {
	if cgroup == 0 {
		return
	}
	now := f.o.Clock.Now()
	if s := f.cgroups[cgroup]; s != nil {
		s.used = now
		return
	}
	o.Start = 0
	f.cgroups[cgroup] = &seen{o, now}
	if len(f.cgroups) > f.o.Most {
		drop(f.cgroups, f.o.Most, func(s *seen) int64 { return s.used })
	}
}

// forgetOld drops what nobody asked for in a while.
func (f *Files) forgetOld(now int64) {
	old := now - int64(f.o.Keep)
	for pid, p := range f.processes {
		if p.used < old {
			delete(f.processes, pid)
		}
	}
	for id, s := range f.cgroups {
		if s.used < old {
			delete(f.cgroups, id)
		}
	}
	f.sweep = now + int64(f.o.Keep)/4
}

// drop takes the eighth that was not used for longest out of a map that is full.
func drop[K comparable, V any](all map[K]V, most int, used func(V) int64) {
	times := make([]int64, 0, len(all))
	for _, v := range all {
		times = append(times, used(v))
	}
	slices.Sort(times)
	excess := len(all) - (most - most/8)
	oldest := times[excess-1]
	for k, v := range all {
		if excess > 0 && used(v) <= oldest {
			delete(all, k)
			excess--
		}
	}
}

// note keeps why a process can't be looked at, and forgets one that is gone.
func (f *Files) note(pid uint32, err error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if errors.Is(err, ErrGone) {
		if p := f.processes[pid]; p != nil {
			f.remember(p.cgroup, p.owner)
			delete(f.processes, pid)
		}
		return err
	}
	f.failed = err
	return err
}

// State says how finding owners is doing.
type State struct {
	Up     bool
	Reason string // CamelCase: NoProc, NotAllowed, NotReadable; "" while up
	Detail string // for people; also while up, where it could do better
}

// initialNamespace is the inode of the first pid namespace (PROC_PID_INIT_INO).
const initialNamespace = "pid:[4026531836]"

// State says whether processes can be looked at, and what is missing for it.
func (f *Files) State() State {
	if _, err := f.proc.read("self", "stat"); err != nil {
		return State{false, "NoProc", fmt.Sprintf("%s is no /proc: %v", f.o.Proc, err)}
	}
	f.mu.Lock()
	failed := f.failed
	f.mu.Unlock()
	switch {
	case errors.Is(failed, fs.ErrPermission):
		return State{false, "NotAllowed", fmt.Sprintf("a process can't be looked at: %v; the probe needs CAP_SYS_PTRACE or CAP_PERFMON", failed)}
	case failed != nil:
		return State{false, "NotReadable", failed.Error()}
	}
	if ns, err := os.Readlink(f.proc.root + "/self/ns/pid"); err == nil && ns != initialNamespace {
		return State{Up: true, Detail: "not in the machine's pid namespace: set hostPID, or the pids of NVML are others' (as they should be in a nested node)"}
	}
	return State{Up: true}
}
