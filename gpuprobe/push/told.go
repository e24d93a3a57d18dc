package push

import (
	"time"

	"github.com/musterhq/muster/gpuprobe/wire"
)

// Dead bands: what moves less is not told again. The scheduler buckets values anyway.
const (
	busyBand   = 50       // permille
	memoryBand = 64 << 20 // bytes
	powerBand  = 50_000   // mW
	clockBand  = 200      // MHz
	heatBand   = 5        // °C
	// sinceBand is how far the start of something that lasts may seem to move: reports
	// travel, and milliseconds are rounded.
	sinceBand = time.Second
)

// told is what the scheduler believes of a node if it got all that was sent: what is not
// named again is as it was, idle and watched on, and measured again with the same age.
type told struct {
	ageBand time.Duration // how much older than it was told a value may be
	gpus    map[string]*wire.Gpu
	uses    map[useKey]toldUse
}

type useKey struct{ owner, gpu string }

type toldUse struct {
	*wire.Use
	at time.Time
}

func newTold(ageBand time.Duration) *told {
	return &told{ageBand: ageBand, gpus: map[string]*wire.Gpu{}, uses: map[useKey]toldUse{}}
}

// full notes that a full report is sent.
func (t *told) full(r *wire.NodeReport, now time.Time) {
	clear(t.gpus)
	clear(t.uses)
	for _, g := range r.GetGpus() {
		t.gpus[g.GetUuid()] = g
	}
	for _, u := range r.GetUses() {
		t.uses[keyOf(u)] = toldUse{u, now}
	}
}

// delta makes of a full report one that tells only what changed, and notes that it is sent.
func (t *told) delta(r *wire.NodeReport, now time.Time) *wire.NodeReport {
	d := &wire.NodeReport{Node: r.GetNode(), BootId: r.GetBootId(), Edge: r.GetEdge(), Sources: r.GetSources()}
	gpus := make(map[string]bool, len(r.GetGpus()))
	for _, g := range r.GetGpus() {
		gpus[g.GetUuid()] = true
		if old := t.gpus[g.GetUuid()]; old == nil || t.gpuMoved(old, g) {
			d.Gpus = append(d.Gpus, g)
			t.gpus[g.GetUuid()] = g
		}
	}
	uses := make(map[useKey]bool, len(r.GetUses()))
	for _, u := range r.GetUses() {
		key := keyOf(u)
		uses[key] = true
		if old, ok := t.uses[key]; !ok || t.useMoved(old, u, now) {
			d.Uses = append(d.Uses, u)
			t.uses[key] = toldUse{u, now}
		}
	}
	t.gone(d, gpus, uses)
	return d
}

// gone lists what was told of and is not there any more.
func (t *told) gone(d *wire.NodeReport, gpus map[string]bool, uses map[useKey]bool) {
	for uuid := range t.gpus {
		if !gpus[uuid] {
			d.GoneGpus = append(d.GoneGpus, uuid)
			delete(t.gpus, uuid)
		}
	}
	for key := range t.uses {
		if !uses[key] {
			d.GoneUses = append(d.GoneUses, &wire.UseKey{Owner: key.owner, Gpu: key.gpu})
			delete(t.uses, key)
		}
	}
}

func keyOf(u *wire.Use) useKey { return useKey{u.GetOwner(), u.GetGpu()} }

func (t *told) gpuMoved(a, b *wire.Gpu) bool {
	return a.GetIndex() != b.GetIndex() || a.GetParent() != b.GetParent() || a.GetProduct() != b.GetProduct() ||
		a.GetClique() != b.GetClique() || a.GetHealth() != b.GetHealth() || a.GetHealthReason() != b.GetHealthReason() ||
		moved(a.LastXid, b.LastXid, 0) || moved(a.Recovery, b.Recovery, 0) || moved(a.Throttle, b.Throttle, 0) ||
		share(a.Busy, b.Busy) || share(a.Sm, b.Sm) ||
		moved(a.MemoryUsed, b.MemoryUsed, memoryBand) || moved(a.MemoryTotal, b.MemoryTotal, 0) ||
		moved(a.PowerMw, b.PowerMw, powerBand) || moved(a.SmClockMhz, b.SmClockMhz, clockBand) ||
		moved(a.TemperatureC, b.TemperatureC, heatBand) || t.aged(a.GetAgeMs(), b.GetAgeMs())
}

func (t *told) useMoved(a toldUse, b *wire.Use, now time.Time) bool {
	return a.GetBasis() != b.GetBasis() || a.GetProcesses() != b.GetProcesses() ||
		a.GetNamespace() != b.GetNamespace() || a.GetPod() != b.GetPod() ||
		(a.Assigned == nil) != (b.Assigned == nil) || a.GetAssigned() != b.GetAssigned() ||
		share(a.Busy, b.Busy) || moved(a.Memory, b.Memory, memoryBand) || counted(a.Launches, b.Launches) ||
		t.aged(a.GetAgeMs(), b.GetAgeMs()) || t.idleMoved(a, b, now) || watchMoved(a, b, now) || silenceMoved(a, b, now)
}

// moved says that a value became known or unknown, or left its band.
func moved[T uint32 | uint64](a, b *T, band T) bool {
	if a == nil || b == nil {
		return a != b
	}
	return max(*a, *b)-min(*a, *b) > band
}

// share is moved for permille, where nothing and something are never the same.
func share(a, b *uint32) bool {
	return moved(a, b, busyBand) || a != nil && (*a == 0) != (*b == 0)
}

// counted says that a counter went back, or on by more than a tenth: only its size is of
// interest, and a pod that launches tells of itself by other values.
func counted(a, b *uint64) bool {
	if a == nil || b == nil {
		return a != b
	}
	return *b < *a || *b-*a > *a/10
}

func (t *told) aged(a, b uint32) bool {
	return milliseconds(uint64(max(a, b)-min(a, b))) > t.ageBand
}

// running says that a use did something when it was measured: it is not idle since then.
func running(u *wire.Use) bool { return u.GetIdleMs() <= uint64(u.GetAgeMs()) }

func (t *told) idleMoved(a toldUse, b *wire.Use, now time.Time) bool {
	switch {
	case a.IdleMs == nil || b.IdleMs == nil:
		return (a.IdleMs == nil) != (b.IdleMs == nil)
	case running(a.Use) != running(b):
		return true
	case running(b):
		return t.aged(uint32(a.GetIdleMs()), uint32(b.GetIdleMs()))
	}
	return strayed(a.GetIdleMs(), now.Sub(a.at), b.GetIdleMs())
}

func watchMoved(a toldUse, b *wire.Use, now time.Time) bool {
	if a.GetWatchedMs() == 0 || b.GetWatchedMs() == 0 {
		return a.GetWatchedMs() != b.GetWatchedMs()
	}
	return strayed(a.GetWatchedMs(), now.Sub(a.at), b.GetWatchedMs())
}

func silenceMoved(a toldUse, b *wire.Use, now time.Time) bool {
	if a.NoLaunchMs == nil || b.NoLaunchMs == nil {
		return a.NoLaunchMs != b.NoLaunchMs
	}
	return strayed(a.GetNoLaunchMs(), now.Sub(a.at), b.GetNoLaunchMs())
}

// strayed says that something that lasts is not as long as it should be by now.
func strayed(then uint64, passed time.Duration, now uint64) bool {
	return (milliseconds(now) - milliseconds(then) - passed).Abs() > sinceBand
}

// milliseconds saturates.
func milliseconds(ms uint64) time.Duration {
	return time.Duration(min(ms, uint64(1<<62/time.Millisecond))) * time.Millisecond
}
