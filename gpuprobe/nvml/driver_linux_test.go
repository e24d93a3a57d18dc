//go:build linux && (amd64 || arm64)

package nvml

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

const gib = 1 << 30

// everything that one GPU can be asked, in a form that can be compared.
type everything struct {
	System    System
	Identity  Identity
	Memory    Memory
	Busy      int
	Processes string
	Use       map[uint32]ProcessUse
	Status    string
	Instances []Identity
	Mine      string // of the first instance
	SM        int
}

// ask asks the driver all that it can be asked, in a fixed order.
func ask(d *Driver, index int) (all everything, err error) {
	keep := func(e error) { err = errors.Join(err, e) }
	var e error
	all.System, e = d.System()
	keep(e)
	list, e := d.Devices()
	keep(e)
	g := list[index]
	all.Identity, e = g.Identity()
	keep(e)
	all.Memory, e = g.Memory()
	keep(e)
	all.Busy, e = g.Utilization()
	keep(e)
	processes, e := g.Processes()
	keep(e)
	all.Processes = describe(processes)
	all.Use, e = g.ProcessUtilization()
	keep(e)
	status, e := g.Status()
	keep(e)
	all.Status = describeStatus(status)
	instances, e := g.MIG()
	keep(e)
	for i, instance := range instances {
		id, e := instance.Identity()
		keep(e)
		all.Instances = append(all.Instances, id)
		if i == 0 {
			mine, e := instance.Processes()
			keep(e)
			all.Mine = describe(mine)
		}
	}
	return all, err
}

func describe(processes []Process) string {
	text := ""
	for _, p := range processes {
		memory := "?"
		if p.Memory != nil {
			memory = fmt.Sprint(*p.Memory >> 20)
		}
		text += fmt.Sprintf("%d:%s(%d,%d) ", p.PID, memory, p.GI, p.CI)
	}
	return text
}

func describeStatus(s Status) string {
	return strings.TrimSpace(fmt.Sprintln(deref(s.PowerMilliwatts), deref(s.SMClockMHz), deref(s.TemperatureC),
		deref(s.Throttle), deref(s.Recovery), deref(s.RemapPending), deref(s.RemapFailed)))
}

func deref[T any](p *T) any {
	if p == nil {
		return "-"
	}
	return *p
}

func TestEveryAnswerOfTheDriverIsRead(t *testing.T) {
	s := newStub(t)
	s.set(3, keyProcesses, 3)
	s.set(3, keyRecovery, 4)
	d := s.open(t)
	got, err := ask(d, 3)
	if err != nil {
		t.Fatal(err)
	}
	want := everything{
		System: System{Driver: "580.95.05", NVML: "13.580.95.05", CUDA: 13000, Path: d.Path()},
		Identity: Identity{
			Index: 3, UUID: "GPU-3", Product: "NVIDIA H100 80GB HBM3", PCI: "00000000:1B:00.0",
			Memory: 80 * gib, Major: 9, GI: -1, CI: -1,
			Clique: "01020304-0506-0708-090a-0b0c0d0e0f10.4711",
			Peers:  []string{"00000000:07:00.0", "00000000:1C:00.0"},
		},
		Memory:    Memory{Total: 80 * gib, Used: 10 * gib, Reserved: gib},
		Busy:      300, // the mean of 10, 20 ... 50 percent
		Processes: "77:5(-1,-1) 1000:1(-1,-1) 1001:?(-1,-1) 1002:3(-1,-1) ",
		Use:       map[uint32]ProcessUse{1000: {400, 50, 2}, 1001: {400, 50, 2}, 1002: {400, 50, 2}},
		Status:    "123456 1980 57 9223372036854775872 4 true false",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v, want\n%+v", got, want)
	}
}

