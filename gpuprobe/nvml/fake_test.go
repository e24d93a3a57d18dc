package nvml

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// second of two results, the error.
func second[T any](_ T, err error) error { return err }

func TestTheFakeAnswersWhatTheScriptSays(t *testing.T) {
	f := NewFake(FakeH100(0), FakeH100(1))
	sm, memory := 610, uint64(5<<30)
	f.GPU(1).Set(func(s *FakeState) {
		s.Memory.Used = 5 << 30
		s.Utilization = 800
		s.Processes = []Process{{PID: 42, Memory: &memory, GI: -1, CI: -1}}
		s.Use = map[uint32]ProcessUse{42: {SM: 700, Samples: 6}}
		s.SM = &sm
	})
	list, err := f.Devices()
	if err != nil || len(list) != 2 {
		t.Fatal(list, err)
	}
	g := list[1]
	if id, err := g.Identity(); err != nil || !reflect.DeepEqual(id, FakeH100(1)) {
		t.Error(id, err)
	}
	if m, err := g.Memory(); err != nil || m != (Memory{Total: 80 << 30, Used: 5 << 30}) {
		t.Error(m, err)
	}
	if u, err := g.Utilization(); err != nil || u != 800 {
		t.Error(u, err)
	}
	if p, err := g.Processes(); err != nil || len(p) != 1 || p[0].PID != 42 || *p[0].Memory != 5<<30 {
		t.Error(p, err)
	}
	if use, err := g.ProcessUtilization(); err != nil || use[42].SM != 700 {
		t.Error(use, err)
	}
	if sm, err := g.GPM(); err != nil || sm != 610 {
		t.Error(sm, err)
	}
	if st, err := g.Status(); err != nil || *st.Recovery != 0 {
		t.Error(st, err)
	}
	if _, err := list[0].GPM(); !errors.Is(err, ErrNotSupported) {
		t.Error(err)
	}
	f.SetSystem(System{Driver: "1.2.3"})
	if s, err := f.System(); err != nil || s.Driver != "1.2.3" {
		t.Error(s, err)
	}
}

func TestTheFakeFailsAndHealsAsTold(t *testing.T) {
	f := NewFake(FakeH100(0))
	g := f.GPU(0)
	g.Fail(CallMemory, ErrGPULost)
	if _, err := g.Memory(); !errors.Is(err, ErrGPULost) {
		t.Error(err)
	}
	if _, err := g.Utilization(); err != nil {
		t.Error(err)
	}
	g.Fail(CallMemory, nil)
	g.Fail(CallAny, ErrResetRequired)
	if _, err := g.Memory(); !errors.Is(err, ErrResetRequired) {
		t.Error(err)
	}
	if g.Calls(CallMemory) != 2 || g.Calls(CallAny) != 3 {
		t.Error(g.Calls(CallMemory), g.Calls(CallAny))
	}
}

func TestTheFakeHandsOutEventsInOrder(t *testing.T) {
	f := NewFake(FakeH100(0))
	for xid := range uint64(3) {
		f.Inject(Event{Kind: EventXID, Data: xid})
	}
	for xid := range uint64(3) {
		if e, err := f.Events(0); err != nil || e.Data != xid {
			t.Error(e, err)
		}
	}
	if _, err := f.Events(time.Millisecond); !errors.Is(err, ErrTimeout) {
		t.Error(err)
	}
	done := make(chan error)
	go func() { done <- second(f.Events(time.Hour)) }()
	_ = f.Close()
	if err := <-done; !errors.Is(err, ErrUninitialized) {
		t.Error(err)
	}
	if _, err := f.GPU(0).Memory(); !errors.Is(err, ErrUninitialized) {
		t.Error(err)
	}
	if _, err := f.Open(); err != nil || second(f.GPU(0).Memory()) != nil || f.Opens() != 1 {
		t.Error("opened again:", err)
	}
}

func TestTheFakeGoesInAndOutOfMIG(t *testing.T) {
	f := NewFake(FakeH100(0))
	instance := f.GPU(0).SetMIG(Identity{UUID: "MIG-a", Profile: "3g.40gb", GI: 2, Memory: 40 << 30})[0]
	instance.Set(func(s *FakeState) { s.Processes = []Process{{PID: 7, GI: 2}} })
	list, err := f.GPU(0).MIG()
	if err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	id, err := list[0].Identity()
	if err != nil || id.Parent != FakeH100(0).UUID || id.Memory != 40<<30 || id.Product != "NVIDIA H100 80GB HBM3 MIG 3g.40gb" {
		t.Error(id, err)
	}
	for what, err := range map[string]error{
		"of an instance": second(list[0].Utilization()), "by process, of an instance": second(list[0].ProcessUtilization()),
		"by process, of the GPU": second(f.GPU(0).ProcessUtilization()),
	} {
		if !errors.Is(err, ErrNotSupported) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if f.GPU(0).SetMIG(); second(f.GPU(0).ProcessUtilization()) != nil {
		t.Error("out of MIG again")
	}
}

func TestErrorsAreSentences(t *testing.T) {
	if got := ErrGPULost.Error(); got != "NVML: the GPU has fallen off the bus (15)" {
		t.Error(got)
	}
	if got := Error(42).Error(); got != "NVML: error 42" {
		t.Error(got)
	}
}
