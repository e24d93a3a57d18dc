package bpf

import (
	"cmp"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Functions of the driver API by which a process begins to use a GPU. Each is called once
// or so, whatever runtime a program uses.
var startSymbols = []string{
	"cuInit", "cuCtxCreate", "cuCtxCreate_v2", "cuCtxCreate_v3", "cuCtxCreate_v4", "cuDevicePrimaryCtxRetain",
}

// Functions that have a GPU work. The _ptsz ones are what a program calls that was
// compiled for one default stream per thread.
var launchSymbols = []string{
	"cuLaunchKernel", "cuLaunchKernel_ptsz", "cuLaunchKernelEx", "cuLaunchKernelEx_ptsz",
	"cuLaunchCooperativeKernel", "cuLaunchCooperativeKernel_ptsz", "cuGraphLaunch", "cuGraphLaunch_ptsz",
	"cuLaunchCooperativeKernelMultiDevice", "cuLaunch", "cuLaunchGrid", "cuLaunchGridAsync", // of old programs
}

// errNoDriverAPI says that a file is no libcuda.
var errNoDriverAPI = errors.New("it exports neither cuInit nor cuLaunchKernel: not a libcuda")

// errNoLaunches says that a libcuda can't be watched: whoever uses it would look idle.
var errNoLaunches = errors.New("it exports no function that launches where a probe can be")

// site is a place for a probe.
type site struct {
	offset uint64 // in the file
	place  string // "entry+4 (push)"
}

// sites are the places for probes in a libcuda, each once: two names may be one function,
// which would be counted twice.
type sites struct {
	starts, launches []site
}

// readSites finds them among the symbols that a library exports. Those that it does not
// have (an older driver lacks cuLaunchKernelEx) are left out: one that is missing fails
// the attachment of all.
func readSites(r io.ReaderAt, fastNop bool) (sites, error) {
	f, err := elf.NewFile(r)
	if err != nil {
		return sites{}, err
	}
	symbols, err := f.DynamicSymbols()
	if err != nil {
		return sites{}, err
	}
	s := sites{starts: find(f, symbols, startSymbols, fastNop), launches: find(f, symbols, launchSymbols, fastNop)}
	if len(s.starts)+len(s.launches) == 0 {
		return sites{}, errNoDriverAPI
	}
	if len(s.launches) == 0 {
		return sites{}, errNoLaunches
	}
	return s, nil
}

func find(f *elf.File, symbols []elf.Symbol, names []string, fastNop bool) []site {
	var found []site
	for _, s := range symbols {
		if s.Section == elf.SHN_UNDEF || elf.ST_TYPE(s.Info) != elf.STT_FUNC || !slices.Contains(names, s.Name) {
			continue
		}
		offset, code, ok := entry(f, s)
		if !ok {
			continue
		}
		at, place := probePlace(f.Machine, code, fastNop)
		found = append(found, site{offset: offset + uint64(at), place: place})
	}
	slices.SortFunc(found, func(a, b site) int {
		return cmp.Compare(a.offset, b.offset)
	})
	return slices.CompactFunc(found, func(a, b site) bool { return a.offset == b.offset })
}

// entry is where a function is in the file, and its first bytes.
func entry(f *elf.File, s elf.Symbol) (offset uint64, code []byte, ok bool) {
	for _, p := range f.Progs {
		if p.Type != elf.PT_LOAD || p.Flags&elf.PF_X == 0 || s.Value < p.Vaddr || s.Value-p.Vaddr >= p.Filesz {
			continue
		}
		size := min(prologue, p.Filesz-(s.Value-p.Vaddr))
		if s.Size > 0 {
			size = min(size, s.Size)
		}
		code = make([]byte, size)
		if _, err := p.ReadAt(code, int64(s.Value-p.Vaddr)); err != nil {
			return 0, nil, false
		}
		return s.Value - p.Vaddr + p.Off, code, true
	}
	return 0, nil, false
}

func offsets(in []site) []uint64 {
	out := make([]uint64, len(in))
	for i, s := range in {
		out[i] = s.offset
	}
	return out
}

// places says where the probes are: "entry+4 (push)", or of each kind how many.
func places(in []site) string {
	var kinds []string
	count := map[string]int{}
	for _, s := range in {
		if count[s.place] == 0 {
			kinds = append(kinds, s.place)
		}
		count[s.place]++
	}
	if len(kinds) < 2 {
		return strings.Join(kinds, "")
	}
	slices.SortStableFunc(kinds, func(a, b string) int { return count[b] - count[a] })
	for i, k := range kinds {
		kinds[i] = fmt.Sprintf("%d× %s", count[k], k)
	}
	return strings.Join(kinds, ", ")
}
