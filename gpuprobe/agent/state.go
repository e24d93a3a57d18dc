package agent

import (
	"math"
	"time"

	"github.com/musterhq/muster/gpuprobe/wire"
)

// State is everything the agent knows at one moment. It is never changed after it was
// handed out, so any goroutine may read it, and entries may be compared with those of an
// earlier State.
//
// A nil pointer and a zero time are unknown, which is never zero. Times are the agent's
// own clock, which does not jump: they mean something only as differences to At.
type State struct {
	Node string `json:"node"`
	// Boot changes with every start of the agent: launches begin anew.
	Boot string    `json:"boot"`
	At   time.Time `json:"at,omitzero"`
	// Edge says that this State could not wait for the next sweep: a GPU failed, or an
	// owner that was idle woke up.
	Edge bool `json:"edge,omitzero"`
	// Sweep counts the finished sweeps; 0 before the first, when nothing is known yet.
	Sweep uint64 `json:"sweep"`
	// Sources are always all four, in the order nvml, ebpf, podresources, procfs.
	Sources []Source `json:"sources"`
	// GPUs are sorted by index; the instances of a GPU follow it. One that is lost stays.
	GPUs []GPU `json:"gpus"`
	// Uses are sorted by owner, then GPU; one for each pair.
	Uses []Use `json:"uses"`
	// System is the driver's, zero while NVML was never up.
	System System `json:"system"`
	// Recalling says that what failed before this start may still become known: till then
	// no GPU is called healthy.
	Recalling bool   `json:"recalling,omitzero"`
	Counts    Counts `json:"counts"`
}

// System is the driver on the node.
type System struct {
	Driver string `json:"driver"` // "580.95.05"
	NVML   string `json:"nvml"`
	CUDA   int    `json:"cuda"` // 13000 is 13.0
	// Load is another one after each start of the machine, and of the driver on it; "" if
	// that can't be told.
	Load string `json:"load,omitzero"`
}

// Source is one way of measuring, and how it is doing.
type Source struct {
	Name   string    `json:"name"` // one of the names below
	Up     bool      `json:"up"`
	Reason string    `json:"reason,omitzero"` // CamelCase, stable; "" while up
	Detail string    `json:"detail,omitzero"` // for people
	Since  time.Time `json:"since,omitzero"`
}

// Names of the sources.
const (
	SourceNVML         = "nvml"
	SourceEBPF         = "ebpf"
	SourcePodResources = "podresources"
	SourceProcfs       = "procfs"
)

// GPU is a GPU or a MIG instance of one. What was measured is as of At; a driver that does
// not answer leaves the old values and their At.
type GPU struct {
	UUID   string `json:"uuid"`
	Index  int    `json:"index"` // of the GPU, also for its instances
	Parent string `json:"parent,omitzero"`
	// Inventory: the same as long as the GPU is there.
	Product string   `json:"product"`
	PCI     string   `json:"pci"`
	Profile string   `json:"profile,omitzero"` // of a MIG instance
	Major   int      `json:"major"`            // compute capability
	Minor   int      `json:"minor"`
	MIG     bool     `json:"mig,omitzero"` // the GPU is in MIG mode: work runs on its instances
	Clique  string   `json:"clique,omitzero"`
	Peers   []string `json:"peers,omitzero"`

	At           time.Time `json:"at,omitzero"`          // of the last answer of the driver; zero if there was none
	Busy         *uint32   `json:"busy,omitzero"`        // permille of the window in which some kernel ran
	SM           *uint32   `json:"sm,omitzero"`          // permille
	MemoryUsed   *uint64   `json:"memory_used,omitzero"` // bytes
	MemoryTotal  *uint64   `json:"memory_total,omitzero"`
	PowerMW      *uint32   `json:"power_mw,omitzero"`
	SMClockMHz   *uint32   `json:"sm_clock_mhz,omitzero"`
	Throttle     *uint64   `json:"throttle,omitzero"`
	TemperatureC *uint32   `json:"temperature_c,omitzero"`

	Health       wire.Health `json:"health"`
	HealthReason string      `json:"health_reason,omitzero"` // CamelCase, "" while healthy
	HealthSince  time.Time   `json:"health_since,omitzero"`
	Recovery     *uint32     `json:"recovery,omitzero"`
	LastXID      *uint64     `json:"last_xid,omitzero"`
	// XIDs counts those since Boot, by number ascending, application errors too.
	XIDs []XIDCount `json:"xids,omitzero"`
}

// XIDCount is how often an XID was seen.
type XIDCount struct {
	XID   uint64 `json:"xid"`
	Count uint64 `json:"count"`
}

