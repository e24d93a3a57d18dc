//go:build linux && (amd64 || arm64)

package nvml

import (
	"math"
	"time"
)

// gpm measures between two samples of the GPU's performance counters, which the driver
// keeps for us until they are freed.
type gpm struct {
	refused  Error // for good: the GPU does not have it
	old, new uintptr
	at       time.Time // when old was taken; zero if it was not
	metrics  *gpmMetrics
}

// gpmWindow is the least time between two samples (nvml.h, nvmlGpmMetricsGet).
const gpmWindow = 100 * time.Millisecond

func (g *gpu) GPM() (int, error) {
	if err := g.enter(); err != nil {
		return 0, err
	}
	defer g.leave()
	p := &g.gpm
	if rc := p.prepare(g); rc != 0 {
		return 0, rc
	}
	now, first := time.Now(), p.at.IsZero()
	if !first && now.Sub(p.at) < gpmWindow {
		return 0, ErrTimeout
	}
	if rc := g.sampleGPM(p.new); rc != 0 {
		return 0, rc
	}
	defer func() { p.old, p.new, p.at = p.new, p.old, now }()
	if first {
		return 0, ErrTimeout
	}
	return p.busy(g.d)
}

// prepare asks once whether the GPU has it, and takes room for two samples.
func (p *gpm) prepare(g *gpu) Error {
	if p.metrics != nil || p.refused != 0 {
		return p.refused
	}
	device := g.handle
	if g.parent != nil {
		device = g.parent.handle
	}
	support := gpmSupport{version: gpmVersion}
	rc := g.d.gpmSupport(device, &support)
	if rc == 0 && support.supported == 0 {
		rc = ErrNotSupported
	}
	if rc == ErrNotSupported || rc == ErrNoSymbol {
		p.refused = rc
	}
	if rc != 0 {
		return rc
	}
	for _, room := range []*uintptr{&p.old, &p.new} {
		if rc := g.d.gpmAlloc(room); rc != 0 {
			p.free(g.d)
			return rc
		}
	}
	p.metrics = new(gpmMetrics)
	return 0
}

func (g *gpu) sampleGPM(into uintptr) Error {
	if g.parent != nil {
		return g.d.gpmSampleMIG(g.parent.handle, g.gi, into)
	}
	return g.d.gpmSample(g.handle, into)
}

// busy is the SMs' activity between the two samples, permille.
func (p *gpm) busy(d *Driver) (int, error) {
	m := p.metrics
	m.version, m.count, m.old, m.new = gpmVersion, 1, p.old, p.new
	m.metrics[0] = gpmMetric{id: gpmSMUtil}
	if rc := d.gpmMetrics(m); rc != 0 {
		return 0, rc
	}
	if rc := Error(m.metrics[0].rc); rc != 0 {
		return 0, rc
	}
	return percentToPermille(m.metrics[0].value)
}

func percentToPermille(percent float64) (int, error) {
	if !(percent >= 0 && percent <= 101) { // also if it is not a number
		return 0, ErrUnknown
	}
	if percent == 0 {
		return 0, nil
	}
	return max(1, int(math.Round(min(percent, 100)*10))), nil // a little is not nothing
}

func (p *gpm) free(d *Driver) {
	for _, room := range []*uintptr{&p.old, &p.new} {
		if *room != 0 {
			_ = d.gpmFree(*room) // there is nothing to do about it
			*room = 0
		}
	}
	p.metrics, p.at = nil, time.Time{}
}
