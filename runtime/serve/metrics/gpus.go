package metrics

import (
	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/runtime/serve/view"
)

// collectMeasured tells what the GPUs of a queue do. While no probe reports, there is no
// series: an alert on idle GPUs must not take silence for work, nor for idleness.
func collectMeasured(ch sink, q *view.Queue) {
	r := q.Of(amount.GPUName)
	if r.Measured == nil {
		return
	}
	ch.gauge(queueAllocated, natural(r.Resource, r.Used), q.Path)
	ch.gauge(queueBusy, natural(r.Resource, r.Measured.Busy), q.Path)
	ch.gauge(queueIdle, natural(r.Resource, r.Measured.Idle), q.Path)
	ch.gauge(queueUnknown, natural(r.Resource, r.Measured.Unknown), q.Path)
}

// collectGPUs counts GPUs and probes. Each GPU has its series at its node's probe.
func collectGPUs(ch sink, s *view.Snapshot) {
	trouble := s.Trouble()
	for _, health := range []string{"degraded", "failed", "unresponsive"} {
		ch.gauge(gpuUnhealthy, float64(trouble.Unhealthy[health]), health)
	}
	ch.gauge(gpuUnasked, float64(trouble.Unrequested))
	states := map[string]int{view.ProbeConnected: 0, view.ProbeStale: 0, view.ProbeNone: 0}
	for _, p := range s.Probes() {
		states[p.State]++
	}
	for state, n := range states {
		ch.gauge(probeNodes, float64(n), state)
	}
}

func (c *collector) collectProbed(ch sink) {
	if c.o.Probed == nil {
		return
	}
	p := c.o.Probed()
	ch.counter(probeReports, float64(p.Reports))
	for code, n := range p.Refused {
		ch.counter(probeRefused, float64(n), code)
	}
}

func (c *collector) collectUsed(ch sink) {
	if c.o.Used == nil {
		return
	}
	u := c.o.Used()
	ch.counter(podsMeasured, float64(u.Measured))
	ch.counter(podsUnknown, float64(u.Strangers))
	ch.counter(podsUnasked, float64(u.Unrequested))
	ch.counter(gpuEvictions, float64(u.Evicted))
	ch.counter(gpuHandedOut, float64(u.HandedOut))
}
