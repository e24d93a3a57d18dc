package view

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/gpuprobe/wire"
	"github.com/musterhq/muster/runtime/usage"
)

// IdleAfter is how long a GPU does nothing before it is called idle: shorter pauses are
// how jobs work (they load data, save, wait for each other).
const IdleAfter = 5 * 60 * spec.Second

// How a node's probe is doing.
const (
	ProbeConnected = "connected"
	ProbeStale     = "stale" // it was heard of; what it said does not count any more
	ProbeNone      = "none"
)

// Coverage of what is known of a GPU.
const (
	Watched = "watched" // every launch would have been seen, for as long as it was idle
	Sampled = "sampled" // what ran between two samples of the driver may have been missed
	Unknown = "unknown"
)

// Probe is the state of one node's probe. Every node with GPUs has one, of state none if
// it was never heard of.
type Probe struct {
	Node     string        `json:"node"`
	State    string        `json:"state"`
	Reported time.Time     `json:"reported,omitzero"` // last report
	Boot     string        `json:"boot_id,omitempty"` // changes with every start of the probe
	Devices  int32         `json:"devices,omitempty"` // GPUs that the node offers to pods
	GPUs     int           `json:"gpus"`              // that it reports, MIG instances not
	Sources  []ProbeSource `json:"sources,omitempty"`
}

// ProbeSource is one way of measuring, and how it is doing.
type ProbeSource struct {
	Name   string `json:"name"` // nvml, ebpf, podresources, procfs
	Up     bool   `json:"up"`
	Reason string `json:"reason,omitempty"` // CamelCase, stable
	Detail string `json:"detail,omitempty"`
}

// GPU is one GPU, or one MIG instance. What is nil is not known, which is never zero.
type GPU struct {
	Node   string `json:"node"`
	Index  *int64 `json:"index,omitempty"` // on its node
	UUID   string `json:"uuid,omitempty"`
	Parent string `json:"parent,omitempty"` // UUID of the GPU that a MIG instance is a part of
	// ParentIndex is that GPU's index.
	ParentIndex *int64 `json:"parent_index,omitempty"`
	Type        string `json:"gpu_type,omitempty"` // as in nvidia.com/gpu:TYPE
	Product     string `json:"product,omitempty"`  // as the driver calls it
	// Health is healthy, degraded, failed, unresponsive or unknown. That of a node whose
	// probe is stale is the last one there was.
	Health       string `json:"health"`
	HealthReason string `json:"health_reason,omitempty"`
	// Probe is the state of the node's probe: of one that is not connected, nothing that
	// is measured is told.
	Probe      string    `json:"probe"`
	Reported   time.Time `json:"reported,omitzero"`       // when the node's probe said so
	Measured   time.Time `json:"measured,omitzero"`       // when the driver was asked
	Busy       *int64    `json:"busy_permille,omitempty"` // of the time some kernel ran (NVML)
	SM         *int64    `json:"sm_permille,omitempty"`   // of the SMs were active (GPM)
	MemoryUsed *int64    `json:"memory_used,omitempty"`   // bytes
	MemoryAll  *int64    `json:"memory_total,omitempty"`  // bytes
	Power      *int64    `json:"power_mw,omitempty"`      // milliwatts
	SMClock    *int64    `json:"sm_clock_mhz,omitempty"`
	Degrees    *int64    `json:"temperature_c,omitempty"`
	Throttle   *int64    `json:"throttle_bits,omitempty"`   // NVML's clocks event reasons
	Xid        *int64    `json:"last_xid,omitempty"`        // of the driver's last error
	Recovery   *int64    `json:"recovery_code,omitempty"`   // NVML's recovery action, 0 is none
	Clique     string    `json:"clique,omitempty"`          // of the NVLink fabric
	Idle       *int64    `json:"idle_ms,omitempty"`         // for how long none of its users did anything
	Coverage   string    `json:"coverage"`                  // the worst of its users'
	Unasked    bool      `json:"without_request,omitempty"` // somebody uses it whom it was not given to
	Uses       []GPUUse  `json:"uses"`
}

