package agent

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/musterhq/muster/gpuprobe/nvml"
	"github.com/musterhq/muster/gpuprobe/wire"
)

// The rules of health, in the order in which they win:
//
//  1. What the driver wants done (its recovery action, where it knows that) decides. Any
//     action but none makes a GPU Failed.
//  2. Where the driver does not know it, XIDs decide: those of applications and those that
//     the administrator ignores are only counted; some say that the GPU has less to give
//     (Degraded); every other one makes it Failed. An uncorrected ECC error does, too.
//  3. A GPU that fell off the bus or needs a reset is Failed; so is one that ran out of
//     spare rows, whatever else the driver says.
//  4. A driver that does not answer makes its GPU Unresponsive.
//  5. A GPU that the administrator cordoned counts as Failed while it is.
//  6. Rows to be remapped at the next reset, and clocks held down by the hardware, make
//     it Degraded.
//
// What failed stays failed, also over a restart of the agent (see recall.go). It recovers
// when it answers and the driver says twice in a row that there is nothing to recover, or
// when the driver was restarted and it answers; where the driver does not know recovery
// actions only the latter helps, or the word of the administrator that it is repaired.

// applicationXIDs are mistakes of programs (those that NVIDIA's device plugin and DRA
// driver pass over as well).
var applicationXIDs = []uint64{13, 31, 43, 45, 68, 109}

// degradingXIDs leave the GPU working: a row will be remapped (63), many corrected errors
// (92), an uncorrected one that cost only its own process (94).
var degradingXIDs = []uint64{63, 92, 94}

// Reasons for clocks held down by the hardware: slowdown, heat, power brake.
const hardwareThrottle = 0x8 | 0x40 | 0x80

// throttleSteps is for how many readings clocks must be held down, or free, to count.
const throttleSteps = 3

// condition is a state of health and why. The zero value is healthy.
type condition struct {
	state  wire.Health
	reason string
}

var healthy = condition{state: wire.Health_HEALTHY}

// health of one GPU. It is a pure machine: things are told, verdict is read.
type health struct {
	ignored  []uint64
	cordoned bool // by the administrator
	withheld bool // what failed before this start may still become known

	failed  condition // latched, see above; zero if not
	before  condition // failed, before it was missing
	began   time.Time // failed, as of a verdict; zero if it has not
	answer  condition // how the driver answered last; zero before the first time
	slow    condition // what its last status says; zero if nothing
	pending condition // an event that waits for the driver's recovery action
	clean   int       // readings in a row in which the driver had nothing to recover

	throttled bool
	run       int // readings in a row that say the other thing

	current condition
	since   time.Time

	recovery *uint32
	lastXID  *uint64
	xids     []XIDCount // ascending, each once, at most maxXIDs
}

// event takes a health event; true if the driver should be asked for its status at once.
func (h *health) event(e nvml.Event) (ask bool) {
	switch e.Kind {
	case nvml.EventXID:
		h.count(e.Data)
		if slices.Contains(applicationXIDs, e.Data) || slices.Contains(h.ignored, e.Data) {
			return false
		}
		state := wire.Health_FAILED
		if slices.Contains(degradingXIDs, e.Data) {
			state = wire.Health_DEGRADED
		}
		h.suspect(condition{state, fmt.Sprintf("Xid%d", e.Data)})
	case nvml.EventDoubleBitECC:
		h.suspect(condition{wire.Health_FAILED, "EccDoubleBit"})
	case nvml.EventUnavailable:
		h.suspect(condition{wire.Health_FAILED, "GpuUnavailable"})
	case nvml.EventRecoveryAction:
	default:
		return false
	}
	h.clean = 0
	return true
}

// suspect keeps the worse of two suspicions.
func (h *health) suspect(c condition) {
	if h.pending.state == 0 || c.state == wire.Health_FAILED && h.pending.state != c.state {
		h.pending = c
	}
}

func (h *health) count(xid uint64) {
	h.lastXID = &xid
	i, found := slices.BinarySearchFunc(h.xids, xid, func(c XIDCount, x uint64) int {
		switch {
		case c.XID < x:
			return -1
		case c.XID > x:
			return 1
		}
		return 0
	})
	h.xids = slices.Clone(h.xids) // a State may hold the old ones
	switch {
	case found:
		h.xids[i].Count++
	case len(h.xids) < maxXIDs:
		h.xids = slices.Insert(h.xids, i, XIDCount{xid, 1})
	}
}

