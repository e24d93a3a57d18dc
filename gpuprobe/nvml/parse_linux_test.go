//go:build linux && (amd64 || arm64)

package nvml

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestCStringsEndAtTheZeroOrTheEnd(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "\x00": "", "GPU-1\x00rest": "GPU-1", "full": "full", "H100\xff\x00": "H100?",
	} {
		if got := text([]byte(in)); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestProfilesHaveTheNamesThatPeopleKnow(t *testing.T) {
	const h100, a100, h200 = 85520809984, 42949672960, 150754820096 // bytes that drivers tell
	for _, c := range []struct {
		name   string
		gi, ci uint32
		mib    uint64
		gpu    uint64
		want   string
	}{
		{"NVIDIA H100 80GB HBM3 MIG 1g.10gb", 1, 1, 9856, h100, "1g.10gb"},
		{"NVIDIA A100-SXM4-40GB MIG 1g.5gb+me", 1, 1, 4864, a100, "1g.5gb+me"},
		{"NVIDIA A100-SXM4-40GB MIG 1c.3g.20gb", 3, 1, 19968, a100, "1c.3g.20gb"},
		{"", 1, 1, 9856, h100, "1g.10gb"},
		{"no name", 3, 3, 40448, h100, "3g.40gb"},
		{"no name", 7, 7, 80896, h100, "7g.80gb"},
		{"no name", 3, 1, 19968, a100, "1c.3g.20gb"},
		{"no name", 1, 1, 4864, a100, "1g.5gb"},
		{"no name", 1, 1, 16384, h200, "1g.18gb"},
		{"no name", 0, 0, 0, h100, ""},
		{"no name", 1, 1, 9856, 0, ""},
	} {
		if got := profile(c.name, c.gi, c.ci, c.mib, c.gpu); got != c.want {
			t.Errorf("%+v: %q", c, got)
		}
	}
}

func TestAFabricIsNamedOnlyWhenTheGPUHasJoinedIt(t *testing.T) {
	cluster := [16]byte{0xab, 15: 1}
	const want = "ab000000-0000-0000-0000-000000000001.7"
	for _, c := range []struct {
		state   uint8
		status  uint32
		cluster [16]byte
		want    string
	}{
		{3, 0, cluster, want},
		{0, 0, cluster, ""},        // not supported
		{2, 0, cluster, ""},        // in progress
		{3, 999, cluster, ""},      // joined with an error
		{3, 0, [16]byte{}, ""},     // switches within the node
		{0xAA, 0, [16]byte{1}, ""}, // nonsense
		{3, 0, [16]byte{1}, "01000000-0000-0000-0000-000000000000.7"},
	} {
		if got := clique(c.state, c.status, c.cluster, 7); got != c.want {
			t.Errorf("%+v: %q", c, got)
		}
	}
}

func TestGPMGivesPermilleOrNothing(t *testing.T) {
	for in, want := range map[float64]int{0: 0, 61.25: 613, 100: 1000, 100.4: 1000, 0.04: 1, 1e-9: 1} {
		if got, err := percentToPermille(in); err != nil || got != want {
			t.Errorf("%v: %d, %v", in, got, err)
		}
	}
	for _, in := range []float64{-1, 102, math.NaN(), math.Inf(1), math.Inf(-1)} {
		if _, err := percentToPermille(in); !errors.Is(err, ErrUnknown) {
			t.Errorf("%v: %v", in, err)
		}
	}
}

func TestAnAddressLeadsToItsFile(t *testing.T) {
	const maps = `7f0000000000-7f0000001000 r--p 00000000 fe:00 123    /usr/lib/libnvidia-ml.so.580.95.05
7f0000001000-7f0000002000 r-xp 00001000 fe:00 123    /usr/lib/with space/libnvidia-ml.so.1 (deleted)
7f0000002000-7f0000003000 rw-p 00000000 00:00 0
not a line
`
	for at, want := range map[uint64]string{
		0x7f0000000000: "/usr/lib/libnvidia-ml.so.580.95.05",
		0x7f0000001fff: "/usr/lib/with space/libnvidia-ml.so.1 (deleted)",
		0x7f0000002000: "", 0x1: "", 0x7f0000003000: "",
	} {
		if got, ok := mappedFile(maps, at); got != want || ok != (want != "") {
			t.Errorf("%#x: %q", at, got)
		}
	}
}

// twinUse is processUse as one would write it down: one pass by pid.
func twinUse(samples []processSample, since uint64, pid uint32) (use ProcessUse, there bool) {
	sm, memory, n, m := 0, 0, 0, 0
	for _, s := range samples {
		if s.pid != pid {
			continue
		}
		there = there || s.timestamp > since || s.timestamp == 0 && s.sm > 0
		if s.timestamp <= since || s.sm > 100 {
			continue
		}
		sm, n = sm+int(s.sm), n+1
		if s.memory <= 100 {
			memory, m = memory+int(s.memory), m+1
		}
	}
	round := func(sum, n int) int {
		if sum == 0 {
			return 0
		}
		return max(1, int(math.Floor(float64(sum)*10/float64(n)+0.5)))
	}
	return ProcessUse{SM: round(sm, n), Memory: round(memory, m), Samples: n}, there
}

func TestUseByProcessIsThatOfItsTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		percent := rapid.OneOf(rapid.Uint32Range(0, 100), rapid.SampledFrom([]uint32{101, 255, none32}))
		samples := rapid.SliceOf(rapid.Custom(func(t *rapid.T) processSample {
			return processSample{
				pid: rapid.Uint32Range(0, 4).Draw(t, "pid"), timestamp: rapid.Uint64Range(0, 20).Draw(t, "at"),
				sm: percent.Draw(t, "sm"), memory: percent.Draw(t, "memory"),
			}
		})).Draw(t, "samples")
		since := rapid.Uint64Range(0, 20).Draw(t, "since")
		use, newest := processUse(samples, since)
		if use[0] != (ProcessUse{}) || newest < since {
			t.Fatal(use, newest)
		}
		for pid := uint32(1); pid <= 4; pid++ {
			want, there := twinUse(samples, since, pid)
			if got, ok := use[pid]; got != want || ok != there {
				t.Fatalf("pid %d: %+v, want %+v", pid, got, want)
			}
		}
		again, _ := processUse(samples, newest)
		for pid, u := range again {
			if u.Samples != 0 {
				t.Fatal("a sample counts twice:", pid, u)
			}
		}
	})
}