func TestInstancesOfMIGAreReadWithWhatTheyAreAPartOf(t *testing.T) {
	s := newStub(t)
	s.set(2, keyMIG, 2)
	s.set(2, keyProcesses, 2)
	list := s.gpus(t)
	id, err := list[2].Identity()
	if err != nil || !id.MIGEnabled {
		t.Fatal(id, err)
	}
	instances, err := list[2].MIG()
	if err != nil || len(instances) != 2 {
		t.Fatal(instances, err)
	}
	got, err := instances[1].Identity()
	if err != nil {
		t.Fatal(err)
	}
	want := Identity{
		Index: 2, UUID: "MIG-2-9-1", Product: "NVIDIA H100 80GB HBM3 MIG 1g.10gb", PCI: "00000000:1A:00.0",
		Memory: 10 * gib, Major: 9, Parent: "GPU-2", Profile: "1g.10gb", GI: 9, CI: 1,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v, want\n%+v", got, want)
	}
	mine, err := instances[0].Processes()
	if err != nil || describe(mine) != "1000:1(7,0) 1001:?(7,0) " {
		t.Error(describe(mine), err)
	}
	if m, err := instances[0].Memory(); err != nil || m != (Memory{Total: 10 * gib, Used: 2 * gib}) {
		t.Error(m, err)
	}
	if st, err := instances[0].Status(); err != nil || st != (Status{}) {
		t.Error("an instance has no status of its own:", describeStatus(st), err)
	}
	for what, err := range map[string]error{
		"utilisation of an instance":           second(instances[0].Utilization()),
		"use by process of an instance":        second(instances[0].ProcessUtilization()),
		"use by process of a GPU in MIG mode":  second(list[2].ProcessUtilization()),
		"instances of an instance (no error!)": orNot(second(instances[0].MIG())),
	} {
		if !errors.Is(err, ErrNotSupported) {
			t.Errorf("%s: %v", what, err)
		}
	}
	again, _ := list[2].MIG()
	if again[0] != instances[0] {
		t.Error("an instance that is still there keeps what it remembers")
	}
	s.set(2, keyMIG, 1)
	if left, _ := list[2].MIG(); len(left) != 1 || left[0] != instances[0] {
		t.Error("after one was removed:", left)
	}
	s.set(2, keyMIG, 0)
	if left, err := list[2].MIG(); len(left) != 0 || err != nil {
		t.Error("out of MIG mode:", left, err)
	}
}

func orNot(err error) error {
	if err == nil {
		return ErrNotSupported
	}
	return err
}

func TestAnOldDriverLacksFieldsAndNothingElse(t *testing.T) {
	s := newStub(t, "-DFAKE_OLD", "-DFAKE_VERSION=450")
	s.set(0, keyProcesses, 3)
	d := s.open(t)
	system, err := d.System()
	if err != nil || system.Driver != "450.95.05" {
		t.Fatal(system, err)
	}
	want := []string{
		"nvmlDeviceGetComputeRunningProcesses_v3", "nvmlDeviceGetFieldValues", "nvmlDeviceGetGpuFabricInfo",
		"nvmlDeviceGetGpuFabricInfoV", "nvmlDeviceGetGraphicsRunningProcesses_v3",
		"nvmlDeviceGetMPSComputeRunningProcesses_v3", "nvmlDeviceGetMemoryInfo_v2", "nvmlDeviceGetNvLinkRemotePciInfo_v2",
		"nvmlDeviceGetNvLinkState", "nvmlDeviceGetRemappedRows", "nvmlGpmMetricsGet", "nvmlGpmMigSampleGet",
		"nvmlGpmQueryDeviceSupport", "nvmlGpmSampleAlloc", "nvmlGpmSampleFree", "nvmlGpmSampleGet",
	}
	if !slices.Equal(system.Missing, want) {
		t.Errorf("missing %q, want %q", system.Missing, want)
	}
	list, err := d.Devices()
	if err != nil {
		t.Fatal(err)
	}
	if id, err := list[0].Identity(); err != nil || id.UUID != "GPU-0" || id.Clique != "" || id.Peers != nil {
		t.Error(id, err)
	}
	if m, err := list[0].Memory(); err != nil || m != (Memory{Total: 80 * gib, Used: 11 * gib}) {
		t.Error(m, err)
	}
	if p, err := list[0].Processes(); err != nil || describe(p) != "1000:1(-1,-1) 1001:?(-1,-1) 1002:3(-1,-1) " {
		t.Error(describe(p), err)
	}
	if st, err := list[0].Status(); err != nil || describeStatus(st) != "123456 1980 57 1 - - -" {
		t.Error(describeStatus(st), err)
	}
	if _, err := list[0].GPM(); !errors.Is(err, ErrNoSymbol) {
		t.Error(err)
	}
	if _, err := d.Events(0); !errors.Is(err, ErrTimeout) {
		t.Error(err)
	}
	s.event(0, uint64(EventXID), 79, 1, 2)
	if e, err := d.Events(time.Second); err != nil || e != (Event{UUID: "GPU-0", Kind: EventXID, Data: 79, GI: -1, CI: -1}) {
		t.Error("the event of an old driver has no instance:", e, err)
	}
}