// Use is what one owner does with one GPU.
type Use struct {
	Owner     string `json:"owner"`              // see report.proto
	GPU       string `json:"gpu"`                // UUID of the GPU or MIG instance
	Namespace string `json:"namespace,omitzero"` // of the pod, "" if not known
	Pod       string `json:"pod,omitzero"`

	At    time.Time  `json:"at,omitzero"`
	Busy  *uint32    `json:"busy,omitzero"` // permille of the GPU
	Basis wire.Basis `json:"basis"`
	// Memory is nil if it is unknown of any of the processes.
	Memory *uint64 `json:"memory,omitzero"`
	// LastActive is the last moment at which something may have run; before the owner
	// was first seen nothing is known, so it is not before that. Zero: can't be told.
	LastActive time.Time `json:"last_active,omitzero"`
	// WatchedSince is from when on every launch would have been seen. Zero: it is not
	// watched now. Idleness from before it is sampled.
	WatchedSince time.Time `json:"watched_since,omitzero"`
	// NoLaunchSince is from when on the owner was busy at every look and not one look
	// saw a launch: a kernel that never ends, or a collective that hangs. Zero: not so,
	// or nobody looked (see Config.Duty).
	NoLaunchSince time.Time `json:"no_launch_since,omitzero"`
	// Launches counted since Boot; nil while nobody counts.
	Launches  *uint64 `json:"launches,omitzero"`
	Processes int     `json:"processes"`
	Assigned  *bool   `json:"assigned,omitzero"` // the kubelet gave this GPU to the owner
}

// Counts are totals since Boot, about the agent itself.
type Counts struct {
	LostEvents uint64        `json:"lost_events"` // eBPF events for which there was no room
	Garbage    uint64        `json:"garbage"`     // values of the driver that can't be, and were not used
	Unowned    uint64        `json:"unowned"`     // processes that no owner was found for
	Dropped    uint64        `json:"dropped"`     // entries beyond the bounds of the tables
	ArmedPIDs  int           `json:"armed_pids"`  // now
	SweepTime  time.Duration `json:"sweep_time"`  // of all sweeps together
	LastSweep  time.Duration `json:"last_sweep"`
}

// Key names a Use.
type Key struct{ Owner, GPU string }

// Key of the use.
func (u *Use) Key() Key { return Key{u.Owner, u.GPU} }

// Report is the full report of the state as of now, which is at or after At. The sender
// adds Seq and IntervalMs.
func (s *State) Report(now time.Time) *wire.NodeReport {
	r := &wire.NodeReport{
		Node: s.Node, BootId: s.Boot, Full: true, Edge: s.Edge,
		Sources: make([]*wire.Source, 0, len(s.Sources)),
		Gpus:    make([]*wire.Gpu, 0, len(s.GPUs)),
		Uses:    make([]*wire.Use, 0, len(s.Uses)),
	}
	for i := range s.Sources {
		r.Sources = append(r.Sources, s.Sources[i].Wire())
	}
	for i := range s.GPUs {
		r.Gpus = append(r.Gpus, s.GPUs[i].Wire(now))
	}
	for i := range s.Uses {
		r.Uses = append(r.Uses, s.Uses[i].Wire(now))
	}
	return r
}

// Wire is the source as it is reported.
func (s *Source) Wire() *wire.Source {
	return &wire.Source{Name: s.Name, Up: s.Up, Reason: s.Reason, Detail: s.Detail}
}

// Wire is the GPU as it is reported at a time.
func (g *GPU) Wire(now time.Time) *wire.Gpu {
	return &wire.Gpu{
		Uuid: g.UUID, Index: uint32(max(g.Index, 0)), AgeMs: age32(g.At, now),
		Busy: g.Busy, Sm: g.SM, MemoryUsed: g.MemoryUsed, MemoryTotal: g.MemoryTotal,
		PowerMw: g.PowerMW, SmClockMhz: g.SMClockMHz, Throttle: g.Throttle, TemperatureC: g.TemperatureC,
		Health: g.Health, HealthReason: g.HealthReason, LastXid: g.LastXID, Recovery: g.Recovery,
		Parent: g.Parent, Product: g.Product, Clique: g.Clique,
	}
}

// Wire is the use as it is reported at a time.
func (u *Use) Wire(now time.Time) *wire.Use {
	w := &wire.Use{
		Owner: u.Owner, Gpu: u.GPU, AgeMs: age32(u.At, now),
		Busy: u.Busy, Basis: u.Basis, Memory: u.Memory,
		Launches: u.Launches, Processes: uint32(u.Processes), Assigned: u.Assigned,
		Namespace: u.Namespace, Pod: u.Pod,
	}
	if !u.LastActive.IsZero() {
		idle := age(u.LastActive, now)
		w.IdleMs = &idle
	}
	if !u.WatchedSince.IsZero() {
		w.WatchedMs = age(u.WatchedSince, now)
	}
	if !u.NoLaunchSince.IsZero() {
		silent := age(u.NoLaunchSince, now)
		w.NoLaunchMs = &silent
	}
	return w
}

// age in milliseconds, 0 of what is yet to come.
func age(at, now time.Time) uint64 { return uint64(max(now.Sub(at).Milliseconds(), 0)) }

// age32 saturates, also for what never was.
func age32(at, now time.Time) uint32 {
	if at.IsZero() {
		return math.MaxUint32
	}
	return uint32(min(age(at, now), math.MaxUint32))
}
