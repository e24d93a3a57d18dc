package cgroup

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// findHierarchy is where systems mount what cgroup ids are of: v2; where v1 is in use,
// its memory hierarchy.
func findHierarchy() string {
	for _, at := range []struct{ folder, file string }{
		{"/sys/fs/cgroup", "cgroup.controllers"},
		{"/sys/fs/cgroup/memory", "cgroup.procs"},
		{"/sys/fs/cgroup/unified", "cgroup.controllers"},
	} {
		if _, err := os.Stat(filepath.Join(at.folder, at.file)); err == nil {
			return at.folder
		}
	}
	return ""
}

// inode is the id of a cgroup by its path, 0 if it can't be told: the hierarchy is not
// mounted here, or the path is outside of what is.
func (f *Files) inode(path string) uint64 {
	if f.o.Hierarchy == "" || strings.HasPrefix(path, "/..") {
		return 0
	}
	info, err := os.Lstat(filepath.Join(f.o.Hierarchy, path))
	if err != nil || !info.IsDir() {
		return 0
	}
	return inodeOf(info)
}

func inodeOf(info fs.FileInfo) uint64 {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return s.Ino
	}
	return 0
}

// OfCgroup is the owner of a cgroup that a process was seen in; or else that is found by
// a walk through the hierarchy, of which there is one at most every Options.WalkEvery.
func (f *Files) OfCgroup(id uint64) (Owner, bool) {
	if o, ok := f.remembered(id); ok || id == 0 {
		return o, ok
	}
	f.walking.Lock()
	defer f.walking.Unlock()
	if o, ok := f.remembered(id); ok || !f.mayWalk() { // another's walk has found it
		return o, ok
	}
	f.walk()
	return f.remembered(id)
}

func (f *Files) remembered(id uint64) (Owner, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.cgroups[id]
	if s == nil || f.o.Clock.Now()-s.used > int64(f.o.Keep) {
		return Owner{}, false
	}
	return s.owner, true
}

// mayWalk says whether the last walk was long enough ago, and takes the turn.
func (f *Files) mayWalk() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.o.Clock.Now()
	if f.o.Hierarchy == "" || f.lastWalk != 0 && now-f.lastWalk < int64(f.o.WalkEvery) {
		return false
	}
	f.lastWalk = now
	return true
}

// deepest is how far below the root a walk goes: containers are at 4 or 5, those of a
// nested node at 9.
const deepest = 16

// walk remembers every cgroup that there is, and returns the pods. What it can't
// read, and what is too deep or too much, it leaves out.
func (f *Files) walk() map[string]bool {
	pods := map[string]bool{}
	left := f.o.MostFolders
	var into func(path string, depth int)
	into = func(path string, depth int) {
		entries, err := os.ReadDir(filepath.Join(f.o.Hierarchy, path))
		if err != nil {
			return // it was removed, or is not for us
		}
		for _, e := range entries {
			if !e.IsDir() {
				continue
			}
			if left--; left < 0 {
				return
			}
			child := path + "/" + e.Name()
			o := readPath(child).owner()
			if f.saw(e, o); o.Pod != "" {
				pods[o.Pod] = true
			}
			if depth < deepest {
				into(child, depth+1)
			}
		}
	}
	into("", 1)
	return pods
}

// saw remembers a cgroup.
func (f *Files) saw(e fs.DirEntry, o Owner) {
	info, err := e.Info()
	if err != nil {
		return // it was removed
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.remember(inodeOf(info), o)
}

// Pods are the UIDs of the pods that have a live cgroup, sorted. They are looked for
// below the hierarchy; where that shows no pod (as in a container with a cgroup namespace
// of its own), in the cgroups of all processes. An answer holds for Options.WalkEvery.
func (f *Files) Pods() ([]string, error) {
	f.walking.Lock()
	defer f.walking.Unlock()
	now := f.o.Clock.Now()
	if f.pods != nil && now-f.podsAt < int64(f.o.WalkEvery) {
		return slices.Sorted(maps.Keys(f.pods)), nil
	}
	var pods map[string]bool
	if f.o.Hierarchy != "" {
		pods = f.walk()
	}
	if len(pods) == 0 {
		var err error
		if pods, err = f.podsOfProcesses(); err != nil {
			return nil, err
		}
	}
	f.pods, f.podsAt = pods, now
	return slices.Sorted(maps.Keys(pods)), nil
}

// podsOfProcesses reads the cgroup of every process, and remembers none.
func (f *Files) podsOfProcesses() (map[string]bool, error) {
	pids, err := f.proc.pids()
	if err != nil {
		return nil, err
	}
	pods := map[string]bool{}
	for _, pid := range pids {
		text, err := f.proc.read(name(pid), "cgroup")
		if errors.Is(err, ErrGone) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if l, ok := choose(text); ok && l.pod != "" {
			pods[l.owner().Pod] = true
		}
	}
	return pods, nil
}