// GPUUse is what one pod, or one process outside of pods, does with a GPU.
type GPUUse struct {
	// Owner is the pod's UID, "pod:NAMESPACE/NAME" or "host:CGROUP".
	Owner    string `json:"owner"`
	Pod      string `json:"pod,omitempty"`   // namespace/name
	Job      string `json:"job,omitempty"`   // of ours
	Queue    string `json:"queue,omitempty"` // of that job
	Busy     *int64 `json:"busy_permille,omitempty"`
	Basis    string `json:"basis"` // process, mig, exclusive, launch_share or unknown
	Memory   *int64 `json:"memory,omitempty"`
	Idle     *int64 `json:"idle_ms,omitempty"`
	Watched  int64  `json:"watched_ms"` // for how long every launch would have been seen
	Coverage string `json:"coverage"`
	Launches *int64 `json:"launches,omitempty"` // since the probe started, while somebody counts
	// NoLaunch is for how long it was busy whenever somebody looked and launched nothing: a
	// hang, or a kernel that never ends. It counts as busy all the same.
	NoLaunch  *int64 `json:"no_launch_ms,omitempty"`
	Processes int64  `json:"processes"`
	// Assigned says whether the kubelet gave the GPU to it; nil if that can't be told.
	Assigned *bool     `json:"assigned,omitempty"`
	Measured time.Time `json:"measured,omitzero"`
}

// Unhealthy says whether a GPU is known not to be as it should.
func (g *GPU) Unhealthy() bool { return g.Health != "healthy" && g.Health != "unknown" }

// Pods says of which job a pod is: by UID, or by namespace and name where that is all
// that is known and the UID is "". It is called from any goroutine.
type Pods func(uid, namespace, name string) (job string, ok bool)

// podOf takes an owner apart; ok is false if it is no pod.
func podOf(u *wire.Use) (uid, namespace, name string, ok bool) {
	if named, is := strings.CutPrefix(u.Owner, "pod:"); is {
		namespace, name, ok = strings.Cut(named, "/")
		return "", namespace, name, ok
	}
	if u.Owner == "" || strings.HasPrefix(u.Owner, "host:") {
		return "", "", "", false
	}
	return u.Owner, u.Namespace, u.Pod, true
}

// jobOf finds the job of whoever uses a GPU.
func (p Pods) jobOf(u *wire.Use) (string, bool) {
	uid, namespace, name, ok := podOf(u)
	if !ok || p == nil {
		return "", false
	}
	return p(uid, namespace, name)
}

func stateOf(n *usage.Node) string {
	if n.Stale || !n.Connected {
		return ProbeStale
	}
	return ProbeConnected
}

// reports are what is known of nodes, by name.
type reports map[string]*usage.Node

func byNode(nodes []usage.Node) reports {
	out := make(reports, len(nodes))
	for i := range nodes {
		out[nodes[i].Name] = &nodes[i]
	}
	return out
}

