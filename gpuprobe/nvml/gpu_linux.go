//go:build linux && (amd64 || arm64)

package nvml

import (
	"sync"
	"time"
	"unsafe"
)

// gpu is a GPU or an instance of one.
type gpu struct {
	d      *Driver
	index  int
	handle uintptr
	absent Error // why there is no handle
	parent *gpu  // of an instance
	gi, ci uint32

	// mu guards what one call leaves for the next, below.
	mu             sync.Mutex
	sampled        since // of the device
	used           since // of its processes
	samples        []sample
	processes      []processV2
	processSamples []processSample
	gpm            gpm
	instances      []*gpu
}

func newGPU(d *Driver, index int, handle uintptr, rc Error) *gpu {
	if rc != 0 {
		handle = 0
	}
	return &gpu{d: d, index: index, handle: handle, absent: rc, gi: none32, ci: none32}
}

// enter holds the library open and the GPU's memory locked; leave with leave.
func (g *gpu) enter() error {
	if err := g.d.enter(); err != nil {
		return err
	}
	if g.absent != 0 {
		g.d.mu.RUnlock()
		return g.absent
	}
	g.mu.Lock()
	return nil
}

func (g *gpu) leave() {
	g.mu.Unlock()
	g.d.mu.RUnlock()
}

// forget gives back what the driver keeps for us.
func (g *gpu) forget() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.gpm.free(g.d)
	for _, instance := range g.instances {
		instance.forget()
	}
	g.instances = nil
}

func (g *gpu) Index() int { return g.index }

func (g *gpu) Memory() (Memory, error) {
	if err := g.enter(); err != nil {
		return Memory{}, err
	}
	defer g.leave()
	return g.memory()
}

func (g *gpu) memory() (Memory, error) {
	m := memoryV2{version: memoryVersion2}
	rc := g.d.memoryV2(g.handle, &m)
	if rc == 0 {
		return memory(m.total, m.reserved, m.free, m.used), nil
	}
	if rc != ErrNoSymbol && rc != ErrArgumentVersion && rc != ErrNotSupported {
		return Memory{}, rc
	}
	var old memoryV1 // its used has the reserved in it, and nothing tells how much that is
	if rc := g.d.symbols.memory(g.handle, &old); rc != 0 {
		return Memory{}, rc
	}
	return memory(old.total, 0, old.free, old.used), nil
}

func (g *gpu) Utilization() (int, error) {
	if err := g.enter(); err != nil {
		return 0, err
	}
	defer g.leave()
	since := g.sampled.ask(time.Now())
	kind := uint32(valueUint)
	buffer, n, rc := sized(g.samples, func(n *uint32, s *sample) Error {
		return g.d.samples(g.handle, samplesOfGPU, since, &kind, n, s)
	})
	g.samples = buffer
	if rc == 0 {
		permille, newest, any := freshSamples(kind, buffer[:n], since)
		g.sampled.newest = newest
		if any {
			return permille, nil
		}
	}
	if hard(rc) {
		return 0, rc
	}
	// No sample since, or a driver without them: its own last period, up to 1 s long.
	var u utilization
	if rc := g.d.rates(g.handle, &u); rc != 0 {
		return 0, rc
	}
	if u.gpu > 100 {
		return 0, ErrUnknown
	}
	return int(u.gpu) * 10, nil
}

// since is from when on samples are new, in the driver's time (µs since 1970).
type since struct {
	newest uint64    // of the samples seen so far
	asked  time.Time // when they were asked for last
}

// ask is that time, for a question at now. A clock that was set back leaves the samples
// seen so far in the future, where nothing would be newer for long: then new is what came
// since the last question, as that can be measured without the clock.
func (s *since) ask(now time.Time) uint64 {
	if wall := uint64(now.UnixMicro()); s.newest > wall {
		s.newest = wall - min(wall, uint64(now.Sub(s.asked).Microseconds()))
	}
	s.asked = now
	return s.newest
}

func (g *gpu) Processes() ([]Process, error) {
	if err := g.enter(); err != nil {
		return nil, err
	}
	defer g.leave()
	found, rc := g.collect(nil, g.d.compute)
	if rc == ErrNoSymbol {
		found, rc = g.collectV1()
	}
	if rc != 0 {
		return nil, rc
	}
	for _, list := range []func(uintptr, *uint32, *processV2) Error{g.d.mps, g.d.graphics} {
		more, rc := g.collect(found, list)
		switch rc {
		case 0:
			found = more
		case ErrNotSupported, ErrNoSymbol, ErrInvalidArgument, ErrArgumentVersion: // it has no such list
		default: // without it, those who are in it would look gone
			return nil, rc
		}
	}
	return mergeProcesses(found), nil
}

// collect appends what one of the driver's lists has.
func (g *gpu) collect(to []Process, list func(uintptr, *uint32, *processV2) Error) ([]Process, Error) {
	buffer, n, rc := sized(g.processes, func(n *uint32, p *processV2) Error { return list(g.handle, n, p) })
	g.processes = buffer
	if rc != 0 {
		return to, rc
	}
	known := make([]uint64, n) // one allocation for all the pointers
	for i, p := range buffer[:n] {
		process := Process{PID: p.pid, GI: instance(p.gi), CI: instance(p.ci)}
		if p.used != noMemory {
			known[i] = p.used
			process.Memory = &known[i]
		}
		to = append(to, process)
	}
	return to, 0
}

func (g *gpu) collectV1() ([]Process, Error) {
	buffer, n, rc := sized(nil, func(n *uint32, p *processV1) Error { return g.d.computeV1(g.handle, n, p) })
	var found []Process
	for _, p := range buffer[:n] {
		process := Process{PID: p.pid, GI: -1, CI: -1}
		if p.used != noMemory {
			process.Memory = &p.used
		}
		found = append(found, process)
	}
	return found, rc
}

func (g *gpu) ProcessUtilization() (map[uint32]ProcessUse, error) {
	if err := g.enter(); err != nil {
		return nil, err
	}
	defer g.leave()
	since := g.used.ask(time.Now())
	buffer, n, rc := sized(g.processSamples, func(n *uint32, s *processSample) Error {
		return g.d.symbols.processSamples(g.handle, s, n, since)
	})
	g.processSamples = buffer
	if rc == ErrNotFound { // nobody did anything
		return map[uint32]ProcessUse{}, nil
	}
	if rc != 0 {
		return nil, rc
	}
	use, newest := processUse(buffer[:n], since)
	g.used.newest = newest
	return use, nil
}

// maxEntries that a list of the driver may have; more is nonsense, not a list.
const maxEntries = 1 << 17

// sized asks for a list of which only the driver knows the length: for the length first,
// then with room for some more, again if it has grown meanwhile. buf is the room of last
// time; the answer is the room of next time, whose first n are the list.
func sized[T any](buf []T, ask func(n *uint32, first *T) Error) (room []T, n int, rc Error) {
	for range 8 {
		count := uint32(len(buf))
		rc = ask(&count, unsafe.SliceData(buf))
		switch {
		case rc != 0 && rc != ErrInsufficientSize:
			return buf, 0, rc
		case count > maxEntries:
			return buf, 0, ErrUnknown
		case rc == 0 && (len(buf) > 0 || count == 0):
			return buf, min(int(count), len(buf)), 0
		}
		want := max(int(count), len(buf))
		buf = make([]T, want+want/4+16)
	}
	return buf, 0, rc
}
