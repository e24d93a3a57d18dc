//go:build linux && (amd64 || arm64)

package bpf

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strconv"
	"strings"
	"syscall"
)

// mapping is a libcuda that a process has in its memory.
type mapping struct {
	path    string // as the process sees it
	inode   uint64
	deleted bool // there is another file at the path now, or none
}

// mappedLibraries lists the libcudas of a process, each once. gone: there is no such
// process any more.
func mappedLibraries(pid uint32) (found []mapping, gone bool, err error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return nil, errors.Is(err, os.ErrNotExist), err
	}
	defer func() { _ = f.Close() }()
	found, lines, err := parseMaps(f)
	// Nothing at all: a zombie, or one whose first thread has ended before the others. The
	// kernel finds a process's memory by its first thread, so it can't be armed either.
	return found, errors.Is(err, syscall.ESRCH) || err == nil && lines == 0, err
}

// parseMaps reads /proc/PID/maps: "7f00-7f01 r-xp 00000000 fe:00 1234   /usr/lib/libcuda.so.1".
// What was removed since ends in " (deleted)".
func parseMaps(r io.Reader) (found []mapping, n int, err error) {
	seen := map[mapping]bool{}
	lines := bufio.NewScanner(r)
	for ; lines.Scan(); n++ {
		head, file, ok := strings.Cut(lines.Text(), " /")
		fields := strings.Fields(head)
		if !ok || len(fields) != 5 || !strings.HasPrefix(path.Base(file), "libcuda.so") {
			continue
		}
		inode, err := strconv.ParseUint(fields[4], 10, 64)
		if err != nil {
			continue
		}
		file, deleted := strings.CutSuffix(file, " (deleted)")
		m := mapping{path: "/" + file, inode: inode, deleted: deleted}
		if !seen[m] {
			seen[m] = true
			found = append(found, m)
		}
	}
	return found, n, lines.Err()
}

// alive tells whether there is a process of that number.
func alive(pid uint32) bool {
	_, err := os.Stat(fmt.Sprintf("/proc/%d", pid))
	return err == nil
}

// pidOf is the number in /proc/PID/root/..., 0 if a path is not such a one.
func pidOf(file string) uint32 {
	rest, ok := strings.CutPrefix(path.Clean(file), "/proc/")
	if !ok {
		return 0
	}
	number, rest, _ := strings.Cut(rest, "/")
	pid, err := strconv.ParseUint(number, 10, 32)
	if err != nil || !strings.HasPrefix(rest, "root/") {
		return 0
	}
	return uint32(pid)
}
