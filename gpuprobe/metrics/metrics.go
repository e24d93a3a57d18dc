// Package metrics shows what a node's probe knows to Prometheus: for people and alerts. The
// scheduler does not read it.
//
// Series are made from the last State at the time they are asked for, so those of a pod
// that is gone, or of a value that is not known any more, are not there. Labels are few:
// a node with 8 GPUs and 8 pods has some 150 series.
package metrics

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/musterhq/muster/gpuprobe/agent"
	"github.com/musterhq/muster/gpuprobe/wire"
)

// Collector makes series of the last State. It is a prometheus.Collector.
type Collector struct {
	state func() *agent.State
	now   func() time.Time
}

// New returns a collector of what state returns, as of now, which is the agent's clock.
func New(state func() *agent.State, now func() time.Time) *Collector {
	return &Collector{state: state, now: now}
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

var (
	gpuInfo = desc("muster_gpu_info", "What a GPU or MIG instance is; always 1.", "gpu", "index", "product", "parent", "profile")
	gpuBusy = desc("muster_gpu_busy_ratio", "Part of the last window in which some kernel ran.", "gpu")
	gpuSM   = desc("muster_gpu_sm_ratio", "Part of the SMs that were active in the last window.", "gpu")
	gpuUsed = desc("muster_gpu_memory_used_bytes", "Memory in use.", "gpu")
	gpuSize = desc("muster_gpu_memory_size_bytes", "Memory of the GPU.", "gpu")
	gpuWatt = desc("muster_gpu_power_watts", "Power drawn.", "gpu")
	gpuTemp = desc("muster_gpu_temperature_celsius", "Temperature of the GPU.", "gpu")
	gpuAge  = desc("muster_gpu_age_seconds", "Since the driver last answered for this GPU.", "gpu")

	gpuHealth = desc("muster_gpu_health", "1 for the state that the GPU is in.", "gpu", "state")
	gpuXID    = desc("muster_gpu_xid_total", "XID errors since the probe started, those of applications too.", "gpu", "xid")

	podBusy     = desc("muster_pod_gpu_busy_ratio", "Part of the GPU that the pod used in the last window; basis says how that is known.", "gpu", "pod_uid", "namespace", "pod", "basis")
	podMemory   = desc("muster_pod_gpu_memory_used_bytes", "Memory of the GPU that the pod uses.", "gpu", "pod_uid", "namespace", "pod")
	podIdle     = desc("muster_pod_gpu_idle_seconds", "Since when nothing is known to have run.", "gpu", "pod_uid", "namespace", "pod")
	podWatched  = desc("muster_pod_gpu_watched_seconds", "Since when every launch would have been seen.", "gpu", "pod_uid", "namespace", "pod")
	podAssigned = desc("muster_pod_gpu_assigned", "1 if the kubelet gave the GPU to the pod, 0 if it uses it without a request.", "gpu", "pod_uid", "namespace", "pod")
	podSilent   = desc("muster_pod_gpu_busy_without_launch_seconds", "Since when the pod was busy at every look and none saw a launch: a collective that hangs, or a kernel that never ends.", "gpu", "pod_uid", "namespace", "pod")

	sourceUp = desc("muster_probe_source_up", "Whether a way of measuring works; reason says why not.", "source", "reason")
	sweeps   = desc("muster_probe_sweep_seconds", "Sweeps over all GPUs and how long they took.")
	armed    = desc("muster_probe_armed_pids", "Processes whose launches are watched now.")
	lost     = desc("muster_probe_lost_events_total", "Events of eBPF for which there was no room.")
	garbage  = desc("muster_probe_garbage_values_total", "Values of the driver that can't be, and were not used.")
	unowned  = desc("muster_probe_unowned_processes_total", "Times that no owner was found for a process on a GPU.")
	dropped  = desc("muster_probe_dropped_entries_total", "Processes that were not followed as there were too many.")
	lastAge  = desc("muster_probe_state_age_seconds", "Since the last sweep or edge.")
)

// all that there may be.
var all = []*prometheus.Desc{
	gpuInfo, gpuBusy, gpuSM, gpuUsed, gpuSize, gpuWatt, gpuTemp, gpuAge, gpuHealth, gpuXID,
	podBusy, podMemory, podIdle, podWatched, podAssigned, podSilent,
	sourceUp, sweeps, armed, lost, garbage, unowned, dropped, lastAge,
}

// oldAfter is the age at which a value is no value any more, as for the scheduler: a driver
// that hangs would look as busy, or as idle, as it was, for ever.
const oldAfter = 2 * time.Minute

// holds says that a value of that time may still be told.
func holds(at, now time.Time) bool { return now.Sub(at) <= oldAfter || at.IsZero() }

// Describe lists all series that there may be.
func (c *Collector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range all {
		to <- d
	}
}

// out hands metrics on.
type out chan<- prometheus.Metric

func (o out) gauge(d *prometheus.Desc, v float64, labels ...string) {
	o <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func (o out) count(d *prometheus.Desc, v uint64, labels ...string) {
	o <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
}

// known hands on a value that is known, in a larger unit.
func known[T uint32 | uint64](o out, d *prometheus.Desc, v *T, unit float64, labels ...string) {
	if v != nil {
		o.gauge(d, float64(*v)/unit, labels...)
	}
}

// Collect makes the series.
func (c *Collector) Collect(to chan<- prometheus.Metric) {
	s, now, o := c.state(), c.now(), out(to)
	for i := range s.GPUs {
		o.gpu(&s.GPUs[i], now)
	}
	for i := range s.Uses {
		o.use(&s.Uses[i], now)
	}
	o.probe(s, now)
}

func (o out) gpu(g *agent.GPU, now time.Time) {
	o.gauge(gpuInfo, 1, g.UUID, strconv.Itoa(g.Index), g.Product, g.Parent, g.Profile)
	known(o, gpuSize, g.MemoryTotal, 1, g.UUID)
	if holds(g.At, now) {
		known(o, gpuBusy, g.Busy, 1000, g.UUID)
		known(o, gpuSM, g.SM, 1000, g.UUID)
		known(o, gpuUsed, g.MemoryUsed, 1, g.UUID)
		known(o, gpuWatt, g.PowerMW, 1000, g.UUID)
		known(o, gpuTemp, g.TemperatureC, 1, g.UUID)
	}
	if !g.At.IsZero() {
		o.gauge(gpuAge, now.Sub(g.At).Seconds(), g.UUID)
	}
	for state := range int32(len(wire.Health_name)) {
		is := 0.0
		if g.Health == wire.Health(state) {
			is = 1
		}
		o.gauge(gpuHealth, is, g.UUID, stateNames[state])
	}
	for _, x := range g.XIDs {
		o.count(gpuXID, x.Count, g.UUID, strconv.FormatUint(x.XID, 10))
	}
}

// stateNames are wire.Health in the words of labels.
var stateNames = [...]string{"unknown", "healthy", "degraded", "failed", "unresponsive"}

// basisNames are wire.Basis in the words of labels.
var basisNames = [...]string{"unknown", "process", "mig", "exclusive", "launch_share"}

func (o out) use(u *agent.Use, now time.Time) {
	who := []string{u.GPU, u.Owner, u.Namespace, u.Pod}
	if holds(u.At, now) {
		known(o, podBusy, u.Busy, 1000, append(who, basisNames[u.Basis])...)
		known(o, podMemory, u.Memory, 1, who...)
	}
	for _, t := range []struct {
		d    *prometheus.Desc
		from time.Time
	}{{podIdle, u.LastActive}, {podWatched, u.WatchedSince}, {podSilent, u.NoLaunchSince}} {
		if !t.from.IsZero() {
			o.gauge(t.d, max(now.Sub(t.from).Seconds(), 0), who...)
		}
	}
	if u.Assigned != nil {
		is := 0.0
		if *u.Assigned {
			is = 1
		}
		o.gauge(podAssigned, is, who...)
	}
}

func (o out) probe(s *agent.State, now time.Time) {
	for _, source := range s.Sources {
		up := 0.0
		if source.Up {
			up = 1
		}
		o.gauge(sourceUp, up, source.Name, source.Reason)
	}
	o <- prometheus.MustNewConstSummary(sweeps, s.Sweep, s.Counts.SweepTime.Seconds(), nil)
	o.gauge(armed, float64(s.Counts.ArmedPIDs))
	o.count(lost, s.Counts.LostEvents)
	o.count(garbage, s.Counts.Garbage)
	o.count(unowned, s.Counts.Unowned)
	o.count(dropped, s.Counts.Dropped)
	o.gauge(lastAge, max(now.Sub(s.At).Seconds(), 0))
}