func TestAStructureOfAWrongVersionIsRefused(t *testing.T) {
	d := newStub(t).open(t)
	list, _ := d.Devices()
	handle := list[0].(*gpu).handle
	for _, version := range []uint32{0, 2, memoryVersion2 + 1, 40 | 3<<24} {
		if rc := d.memoryV2(handle, &memoryV2{version: version}); rc != ErrArgumentVersion {
			t.Errorf("memory %#x: %v", version, rc)
		}
	}
	if rc := d.fabric(handle, &fabricV2{version: 1}); rc != ErrArgumentVersion {
		t.Error(rc)
	}
	if rc := d.gpmSupport(handle, &gpmSupport{version: 2}); rc != ErrArgumentVersion {
		t.Error(rc)
	}
	if memoryVersion2 != 0x02000028 || fabricVersion2 != 0x02000024 {
		t.Errorf("%#x %#x", memoryVersion2, fabricVersion2)
	}
}

func TestAFabricOfTheFirstVersionIsReadToo(t *testing.T) {
	s := newStub(t)
	s.set(0, keyFabricV1, 1)
	s.set(0, keyNoLinks, 1)
	id, err := s.gpus(t)[0].Identity()
	if err != nil || id.Clique != "01020304-0506-0708-090a-0b0c0d0e0f10.12" || id.Peers != nil {
		t.Error(id, err)
	}
}

func TestUsedMemoryLeavesOutTheReservedWhicheverWayTheDriverCounts(t *testing.T) {
	s := newStub(t)
	list := s.gpus(t)
	for _, inclusive := range []int{0, 1} {
		s.set(0, keyInclusive, inclusive)
		if m, err := list[0].Memory(); err != nil || m.Used != 10*gib || m.Reserved != gib {
			t.Error(inclusive, m, err)
		}
	}
}

func TestALongListOfProcessesIsReadWhole(t *testing.T) {
	s := newStub(t)
	list := s.gpus(t)
	for _, n := range []int{0, 1, 20, 21, 64, 10000, 3} {
		s.set(0, keyProcesses, n)
		p, err := list[0].Processes()
		draws := min(n, 1)
		if err != nil || len(p) != n+draws {
			t.Errorf("%d processes: %d, %v", n, len(p), err)
		}
	}
	// It grows while it is read, by more than the room to spare.
	for _, grows := range []int{1, 3, 7} {
		s.set(1, keyProcesses, 1)
		s.set(1, keyGrow, grows)
		if p, err := list[1].Processes(); err != nil || len(p) < 3 {
			t.Errorf("grown %d times: %d, %v", grows, len(p), err)
		}
	}
	s.set(2, keyGrow, 1000)
	if _, err := list[2].Processes(); !errors.Is(err, ErrInsufficientSize) {
		t.Error("a list that never stops growing is given up:", err)
	}
}

