//go:build linux && (amd64 || arm64)

package bpf

import (
	"fmt"
	"os"
	"syscall"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// signature tells files apart, and what was in a file before from what is in it now.
type signature struct {
	device, inode uint64
	size          int64
	modified      syscall.Timespec
	changed       syscall.Timespec
}

func signatureOf(info os.FileInfo) signature {
	s := info.Sys().(*syscall.Stat_t)
	return signature{device: s.Dev, inode: s.Ino, size: s.Size, modified: s.Mtim, changed: s.Ctim}
}

// sameFile: one file seen by two overlay mounts (two containers of one image) has two
// devices. All else is the same, the time at which the kernel last changed its inode above
// all. It must not get its probes twice: each of its calls would count twice.
func (s signature) sameFile(t signature) bool {
	if s.device == t.device {
		return s.inode == t.inode
	}
	t.device = s.device
	return s == t
}

// overwritten: the same file with other bytes, where probes may now be in the middle of
// an instruction.
func (s signature) overwritten(now signature) bool {
	return s.size != now.size || s.modified != now.modified
}

// library is a libcuda with probes.
type library struct {
	Library
	signature
	sites
	// The file stays open as long as it has probes. They are put on by this descriptor, so
	// it is always the file whose symbols we read, also after it was replaced or removed.
	file  *os.File
	start link.Link // nil if it exports none of startSymbols
	// A guest came with a container (/proc/PID/root/...). Its probes keep the container's
	// file system from being removed, so they go when the processes in users have gone.
	guest bool
	users map[uint32]bool
}

// openLibrary reads which places for probes a file has, and puts on none. fastNop as in
// probePlace.
func openLibrary(path string, fastNop bool) (*library, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	l, err := readLibrary(file, fastNop)
	if err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return l, nil
}

func readLibrary(file *os.File, fastNop bool) (*library, error) {
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	found, err := readSites(file, fastNop)
	if err != nil {
		return nil, err
	}
	l := &library{signature: signatureOf(info), sites: found, file: file, users: map[uint32]bool{}}
	l.Library = Library{
		Path: file.Name(), Device: l.device, Inode: l.inode,
		Symbols: len(found.starts) + len(found.launches), Place: places(found.launches),
	}
	return l, nil
}

// attach puts a program on places of the library, in one process or (pid 0) in all.
func (l *library) attach(program *ebpf.Program, places []site, pid uint32) (link.Link, error) {
	if len(places) == 0 {
		return nil, nil
	}
	exe, err := link.OpenExecutable(fmt.Sprintf("/proc/self/fd/%d", l.file.Fd()))
	if err != nil {
		return nil, err
	}
	return exe.UprobeMulti(nil, program, &link.UprobeMultiOptions{Addresses: offsets(places), PID: pid})
}

func (l *library) close() {
	if l.start != nil {
		_ = l.start.Close()
	}
	_ = l.file.Close()
}
