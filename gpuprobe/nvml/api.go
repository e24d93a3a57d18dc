// Package nvml reads NVIDIA's management library through dlopen, without cgo: inventory,
// memory, utilisation by device and by process, MIG, health events.
//
// What a driver does not have is an error of that call (ErrNotSupported, ErrNoSymbol),
// never a crash, and never a zero. Calls may hang in the driver; Guard (guard.go) runs
// each device's calls on a goroutine of their own and gives up waiting after a deadline.
// Reopener does both and follows restarts of the driver: it is what an agent holds. Fake
// is a Library with a script.
//
// Layouts and constants are those of nvml.h, API version 13
// (https://docs.nvidia.com/deploy/nvml-api/), pinned by assertions on their sizes.
package nvml

import (
	"errors"
	"fmt"
	"time"
)

// Library is an NVML that was opened: the driver's (Open), a fake with a script (Fake) or
// one that gives up waiting (Guard). All methods may be called from any goroutine. Every
// error is, or wraps, an Error or one of the variables below.
type Library interface {
	System() (System, error)
	// Devices lists the GPUs by index. One that fell off the bus keeps its place, with
	// only Index set, and its calls say ErrGPULost.
	Devices() ([]Device, error)
	// Events waits up to the timeout for the next health event of any device; ErrTimeout
	// if there is none.
	Events(timeout time.Duration) (Event, error)
	Close() error
}

// FromFile is a Library that came from a file, which an upgrade of the driver replaces.
// That of Open is one.
type FromFile interface {
	Path() string
	ID() FileID
	// Changed says whether the path now leads to another file, or to none.
	Changed() bool
}

// FileID tells two files apart that had the same path.
type FileID struct{ Device, Inode uint64 }

// Device is one GPU, or one MIG instance of one. Every method is one question to the
// driver, or a few.
type Device interface {
	// Index of the GPU; an instance has that of its GPU.
	Index() int
	Identity() (Identity, error)
	Memory() (Memory, error)
	// Utilization averages the driver's samples of the device since the last call (the
	// first: all that it keeps, some 10 s): 0 to 1000, the part of the time in which some
	// kernel ran.
	Utilization() (permille int, err error)
	// Processes are those that hold a context, of compute (clients of MPS too) or of
	// graphics, with the memory they use. By pid; each pid once per instance. The list is
	// whole: if a part of it can't be read, that is an error.
	Processes() ([]Process, error)
	// ProcessUtilization averages, by pid, all samples that the driver took since the
	// last call on this device (the first: all that it keeps, which may be old). A process
	// that is not there did nothing; of one without Samples that is not known. A device
	// that can't tell says ErrNotSupported (MIG).
	ProcessUtilization() (map[uint32]ProcessUse, error)
	// Status is what changes slowly: power, clocks, temperature, recovery action. A field
	// that the driver does not have is nil. With an error such as ErrResetRequired the
	// fields that could be read are set all the same.
	Status() (Status, error)
	// GPM samples SM activity since the last call (Hopper and later), permille.
	// ErrNotSupported elsewhere; ErrTimeout if the last call was less than 100 ms ago, and
	// from the first call, which only starts the window.
	GPM() (sm int, err error)
	// MIG lists the instances of a GPU in MIG mode; none otherwise.
	MIG() ([]Device, error)
}

// System is what holds for the whole node.
type System struct {
	Driver  string // "580.95.05"
	NVML    string
	CUDA    int      // 13000 is 13.0
	Missing []string // symbols that this driver does not have, sorted
	Path    string   // of the library's file, "" if it is none
}

// Identity is what a GPU is, the same as long as it is there.
type Identity struct {
	Index      int
	UUID       string
	Product    string // "NVIDIA H100 80GB HBM3"
	PCI        string // "00000000:18:00.0"
	Memory     uint64 // bytes
	Major      int    // compute capability
	Minor      int
	MIGEnabled bool
	Parent     string // UUID of the GPU that an instance is a part of, "" of a GPU
	Profile    string // of a MIG instance, "1g.10gb"
	GI, CI     int    // ids of a MIG instance, -1 of a GPU
	// Clique is "<fabric cluster UUID>.<clique id>", "" outside of a fabric.
	Clique string
	// Peers are the PCI addresses at the other ends of NVLinks, sorted, each once.
	Peers []string
}

