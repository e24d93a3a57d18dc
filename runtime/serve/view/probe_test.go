package view_test

import (
	"testing"
	"time"

	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/gpuprobe/wire"
	"github.com/musterhq/muster/runtime/serve/servetest"
	"github.com/musterhq/muster/runtime/serve/view"
	"github.com/musterhq/muster/runtime/usage"
)

func ptr[T any](v T) *T { return &v }

// one is a node with one task of two GPUs, and a probe that says what is handed in.
func one(t *testing.T, n usage.Node) *view.Snapshot {
	t.Helper()
	probes := &servetest.Probes{}
	c := servetest.New(t, servetest.Tree(), probes.Into(view.Options{}))
	c.Post(servetest.Node("n", "H100"), servetest.Job("j", "root.batch", "", 1, 2))
	n.Name, n.At = "n", c.Clock.Now()
	probes.Set(n)
	return c.Snapshot()
}

func TestWhatQueuesReallyUseIsWhatTheirPodsWereGiven(t *testing.T) {
	use := func(gpu string, busy *uint32, idle *uint64) *wire.Use {
		return &wire.Use{Owner: "j#0", Gpu: gpu, Busy: busy, IdleMs: idle, Assigned: ptr(true)}
	}
	changed := func(u *wire.Use, f func(*wire.Use)) *wire.Use { f(u); return u }
	for name, c := range map[string]struct {
		uses []*wire.Use
		off  bool
		want view.Measured
	}{
		"nothing is reported":                    {nil, false, view.Measured{Unknown: 2000}},
		"both work":                              {[]*wire.Use{use("a", ptr(uint32(900)), ptr(uint64(0))), use("b", ptr(uint32(300)), nil)}, false, view.Measured{Busy: 1200}},
		"one is idle, one is not measured":       {[]*wire.Use{use("a", ptr(uint32(0)), ptr(uint64(300_000))), use("b", nil, nil)}, false, view.Measured{Idle: 1000, Unknown: 1000}},
		"a pause is not idleness":                {[]*wire.Use{use("a", ptr(uint32(0)), ptr(uint64(299_999))), use("b", ptr(uint32(10)), nil)}, false, view.Measured{Busy: 10}},
		"idle is known where busy is not":        {[]*wire.Use{use("a", nil, ptr(uint64(600_000))), use("b", nil, ptr(uint64(600_000)))}, false, view.Measured{Idle: 2000}},
		"the probe is not heard of any more":     {[]*wire.Use{use("a", ptr(uint32(900)), nil), use("b", ptr(uint32(900)), nil)}, true, view.Measured{Unknown: 2000}},
		"it uses more than it was given":         {[]*wire.Use{use("a", ptr(uint32(900)), nil), use("b", ptr(uint32(900)), nil), changed(use("c", ptr(uint32(900)), nil), func(u *wire.Use) { u.Assigned = ptr(false) })}, false, view.Measured{Busy: 1800}},
		"nobody knows what it was given":         {[]*wire.Use{changed(use("a", ptr(uint32(500)), nil), func(u *wire.Use) { u.Assigned = nil })}, false, view.Measured{Busy: 500, Unknown: 1000}},
		"it shares a GPU with itself":            {[]*wire.Use{use("a", ptr(uint32(500)), nil), use("b", ptr(uint32(900)), nil), use("b", ptr(uint32(900)), nil)}, false, view.Measured{Busy: 2000}},
		"a pod is known by its name":             {[]*wire.Use{changed(use("a", ptr(uint32(500)), nil), func(u *wire.Use) { u.Owner = "pod:team/j#0" })}, false, view.Measured{Busy: 500, Unknown: 1000}},
		"the pod is of no job":                   {[]*wire.Use{changed(use("a", ptr(uint32(500)), nil), func(u *wire.Use) { u.Owner = "pod:other/x" })}, false, view.Measured{Unknown: 2000}},
		"processes outside of pods do not count": {[]*wire.Use{changed(use("a", ptr(uint32(500)), nil), func(u *wire.Use) { u.Owner = "host:/x" })}, false, view.Measured{Unknown: 2000}},
	} {
		s := one(t, usage.Node{Connected: !c.off, Stale: c.off, Uses: c.uses})
		for _, path := range []string{"root", "root.batch"} {
			q, _ := s.Queue(path)
			for _, resource := range []string{"nvidia.com/gpu", "nvidia.com/gpu:H100"} {
				if got := q.Of(resource).Measured; got == nil || *got != c.want {
					t.Errorf("%s: %s %s is %+v, not %+v", name, path, resource, got, c.want)
				}
			}
			if cpu := q.Of("cpu"); cpu.Used == 0 || cpu.Measured != nil {
				t.Errorf("%s: cpu is measured: %+v", name, cpu)
			}
		}
	}
}

