//go:build linux && (amd64 || arm64)

package nvml

import (
	"reflect"
	"slices"

	"github.com/ebitengine/purego"
)

// symbols are the functions of the library, as purego calls them. Go's memory is passed
// by pointers with a type only, never as a uintptr: a goroutine's stack may move, and
// what the driver writes to where it was is lost (or worse).
//
// A function that the library lacks says ErrNoSymbol.
type symbols struct {
	init, shutdown           func() Error
	driverVersion            func(text *byte, length uint32) Error
	nvmlVersion              func(text *byte, length uint32) Error
	cudaVersion              func(version *int32) Error
	count                    func(n *uint32) Error
	handle                   func(index uint32, device *uintptr) Error
	uuid, name               func(device uintptr, text *byte, length uint32) Error
	pci                      func(device uintptr, info *pciInfo) Error
	capability               func(device uintptr, major, minor *int32) Error
	memory                   func(device uintptr, m *memoryV1) Error
	memoryV2                 func(device uintptr, m *memoryV2) Error
	rates                    func(device uintptr, u *utilization) Error
	samples                  func(device uintptr, kind uint32, since uint64, value, n *uint32, s *sample) Error
	compute, mps, graphics   func(device uintptr, n *uint32, p *processV2) Error
	computeV1                func(device uintptr, n *uint32, p *processV1) Error
	processSamples           func(device uintptr, s *processSample, n *uint32, since uint64) Error
	power                    func(device uintptr, milliwatts *uint32) Error
	clock, temperature       func(device uintptr, kind uint32, value *uint32) Error
	clockReasons             func(device uintptr, bits *uint64) Error
	fields                   func(device uintptr, n int32, values *fieldValue) Error
	remapped                 func(device uintptr, correctable, uncorrectable, pending, failed *uint32) Error
	linkState                func(device uintptr, link uint32, active *uint32) Error
	linkPeer                 func(device uintptr, link uint32, info *pciInfo) Error
	fabric                   func(device uintptr, info *fabricV2) Error
	fabricV1                 func(device uintptr, info *fabricV1) Error
	migMode                  func(device uintptr, current, pending *uint32) Error
	migMax                   func(device uintptr, n *uint32) Error
	migHandle                func(device uintptr, index uint32, mig *uintptr) Error
	gpuInstance, computeInst func(mig uintptr, id *uint32) Error
	attributes               func(mig uintptr, a *attributes) Error
	gpmSupport               func(device uintptr, s *gpmSupport) Error
	gpmAlloc                 func(sample *uintptr) Error
	gpmFree                  func(sample uintptr) Error
	gpmSample                func(device, sample uintptr) Error
	gpmSampleMIG             func(device uintptr, gi uint32, sample uintptr) Error
	gpmMetrics               func(m *gpmMetrics) Error
	eventSet                 func(set *uintptr) Error
	eventSetFree             func(set uintptr) Error
	eventKinds               func(device uintptr, kinds *uint64) Error
	eventRegister            func(device uintptr, kinds uint64, set uintptr) Error
	eventWait                func(set uintptr, event *eventData, milliseconds uint32) Error
}

