package simulate

import (
	"fmt"
	"slices"
	"time"

	"github.com/musterhq/muster/gpuprobe/agent"
	"github.com/musterhq/muster/gpuprobe/wire"
)

// moment is a node at a time.
type moment struct {
	n          *Node
	now, swept time.Time
	pods       []Pod
	faults     []Fault // that are there
}

// fault of a kind that hits a GPU, nil if there is none.
func (m *moment) fault(kind string, gpu int) *Fault {
	for i := range m.faults {
		if f := &m.faults[i]; f.Kind == kind && (gpu < 0 || f.GPU == gpu) {
			return f
		}
	}
	return nil
}

func (m *moment) sources() []agent.Source {
	out := make([]agent.Source, 0, 4)
	for _, s := range []struct{ name, fault, reason string }{
		{agent.SourceNVML, "driver-gone", "DriverNotLoaded"},
		{agent.SourceEBPF, "ebpf-gone", "AttachFailed"},
		{agent.SourcePodResources, "podresources-gone", "Unreachable"},
		{agent.SourceProcfs, "", ""},
	} {
		src := agent.Source{Name: s.name, Up: true, Since: m.n.o.Start}
		if f := m.fault(s.fault, -1); f != nil {
			src = agent.Source{Name: s.name, Reason: s.reason, Detail: "simulated", Since: m.n.o.Start.Add(f.At)}
		}
		out = append(out, src)
	}
	return out
}

// measured is when the driver answered for a GPU last.
func (m *moment) measured(gpu int) time.Time {
	at := m.swept
	for _, f := range []*Fault{m.fault("hang", gpu), m.fault("gpu-lost", gpu), m.fault("driver-gone", -1)} {
		if f != nil {
			if then := m.n.swept(m.n.o.Start.Add(f.At)); then.Before(at) {
				at = then
			}
		}
	}
	return at
}

func (m *moment) gpu(i int) agent.GPU {
	at := m.measured(i)
	busy, memory := uint32(0), uint64(0)
	for k := range m.pods {
		if p := &m.pods[k]; slices.Contains(p.GPUs, i) {
			busy += p.Pattern.Busy(p.since(at), sweep)
			memory += m.memory()
		}
	}
	busy, memory = min(busy, 1000), min(memory, m.n.o.Memory)
	sm, power, clocks, heat := busy*7/10, 80_000+busy*600, 1200+busy*7/10, 35+busy/25
	throttle, total := uint64(0), m.n.o.Memory
	g := agent.GPU{
		UUID: fmt.Sprintf("GPU-%s-%d", m.n.o.Name, i), Index: i, Product: m.n.o.Product, At: at,
		Busy: &busy, SM: &sm, MemoryUsed: &memory, MemoryTotal: &total, PowerMW: &power, SMClockMHz: &clocks,
		TemperatureC: &heat, Throttle: &throttle, HealthSince: m.n.o.Start,
	}
	m.health(i, &g)
	return g
}

func (m *moment) memory() uint64 { return m.n.o.Memory / 4 }

// applicationXIDs say nothing about the GPU.
var applicationXIDs = []string{"13", "31", "43", "45", "68", "109"}

func (m *moment) health(i int, g *agent.GPU) {
	g.Health = wire.Health_HEALTHY
	set := func(f *Fault, h wire.Health, reason string) {
		g.Health, g.HealthReason, g.HealthSince = h, reason, m.n.o.Start.Add(f.At)
	}
	if f := m.fault("driver-gone", -1); f != nil {
		set(f, wire.Health_HEALTH_UNKNOWN, "")
	}
	if f := m.fault("xid", i); f != nil {
		var xid uint64
		_, _ = fmt.Sscan(f.Arg, &xid) // ParseFault has seen to it
		g.LastXID, g.XIDs = &xid, []agent.XIDCount{{XID: xid, Count: 1}}
		if !slices.Contains(applicationXIDs, f.Arg) {
			set(f, wire.Health_FAILED, "Xid"+f.Arg)
		}
	}
	if f := m.fault("hang", i); f != nil {
		set(f, wire.Health_UNRESPONSIVE, "DriverUnresponsive")
	}
	if f := m.fault("gpu-lost", i); f != nil {
		set(f, wire.Health_FAILED, "GpuLost")
		g.Busy, g.SM, g.MemoryUsed, g.PowerMW, g.SMClockMHz, g.TemperatureC, g.Throttle = nil, nil, nil, nil, nil, nil, nil
	}
}

func (m *moment) use(p *Pod, gpu int) agent.Use {
	at := m.measured(gpu)
	t := p.since(at)
	u := agent.Use{
		Owner: p.UID, GPU: fmt.Sprintf("GPU-%s-%d", m.n.o.Name, gpu), Namespace: p.Namespace, Pod: p.Name,
		At: at, Basis: wire.Basis_PROCESS, Processes: 1,
	}
	if m.fault("podresources-gone", -1) == nil {
		yes := !p.Unassigned
		u.Assigned = &yes
	}
	if m.fault("gpu-lost", gpu) != nil {
		return u
	}
	busy, memory := p.Pattern.Busy(t, sweep), m.memory()
	u.Busy, u.Memory = &busy, &memory
	u.LastActive = p.lastActive(at)
	if m.fault("ebpf-gone", -1) == nil {
		m.watch(p, t, &u)
		m.listen(p, t, &u)
	}
	return u
}

// listen adds what looks at busy pods tell: that no launch comes, from the second look on.
func (m *moment) listen(p *Pod, t time.Duration, u *agent.Use) {
	if since, hangs := p.Pattern.HangsSince(t); hangs && t-since >= sweep {
		u.NoLaunchSince = p.Start.Add(since)
	}
}

// watch adds what launch probes see: they are armed once a pod has been idle for a sweep,
// and see it wake up between two sweeps.
func (m *moment) watch(p *Pod, t time.Duration, u *agent.Use) {
	if !m.n.armed(p, u.At) {
		return
	}
	u.WatchedSince = u.LastActive.Add(sweep)
	launches := p.Pattern.Launches(p.since(m.now))
	u.Launches = &launches
	if woke, ok := p.Pattern.NextWake(t, sweep); ok && woke <= p.since(m.now) {
		u.LastActive = p.Start.Add(woke)
	}
}
