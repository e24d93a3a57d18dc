package cgroup

import (
	"errors"
	"fmt"
	"strings"
)

// ErrMalformed says that a text is not what the kernel writes to /proc/PID/cgroup.
var ErrMalformed = errors.New("not the text of a /proc/PID/cgroup")

// Parse reads the text of /proc/PID/cgroup: lines "id:controllers:path". Owner.Start is
// not in it and stays 0.
//
// If the hierarchies differ (v1, or v1 and v2 side by side), one that names a pod is
// believed first, then one that names any cgroup but the root, then v2 before memory
// before pids before all others.
func Parse(text string) (Owner, error) {
	best, ok := choose(text)
	if !ok {
		return Owner{}, fmt.Errorf("%w: %.80q", ErrMalformed, text)
	}
	return best.owner(), nil
}

// line is one hierarchy of a /proc/PID/cgroup, its strings parts of that text.
type line struct {
	path           string // without " (deleted)"
	pod, container string // as they stand in path
	rank           int    // the lowest is believed
}

// Ranks of a line: what it names counts more than which hierarchy it is of.
const (
	rankV2 = iota
	rankMemory
	rankPIDs
	rankOther
	rankRoot  = 4 // added to one of the above
	rankNoPod = 8 // added too
)

// choose returns the line of the lowest rank.
func choose(text string) (best line, ok bool) {
	for text != "" {
		var row string
		row, text, _ = strings.Cut(text, "\n")
		if l, valid := readLine(row); valid && (!ok || l.rank < best.rank) {
			best, ok = l, true
		}
	}
	return best, ok
}

// readLine reads one line; a path may have colons, the names of controllers have none.
func readLine(row string) (l line, ok bool) {
	id, rest, _ := strings.Cut(row, ":")
	controllers, path, found := strings.Cut(rest, ":")
	if !found || !digits(id) || !strings.HasPrefix(path, "/") || strings.IndexByte(path, 0) >= 0 {
		return line{}, false
	}
	l = readPath(strings.TrimSuffix(path, " (deleted)"))
	switch {
	case id == "0" && controllers == "":
		l.rank += rankV2
	case has(controllers, "memory"):
		l.rank += rankMemory
	case has(controllers, "pids"):
		l.rank += rankPIDs
	default:
		l.rank += rankOther
	}
	return l, true
}

// has says whether a list with commas has a word.
func has(list, word string) bool {
	for list != "" {
		var first string
		first, list, _ = strings.Cut(list, ",")
		if first == word {
			return true
		}
	}
	return false
}

// readPath finds the pod and the container that a path of a cgroup names. The outermost
// pod is the one: whoever may make cgroups inside a pod can't name itself another.
func readPath(path string) line {
	l := line{path: path}
	below := false // kubepods was seen, or the path is relative, so that it may have been
	for rest := path; rest != ""; {
		var part string
		part, rest = segment(rest)
		pod, after, ok := readPod(part, below)
		if ok {
			l.pod = pod
			if after == "" {
				after, _ = segment(rest)
			}
			l.container = container(after)
			return l
		}
		below = below || part == ".." || part == "kubepods" || strings.HasSuffix(part, "-kubepods")
		if rest == "" {
			l.container = container(part)
		}
	}
	l.rank = rankNoPod
	if path == "/" {
		l.rank += rankRoot
	}
	return l
}

// segment cuts the first part off a path.
func segment(path string) (first, rest string) {
	first, rest, _ = strings.Cut(strings.TrimLeft(path, "/"), "/")
	return first, rest
}

// readPod reads a part of a path that names a pod, and what stands behind the pod's name
// in the same part:
//
//	kubepods-burstable-pod8f1c…_….slice          the systemd driver; _ stands for -
//	kubelet-kubepods-pod8f1c…_….slice            in a nested node; guaranteed
//	kubepods-pod8f1c….slice:cri-containerd:ab…   a kubelet for systemd, containerd not
//	pod8f1c…-…                                   the cgroupfs driver, below kubepods
func readPod(part string, below bool) (uid, after string, ok bool) {
	if below && strings.HasPrefix(part, "pod") {
		uid = part[len("pod"):]
		return uid, "", isUID(uid, '-')
	}
	at := strings.Index(part, "kubepods-")
	if at < 0 || at > 0 && part[at-1] != '-' {
		return "", "", false
	}
	name := part[at+len("kubepods-"):]
	for _, class := range []string{"burstable-", "besteffort-"} {
		name = strings.TrimPrefix(name, class)
	}
	if uid, ok = strings.CutPrefix(name, "pod"); !ok {
		return "", "", false
	}
	if uid, after, ok = strings.Cut(uid, ".slice"); !ok || !isUID(uid, '_') {
		return "", "", false
	}
	if after != "" && after[0] != ':' {
		return "", "", false
	}
	return uid, after, true
}

// Lengths of what is looked for.
const (
	uidLength       = 36
	staticLength    = 32 // a static pod has the hash of its manifest for a UID
	containerLength = 64
)

// isUID says whether a text is 8-4-4-4-12 hexadecimal digits with a separator, or the 32
// digits of a static pod.
func isUID(s string, separator byte) bool {
	switch len(s) {
	case staticLength:
		return hex(s)
	case uidLength:
		return hex(s[:8]) && s[8] == separator && hex(s[9:13]) && s[13] == separator && hex(s[14:18]) &&
			s[18] == separator && hex(s[19:23]) && s[23] == separator && hex(s[24:])
	}
	return false
}

// container returns the id in a part of a path: ab…, cri-containerd-ab….scope, crio-ab…
// or :cri-containerd:ab…; "" if there is none. conmon, which watches over a container of
// CRI-O from the outside, is none.
func container(part string) string {
	part = strings.TrimSuffix(part, ".scope")
	if len(part) < containerLength {
		return ""
	}
	runtime, id := part[:len(part)-containerLength], part[len(part)-containerLength:]
	if !hex(id) || strings.HasSuffix(runtime, "conmon-") {
		return ""
	}
	if runtime != "" && !strings.HasSuffix(runtime, "-") && !strings.HasSuffix(runtime, ":") {
		return ""
	}
	return id
}

func hex(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return s != ""
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// owner copies what was found out of the text it was found in. A path is put into
// reports, so it becomes UTF-8 if it was not.
func (l line) owner() Owner {
	o := Owner{Container: strings.Clone(l.container)}
	if l.pod == "" {
		o.Path = strings.Clone(strings.ToValidUTF8(l.path, "?"))
		return o
	}
	o.Pod = strings.ReplaceAll(strings.Clone(l.pod), "_", "-")
	return o
}