// nodesOf lists the nodes that have GPUs or a probe, by name; those that are not in the
// world have a name only.
func (s *Snapshot) nodesOf(r reports) []Node {
	var out []Node
	for i := range s.Nodes {
		if n := &s.Nodes[i]; n.Devices > 0 || r[n.Name] != nil {
			out = append(out, *n)
		}
	}
	for name := range r {
		if _, known := s.nodeIx[name]; !known {
			out = append(out, Node{Name: name})
		}
	}
	slices.SortFunc(out, func(a, b Node) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// renderProbes lists the probe of every node that has GPUs or a probe.
func (s *Snapshot) renderProbes(r reports) []Probe {
	out := []Probe{}
	for _, n := range s.nodesOf(r) {
		p := Probe{Node: n.Name, State: ProbeNone, Devices: n.Devices}
		if told := r[n.Name]; told != nil {
			p.State, p.Reported, p.Boot = stateOf(told), stamp(told.At), told.Boot
			for _, g := range told.GPUs {
				if g.Parent == "" {
					p.GPUs++
				}
			}
			for _, x := range told.Sources {
				p.Sources = append(p.Sources, ProbeSource{x.Name, x.Up, x.Reason, x.Detail})
			}
		}
		out = append(out, p)
	}
	return out
}

// renderGPUs lists every GPU, by node and index, MIG instances after the GPU that they
// are a part of. A node without a probe is told of by as many GPUs as it offers, of which
// nothing is known.
func (s *Snapshot) renderGPUs(r reports, pods Pods) []GPU {
	nodes, total := s.nodesOf(r), 0
	for i := range nodes {
		if told := r[nodes[i].Name]; told != nil {
			total += len(told.GPUs)
		} else {
			total += int(nodes[i].Devices)
		}
	}
	out := make([]GPU, 0, total)
	for _, n := range nodes {
		told := r[n.Name]
		if told == nil {
			for range n.Devices {
				out = append(out, GPU{Node: n.Name, Type: n.GPUType, Health: Unknown, Probe: ProbeNone, Coverage: Unknown, Uses: []GPUUse{}})
			}
			continue
		}
		from := len(out)
		out = append(out, s.gpusOf(&n, told, pods)...)
		slices.SortStableFunc(out[from:], func(a, b GPU) int {
			return cmp.Or(cmp.Compare(a.board(), b.board()), strings.Compare(a.Parent, b.Parent), cmp.Compare(*a.Index, *b.Index), strings.Compare(a.UUID, b.UUID))
		})
	}
	return out
}

// Trouble counts GPUs that are not as they should be.
type Trouble struct {
	Unhealthy   map[string]int // by health, MIG instances not: each is as its GPU
	Unrequested int            // used by somebody to whom they were not given
}

// trouble counts without making the list, which is long.
func (r reports) trouble() Trouble {
	out := Trouble{Unhealthy: map[string]int{}}
	for _, n := range r { //muster:anyorder counts
		for _, w := range n.GPUs {
			if g := (GPU{Health: healthOf(w.Health)}); w.Parent == "" && g.Unhealthy() {
				out.Unhealthy[g.Health]++
			}
		}
		stray := map[string]bool{}
		for _, u := range n.Uses {
			if u.Assigned != nil && !*u.Assigned && stateOf(n) == ProbeConnected {
				stray[u.Gpu] = true
			}
		}
		out.Unrequested += len(stray)
	}
	return out
}

// board is the index of the GPU that this is, or is a part of.
func (g *GPU) board() int64 {
	if g.ParentIndex != nil {
		return *g.ParentIndex
	}
	return *g.Index
}

func (s *Snapshot) gpusOf(n *Node, told *usage.Node, pods Pods) []GPU {
	index, uses := map[string]int64{}, map[string][]*wire.Use{}
	for _, g := range told.GPUs {
		index[g.Uuid] = int64(g.Index)
	}
	for _, u := range told.Uses {
		uses[u.Gpu] = append(uses[u.Gpu], u)
	}
	out := make([]GPU, 0, len(told.GPUs))
	for _, w := range told.GPUs {
		i := int64(w.Index)
		g := GPU{
			Node: n.Name, Index: &i, UUID: w.Uuid, Parent: w.Parent, Type: n.GPUType, Product: w.Product, Clique: w.Clique,
			Health: healthOf(w.Health), HealthReason: w.HealthReason, Probe: stateOf(told), Reported: stamp(told.At), Coverage: Unknown, Uses: []GPUUse{},
		}
		if up, ok := index[w.Parent]; ok && w.Parent != "" {
			g.ParentIndex = &up
		}
		if g.Probe == ProbeConnected {
			g.measure(w, told.At)
			for _, u := range uses[w.Uuid] {
				g.Uses = append(g.Uses, s.useOf(u, told.At, pods))
			}
			slices.SortStableFunc(g.Uses, byName)
			g.summarize()
		}
		out = append(out, g)
	}
	return out
}

// measure takes what the driver said.
func (g *GPU) measure(w *wire.Gpu, at spec.Time) {
	g.Measured = stamp(at - int64(w.AgeMs)*1e6)
	g.Busy, g.SM, g.MemoryUsed, g.MemoryAll = number(w.Busy), number(w.Sm), number(w.MemoryUsed), number(w.MemoryTotal)
	g.Power, g.SMClock, g.Degrees, g.Throttle = number(w.PowerMw), number(w.SmClockMhz), number(w.TemperatureC), number(w.Throttle)
	g.Xid, g.Recovery = number(w.LastXid), number(w.Recovery)
	if g.Busy != nil {
		g.Coverage = Sampled
	}
}

func (s *Snapshot) useOf(u *wire.Use, at spec.Time, pods Pods) GPUUse {
	out := GPUUse{
		Owner: u.Owner, Busy: number(u.Busy), Basis: strings.ToLower(strings.TrimPrefix(u.Basis.String(), "BASIS_")), Memory: number(u.Memory),
		Idle: number(u.IdleMs), Watched: int64(u.WatchedMs), Coverage: coverage(u), Launches: number(u.Launches), NoLaunch: number(u.NoLaunchMs), Processes: int64(u.Processes),
		Assigned: u.Assigned, Measured: stamp(at - int64(u.AgeMs)*1e6),
	}
	if _, namespace, name, ok := podOf(u); ok && name != "" {
		out.Pod = namespace + "/" + name
	}
	if job, ok := pods.jobOf(u); ok {
		out.Job = job
		if j, known := s.Job(job); known {
			out.Queue = j.Queue
		}
	}
	return out
}

// byName puts users in an order that stays: an owner's is that of a random UID, which for a
// pod that has just begun to run takes the place of its name. Who is no pod comes last.
func byName(a, b GPUUse) int {
	if (a.Pod == "") != (b.Pod == "") {
		return strings.Compare(b.Pod, a.Pod)
	}
	return cmp.Or(strings.Compare(a.Pod, b.Pod), strings.Compare(a.Owner, b.Owner))
}

// armingMS is how long it takes until the launches of a pod that became idle are watched:
// a probe looks twice before. In that time the driver's samples tell.
const armingMS = 15_000

func coverage(u *wire.Use) string {
	switch {
	case u.Busy == nil && u.IdleMs == nil:
		return Unknown
	case u.WatchedMs > 0 && u.GetIdleMs() <= u.WatchedMs+armingMS:
		return Watched
	default:
		return Sampled
	}
}

// worse orders coverage, the worst first.
var worse = map[string]int{Unknown: 0, Sampled: 1, Watched: 2}

// summarize says of the GPU what holds for all who use it. It is idle for as long as the
// one that did something last, and for no known time if that of one is not known.
func (g *GPU) summarize() {
	known := true
	for i := range g.Uses {
		u := &g.Uses[i]
		if i == 0 || worse[u.Coverage] < worse[g.Coverage] {
			g.Coverage = u.Coverage
		}
		if u.Assigned != nil && !*u.Assigned {
			g.Unasked = true
		}
		known = known && u.Idle != nil
		if known && (g.Idle == nil || *u.Idle < *g.Idle) {
			g.Idle = u.Idle
		}
	}
	if !known {
		g.Idle = nil
	}
}

func healthOf(h wire.Health) string {
	return strings.ToLower(strings.TrimPrefix(h.String(), "HEALTH_"))
}

// number is a number of a report, nil where there is none.
func number[T uint32 | uint64](v *T) *int64 {
	if v == nil {
		return nil
	}
	n := int64(min(uint64(*v), 1<<63-1))
	return &n
}
