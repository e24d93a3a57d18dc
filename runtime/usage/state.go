package usage

import (
	"cmp"
	"slices"

	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/gpuprobe/wire"
)

const millisecond = spec.Second / 1000

// Bits of what is known. A value whose bit is not set is unknown.
const (
	hasBusy uint16 = 1 << iota
	hasSM
	hasMemory
	hasTotal
	hasPower
	hasClock
	hasThrottle
	hasXID
	hasRecovery
	hasTemperature
	hasIdle
	runs // something ran when it was measured: idle does not grow by itself
	hasLaunches
	hasAssigned
	assigned
	hasSilence
)

// gpu is a wire.Gpu in a third of its memory.
type gpu struct {
	uuid, parent, product, clique, reason           string
	used, total, throttle, xid                      uint64
	index, age, power, clock, recovery, temperature uint32 // age in ms, as of nodeState.at
	busy, sm                                        uint16
	has                                             uint16
	health                                          wire.Health
}

// use is a wire.Use. What lasts is kept as the time since when.
type use struct {
	owner, gpu, namespace, pod string
	memory, launches           uint64
	idle                       spec.Time // since when; with runs for how long, as of nodeState.at
	watched                    spec.Time // since when, 0 if nobody watches
	silent                     spec.Time // since when it is busy without a launch
	age, processes             uint32    // age in ms, as of nodeState.at
	busy                       uint16
	has                        uint16
	basis                      wire.Basis
}

type number interface{ ~uint16 | ~uint32 | ~uint64 }

// known sets a bit and gives the value if there is one.
func known[T, V number](has *uint16, bit uint16, v *V) (out T) {
	if v != nil {
		*has |= bit
		out = T(*v)
	}
	return out
}

// tell is the reverse of known.
func tell[V, T number](has, bit uint16, v T) *V {
	if has&bit == 0 {
		return nil
	}
	out := V(v)
	return &out
}

func readGPU(in *interner, g *wire.Gpu) gpu {
	c := gpu{
		uuid: g.GetUuid(), parent: g.GetParent(), product: in.one(g.GetProduct()), clique: in.one(g.GetClique()),
		reason: in.one(g.GetHealthReason()), index: g.GetIndex(), age: g.GetAgeMs(), health: knownHealth(g.GetHealth()),
	}
	c.busy = known[uint16](&c.has, hasBusy, g.Busy)
	c.sm = known[uint16](&c.has, hasSM, g.Sm)
	c.used = known[uint64](&c.has, hasMemory, g.MemoryUsed)
	c.total = known[uint64](&c.has, hasTotal, g.MemoryTotal)
	c.power = known[uint32](&c.has, hasPower, g.PowerMw)
	c.clock = known[uint32](&c.has, hasClock, g.SmClockMhz)
	c.throttle = known[uint64](&c.has, hasThrottle, g.Throttle)
	c.xid = known[uint64](&c.has, hasXID, g.LastXid)
	c.recovery = known[uint32](&c.has, hasRecovery, g.Recovery)
	c.temperature = known[uint32](&c.has, hasTemperature, g.TemperatureC)
	return c
}

func (c *gpu) wire() *wire.Gpu {
	return &wire.Gpu{
		Uuid: c.uuid, Index: c.index, AgeMs: c.age, Health: c.health, HealthReason: c.reason,
		Parent: c.parent, Product: c.product, Clique: c.clique,
		Busy: tell[uint32](c.has, hasBusy, c.busy), Sm: tell[uint32](c.has, hasSM, c.sm),
		MemoryUsed: tell[uint64](c.has, hasMemory, c.used), MemoryTotal: tell[uint64](c.has, hasTotal, c.total),
		PowerMw: tell[uint32](c.has, hasPower, c.power), SmClockMhz: tell[uint32](c.has, hasClock, c.clock),
		Throttle: tell[uint64](c.has, hasThrottle, c.throttle), LastXid: tell[uint64](c.has, hasXID, c.xid),
		Recovery: tell[uint32](c.has, hasRecovery, c.recovery), TemperatureC: tell[uint32](c.has, hasTemperature, c.temperature),
	}
}