// What is not known must not look like what did nothing: somebody would be evicted for it.
func TestSamplesOfNoUseAreNotIdleness(t *testing.T) {
	use, _ := processUse([]processSample{
		{pid: 1, timestamp: 20, sm: none32},
		{pid: 2, timestamp: 20, sm: 0},
		{pid: 3, timestamp: 0, sm: 50},
		{pid: 4, timestamp: 0, sm: 0},
		{pid: 5, timestamp: 10, sm: 50},
	}, 10)
	want := map[uint32]ProcessUse{1: {}, 2: {Samples: 1}, 3: {}}
	if !maps.Equal(use, want) {
		t.Errorf("%+v, want %+v", use, want)
	}
}

func TestALittleUseIsNotNone(t *testing.T) {
	var samples []processSample
	for i := range 30 { // an interval: 1 % in one sample of thirty
		samples = append(samples, processSample{pid: 1, timestamp: uint64(i + 1), sm: uint32(i / 29)})
	}
	if use, _ := processUse(samples, 0); use[1] != (ProcessUse{SM: 1, Samples: 30}) {
		t.Errorf("%+v", use)
	}
}

func TestAMeanOfSamplesLiesAmongThem(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var samples []sample
		low, high, n := 101, -1, 0
		for i := range rapid.IntRange(0, 30).Draw(t, "n") {
			percent := rapid.Uint32Range(0, 130).Draw(t, "percent")
			s := sample{timestamp: uint64(i)}
			binary.NativeEndian.PutUint32(s.value[:], percent)
			samples = append(samples, s)
			if i > 3 && percent <= 100 {
				low, high, n = min(low, int(percent)), max(high, int(percent)), n+1
			}
		}
		got, newest, any := freshSamples(valueUint, samples, 3)
		if any != (n > 0) || newest != uint64(max(len(samples)-1, 3)) {
			t.Fatal(got, newest, any)
		}
		if n > 0 && (got < low*10 || got > high*10) {
			t.Fatalf("%d is not between %d and %d", got, low*10, high*10)
		}
	})
}

func TestMemoryNeverExceedsTheWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		any64 := rapid.OneOf(rapid.Uint64(), rapid.Uint64Range(0, 100))
		m := memory(any64.Draw(t, "total"), any64.Draw(t, "reserved"), any64.Draw(t, "free"), any64.Draw(t, "used"))
		if m.Used > m.Total || m.Reserved > m.Total {
			t.Fatal(m)
		}
	})
}

func TestMergedProcessesAreSortedAndEachOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		found := rapid.SliceOf(rapid.Custom(func(t *rapid.T) Process {
			p := Process{PID: rapid.Uint32Range(1, 5).Draw(t, "pid"), GI: rapid.IntRange(-1, 1).Draw(t, "gi"), CI: -1}
			if rapid.Bool().Draw(t, "known") {
				p.Memory = ref(rapid.Uint64Range(0, 9).Draw(t, "memory"))
			}
			return p
		})).Draw(t, "found")
		type key struct {
			pid uint32
			gi  int
		}
		want := map[key]*uint64{}
		for _, p := range found {
			k := key{p.PID, p.GI}
			if old := want[k]; old == nil || p.Memory != nil && *p.Memory > *old {
				want[k] = p.Memory
			}
		}
		merged := mergeProcesses(slices.Clone(found))
		if len(merged) != len(want) {
			t.Fatal(merged)
		}
		if !slices.IsSortedFunc(merged, func(a, b Process) int {
			return cmp.Or(cmp.Compare(a.PID, b.PID), cmp.Compare(a.GI, b.GI))
		}) {
			t.Fatal(merged)
		}
		for _, p := range merged {
			w := want[key{p.PID, p.GI}]
			if (w == nil) != (p.Memory == nil) || w != nil && *w != *p.Memory {
				t.Fatal(p, w)
			}
		}
	})
}

func TestSizedReadsAListThatChangesWhileItIsRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sizes := rapid.SliceOfN(rapid.IntRange(0, 300), 1, 6).Draw(t, "sizes")
		call := 0
		ask := func(n *uint32, first *int) Error {
			there := sizes[min(call, len(sizes)-1)]
			call++
			if int(*n) < there {
				*n = uint32(there)
				return ErrInsufficientSize
			}
			*n = uint32(there)
			if there > 0 {
				*first = there
			}
			return 0
		}
		buf, n, rc := sized(make([]int, rapid.IntRange(0, 20).Draw(t, "room")), ask)
		if rc != 0 || n != sizes[min(call, len(sizes))-1] || n > len(buf) || n > 0 && buf[0] != n {
			t.Fatal(n, rc, call, sizes)
		}
	})
}

func TestSizedBelievesNoNonsense(t *testing.T) {
	always := func(n uint32, rc Error) func(*uint32, *int) Error {
		return func(p *uint32, _ *int) Error { *p = n; return rc }
	}
	for what, c := range map[string]struct {
		ask  func(*uint32, *int) Error
		want Error
	}{
		"a count of four billion":       {always(none32, ErrInsufficientSize), ErrUnknown},
		"more than there was room for":  {always(none32, 0), ErrUnknown},
		"too small, and the same again": {always(0, ErrInsufficientSize), ErrInsufficientSize},
		"an error":                      {always(3, ErrGPULost), ErrGPULost},
	} {
		if _, n, rc := sized(nil, c.ask); rc != c.want || n != 0 {
			t.Errorf("%s: %d, %v", what, n, rc)
		}
	}
	buf, n, rc := sized(make([]int, 4), always(9, 0))
	if rc != 0 || n != 4 || len(buf) != 4 {
		t.Error("a list that claims to be longer than its room is cut:", n, rc)
	}
}

// FuzzWhatTheDriverWrote feeds bytes as the driver might leave them: no panic, and no
// value out of its range.
func FuzzWhatTheDriverWrote(f *testing.F) {
	f.Add(uint32(1), uint64(0), []byte("NVIDIA H100 80GB HBM3 MIG 1g.10gb\x00"))
	f.Add(uint32(0), uint64(5), bytes.Repeat([]byte{0xff}, 64))
	f.Add(uint32(7), uint64(1)<<63, []byte{})
	f.Fuzz(func(t *testing.T, kind uint32, since uint64, data []byte) {
		s := text(data)
		if !utf8.ValidString(s) || strings.ContainsRune(s, 0) {
			t.Errorf("%q", s)
		}
		var samples []sample
		var uses []processSample
		for chunk := range slices.Chunk(data, 24) {
			var b [24]byte
			copy(b[:], chunk)
			at := binary.NativeEndian.Uint64(b[:])
			samples = append(samples, sample{timestamp: at, value: [8]byte(b[8:16])})
			uses = append(uses, processSample{
				pid: binary.NativeEndian.Uint32(b[16:]), timestamp: at,
				sm: binary.NativeEndian.Uint32(b[8:]), memory: binary.NativeEndian.Uint32(b[12:]),
			})
		}
		permille, newest, _ := freshSamples(kind, samples, since)
		if permille < 0 || permille > 1000 || newest < since {
			t.Error(permille, newest)
		}
		use, newest := processUse(uses, since)
		for pid, u := range use {
			if pid == 0 || u.SM < 0 || u.SM > 1000 || u.Memory < 0 || u.Memory > 1000 || u.Samples < 0 || u.Samples == 0 && u.SM != 0 {
				t.Error(pid, u)
			}
		}
		if newest < since {
			t.Error(newest)
		}
		_ = profile(s, kind, uint32(since), since, uint64(kind)<<30)
		_, _ = mappedFile(string(data), since)
	})
}
