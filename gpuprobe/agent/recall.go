package agent

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/musterhq/muster/gpuprobe/wire"
)

// Past is what an agent before this one said of the GPUs of the node. Where the driver does
// not know what is to be recovered, a failure is seen once, as an event: an agent that was
// restarted would call the GPU healthy.
type Past struct {
	// Load is System.Load of then. After another start of the machine or of the driver
	// nothing of the past holds.
	Load string
	GPUs []PastGPU
	// Unknown says why it is not known, "" if it is.
	Unknown string
}

// PastGPU is a GPU, MIG instances not.
type PastGPU struct {
	UUID         string
	Index        int
	Product, PCI string
	Health       wire.Health
	Reason       string
	Since        time.Time // zero if that is not known
}

// Recall tells the past. It may be called once or again, from any goroutine, and also
// later than within Config.RecallWithin.
func (a *Agent) Recall(p Past) {
	p.GPUs = slices.Clone(p.GPUs)
	replace(a.recalls, p)
}

// recall is what became of the past.
type recall struct {
	open  bool // it may still come
	until time.Time
	past  *Past              // told, while it is not known yet which load of the driver this is
	gpus  map[string]PastGPU // by UUID, of this load; without those to whom it was applied
}

// takeRecall applies the past.
func (a *Agent) takeRecall(p Past) {
	a.recall.past = &p
	a.remember(a.now())
	a.judgeHealth()
}

// remember matches the past with the GPUs that there are, after what the administrator has
// said in the meantime.
func (a *Agent) remember(now time.Time) {
	r := &a.recall
	select {
	case p := <-a.recalls:
		r.past = &p
	default:
	}
	select {
	case o := <-a.orders:
		a.setOrders(o)
	default:
	}
	if r.past != nil && a.library != nil {
		r.gpus = a.sift(r.past)
		r.past, r.open = nil, false
	}
	if r.open && !now.Before(r.until) {
		r.open = false
		a.c.Log.Warn("what failed before this start is not known", "error", fmt.Sprintf("nobody told within %v", a.c.RecallWithin))
	}
	for i, s := range a.slots {
		if (s.whole == nil || s.nameless) && s.health.failed.state == wire.Health_FAILED && !r.open {
			s.believe(a.placed(i))
		}
		if s.whole == nil {
			continue
		}
		for _, uuid := range []string{s.whole.UUID, placeName(i)} {
			if g, ok := r.gpus[uuid]; ok && !s.nameless {
				delete(r.gpus, uuid)
				a.hold(s, g, now)
			}
		}
	}
}

// sift keeps of the past what holds today.
func (a *Agent) sift(p *Past) map[string]PastGPU {
	switch {
	case p.Unknown != "":
		a.c.Log.Warn("what failed before this start is not known", "error", brief(p.Unknown))
		return nil
	case len(p.GPUs) == 0: // this is the first agent on the node
		return nil
	case p.Load == "" || a.system.Load == "":
		a.c.Log.Warn("what failed before this start is not known", "error", "one start of the driver can't be told from another")
		return nil
	case p.Load != a.system.Load:
		a.c.Log.Info("what failed before this start does not count: the machine or the driver was restarted since")
		return nil
	}
	gpus := make(map[string]PastGPU, len(p.GPUs))
	for _, g := range p.GPUs {
		if g.UUID != "" {
			gpus[g.UUID] = g
		}
	}
	return gpus
}

// hold holds against a GPU what it failed of, if that stays by itself: everything else
// shows in readings, or does not.
func (a *Agent) hold(s *slot, g PastGPU, now time.Time) {
	xid, isXID := xidOf(g.Reason)
	switch {
	case g.Health != wire.Health_FAILED && (g.Health != wire.Health_DEGRADED || !isXID):
		return
	case isXID && slices.Contains(a.order.IgnoreXIDs, xid), !isXID && !stays(g.Reason):
		return
	}
	if g.Since.IsZero() || g.Since.After(now) {
		g.Since = now
	}
	s.health.recall(condition{g.Health, g.Reason}, g.Since)
	a.c.Log.Info("a GPU failed before this start and was not repaired since", "gpu", s.whole.UUID, "reason", g.Reason, "since", g.Since)
}

func xidOf(reason string) (xid uint64, ok bool) {
	text, ok := strings.CutPrefix(reason, "Xid")
	xid, err := strconv.ParseUint(text, 10, 32)
	return xid, ok && err == nil
}

// stays says of a reason that is no XID whether it is one of health.failed.
func stays(reason string) bool {
	return strings.HasPrefix(reason, "Recovery") ||
		slices.Contains([]string{"EccDoubleBit", "GpuUnavailable", "GpuLost", "ResetRequired", gpuMissing}, reason)
}

// placeName is what a GPU is called of which only its place in the driver's list is known.
func placeName(index int) string { return "index-" + strconv.Itoa(index) }

// placed is the GPU that was at a place in the past, as it says nothing itself.
func (a *Agent) placed(index int) PastGPU {
	for _, g := range a.recall.gpus {
		elsewhere := func(s *slot) bool { return s.whole != nil && !s.nameless && s.whole.UUID == g.UUID }
		if g.Index == index && !slices.ContainsFunc(a.slots, elsewhere) {
			return g
		}
	}
	return PastGPU{UUID: placeName(index), Index: index}
}

// believe takes a GPU that is lost, and so does not tell who it is, for one that was at
// its place. Without a name it would not be reported at all: nobody would miss it.
func (s *slot) believe(p PastGPU) {
	if s.whole != nil && s.whole.UUID == p.UUID {
		return
	}
	s.whole, s.instances, s.nameless = &gpu{}, nil, true
	s.whole.UUID, s.whole.Index, s.whole.Product, s.whole.PCI = p.UUID, p.Index, p.Product, p.PCI
}
