//go:build linux && (amd64 || arm64)

package bpf

import (
	"cmp"
	"encoding/binary"
	"time"
)

// read passes events on, until the ring is closed. It takes no lock for a wake edge.
func (p *Probe) read() {
	defer p.running.Done()
	defer close(p.events)
	for {
		record, err := p.ring.Read()
		if err != nil {
			return
		}
		e, ok := parseEvent(record.RawSample, wallClock())
		if !ok {
			continue
		}
		if !p.cgroups {
			e.Cgroup = 0
		}
		if e.Kind == Exited || e.Kind == Overrun {
			p.mu.Lock()
			p.release(e.PID)
			p.mu.Unlock()
			p.wakeTender()
		}
		select {
		case p.events <- e:
		default:
			p.dropped.Add(1)
		}
	}
}

// parseEvent reads a struct event of c/watch.c.
func parseEvent(b []byte, wall func(uint64) time.Time) (Event, bool) {
	if len(b) < 24 {
		return Event{}, false
	}
	le := binary.LittleEndian
	return Event{
		At: wall(le.Uint64(b)), Cgroup: le.Uint64(b[8:]), PID: le.Uint32(b[16:]), Kind: Kind(le.Uint32(b[20:])),
	}, true
}

func (p *Probe) wakeTender() {
	select {
	case p.kick <- struct{}{}:
	default:
	}
}

// tend takes probes off those that were disarmed on the way, and looks at the files now
// and then.
func (p *Probe) tend() {
	defer p.running.Done()
	ticker := time.NewTicker(cmp.Or(max(p.options.Refresh, 0), 10*time.Second))
	defer ticker.Stop()
	for {
		select {
		case <-p.stop:
			return
		case <-p.kick:
			p.tidy(p.sweep)
		case <-ticker.C:
			p.tidy(p.refresh)
		}
	}
}

func (p *Probe) tidy(f func()) {
	p.change.Lock()
	defer p.change.Unlock()
	if !p.closed {
		f()
	}
}