func TestUtilisationIsTheMeanOfTheSamplesSinceTheLastCall(t *testing.T) {
	s := newStub(t)
	list := s.gpus(t)
	expect := func(what string, g Device, want int) {
		t.Helper()
		if got, err := g.Utilization(); err != nil || got != want {
			t.Errorf("%s: %d, %v; want %d", what, got, err, want)
		}
	}
	expect("all five samples", list[0], 300)
	expect("no sample since: the driver's own period", list[0], 420)
	s.set(0, keySamples, 2000)
	expect("two new samples, 40 and 50", list[0], 450)
	expect("another GPU has a time of its own", list[1], 300)
	list[0].(*gpu).sampled.newest = uint64(time.Now().Add(time.Hour).UnixMicro())
	s.set(0, keySamples, int(time.Now().Add(time.Minute).UnixMicro()))
	expect("the clock was set back", list[0], 300)
	s.set(0, keySampleRC, int(ErrNotSupported))
	expect("a driver without samples", list[0], 420)
	s.set(0, keySampleRC, int(ErrResetRequired))
	if _, err := list[0].Utilization(); !errors.Is(err, ErrResetRequired) {
		t.Error(err)
	}
}

func TestUseByProcessIsTheMeanOfTheSamplesSinceTheLastCall(t *testing.T) {
	s := newStub(t)
	list := s.gpus(t)
	for i := range 2 {
		s.set(uint32(i), keyProcesses, 2)
	}
	use := func(g Device) map[uint32]ProcessUse {
		t.Helper()
		use, err := g.ProcessUtilization()
		if err != nil {
			t.Error(err)
		}
		return use
	}
	full := map[uint32]ProcessUse{1000: {400, 50, 2}, 1001: {400, 50, 2}}
	if got := use(list[0]); !reflect.DeepEqual(got, full) {
		t.Error(got)
	}
	if got := use(list[0]); len(got) != 0 {
		t.Error("nobody did anything since:", got)
	}
	s.set(0, keySamples, 1000)
	if got := use(list[0]); !reflect.DeepEqual(got, map[uint32]ProcessUse{1000: {500, 50, 1}, 1001: {500, 50, 1}}) {
		t.Error("one new sample each:", got)
	}
	if got := use(list[1]); !reflect.DeepEqual(got, full) {
		t.Error("another GPU has a time of its own:", got)
	}
	s.set(0, keyIdle, 1)
	if got := use(list[0]); got == nil || len(got) != 0 {
		t.Error("idle:", got)
	}
}