// reading takes what a reading of the device came to: its error, and its status, which is
// nil where it was not asked for.
func (h *health) reading(err error, st *nvml.Status) {
	switch {
	case err == nil:
		h.answer = healthy
	case errors.Is(err, nvml.ErrGPULost):
		h.fail("GpuLost")
	case errors.Is(err, nvml.ErrResetRequired):
		h.fail("ResetRequired")
	case errors.Is(err, nvml.ErrUnresponsive):
		h.answer = condition{wire.Health_UNRESPONSIVE, "DriverUnresponsive"}
	default:
		h.answer = condition{wire.Health_HEALTH_UNKNOWN, "NvmlError"}
	}
	switch {
	case err != nil:
		h.clean = 0
		h.settle(nil)
	case st != nil:
		h.status(st)
	}
}

// status is rules 1, 3 and 5.
func (h *health) status(st *nvml.Status) {
	h.recovery = st.Recovery
	h.settle(st.Recovery)
	switch {
	case st.Recovery == nil:
	case *st.Recovery == 0:
		if h.clean++; h.clean >= 2 {
			h.failed = condition{}
		}
	default:
		h.clean = 0
		h.fail(recoveryReason(*st.Recovery))
	}
	h.throttle(st.Throttle)
	h.slow = condition{}
	switch {
	case st.RemapFailed != nil && *st.RemapFailed:
		h.slow = condition{wire.Health_FAILED, "RowRemapFailed"}
	case st.RemapPending != nil && *st.RemapPending:
		h.slow = condition{wire.Health_DEGRADED, "RowRemapPending"}
	case h.throttled:
		h.slow = condition{wire.Health_DEGRADED, "HardwareSlowdown"}
	}
}

// settle decides about an event, now that the driver was asked what is to be done.
func (h *health) settle(recovery *uint32) {
	if recovery == nil && h.pending.state != 0 && h.failed.state != wire.Health_FAILED {
		h.failed = h.pending
	}
	h.pending = condition{}
}

func (h *health) fail(reason string) { h.failed = condition{wire.Health_FAILED, reason} }

// throttle waits until clocks were held down, or free, for some readings in a row.
func (h *health) throttle(bits *uint64) {
	now := bits != nil && *bits&hardwareThrottle != 0
	if now == h.throttled {
		h.run = 0
		return
	}
	if h.run++; h.run >= throttleSteps {
		h.throttled, h.run = now, 0
	}
}

// restarted is told when the GPU answers under another library; forgiven says that the driver
// was restarted, too. Otherwise what failed has failed, but that it was missing.
func (h *health) restarted(forgiven bool) {
	switch {
	case forgiven:
		h.failed = condition{}
	case h.failed.reason == gpuMissing:
		h.failed = h.before
	}
	h.before = condition{}
	h.slow, h.clean = condition{}, 0
}

const gpuMissing = "GpuMissing"

// recall is told what an agent before this one held against the GPU.
func (h *health) recall(c condition, since time.Time) {
	if h.failed.state != wire.Health_FAILED {
		h.failed, h.began, h.clean = c, since, 0
	}
}

// repaired is told that what failed until then is over. What is still wrong shows in the
// next readings.
func (h *health) repaired(at time.Time) {
	if h.failed.state != 0 && !h.began.IsZero() && !h.began.After(at) {
		h.failed, h.answer = condition{}, condition{wire.Health_HEALTH_UNKNOWN, "Repaired"}
	}
}

// missing is told when a restarted driver does not know the GPU any more.
func (h *health) missing() {
	if h.failed.reason != gpuMissing {
		h.before = h.failed
	}
	h.fail(gpuMissing)
}

// unknown is told when there is nobody to ask.
func (h *health) unknown() { h.answer = condition{wire.Health_HEALTH_UNKNOWN, "NvmlDown"} }

// verdict sums it up, and says whether the GPU failed just now: an edge.
func (h *health) verdict(now time.Time) (failed bool) {
	c := h.answer
	for _, worse := range []condition{h.failed, h.slow} {
		if worse.state == wire.Health_FAILED || worse.state == wire.Health_DEGRADED && c == healthy {
			c = worse
			break
		}
	}
	switch {
	case h.failed.state == 0:
		h.began = time.Time{}
	case h.began.IsZero():
		h.began = now
	}
	down := func(s wire.Health) bool { return s == wire.Health_FAILED || s == wire.Health_UNRESPONSIVE }
	switch {
	case h.cordoned && c.state != wire.Health_FAILED:
		c = condition{wire.Health_FAILED, "Cordoned"}
	case h.withheld && !down(c.state):
		c = condition{wire.Health_HEALTH_UNKNOWN, "Recalling"}
	}
	if c == h.current && !h.since.IsZero() {
		return false
	}
	failed = down(c.state) && !down(h.current.state)
	h.current, h.since = c, now
	if c == h.failed {
		h.since = h.began
	}
	return failed
}

func recoveryReason(action uint32) string {
	names := []string{"", "RecoveryReset", "RecoveryReboot", "RecoveryDrainP2P", "RecoveryDrainAndReset"}
	if int(action) < len(names) {
		return names[action]
	}
	return fmt.Sprintf("RecoveryAction%d", action)
}
