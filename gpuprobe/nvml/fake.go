package nvml

import (
	"cmp"
	"errors"
	"slices"
	"sync"
	"time"
)

// Fake is a Library with a script, for tests and for the node simulator:
//
//	f := nvml.NewFake(nvml.FakeH100(0), nvml.FakeH100(1))
//	f.GPU(0).Set(func(s *nvml.FakeState) {
//		s.Utilization = 800
//		s.Processes = []nvml.Process{{PID: 42, GI: -1, CI: -1}}
//	})
//	f.GPU(1).Fail(nvml.CallMemory, nvml.ErrGPULost)
//	release := f.GPU(0).Hang(nvml.CallProcesses) // until released
//	f.Inject(nvml.Event{UUID: "GPU-1", Kind: nvml.EventXID, Data: 79, GI: -1, CI: -1})
//	r := nvml.NewReopener(f.Open, time.Second)
//
// It counts how many calls were inside of each GPU at once, which must not be more than
// one behind Guard. All methods may be called from any goroutine, also while calls hang.
type Fake struct {
	faults
	mu      sync.Mutex
	system  System
	gpus    []*FakeGPU
	closed  bool
	opens   int
	events  []Event
	arrived chan struct{} // closed, and made anew, when an event is injected or Close comes
}

// Call names a method of Library or Device for a script.
type Call string

// The calls of a script. CallAny stands for all calls to one GPU, or to the library
// itself.
const (
	CallAny                Call = "*"
	CallOpen               Call = "Open"
	CallSystem             Call = "System"
	CallDevices            Call = "Devices"
	CallEvents             Call = "Events"
	CallClose              Call = "Close"
	CallIdentity           Call = "Identity"
	CallMemory             Call = "Memory"
	CallUtilization        Call = "Utilization"
	CallProcesses          Call = "Processes"
	CallProcessUtilization Call = "ProcessUtilization"
	CallStatus             Call = "Status"
	CallGPM                Call = "GPM"
	CallMIG                Call = "MIG"
)

// NewFake is an open fake with these GPUs, in the order of their index.
func NewFake(gpus ...Identity) *Fake {
	f := &Fake{
		system:  System{Driver: "580.95.05", NVML: "13.580.95.05", CUDA: 13000},
		arrived: make(chan struct{}),
	}
	for i, id := range gpus {
		id.Index = i
		f.gpus = append(f.gpus, newFakeGPU(f, id))
	}
	return f
}

// Open opens the fake again after Close: what NewReopener wants.
func (f *Fake) Open() (Library, error) {
	if err := f.enter(CallOpen); err != nil {
		return nil, err
	}
	defer f.leave()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = false
	f.opens++
	return f, nil
}

// Opens counts the calls of Open that were answered without an error.
func (f *Fake) Opens() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.opens
}

// Closed says whether the fake was closed, and not opened since.
func (f *Fake) Closed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.closed
}

// GPU is the one of an index, to be scripted.
func (f *Fake) GPU(index int) *FakeGPU {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.gpus[index]
}

// SetSystem sets what System answers.
func (f *Fake) SetSystem(s System) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.system = s
}

// Inject queues a health event.
func (f *Fake) Inject(e Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.events = append(f.events, e)
	f.announce()
}

func (f *Fake) announce() {
	close(f.arrived)
	f.arrived = make(chan struct{})
}

// System answers what SetSystem set.
func (f *Fake) System() (System, error) {
	if err := f.begin(CallSystem); err != nil {
		return System{}, err
	}
	defer f.leave()
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.system
	s.Missing = slices.Clone(s.Missing)
	return s, nil
}

// Devices are the GPUs of NewFake.
func (f *Fake) Devices() ([]Device, error) {
	if err := f.begin(CallDevices); err != nil {
		return nil, err
	}
	defer f.leave()
	f.mu.Lock()
	defer f.mu.Unlock()
	return fakeDevices(f.gpus), nil
}

func fakeDevices(gpus []*FakeGPU) []Device {
	list := make([]Device, len(gpus))
	for i, g := range gpus {
		list[i] = g
	}
	return list
}

// Events hands out what Inject queued, in that order.
func (f *Fake) Events(timeout time.Duration) (Event, error) {
	if err := f.begin(CallEvents); err != nil {
		return Event{}, err
	}
	defer f.leave()
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	for {
		event, arrived, err := f.next()
		if !errors.Is(err, ErrTimeout) {
			return event, err
		}
		select {
		case <-arrived:
		case <-timer.C:
			return Event{}, ErrTimeout
		}
	}
}

func (f *Fake) next() (Event, <-chan struct{}, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return Event{}, nil, ErrUninitialized
	}
	if len(f.events) == 0 {
		return Event{}, f.arrived, ErrTimeout
	}
	e := f.events[0]
	f.events = f.events[1:]
	return e, nil, nil
}

// Close ends waits for events; later calls say ErrUninitialized.
func (f *Fake) Close() error {
	if err := f.enter(CallClose); err != nil {
		return err
	}
	defer f.leave()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	f.announce()
	return nil
}

// begin is enter of an open library.
func (f *Fake) begin(c Call) error {
	if err := f.enter(c); err != nil {
		return err
	}
	if f.Closed() {
		f.leave()
		return ErrUninitialized
	}
	return nil
}

// faults are the failures of a script, and count the calls.
type faults struct {
	faultsMu    sync.Mutex
	errs        map[Call]error
	hangs       map[Call]chan struct{}
	calls       map[Call]int
	inside, max int
}

// Fail lets a call say err from now on; nil heals it.
func (s *faults) Fail(c Call, err error) {
	s.faultsMu.Lock()
	defer s.faultsMu.Unlock()
	if s.errs == nil {
		s.errs = map[Call]error{}
	}
	s.errs[c] = err
}

// Hang lets a call block from now on, until release, which may be called again.
func (s *faults) Hang(c Call) (release func()) {
	gate := make(chan struct{})
	s.faultsMu.Lock()
	defer s.faultsMu.Unlock()
	if s.hangs == nil {
		s.hangs = map[Call]chan struct{}{}
	}
	s.hangs[c] = gate
	return sync.OnceFunc(func() {
		s.faultsMu.Lock()
		defer s.faultsMu.Unlock()
		if s.hangs[c] == gate {
			delete(s.hangs, c)
		}
		close(gate)
	})
}

// Calls counts how often a call was made; CallAny is all of them.
func (s *faults) Calls(c Call) int {
	s.faultsMu.Lock()
	defer s.faultsMu.Unlock()
	return s.calls[c]
}

// AtOnce is the largest number of calls that were inside at the same time.
func (s *faults) AtOnce() int {
	s.faultsMu.Lock()
	defer s.faultsMu.Unlock()
	return s.max
}

// enter counts, hangs and fails; leave follows if there is no error.
func (s *faults) enter(c Call) error {
	s.faultsMu.Lock()
	if s.calls == nil {
		s.calls = map[Call]int{}
	}
	s.calls[c]++
	s.calls[CallAny]++
	s.inside++
	s.max = max(s.max, s.inside)
	gate := cmp.Or(s.hangs[c], s.hangs[CallAny])
	s.faultsMu.Unlock()
	if gate != nil {
		<-gate
	}
	s.faultsMu.Lock()
	defer s.faultsMu.Unlock()
	err := s.errs[c]
	if err == nil {
		err = s.errs[CallAny]
	}
	if err != nil {
		s.inside--
	}
	return err
}

func (s *faults) leave() {
	s.faultsMu.Lock()
	s.inside--
	s.faultsMu.Unlock()
}
