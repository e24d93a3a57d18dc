//go:build linux && (amd64 || arm64)

package nvml

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"slices"
	"strings"
)

// What follows turns what the driver wrote into values, and calls nothing.

// text is a C string in a buffer, which a driver may have filled to the brim.
func text(b []byte) string {
	if end := bytes.IndexByte(b, 0); end >= 0 {
		b = b[:end]
	}
	return strings.ToValidUTF8(string(b), "?")
}

// mean of percents, in permille. Drivers mark a sample that they don't have by a number
// over 100: it does not count.
type mean struct{ sum, n int }

func (m *mean) add(percent uint64) bool {
	if percent > 100 {
		return false
	}
	m.sum, m.n = m.sum+int(percent), m.n+1
	return true
}

func (m mean) permille() int {
	if m.sum == 0 {
		return 0
	}
	return max(1, (m.sum*10+m.n/2)/m.n) // a little is not nothing
}

// freshSamples averages the samples after since; newest is the time of the last one, or
// since.
func freshSamples(kind uint32, samples []sample, since uint64) (permille int, newest uint64, any bool) {
	var m mean
	newest = since
	for _, s := range samples {
		percent, ok := number(kind, s.value)
		if s.timestamp <= since || !ok {
			continue
		}
		newest = max(newest, s.timestamp)
		m.add(percent)
	}
	return m.permille(), newest, m.n > 0
}

// processUse averages the samples after since by pid. A process whose samples are all of no
// use (out of range, or of no time) is in it with none: what it did is not known.
func processUse(samples []processSample, since uint64) (use map[uint32]ProcessUse, newest uint64) {
	type means struct{ sm, memory mean }
	by := make(map[uint32]means, min(len(samples), 64))
	newest = since
	for _, s := range samples {
		undated := s.timestamp == 0 && s.sm > 0
		if s.timestamp <= since && !undated || s.pid == 0 {
			continue
		}
		newest = max(newest, s.timestamp)
		m := by[s.pid]
		if !undated && m.sm.add(uint64(s.sm)) {
			m.memory.add(uint64(s.memory))
		}
		by[s.pid] = m
	}
	use = make(map[uint32]ProcessUse, len(by))
	for pid, m := range by {
		use[pid] = ProcessUse{SM: m.sm.permille(), Memory: m.memory.permille(), Samples: m.sm.n}
	}
	return use, newest
}

// mergeProcesses sorts by pid and instance and drops repetitions: a client of MPS is in
// two lists, and a process may compute and draw. The memory that is known wins.
func mergeProcesses(found []Process) []Process {
	slices.SortStableFunc(found, func(a, b Process) int {
		return cmp.Or(cmp.Compare(a.PID, b.PID), cmp.Compare(a.GI, b.GI), cmp.Compare(a.CI, b.CI))
	})
	merged := found[:0]
	for _, p := range found {
		if n := len(merged); n > 0 && merged[n-1].PID == p.PID && merged[n-1].GI == p.GI && merged[n-1].CI == p.CI {
			merged[n-1].Memory = largest(merged[n-1].Memory, p.Memory)
			continue
		}
		merged = append(merged, p)
	}
	return merged
}

func largest(a, b *uint64) *uint64 {
	if a == nil || b != nil && *b > *a {
		return b
	}
	return a
}

// instance is an id of MIG, -1 for the driver's "none".
func instance(id uint32) int {
	if id == none32 {
		return -1
	}
	return int(id)
}

// number reads a value of nvmlValue_t, rounded, if it is one and not negative.
func number(kind uint32, v [8]byte) (uint64, bool) {
	switch kind {
	case valueDouble:
		f := math.Float64frombits(binary.NativeEndian.Uint64(v[:]))
		return uint64(math.Round(max(f, 0))), f >= 0 && f < 1<<53
	case valueUint:
		return uint64(binary.NativeEndian.Uint32(v[:])), true
	case valueUlong, valueUlonglong:
		return binary.NativeEndian.Uint64(v[:]), true
	case valueLonglong:
		n := int64(binary.NativeEndian.Uint64(v[:]))
		return uint64(n), n >= 0
	case valueInt:
		n := int32(binary.NativeEndian.Uint32(v[:]))
		return uint64(n), n >= 0
	case valueUshort:
		return uint64(binary.NativeEndian.Uint16(v[:])), true
	}
	return 0, false
}

// memory of version 2. nvml.h says that used contains reserved, and nvidia-smi shows it
// beside it; total - free - reserved is right either way.
func memory(total, reserved, free, used uint64) Memory {
	if free <= total && reserved <= total-free {
		used = total - free - reserved
	}
	return Memory{Total: total, Used: min(used, total), Reserved: min(reserved, total)}
}

// clique names the fabric that a GPU has joined. A cluster of zeros is a fabric within
// the node only.
func clique(state uint8, status uint32, cluster [16]byte, id uint32) string {
	if state != fabricComplete || status != 0 || cluster == ([16]byte{}) {
		return ""
	}
	h := hex.EncodeToString(cluster[:])
	return fmt.Sprintf("%s-%s-%s-%s-%s.%d", h[:8], h[8:12], h[12:16], h[16:20], h[20:], id)
}

// profile of a MIG instance: what the driver calls it ("NVIDIA H100 80GB HBM3 MIG
// 1g.10gb"), else made from the slices. Memory is counted in eighths of the GPU's.
func profile(name string, giSlices, ciSlices uint32, memoryMiB, gpuBytes uint64) string {
	if _, after, ok := strings.Cut(name, " MIG "); ok && after != "" {
		return after
	}
	if giSlices == 0 || memoryMiB == 0 || gpuBytes == 0 {
		return ""
	}
	const gib = 1 << 30
	eighths := math.Ceil(8 * float64(memoryMiB) * (1 << 20) / float64(gpuBytes))
	gb := math.Round(eighths / 8 * math.Ceil(float64(gpuBytes)/gib))
	p := fmt.Sprintf("%dg.%.0fgb", giSlices, gb)
	if ciSlices != 0 && ciSlices < giSlices {
		p = fmt.Sprintf("%dc.%s", ciSlices, p)
	}
	return p
}

// hard says that an error is of the GPU or the driver, not of one question: asking on is
// of no use.
func hard(e Error) bool {
	switch e {
	case ErrUninitialized, ErrDriverNotLoaded, ErrGPULost, ErrResetRequired, ErrLibraryVersion:
		return true
	}
	return false
}

func (e Error) orNil() error {
	if e == 0 {
		return nil
	}
	return e
}