// Memory in bytes. Used does not count what the driver reserves for itself, if it tells.
type Memory struct{ Total, Used, Reserved uint64 }

// Process holds a context on a device.
type Process struct {
	PID    uint32
	Memory *uint64 // bytes; nil if the driver does not know
	GI, CI int     // -1 outside of MIG
}

// ProcessUse is the mean of a process's samples, permille; 0 only if all of them are.
type ProcessUse struct {
	SM, Memory int
	Samples    int // 0: there were some, but of no use, so that the mean is not known
}

// Status of a device; nil is what the driver does not tell.
type Status struct {
	PowerMilliwatts *uint32
	SMClockMHz      *uint32
	TemperatureC    *uint32
	Throttle        *uint64 // clocks event reasons, as bits
	Recovery        *uint32 // 0 none, 1 reset, 2 reboot, 3 drain, 4 drain and reset, 5 reset of the bus
	RemapPending    *bool
	RemapFailed     *bool
}

// Event is a health event.
type Event struct {
	UUID   string // "" if it is of no single device
	Kind   EventKind
	Data   uint64 // the XID of an EventXID
	GI, CI int    // -1 if none
}

// EventKind is a bit of nvmlEventType.
type EventKind uint64

// Kinds of events that are asked for, where the device supports them.
const (
	EventSingleBitECC   EventKind = 0x1
	EventDoubleBitECC   EventKind = 0x2
	EventXID            EventKind = 0x8
	EventMIGChange      EventKind = 0x100  // instances were made or removed: list them again
	EventUnavailable    EventKind = 0x4000 // the GPU does no work any more
	EventRecoveryAction EventKind = 0x8000
)

// Error is a return code of NVML.
type Error uint32

// Return codes with a meaning of their own here.
const (
	ErrUninitialized    Error = 1
	ErrInvalidArgument  Error = 2
	ErrNotSupported     Error = 3
	ErrNoPermission     Error = 4
	ErrNotFound         Error = 6
	ErrInsufficientSize Error = 7
	ErrDriverNotLoaded  Error = 9
	ErrTimeout          Error = 10
	ErrLibraryNotFound  Error = 12
	ErrNoSymbol         Error = 13
	ErrGPULost          Error = 15
	ErrResetRequired    Error = 16
	ErrLibraryVersion   Error = 18
	ErrArgumentVersion  Error = 25
	ErrUnknown          Error = 999
)

// ErrUnresponsive says that the driver did not answer in time, or has not answered an
// earlier call yet.
var ErrUnresponsive = errors.New("the driver does not answer")

func (e Error) Error() string {
	if text, ok := errorText[e]; ok {
		return fmt.Sprintf("NVML: %s (%d)", text, uint32(e))
	}
	return fmt.Sprintf("NVML: error %d", uint32(e))
}

var errorText = map[Error]string{
	ErrUninitialized:    "the library was closed",
	ErrInvalidArgument:  "invalid argument",
	ErrNotSupported:     "not supported by this GPU or driver",
	ErrNoPermission:     "no permission",
	ErrNotFound:         "not found",
	ErrInsufficientSize: "the buffer is too small",
	ErrDriverNotLoaded:  "the driver is not loaded",
	ErrTimeout:          "nothing within the time",
	ErrLibraryNotFound:  "the library was not found",
	ErrNoSymbol:         "this driver does not have the function",
	ErrGPULost:          "the GPU has fallen off the bus",
	ErrResetRequired:    "the GPU needs a reset",
	ErrLibraryVersion:   "the library and the driver do not match: the driver was replaced",
	ErrArgumentVersion:  "the version of a structure is not known to this driver",
	ErrUnknown:          "an unknown error",
}