func TestWithoutProbesNothingIsMeasuredAndEveryGPUIsListed(t *testing.T) {
	s := servetest.Busy(t, view.Options{}).Snapshot()
	if q := s.Queues[0].Of("nvidia.com/gpu"); q.Measured != nil {
		t.Errorf("%+v", q.Measured)
	}
	gpus := s.GPUs()
	if len(gpus) != 32 || gpus[0].Node != "a-1" || gpus[0].Type != "A100" || gpus[0].Health != view.Unknown || gpus[0].Probe != view.ProbeNone || gpus[0].Index != nil {
		t.Errorf("%d GPUs, the first %+v", len(gpus), gpus[0])
	}
}

func TestAGPUSaysWhatHoldsForAllWhoUseIt(t *testing.T) {
	gpu := []*wire.Gpu{{Uuid: "a", Busy: ptr(uint32(500)), AgeMs: 1500, Health: wire.Health_DEGRADED, HealthReason: "RowRemapPending"}}
	use := func(owner string, busy *uint32, idle *uint64, watched uint64) *wire.Use {
		return &wire.Use{Owner: owner, Gpu: "a", Busy: busy, IdleMs: idle, WatchedMs: watched}
	}
	long, short := ptr(uint64(600_000)), ptr(uint64(1000))
	for name, c := range map[string]struct {
		uses     []*wire.Use
		idle     *int64
		coverage string
	}{
		"nobody uses it":              {nil, nil, view.Sampled},
		"watched":                     {[]*wire.Use{use("j#0", ptr(uint32(0)), long, 600_000)}, ptr(int64(600_000)), view.Watched},
		"armed when it was idle":      {[]*wire.Use{use("j#0", ptr(uint32(0)), long, 585_000)}, ptr(int64(600_000)), view.Watched},
		"watched for too short":       {[]*wire.Use{use("j#0", ptr(uint32(0)), long, 584_999)}, ptr(int64(600_000)), view.Sampled},
		"the last of two counts":      {[]*wire.Use{use("j#0", nil, long, 700_000), use("k#0", nil, short, 0)}, ptr(int64(1000)), view.Sampled},
		"one of two is not known":     {[]*wire.Use{use("j#0", nil, long, 700_000), use("k#0", nil, nil, 0)}, nil, view.Unknown},
		"the first of two is unknown": {[]*wire.Use{use("j#0", nil, nil, 0), use("k#0", nil, long, 700_000)}, nil, view.Unknown},
	} {
		g := one(t, usage.Node{Connected: true, GPUs: gpu, Uses: c.uses}).GPUs()[0]
		if c.idle == nil != (g.Idle == nil) || c.idle != nil && *g.Idle != *c.idle || g.Coverage != c.coverage {
			t.Errorf("%s: idle for %v, %s", name, g.Idle, g.Coverage)
		}
		if !g.Unhealthy() || g.Reported.Sub(g.Measured).Milliseconds() != 1500 || g.SM != nil {
			t.Errorf("%s: %+v", name, g)
		}
	}
}

// A pod that was given a GPU is known by its name until it runs, and by a random UID then.
func TestUsersOfAGPUAreInAnOrderThatStays(t *testing.T) {
	host := &wire.Use{Owner: "host:/a.slice", Gpu: "a"}
	b := &wire.Use{Owner: "pod:team/b", Gpu: "a"}
	for _, uses := range [][]*wire.Use{
		{host, {Owner: "pod:team/a", Gpu: "a"}, b},
		{{Owner: "9f", Gpu: "a", Namespace: "team", Pod: "a"}, host, b},
		{{Owner: "1f", Gpu: "a", Namespace: "team", Pod: "b"}, {Owner: "9f", Gpu: "a", Namespace: "team", Pod: "a", NoLaunchMs: ptr(uint64(7000))}, host},
	} {
		g := one(t, usage.Node{Connected: true, GPUs: []*wire.Gpu{{Uuid: "a"}}, Uses: uses}).GPUs()[0]
		if u := g.Uses; u[0].Pod != "team/a" || u[1].Pod != "team/b" || u[2].Owner != "host:/a.slice" {
			t.Errorf("%+v", u)
		}
		if hangs := g.Uses[0].NoLaunch; (hangs != nil) != (g.Uses[0].Owner == "9f" && uses[0].Owner == "1f") || hangs != nil && *hangs != 7000 {
			t.Errorf("no launch for %v", hangs)
		}
	}
}