// names of each function, the one to prefer first. The versions of one function that are
// listed together take the same structures.
func (s *symbols) names() []binding {
	return []binding{
		{&s.init, []string{initSymbol}},
		{&s.shutdown, []string{"nvmlShutdown"}},
		{&s.driverVersion, []string{"nvmlSystemGetDriverVersion"}},
		{&s.nvmlVersion, []string{"nvmlSystemGetNVMLVersion"}},
		{&s.cudaVersion, []string{"nvmlSystemGetCudaDriverVersion_v2", "nvmlSystemGetCudaDriverVersion"}},
		{&s.count, []string{"nvmlDeviceGetCount_v2", "nvmlDeviceGetCount"}},
		{&s.handle, []string{"nvmlDeviceGetHandleByIndex_v2", "nvmlDeviceGetHandleByIndex"}},
		{&s.uuid, []string{"nvmlDeviceGetUUID"}},
		{&s.name, []string{"nvmlDeviceGetName"}},
		{&s.pci, []string{"nvmlDeviceGetPciInfo_v3"}},
		{&s.capability, []string{"nvmlDeviceGetCudaComputeCapability"}},
		{&s.memory, []string{"nvmlDeviceGetMemoryInfo"}},
		{&s.memoryV2, []string{"nvmlDeviceGetMemoryInfo_v2"}},
		{&s.rates, []string{"nvmlDeviceGetUtilizationRates"}},
		{&s.samples, []string{"nvmlDeviceGetSamples"}},
		{&s.compute, []string{"nvmlDeviceGetComputeRunningProcesses_v3", "nvmlDeviceGetComputeRunningProcesses_v2"}},
		{&s.mps, []string{"nvmlDeviceGetMPSComputeRunningProcesses_v3", "nvmlDeviceGetMPSComputeRunningProcesses_v2"}},
		{&s.graphics, []string{"nvmlDeviceGetGraphicsRunningProcesses_v3", "nvmlDeviceGetGraphicsRunningProcesses_v2"}},
		{&s.computeV1, []string{"nvmlDeviceGetComputeRunningProcesses"}},
		{&s.processSamples, []string{"nvmlDeviceGetProcessUtilization"}},
		{&s.power, []string{"nvmlDeviceGetPowerUsage"}},
		{&s.clock, []string{"nvmlDeviceGetClockInfo"}},
		{&s.temperature, []string{"nvmlDeviceGetTemperature"}},
		{&s.clockReasons, []string{"nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons"}},
		{&s.fields, []string{"nvmlDeviceGetFieldValues"}},
		{&s.remapped, []string{"nvmlDeviceGetRemappedRows"}},
		{&s.linkState, []string{"nvmlDeviceGetNvLinkState"}},
		{&s.linkPeer, []string{"nvmlDeviceGetNvLinkRemotePciInfo_v2"}},
		{&s.fabric, []string{"nvmlDeviceGetGpuFabricInfoV"}},
		{&s.fabricV1, []string{"nvmlDeviceGetGpuFabricInfo"}},
		{&s.migMode, []string{"nvmlDeviceGetMigMode"}},
		{&s.migMax, []string{"nvmlDeviceGetMaxMigDeviceCount"}},
		{&s.migHandle, []string{"nvmlDeviceGetMigDeviceHandleByIndex"}},
		{&s.gpuInstance, []string{"nvmlDeviceGetGpuInstanceId"}},
		{&s.computeInst, []string{"nvmlDeviceGetComputeInstanceId"}},
		{&s.attributes, []string{"nvmlDeviceGetAttributes_v2", "nvmlDeviceGetAttributes"}},
		{&s.gpmSupport, []string{"nvmlGpmQueryDeviceSupport"}},
		{&s.gpmAlloc, []string{"nvmlGpmSampleAlloc"}},
		{&s.gpmFree, []string{"nvmlGpmSampleFree"}},
		{&s.gpmSample, []string{"nvmlGpmSampleGet"}},
		{&s.gpmSampleMIG, []string{"nvmlGpmMigSampleGet"}},
		{&s.gpmMetrics, []string{"nvmlGpmMetricsGet"}},
		{&s.eventSet, []string{"nvmlEventSetCreate"}},
		{&s.eventSetFree, []string{"nvmlEventSetFree"}},
		{&s.eventKinds, []string{"nvmlDeviceGetSupportedEventTypes"}},
		{&s.eventRegister, []string{"nvmlDeviceRegisterEvents"}},
		{&s.eventWait, []string{"nvmlEventSetWait_v2", "nvmlEventSetWait"}},
	}
}

// binding is a function variable of symbols and the names that will do.
type binding struct {
	function any
	names    []string
}

// bind looks all functions up in a library that was opened; missing are the names of
// those that it lacks.
func (s *symbols) bind(library uintptr) (missing []string) {
	for _, b := range s.names() {
		if !b.bind(library) {
			missing = append(missing, b.names[0])
		}
	}
	slices.Sort(missing)
	return missing
}

func (b binding) bind(library uintptr) bool {
	for _, name := range b.names {
		if at, err := purego.Dlsym(library, name); err == nil && at != 0 {
			purego.RegisterFunc(b.function, at)
			return true
		}
	}
	f := reflect.ValueOf(b.function).Elem()
	answer := []reflect.Value{reflect.ValueOf(ErrNoSymbol)}
	f.Set(reflect.MakeFunc(f.Type(), func([]reflect.Value) []reflect.Value { return answer }))
	return false
}
