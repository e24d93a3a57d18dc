package push

import (
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/musterhq/muster/gpuprobe/wire"
	"github.com/musterhq/muster/runtime/clock"
	"github.com/musterhq/muster/runtime/usage"
)

// truth is what really goes on at a node, in absolute times.
type truth struct {
	gpus map[string]*wire.Gpu // AgeMs unset
	uses map[useKey]*activity
	at   time.Time // of the last sweep
}

type activity struct {
	*wire.Use                                    // AgeMs, IdleMs, WatchedMs and NoLaunchMs unset
	lastActive, watchedSince, noLaunch time.Time // zero: unknown, not watched, not so
}

func (s *truth) Report(now time.Time) *wire.NodeReport {
	r := &wire.NodeReport{Node: "n", BootId: "b", Full: true}
	age := uint32(now.Sub(s.at).Milliseconds())
	for _, g := range s.gpus {
		g := proto.CloneOf(g)
		g.AgeMs = age
		r.Gpus = append(r.Gpus, g)
	}
	for _, a := range s.uses {
		u := proto.CloneOf(a.Use)
		u.AgeMs = age
		if !a.lastActive.IsZero() {
			u.IdleMs = proto.Uint64(uint64(now.Sub(a.lastActive).Milliseconds()))
		}
		if !a.watchedSince.IsZero() {
			u.WatchedMs = uint64(now.Sub(a.watchedSince).Milliseconds())
		}
		if !a.noLaunch.IsZero() {
			u.NoLaunchMs = proto.Uint64(uint64(now.Sub(a.noLaunch).Milliseconds()))
		}
		r.Uses = append(r.Uses, u)
	}
	return r
}

// some is a value or unknown.
func some[T any](t *rapid.T, g *rapid.Generator[T], label string) *T {
	return rapid.Ptr(g, true).Draw(t, label)
}

func drawGPU(t *rapid.T, uuid string) *wire.Gpu {
	permille := rapid.Uint32Range(0, 1000)
	return &wire.Gpu{
		Uuid: uuid, Busy: some(t, permille, "busy"), Sm: some(t, permille, "sm"),
		MemoryUsed: some(t, rapid.Uint64Range(0, 1<<30), "memory"), Throttle: some(t, rapid.Uint64Range(0, 3), "throttle"),
		PowerMw: some(t, rapid.Uint32Range(0, 700_000), "power"), LastXid: some(t, rapid.Uint64Range(0, 1), "xid"),
		Health: wire.Health(rapid.Int32Range(0, 4).Draw(t, "health")), HealthReason: rapid.SampledFrom([]string{"", "Xid79"}).Draw(t, "reason"),
	}
}

func drawUse(t *rapid.T, key useKey, now time.Time) *activity {
	a := &activity{Use: &wire.Use{
		Owner: key.owner, Gpu: key.gpu, Busy: some(t, rapid.Uint32Range(0, 1000), "busy"),
		Memory: some(t, rapid.Uint64Range(0, 1<<30), "memory"), Launches: some(t, rapid.Uint64Range(0, 1000), "launches"),
		Basis: wire.Basis(rapid.Int32Range(0, 4).Draw(t, "basis")), Assigned: some(t, rapid.Bool(), "assigned"),
		Processes: rapid.Uint32Range(0, 2).Draw(t, "processes"),
	}}
	past := func(label string) time.Time {
		ms := rapid.Int64Range(-1, 100_000).Draw(t, label)
		if ms < 0 {
			return time.Time{}
		}
		return now.Add(-time.Duration(ms) * time.Millisecond)
	}
	a.lastActive, a.watchedSince, a.noLaunch = past("active"), past("watched"), past("no launch")
	return a
}

// nudge moves a value that is known a little.
func nudge[T uint32 | uint64](t *rapid.T, v *T, by int64) *T {
	if v == nil {
		return nil
	}
	out := T(max(0, int64(*v)+rapid.Int64Range(-by, by).Draw(t, "nudge")))
	return &out
}

// nudgeGPU changes one thing at most.
func nudgeGPU(t *rapid.T, old *wire.Gpu) *wire.Gpu {
	g := proto.CloneOf(old)
	switch rapid.IntRange(0, 5).Draw(t, "what") {
	case 0:
		if g.Busy = nudge(t, g.Busy, 100); g.Busy != nil {
			*g.Busy = min(*g.Busy, 1000)
		}
	case 1:
		g.MemoryUsed = nudge(t, g.MemoryUsed, 128<<20)
	case 2:
		g.PowerMw = nudge(t, g.PowerMw, 100_000)
	case 3:
		g.LastXid = nudge(t, g.LastXid, 1)
	}
	return g
}

// nudgeUse changes one thing at most.
func nudgeUse(t *rapid.T, old *activity) *activity {
	a := &activity{proto.CloneOf(old.Use), old.lastActive, old.watchedSince, old.noLaunch}
	later := func(at time.Time) time.Time {
		if at.IsZero() {
			return at
		}
		return at.Add(-time.Duration(rapid.Int64Range(0, 4000).Draw(t, "nudge")) * time.Millisecond)
	}
	switch rapid.IntRange(0, 6).Draw(t, "what") {
	case 0:
		if a.Busy = nudge(t, a.Busy, 100); a.Busy != nil {
			*a.Busy = min(*a.Busy, 1000)
		}
	case 1:
		a.Memory = nudge(t, a.Memory, 128<<20)
	case 2:
		a.Launches = nudge(t, a.Launches, 200)
	case 3:
		a.lastActive = later(a.lastActive)
	case 4:
		a.watchedSince = later(a.watchedSince)
	case 5:
		a.noLaunch = later(a.noLaunch)
	}
	return a
}

