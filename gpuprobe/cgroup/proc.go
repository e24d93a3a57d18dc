package cgroup

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// ErrGone says that a process ended, perhaps while it was looked at. It is no fault.
var ErrGone = errors.New("the process is gone")

// proc is a /proc.
type proc struct{ root string }

// buffers are for the small files, each of which is read at once.
var buffers = sync.Pool{New: func() any { b := make([]byte, 4096); return &b }}

// read returns the text of a small file of a process, at most the 4 KiB that the kernel
// gives at once (PATH_MAX bounds a cgroup; v1 has a dozen of them and is rarely long).
func (p proc) read(process, file string) (string, error) {
	f, err := p.open(process, file)
	if err != nil {
		return "", err
	}
	defer f.Close() //nolint:errcheck // nothing was written
	buffer := buffers.Get().(*[]byte)
	defer buffers.Put(buffer)
	var long []byte
	for {
		n, err := f.Read(*buffer)
		if err != nil && !errors.Is(err, io.EOF) {
			return "", gone(err)
		}
		if n < len(*buffer)/2 && long == nil { // all there is, as in nearly every case
			return string((*buffer)[:n]), nil
		}
		if long = append(long, (*buffer)[:n]...); err != nil || len(long) > maxSmall {
			return string(long), nil
		}
	}
}

// maxSmall bounds what is read of a small file.
const maxSmall = 64 << 10

func (p proc) open(process, file string) (*os.File, error) {
	f, err := os.Open(p.root + "/" + process + "/" + file)
	return f, gone(err)
}

// name is the name of a process's folder.
func name(pid uint32) string { return strconv.FormatUint(uint64(pid), 10) }

// gone turns the errors of a process that ended into ErrGone: its folder is not there, or
// an open file of it has no process (ESRCH).
func gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("%w: %w", ErrGone, err)
	}
	return err
}

// start is when a process started, in clock ticks since boot.
func (p proc) start(pid uint32) (uint64, error) {
	text, err := p.read(name(pid), "stat")
	if err != nil {
		return 0, err
	}
	start, ok := startOf(text)
	if !ok {
		return 0, fmt.Errorf("no start time in /proc/%d/stat: %.80q", pid, text)
	}
	return start, nil
}

// startOf reads field 22 of /proc/PID/stat. The second field is the name of the program
// in brackets, which may have blanks and brackets of its own; none stands behind it.
func startOf(text string) (uint64, bool) {
	rest := text[strings.LastIndexByte(text, ')')+1:]
	if len(rest) == len(text) {
		return 0, false
	}
	field := ""
	for range 22 - 2 {
		field, rest, _ = strings.Cut(strings.TrimLeft(rest, " "), " ")
	}
	start, err := strconv.ParseUint(strings.TrimSpace(field), 10, 64)
	return start, err == nil
}

// pids are the processes that there are.
func (p proc) pids() ([]uint32, error) {
	dir, err := os.Open(p.root)
	if err != nil {
		return nil, err
	}
	defer dir.Close() //nolint:errcheck // nothing was written
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	pids := make([]uint32, 0, len(names))
	for _, n := range names {
		if pid, err := strconv.ParseUint(n, 10, 32); err == nil && n[0] != '0' {
			pids = append(pids, uint32(pid))
		}
	}
	return pids, nil
}

// Library is a file that a process has mapped.
type Library struct {
	// Device and Inode as /proc/PID/maps tells them. Below an overlay, stat may tell
	// another device: compare what stat says of Root with what stat says of others.
	Device uint64
	Inode  uint64
	// Path as the process sees it.
	Path string
	// Root leads to the file from here, through the process's root folder. It needs
	// CAP_SYS_PTRACE. It is "" of a file that was deleted.
	Root string
}

// maxMaps bounds what is read of one /proc/PID/maps: 300,000 mappings.
const maxMaps = 32 << 20

// Maps lists the copies of libcuda that a process has mapped, each file once, in the
// order of their paths. A process that ended is ErrGone.
func (f *Files) Maps(pid uint32) ([]Library, error) {
	file, err := f.proc.open(name(pid), "maps")
	if err != nil {
		return nil, err
	}
	defer file.Close() //nolint:errcheck // nothing was written
	found := map[Library]bool{}
	lines := bufio.NewScanner(io.LimitReader(file, maxMaps))
	for lines.Scan() {
		if l, ok := readMapping(lines.Bytes()); ok {
			found[l] = true
		}
	}
	if err := lines.Err(); err != nil && !errors.Is(err, bufio.ErrTooLong) {
		return nil, gone(err)
	}
	var all []Library
	for l := range found {
		if was, deleted := strings.CutSuffix(l.Path, " (deleted)"); deleted {
			l.Path = was
		} else {
			l.Root = path.Join(f.proc.root, name(pid), "root", l.Path)
		}
		all = append(all, l)
	}
	slices.SortFunc(all, func(a, b Library) int {
		return strings.Compare(a.Path, b.Path)
	})
	return all, nil
}

// readMapping reads a line of /proc/PID/maps, if it is of libcuda:
//
//	7f31c8a00000-7f31c8c00000 r-xp 00000000 08:01 1234567    /usr/lib/libcuda.so.1
func readMapping(row []byte) (Library, bool) {
	at := bytes.IndexByte(row, '/')
	if at < 0 {
		return Library{}, false
	}
	if base := row[bytes.LastIndexByte(row, '/')+1:]; !bytes.HasPrefix(base, []byte("libcuda.so")) {
		return Library{}, false
	}
	fields := strings.Fields(string(row[:at]))
	if len(fields) != 5 {
		return Library{}, false
	}
	device, ok := readDevice(fields[3])
	inode, err := strconv.ParseUint(fields[4], 10, 64)
	return Library{Device: device, Inode: inode, Path: unescape(string(row[at:]))}, ok && err == nil && inode != 0
}

// readDevice turns MAJOR:MINOR, hexadecimal, into the number that stat has.
func readDevice(text string) (uint64, bool) {
	a, b, _ := strings.Cut(text, ":")
	major, err1 := strconv.ParseUint(a, 16, 32)
	minor, err2 := strconv.ParseUint(b, 16, 32)
	return major&0xfff<<8 | major&^0xfff<<32 | minor&0xff | minor&^0xff<<12, err1 == nil && err2 == nil
}

// unescape undoes the one escape of /proc/PID/maps: a line feed in a name.
func unescape(file string) string { return strings.ReplaceAll(file, `\012`, "\n") }