func TestInstancesFollowTheGPUThatTheyAreAPartOf(t *testing.T) {
	s := one(t, usage.Node{Connected: true, GPUs: []*wire.Gpu{
		{Uuid: "MIG-2", Index: 1, Parent: "GPU-b"}, {Uuid: "GPU-a", Index: 0}, {Uuid: "MIG-1", Index: 0, Parent: "GPU-b"}, {Uuid: "GPU-b", Index: 1}, {Uuid: "GPU-c", Index: 2},
	}})
	want := []string{"GPU-a", "GPU-b", "MIG-1", "MIG-2", "GPU-c"}
	for i, g := range s.GPUs() {
		if g.UUID != want[i] || g.Parent != "" && *g.ParentIndex != 1 {
			t.Errorf("%d is %s of %v, not %s", i, g.UUID, g.ParentIndex, want[i])
		}
	}
	if p := s.Probes(); len(p) != 1 || p[0].GPUs != 3 || p[0].State != view.ProbeConnected {
		t.Errorf("%+v", p)
	}
}

func TestANodeThatOnlyItsProbeKnowsIsListed(t *testing.T) {
	probes := &servetest.Probes{}
	c := servetest.New(t, servetest.Tree(), probes.Into(view.Options{}))
	probes.Set(usage.Node{Name: "coming", Connected: true, GPUs: []*wire.Gpu{{Uuid: "a"}}})
	s := c.Snapshot()
	if g, p := s.GPUs(), s.Probes(); len(g) != 1 || g[0].Node != "coming" || len(p) != 1 {
		t.Errorf("%+v %+v", g, p)
	}
}

// What was never measured must not look as if it had been idle.
func TestRealUseOverTimeSaysHowMuchOfItIsKnown(t *testing.T) {
	probes := &servetest.Probes{}
	c := servetest.New(t, servetest.Tree(), probes.Into(view.Options{}))
	c.Post(servetest.Node("n", "H100"), servetest.Job("j", "root.batch", "", 2, 4))
	sample := func() {
		c.Clock.Advance(c.Clock.Now() + view.FineStep)
		c.Sample()
	}
	sample()
	probes.Report(c, func(_ string, task int32) servetest.Doing { return servetest.Doing{Busy: 500, Unknown: task == 1} })
	sample()
	lost := probes.Usage()
	lost[0].Stale = true
	probes.Set(lost...)
	sample()
	u := c.Recorder.Usage("nvidia.com/gpu:H100", time.Time{}, "")
	if len(u.Queues) != 1 {
		t.Fatalf("%+v", u)
	}
	q := u.Queues[0]
	for i, want := range []struct{ used, measured, busy int64 }{{8000, 0, 0}, {8000, 4000, 2000}, {8000, 0, 0}} {
		if q.Used[i] != want.used || q.Measured[i] != want.measured || q.Busy[i] != want.busy {
			t.Errorf("sample %d: used %d, measured %d, busy %d", i, q.Used[i], q.Measured[i], q.Busy[i])
		}
	}
	if r := c.Recorder.Usage("cpu", time.Time{}, ""); r.Queues[0].Measured != nil || r.Queues[0].Busy != nil {
		t.Errorf("%+v", r.Queues[0])
	}
}

func TestAGPUTypeThatNobodyWasPromisedIsNotBorrowedInsideTheGuarantee(t *testing.T) {
	tree := spec.Tree{Root: &spec.Queue{Name: "root", Parent: true, Children: []*spec.Queue{
		{Name: "total", Guaranteed: spec.GPUs(8)},
		{Name: "typed", Guaranteed: spec.GPUs(4).Set("nvidia.com/gpu:A100", 4000)},
		{Name: "outer", Parent: true, Children: []*spec.Queue{{Name: "inner", Guaranteed: spec.GPUs(8)}}},
		{Name: "none"},
	}}}
	c := servetest.New(t, tree, view.Options{})
	c.Post(servetest.Node("n", "H100"), servetest.Node("m", "H100"), servetest.Node("o", "H100"), servetest.Node("p", "H100"), servetest.Node("a", "A100"))
	c.Post(servetest.Job("a", "root.total", "H100", 1, 4), servetest.Job("b", "root.typed", "A100", 1, 6), servetest.Job("c", "root.outer.inner", "H100", 1, 8), servetest.Job("d", "root.none", "H100", 1, 2))
	s := c.Snapshot()
	for path, want := range map[string]map[string]int64{
		"root.total": {"nvidia.com/gpu": 0, "nvidia.com/gpu:H100": 0}, "root.typed": {"nvidia.com/gpu": 2000, "nvidia.com/gpu:A100": 2000},
		"root.outer": {"nvidia.com/gpu": 0, "nvidia.com/gpu:H100": 0}, "root.outer.inner": {"nvidia.com/gpu": 0, "nvidia.com/gpu:H100": 0},
		"root.none": {"nvidia.com/gpu": 2000, "nvidia.com/gpu:H100": 2000},
	} {
		q, _ := s.Queue(path)
		for resource, borrowed := range want {
			if r := q.Of(resource); r.Borrowed != borrowed || r.Used == 0 {
				t.Errorf("%s: %d of %d %s are borrowed, not %d", path, r.Borrowed, r.Used, resource, borrowed)
			}
		}
	}
}
