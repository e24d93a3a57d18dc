package nvml

import (
	"fmt"
	"maps"
	"slices"
	"sync"
)

// FakeGPU is a GPU of a Fake, or an instance of one. Set, Fail and Hang script it.
type FakeGPU struct {
	faults
	library *Fake
	index   int

	mu    sync.Mutex
	state FakeState
	mig   []*FakeGPU
}

// FakeState is what a FakeGPU answers. Utilisations are not used up: they are the answer
// of each call until they are set anew.
type FakeState struct {
	Identity    Identity
	Memory      Memory
	Utilization int // permille
	Processes   []Process
	Use         map[uint32]ProcessUse
	Status      Status
	SM          *int // permille, of GPM; nil: ErrNotSupported
}

// FakeH100 is an H100 with a UUID and a PCI address that follow from its index.
func FakeH100(index int) Identity {
	return Identity{
		Index:   index,
		UUID:    fmt.Sprintf("GPU-%08x-0000-4000-8000-000000000000", index),
		Product: "NVIDIA H100 80GB HBM3",
		PCI:     fmt.Sprintf("00000000:%02X:00.0", 0x18+index),
		Memory:  80 << 30,
		Major:   9,
		GI:      -1,
		CI:      -1,
	}
}

func newFakeGPU(f *Fake, id Identity) *FakeGPU {
	return &FakeGPU{library: f, index: id.Index, state: FakeState{
		Identity: id,
		Memory:   Memory{Total: id.Memory},
		Status:   Status{Recovery: new(uint32)},
	}}
}

// Set changes what the GPU answers, in one step.
func (g *FakeGPU) Set(change func(*FakeState)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	change(&g.state)
}

// SetMIG puts the GPU in MIG mode with these instances, or takes it out of it (none).
// Parent, Index and Product follow from the GPU.
func (g *FakeGPU) SetMIG(instances ...Identity) []*FakeGPU {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.mig = nil
	g.state.Identity.MIGEnabled = len(instances) > 0
	for _, id := range instances {
		parent := g.state.Identity
		id.Index, id.Parent, id.PCI = g.index, parent.UUID, parent.PCI
		id.Product = parent.Product + " MIG " + id.Profile
		id.Major, id.Minor = parent.Major, parent.Minor
		g.mig = append(g.mig, newFakeGPU(g.library, id))
	}
	return slices.Clone(g.mig)
}

// Index of the GPU.
func (g *FakeGPU) Index() int { return g.index }

// answer reads the state, if the script has no failure for the call.
func answer[T any](g *FakeGPU, c Call, read func(*FakeState) (T, error)) (T, error) {
	var zero T
	if err := g.enter(c); err != nil {
		return zero, err
	}
	defer g.leave()
	if g.library.Closed() {
		return zero, ErrUninitialized
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return read(&g.state)
}

// Identity answers FakeState.Identity.
func (g *FakeGPU) Identity() (Identity, error) {
	return answer(g, CallIdentity, func(s *FakeState) (Identity, error) {
		id := s.Identity
		id.Peers = slices.Clone(id.Peers)
		return id, nil
	})
}

// Memory answers FakeState.Memory.
func (g *FakeGPU) Memory() (Memory, error) {
	return answer(g, CallMemory, func(s *FakeState) (Memory, error) { return s.Memory, nil })
}

// Utilization answers FakeState.Utilization; of an instance ErrNotSupported, as drivers do.
func (g *FakeGPU) Utilization() (int, error) {
	return answer(g, CallUtilization, func(s *FakeState) (int, error) {
		if s.Identity.Parent != "" {
			return 0, ErrNotSupported
		}
		return s.Utilization, nil
	})
}

// Processes answers FakeState.Processes.
func (g *FakeGPU) Processes() ([]Process, error) {
	return answer(g, CallProcesses, func(s *FakeState) ([]Process, error) { return slices.Clone(s.Processes), nil })
}

// ProcessUtilization answers FakeState.Use; in MIG mode ErrNotSupported, as drivers do.
func (g *FakeGPU) ProcessUtilization() (map[uint32]ProcessUse, error) {
	return answer(g, CallProcessUtilization, func(s *FakeState) (map[uint32]ProcessUse, error) {
		if s.Identity.MIGEnabled || s.Identity.Parent != "" {
			return nil, ErrNotSupported
		}
		use := make(map[uint32]ProcessUse, len(s.Use))
		maps.Copy(use, s.Use)
		return use, nil
	})
}

// Status answers FakeState.Status.
func (g *FakeGPU) Status() (Status, error) {
	return answer(g, CallStatus, func(s *FakeState) (Status, error) { return s.Status, nil })
}

// GPM answers FakeState.SM, from the first call on.
func (g *FakeGPU) GPM() (int, error) {
	return answer(g, CallGPM, func(s *FakeState) (int, error) {
		if s.SM == nil {
			return 0, ErrNotSupported
		}
		return *s.SM, nil
	})
}

// MIG answers the instances of SetMIG.
func (g *FakeGPU) MIG() ([]Device, error) {
	return answer(g, CallMIG, func(*FakeState) ([]Device, error) {
		if len(g.mig) == 0 {
			return nil, nil
		}
		return fakeDevices(g.mig), nil
	})
}
