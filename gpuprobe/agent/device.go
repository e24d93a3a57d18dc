package agent

import (
	"time"

	"github.com/musterhq/muster/gpuprobe/nvml"
)

// slot is the place of a GPU in the driver's list. It stays when the GPU is lost.
type slot struct {
	device nvml.Device // nil while there is no library
	busy   bool        // a reader is inside
	// restarted: the library is another one, and has not answered for it since; sameDriver: the
	// driver is certainly not, so that nothing is forgiven.
	restarted, sameDriver bool
	named                 uint64 // generation of the library in which whole has said who it is
	whole                 *gpu   // nil before it was identified
	// nameless: whole is what is believed of a GPU that can't tell who it is (see recall.go).
	nameless bool
	health   health
	odd      error // see reading

	mig       []nvml.Device
	migAt     uint64
	instances []*gpu // sorted as the driver lists them
}

// gpu is a GPU, or an instance of one.
type gpu struct {
	GPU
	gi, ci  int // of an instance
	members []member
	// fresh says that it answered in this sweep; listed, that it told its members then.
	fresh, listed bool
	// perProcess says that the driver tells what each member does.
	perProcess bool
	// strange says that somebody who is not known works here, or may; hidden, that it works
	// and there is not even a process.
	strange, hidden bool
}

// member is a process that holds a context on a GPU.
type member struct {
	pid    uint32
	info   *procInfo // never nil
	memory *uint64
	use    uint32 // permille, if perProcess
	untold bool   // its samples are of no use
}

// gpus that are to be reported of a slot.
func (s *slot) gpus() []*gpu {
	if s.whole == nil {
		return nil
	}
	return append([]*gpu{s.whole}, s.instances...)
}

// question is what the slot's next reading is to ask.
func (s *slot) question(sweep uint64) question {
	return question{
		identity: s.whole == nil || s.nameless || s.restarted || sweep%migEach == 0,
		status:   sweep%statusEach == 1 || s.health.current.state != healthy.state,
		mig:      s.migAt == 0 || sweep >= s.migAt+migEach,
	}
}

// apply takes a reading. It returns how many values were garbage.
func (s *slot) apply(r *reading) (garbage uint64) {
	if r.err == nil && s.restarted {
		s.health.restarted(!s.sameDriver)
		s.restarted = false
	}
	s.health.reading(r.err, r.status)
	s.odd = r.odd
	if r.identity != nil && r.identity.UUID != "" {
		s.identify(r.identity)
	}
	if s.whole == nil {
		return 0
	}
	if r.err != nil {
		s.stale()
		return 0
	}
	garbage = s.whole.apply(r)
	if s.whole.MIG { // work is on the instances
		s.whole.members, s.whole.listed, s.whole.perProcess = nil, false, false
	} else {
		s.instances, s.mig, s.migAt = nil, nil, 0
		return garbage
	}
	s.mig = r.mig
	if r.migAt != 0 {
		s.migAt = r.migAt
	}
	if r.instances != nil {
		garbage += s.applyInstances(r.instances)
	}
	return garbage
}

// stale says that nothing is known anew; what was known keeps its time.
func (s *slot) stale() {
	for _, g := range s.gpus() {
		g.fresh, g.listed, g.perProcess = false, false, false
	}
}

func (s *slot) identify(id *nvml.Identity) {
	if s.whole == nil || s.whole.UUID != id.UUID {
		s.whole, s.instances = &gpu{}, nil
	}
	s.nameless = false
	s.whole.describe(id)
}

func (s *slot) applyInstances(list []reading) (garbage uint64) {
	old := s.instances
	s.instances = make([]*gpu, 0, len(list))
	for i := range list {
		r := &list[i]
		if r.identity == nil || r.identity.UUID == "" {
			continue
		}
		g := &gpu{}
		for _, o := range old {
			if o.UUID == r.identity.UUID {
				g = o
			}
		}
		g.describe(r.identity)
		g.Index, g.Parent = s.whole.Index, s.whole.UUID
		if r.err == nil {
			garbage += g.apply(r)
		} else {
			g.fresh, g.listed, g.perProcess = false, false, false
		}
		s.instances = append(s.instances, g)
	}
	return garbage
}

func (g *gpu) describe(id *nvml.Identity) {
	g.UUID, g.Index, g.Parent = id.UUID, id.Index, id.Parent
	g.Product, g.PCI, g.Profile = id.Product, id.PCI, id.Profile
	g.Major, g.Minor, g.MIG = id.Major, id.Minor, id.MIGEnabled && id.Parent == ""
	g.gi, g.ci = id.GI, id.CI
	g.Clique, g.Peers = id.Clique, id.Peers
	if id.Memory > 0 {
		g.MemoryTotal = &id.Memory
	}
}

// apply takes the values of an answer. What can't be is unknown.
func (g *gpu) apply(r *reading) (garbage uint64) {
	var bad checker
	g.At, g.fresh = r.at, true
	g.Busy, g.SM = bad.permille(r.busy), bad.permille(r.sm)
	g.MemoryUsed = nil
	if m := r.memory; m != nil {
		if m.Total > 0 {
			g.MemoryTotal = &m.Total
		}
		g.MemoryUsed = bad.memory(&m.Used, m.Total)
	}
	if st := r.status; st != nil {
		g.PowerMW = below(&bad, st.PowerMilliwatts, 20_000_000) // 20 kW
		g.SMClockMHz = below(&bad, st.SMClockMHz, 20_000)
		g.TemperatureC = below(&bad, st.TemperatureC, 200)
		g.Throttle = st.Throttle
	}
	g.listed, g.members = r.listed, g.members[:0]
	if r.listed {
		g.takeMembers(r, &bad)
	}
	g.perProcess = r.measured && r.listed
	device := g.deviceUse()
	g.strange = r.strange && (device == nil || *device > 0)
	g.hidden = device != nil && *device > 0 && len(r.processes) == 0 && !g.perProcess
	return bad.count
}

func (g *gpu) takeMembers(r *reading, bad *checker) {
	for _, p := range r.processes {
		if p.info == nil {
			continue
		}
		m := member{pid: p.pid, info: p.info, memory: bad.memory(p.memory, deref(g.MemoryTotal))}
		if u, ok := r.use[p.pid]; ok {
			n := bad.permille(&u.SM)
			if m.untold = n == nil || u.Samples == 0; !m.untold {
				m.use = *n
			}
		}
		g.members = append(g.members, m)
	}
}

// left removes a process that has ended.
func (g *gpu) left(pid uint32) {
	for i, m := range g.members {
		if m.pid == pid {
			// States do not share members: this may be done in place.
			g.members = append(g.members[:i], g.members[i+1:]...)
			return
		}
	}
}

// checker counts values that can't be.
type checker struct{ count uint64 }

func (c *checker) permille(n *int) *uint32 {
	if n == nil {
		return nil
	}
	if *n < 0 || *n > 1000 {
		c.count++
		return nil
	}
	v := uint32(*n)
	return &v
}

// memory is unknown if it is more than there is; total 0 is unknown as well.
func (c *checker) memory(used *uint64, total uint64) *uint64 {
	if used == nil || total > 0 && *used > total {
		if used != nil {
			c.count++
		}
		return nil
	}
	v := *used
	return &v
}

func below(c *checker, n *uint32, most uint32) *uint32 {
	if n == nil || *n <= most {
		return n
	}
	c.count++
	return nil
}

func deref[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}

func to[T any](v T) *T { return &v }

// newest of two times.
func newest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