// A clock that is set back leaves all samples seen so far in the future. What a process
// does then must not pass for something from before.
func TestUseByProcessIsSeenAlsoAfterTheClockWasSetBack(t *testing.T) {
	s := newStub(t)
	g := s.gpus(t)[0]
	s.set(0, keyProcesses, 1)
	if _, err := g.ProcessUtilization(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(5 * time.Millisecond)
	g.(*gpu).used.newest = uint64(time.Now().Add(time.Hour).UnixMicro()) // it was later then
	s.set(0, keySamples, int(time.Now().UnixMicro())-3500)
	use, err := g.ProcessUtilization()
	if err != nil || use[1000].SM == 0 {
		t.Error(use, err)
	}
}

// A list of which a part is missing is not a shorter list: those in the rest would look
// as if they had ended.
func TestProcessesAreAllOrAnError(t *testing.T) {
	s := newStub(t)
	g := s.gpus(t)[0]
	s.set(0, keyProcesses, 1)
	for rc, want := range map[Error]error{
		ErrNotSupported: nil, ErrInvalidArgument: nil, ErrNoPermission: ErrNoPermission, ErrUnknown: ErrUnknown, ErrGPULost: ErrGPULost,
	} {
		s.set(0, keyMPSRC, int(rc))
		list, err := g.Processes()
		if !errors.Is(err, want) || want != nil && list != nil {
			t.Errorf("%v: %v, %v", rc, describe(list), err)
		}
	}
}

func TestGPMMeasuresBetweenTwoCalls(t *testing.T) {
	s := newStub(t)
	s.set(1, keyMIG, 1)
	s.set(2, keyNoGPM, 1)
	lib, err := Open(s.path)
	if err != nil {
		t.Fatal(err)
	}
	list, _ := lib.Devices()
	instances, _ := list[1].MIG()
	for _, g := range []Device{list[0], instances[0]} {
		for _, when := range []string{"first call", "too early"} {
			if _, err := g.GPM(); !errors.Is(err, ErrTimeout) {
				t.Errorf("%s: %v", when, err)
			}
		}
	}
	if _, err := list[2].GPM(); !errors.Is(err, ErrNotSupported) {
		t.Error(err)
	}
	time.Sleep(gpmWindow)
	if sm, err := list[0].GPM(); err != nil || sm != 613 {
		t.Error(sm, err)
	}
	if sm, err := instances[0].GPM(); err != nil || sm != 170 {
		t.Error(sm, err)
	}
	time.Sleep(gpmWindow)
	if sm, err := list[0].GPM(); err != nil || sm != 613 {
		t.Error("again:", sm, err)
	}
	if s.rooms() != 4 {
		t.Error("two samples for each of two:", s.rooms())
	}
	if err := lib.Close(); err != nil || s.rooms() != 0 || s.inits() != 0 {
		t.Error("after Close:", err, s.rooms(), s.inits())
	}
}

func TestALostGPUKeepsItsPlace(t *testing.T) {
	s := newStub(t)
	d := s.open(t)
	before, _ := d.Devices()
	s.set(5, keyLost, 1)
	list, err := d.Devices()
	if err != nil || len(list) != 8 {
		t.Fatal(len(list), err)
	}
	for _, lost := range []Device{before[5], list[5]} {
		id, err := lost.Identity()
		if !errors.Is(err, ErrGPULost) || id.Index != 5 || lost.Index() != 5 {
			t.Error(id, err)
		}
		for what, err := range map[string]error{
			"memory": second(lost.Memory()), "use": second(lost.Utilization()), "processes": second(lost.Processes()),
			"by process": second(lost.ProcessUtilization()), "status": second(lost.Status()),
			"GPM": second(lost.GPM()), "MIG": second(lost.MIG()),
		} {
			if !errors.Is(err, ErrGPULost) {
				t.Errorf("%s: %v", what, err)
			}
		}
	}
	if list[4] != before[4] {
		t.Error("the others keep what they remember")
	}
	s.set(5, keyLost, 0)
	s.set(0, keyCount, 6) // now the driver counts fewer
	if list, err = d.Devices(); err != nil || len(list) != 8 {
		t.Fatal(len(list), err)
	}
	if _, err := list[7].Memory(); !errors.Is(err, ErrGPULost) {
		t.Error(err)
	}
	if _, err := list[5].Memory(); err != nil {
		t.Error("it came back:", err)
	}
}

func TestAStatusIsGivenWithTheErrorOfTheGPU(t *testing.T) {
	s := newStub(t)
	s.set(0, keyRecovery, 1)
	s.set(0, keyStatusRC, int(ErrResetRequired))
	st, err := s.gpus(t)[0].Status()
	if !errors.Is(err, ErrResetRequired) || describeStatus(st) != "- 1980 57 9223372036854775872 1 true false" {
		t.Error(describeStatus(st), err)
	}
	s.set(0, keyStatusRC, int(ErrNoPermission))
	st, err = s.gpus(t)[0].Status()
	if err != nil || describeStatus(st) != "- 1980 57 9223372036854775872 1 true false" {
		t.Error("one field that may not be read is one field:", describeStatus(st), err)
	}
}

func TestManyMayAskAtOnce(t *testing.T) {
	s := newStub(t)
	for i := range 8 {
		s.set(uint32(i), keyProcesses, 4)
		s.set(uint32(i), keyLiveSamples, 1)
		s.set(uint32(i), keyMIG, 2*(i%2))
	}
	d := s.open(t)
	var wait sync.WaitGroup
	for i := range 16 {
		wait.Go(func() {
			for range 20 {
				if all, _ := ask(d, i%8); all.Identity.Index != i%8 || all.System.CUDA != 13000 {
					t.Errorf("%+v", all)
				}
				_, _ = d.Events(0)
			}
		})
	}
	wait.Wait()
}