// knownHealth is HEALTH_UNKNOWN for a value that a newer probe has.
func knownHealth(h wire.Health) wire.Health {
	if _, ok := wire.Health_name[int32(h)]; !ok {
		return wire.Health_HEALTH_UNKNOWN
	}
	return h
}

func readUse(in *interner, u *wire.Use, now spec.Time) use {
	c := use{
		owner: u.GetOwner(), gpu: u.GetGpu(), namespace: in.one(u.GetNamespace()), pod: u.GetPod(),
		age: u.GetAgeMs(), processes: u.GetProcesses(), basis: u.GetBasis(),
	}
	if _, ok := wire.Basis_name[int32(c.basis)]; !ok {
		c.basis = wire.Basis_BASIS_UNKNOWN
	}
	c.busy = known[uint16](&c.has, hasBusy, u.Busy)
	c.memory = known[uint64](&c.has, hasMemory, u.Memory)
	c.launches = known[uint64](&c.has, hasLaunches, u.Launches)
	if u.IdleMs != nil {
		c.has |= hasIdle
		c.idle = now - spec.Duration(u.GetIdleMs())*millisecond
		if u.GetIdleMs() <= uint64(u.GetAgeMs()) {
			c.has |= runs
			c.idle = now - c.idle
		}
	}
	if u.GetWatchedMs() > 0 {
		c.watched = now - spec.Duration(u.GetWatchedMs())*millisecond
	}
	if u.NoLaunchMs != nil {
		c.has |= hasSilence
		c.silent = now - spec.Duration(u.GetNoLaunchMs())*millisecond
	}
	if u.Assigned != nil {
		c.has |= hasAssigned
		if u.GetAssigned() {
			c.has |= assigned
		}
	}
	return c
}

// idleFor is for how long a use has been idle at a time; not ok if that is unknown.
func (c *use) idleFor(now spec.Time) (idle spec.Duration, ok bool) {
	if c.has&runs != 0 {
		return c.idle, true
	}
	return max(0, now-c.idle), c.has&hasIdle != 0
}

func (c *use) watchedFor(now spec.Time) spec.Duration {
	if c.watched == 0 {
		return 0
	}
	return max(0, now-c.watched)
}

func (c *use) wire(now spec.Time) *wire.Use {
	u := &wire.Use{
		Owner: c.owner, Gpu: c.gpu, Namespace: c.namespace, Pod: c.pod, AgeMs: c.age, Processes: c.processes, Basis: c.basis,
		Busy: tell[uint32](c.has, hasBusy, c.busy), Memory: tell[uint64](c.has, hasMemory, c.memory),
		Launches: tell[uint64](c.has, hasLaunches, c.launches), WatchedMs: uint64(c.watchedFor(now) / millisecond),
	}
	if idle, ok := c.idleFor(now); ok {
		ms := uint64(idle / millisecond)
		u.IdleMs = &ms
	}
	if c.has&hasSilence != 0 {
		ms := uint64(max(0, now-c.silent) / millisecond)
		u.NoLaunchMs = &ms
	}
	if c.has&hasAssigned != 0 {
		yes := c.has&assigned != 0
		u.Assigned = &yes
	}
	return u
}

func byGPU(a, b gpu) int {
	return cmp.Or(cmp.Compare(a.index, b.index), cmp.Compare(a.uuid, b.uuid))
}

func (c *gpu) key() string { return c.uuid }

type useKey struct{ owner, gpu string }

func (c *use) key() useKey { return useKey{c.owner, c.gpu} }

func byUse(a, b use) int {
	return cmp.Or(cmp.Compare(a.gpu, b.gpu), cmp.Compare(a.owner, b.owner))
}

// merged is a list without what is gone, with some entries replaced or added, in order.
// The list itself is not changed; the result has no room to spare.
func merged[T any, K comparable](old, changed []T, gone []K, key func(*T) K, order func(a, b T) int) []T {
	drop := make(map[K]bool, len(changed)+len(gone))
	for i := range changed {
		drop[key(&changed[i])] = true
	}
	for _, k := range gone {
		drop[k] = true
	}
	out := make([]T, 0, len(old)+len(changed))
	for i := range old {
		if !drop[key(&old[i])] {
			out = append(out, old[i])
		}
	}
	out = append(out, changed...)
	slices.SortFunc(out, order)
	return slices.Clip(out)
}
