//go:build linux && (amd64 || arm64)

package nvml

import (
	"structs"
	"unsafe"
)

// The structures of nvml.h as the C compilers for 64-bit Linux lay them out. Handles of
// the driver are uintptr: they are not Go's memory. Each size is pinned below, since a
// wrong one is memory corruption and no error.

type pciInfo struct {
	_                                      structs.HostLayout
	legacy                                 [16]byte
	domain, bus, device, chip, subsystemID uint32
	busID                                  [32]byte
}

type memoryV1 struct {
	_                 structs.HostLayout
	total, free, used uint64
}

type memoryV2 struct {
	_                           structs.HostLayout
	version                     uint32
	_                           uint32
	total, reserved, free, used uint64
}

type utilization struct {
	_           structs.HostLayout
	gpu, memory uint32
}

type processV1 struct {
	_    structs.HostLayout
	pid  uint32
	_    uint32
	used uint64
}

// processV2 is of both nvmlProcessInfo_v2_t and the functions _v3.
type processV2 struct {
	_      structs.HostLayout
	pid    uint32
	_      uint32
	used   uint64
	gi, ci uint32
}

type processSample struct {
	_                       structs.HostLayout
	pid                     uint32
	_                       uint32
	timestamp               uint64 // µs
	sm, memory, encode, dec uint32 // percent
}

type sample struct {
	_         structs.HostLayout
	timestamp uint64 // µs
	value     [8]byte
}

type fieldValue struct {
	_                  structs.HostLayout
	field, scope       uint32
	timestamp, latency int64
	kind, rc           uint32
	value              [8]byte
}

type eventData struct {
	_          structs.HostLayout
	device     uintptr
	kind, data uint64
	gi, ci     uint32
}

type attributes struct {
	_                                                 structs.HostLayout
	sms, copyEngines, decoders, encoders, jpegs, ofas uint32
	giSlices, ciSlices                                uint32
	memoryMiB                                         uint64
}

type fabricV1 struct {
	_          structs.HostLayout
	cluster    [16]byte
	status, id uint32
	state      uint8
	_          [3]byte
}

type fabricV2 struct {
	_          structs.HostLayout
	version    uint32
	cluster    [16]byte
	status, id uint32
	state      uint8
	_          [3]byte
	health     uint32
}

type gpmSupport struct {
	_                  structs.HostLayout
	version, supported uint32
}

type gpmMetric struct {
	_      structs.HostLayout
	id, rc uint32
	value  float64
	info   [3]uintptr
}

// gpmMetrics has room for what API version 13 has; the driver looks at the first count.
type gpmMetrics struct {
	_              structs.HostLayout
	version, count uint32
	old, new       uintptr
	metrics        [333]gpmMetric
}

// An array of another length is another type: a wrong size does not compile.
var (
	_ [68]byte          = [unsafe.Sizeof(pciInfo{})]byte{}
	_ [24]byte          = [unsafe.Sizeof(memoryV1{})]byte{}
	_ [40]byte          = [unsafe.Sizeof(memoryV2{})]byte{}
	_ [8]byte           = [unsafe.Sizeof(utilization{})]byte{}
	_ [16]byte          = [unsafe.Sizeof(processV1{})]byte{}
	_ [24]byte          = [unsafe.Sizeof(processV2{})]byte{}
	_ [32]byte          = [unsafe.Sizeof(processSample{})]byte{}
	_ [16]byte          = [unsafe.Sizeof(sample{})]byte{}
	_ [40]byte          = [unsafe.Sizeof(fieldValue{})]byte{}
	_ [32]byte          = [unsafe.Sizeof(eventData{})]byte{}
	_ [40]byte          = [unsafe.Sizeof(attributes{})]byte{}
	_ [28]byte          = [unsafe.Sizeof(fabricV1{})]byte{}
	_ [36]byte          = [unsafe.Sizeof(fabricV2{})]byte{}
	_ [8]byte           = [unsafe.Sizeof(gpmSupport{})]byte{}
	_ [40]byte          = [unsafe.Sizeof(gpmMetric{})]byte{}
	_ [24 + 333*40]byte = [unsafe.Sizeof(gpmMetrics{})]byte{}
)

// Versions of structures: size | version<<24.
const (
	memoryVersion2 = uint32(unsafe.Sizeof(memoryV2{})) | 2<<24
	fabricVersion2 = uint32(unsafe.Sizeof(fabricV2{})) | 2<<24
	gpmVersion     = 1 // a plain number, in the whole of GPM
)

// Constants of nvml.h.
const (
	none32           = 0xFFFFFFFF // no GPU instance, no compute instance
	noMemory         = 0xFFFFFFFFFFFFFFFF
	samplesOfGPU     = 1 // NVML_GPU_UTILIZATION_SAMPLES
	clockSM          = 1
	temperatureGPU   = 0
	fieldRecovery    = 230 // NVML_FI_DEV_GET_GPU_RECOVERY_ACTION
	fabricComplete   = 3
	gpmSMUtil        = 2 // NVML_GPM_METRIC_SM_UTIL
	featureEnabled   = 1
	maxLinks         = 72 // 18 on Hopper; later ones have more
	valueDouble      = 0
	valueUint        = 1
	valueUlong       = 2
	valueUlonglong   = 3
	valueLonglong    = 4
	valueInt         = 5
	valueUshort      = 6
	wantedEventKinds = EventSingleBitECC | EventDoubleBitECC | EventXID |
		EventMIGChange | EventUnavailable | EventRecoveryAction
)