// change draws what happens at the node until a sweep.
func (s *truth) change(t *rapid.T, now time.Time) {
	next := &truth{gpus: map[string]*wire.Gpu{}, uses: map[useKey]*activity{}, at: now}
	for _, uuid := range []string{"G0", "G1"} {
		if old := s.gpus[uuid]; old != nil && rapid.IntRange(0, 3).Draw(t, "gpu") > 0 {
			next.gpus[uuid] = nudgeGPU(t, old)
		} else if rapid.Bool().Draw(t, "gpu") {
			next.gpus[uuid] = drawGPU(t, uuid)
		}
		for _, owner := range []string{"p", "q"} {
			key := useKey{owner, uuid}
			switch old := s.uses[key]; {
			case old != nil && rapid.IntRange(0, 3).Draw(t, "use") > 0:
				next.uses[key] = nudgeUse(t, old)
			case rapid.Bool().Draw(t, "use"):
				next.uses[key] = drawUse(t, key, now)
			}
		}
	}
	*s = *next
}

// link is a client's and a server's half of streams that break and lose messages.
type link struct {
	table   *usage.Table
	session *usage.Session
	told    *told
	seq     uint64
}

func (l *link) open() {
	l.session, _ = l.table.Open("n")
	l.told, l.seq = newTold(ageBand), 0
}

const ageBand = 10 * time.Second

// send reports, unless the message is lost; the server then asks for a full report.
func (l *link) send(t *rapid.T, s *truth, now time.Time, full, lost bool) {
	r := s.Report(now)
	if full {
		l.told.full(r, now)
	} else {
		r = l.told.delta(r, now)
	}
	l.seq++
	r.Seq, r.Full, r.IntervalMs = l.seq, full, 10_000
	if lost {
		return
	}
	verdict, err := l.session.Apply(r)
	if err != nil {
		t.Fatal(err)
	}
	if verdict == usage.Gap {
		if full {
			t.Fatal("a full report is enough at any time")
		}
		l.send(t, s, now, true, false)
	}
}

func TestFullAndChangesAreTheWholeWithinTheDeadBandsWhateverIsLost(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := clock.NewVirtual(1e18)
		now := func() time.Time { return time.Unix(0, c.Now()) }
		l := &link{table: usage.NewTable(nil, usage.TableOptions{Clock: c})}
		s := &truth{}
		s.change(t, now())
		l.open()
		l.send(t, s, now(), true, false)
		for range rapid.IntRange(1, 8).Draw(t, "steps") {
			c.Advance(c.Now() + rapid.Int64Range(0, 20e9).Draw(t, "time passes"))
			if rapid.Bool().Draw(t, "sweep") {
				s.change(t, now())
			}
			switch rapid.IntRange(0, 5).Draw(t, "stream") {
			case 0: // it breaks
				l.session.Close()
				l.open()
				l.send(t, s, now(), true, false)
			case 1: // a message is lost, the next one shows it
				l.send(t, s, now(), false, true)
				l.send(t, s, now(), false, false)
			default:
				l.send(t, s, now(), false, false)
			}
			node, _ := l.table.One("n")
			if err := agree(node, s.Report(now())); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// agree compares by bands of its own: the code under test has no say in it.
func agree(n usage.Node, r *wire.NodeReport) error {
	if len(n.GPUs) != len(r.Gpus) || len(n.Uses) != len(r.Uses) {
		return fmt.Errorf("%d GPUs and %d uses, not %d and %d", len(n.GPUs), len(n.Uses), len(r.Gpus), len(r.Uses))
	}
	for _, g := range r.Gpus {
		for _, have := range n.GPUs {
			if have.Uuid == g.Uuid && !sameGPU(have, g) {
				return fmt.Errorf("%v\nis not\n%v", have, g)
			}
		}
	}
	for _, u := range r.Uses {
		found := false
		for _, have := range n.Uses {
			if keyOf(have) == keyOf(u) {
				found = true
				if !sameUse(have, u) {
					return fmt.Errorf("%v\nis not\n%v", have, u)
				}
			}
		}
		if !found {
			return fmt.Errorf("%v is missing", u)
		}
	}
	return nil
}

func within[T uint32 | uint64](a, b *T, band int64) bool {
	if a == nil || b == nil {
		return (a == nil) == (b == nil)
	}
	d := int64(*a) - int64(*b)
	return -band <= d && d <= band
}

func sameGPU(a, b *wire.Gpu) bool {
	return within(a.Busy, b.Busy, 50) && within(a.Sm, b.Sm, 50) && within(a.MemoryUsed, b.MemoryUsed, 64<<20) &&
		within(a.Throttle, b.Throttle, 0) && within(a.LastXid, b.LastXid, 0) && within(a.PowerMw, b.PowerMw, 50_000) &&
		a.Health == b.Health && a.HealthReason == b.HealthReason && within(&a.AgeMs, &b.AgeMs, 10_000)
}

func sameUse(a, b *wire.Use) bool {
	idle := int64(1000)
	if b.GetIdleMs() <= uint64(b.GetAgeMs()) { // it ran when it was measured
		idle = 10_000
	}
	return within(a.Busy, b.Busy, 50) && within(a.Memory, b.Memory, 64<<20) && a.Basis == b.Basis && a.Processes == b.Processes &&
		(a.Assigned == nil) == (b.Assigned == nil) && a.GetAssigned() == b.GetAssigned() &&
		within(a.Launches, b.Launches, int64(b.GetLaunches()/10)) && within(&a.AgeMs, &b.AgeMs, 10_000) &&
		within(a.IdleMs, b.IdleMs, idle) && within(&a.WatchedMs, &b.WatchedMs, 1001) &&
		within(a.NoLaunchMs, b.NoLaunchMs, 1001) && (a.WatchedMs == 0) == (b.WatchedMs == 0)
}
