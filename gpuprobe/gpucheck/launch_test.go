//go:build gpu

package gpucheck

import (
	"strconv"
	"testing"
	"time"

	"github.com/musterhq/muster/gpuprobe/bpf"
)

func watcher(t *testing.T) bpf.Watcher {
	t.Helper()
	w := bpf.New(bpf.Options{})
	t.Cleanup(func() { _ = w.Close() })
	if s := w.Status(); !s.Up {
		found(t, "launches can't be seen here: %s, %s", s.Reason, s.Detail)
		t.SkipNow()
	}
	return w
}

func arm(t *testing.T, w bpf.Watcher, pids ...uint32) {
	t.Helper()
	if err := w.Arm(pids); err != nil {
		t.Fatal(err)
	}
}

func launches(t *testing.T, w bpf.Watcher, pid uint32) uint64 {
	t.Helper()
	counts, err := w.Counts()
	if err != nil {
		t.Fatal(err)
	}
	return counts[pid].Launches
}

// What the probe sees of this machine, and where its probes sit.
func TestWhatThereIs(t *testing.T) {
	for _, f := range bpf.Check(bpf.Options{}) {
		found(t, "%s: ok %v, %s", f.Name, f.OK, f.Detail)
	}
	p := torch(t)
	w := watcher(t)
	arm(t, w, p.pid())
	for _, l := range w.Status().Libraries {
		found(t, "%s: %d functions, launches at %s", l.Path, l.Symbols, l.Place)
	}
}

// Is each launch that torch makes counted? A fused loop of small kernels, a CUDA graph and
// matrix products by cuBLAS.
func TestLaunchesAreCounted(t *testing.T) {
	p := torch(t)
	w := bpf.New(bpf.Options{Overrun: 1 << 30}) // a busy pid must stay armed here
	t.Cleanup(func() { _ = w.Close() })
	p.do("y = torch.ones(64, 64, device='cuda'); z = y @ y; torch.cuda.synchronize()")
	p.do("g = torch.cuda.CUDAGraph(); s = torch.cuda.Stream()")
	p.do("exec('with torch.cuda.graph(g):\\n    y2 = y + 1')")
	arm(t, w, p.pid())
	for _, c := range []struct {
		name, loop string
		want       uint64
	}{
		{"x.add_(1) 100,000 times", "[x.add_(1) for _ in range(100000)]; torch.cuda.synchronize(); r = 0", 100_000},
		{"a graph replayed 1,000 times", "[g.replay() for _ in range(1000)]; torch.cuda.synchronize(); r = 0", 1000},
		{"a matrix product 1,000 times", "[torch.mm(y, y, out=z) for _ in range(1000)]; torch.cuda.synchronize(); r = 0", 1000},
	} {
		before := launches(t, w, p.pid())
		p.do(c.loop)
		got := launches(t, w, p.pid()) - before
		if got < c.want {
			wrong(t, "%s: %d launches were seen", c.name, got)
			continue
		}
		found(t, "%s: %d launches were seen", c.name, got)
	}
}

// What do probes cost a program that does nothing but launch?
func TestWhatProbesCost(t *testing.T) {
	p := torch(t)
	w := bpf.New(bpf.Options{Overrun: 1 << 30})
	t.Cleanup(func() { _ = w.Close() })
	rate := func() float64 {
		best := 0.0
		for range 5 {
			r, err := strconv.ParseFloat(p.do("t = time.perf_counter(); [x.add_(1) for _ in range(50000)]; torch.cuda.synchronize(); r = 50000 / (time.perf_counter() - t)"), 64)
			if err != nil {
				t.Fatal(err)
			}
			best = max(best, r)
		}
		return best
	}
	without := rate()
	arm(t, w, 1) // somebody else
	other := rate()
	arm(t, w, p.pid())
	armed := rate()
	found(t, "launches/s, best of 5: %.0f without probes, %.0f while another pid is armed (%.1f %%), %.0f while armed (%.1f %%)",
		without, other, 100*(other/without-1), armed, 100*(armed/without-1))
}

// How long after its first launch is an idle process told of?
func TestAWakeUpIsToldAtOnce(t *testing.T) {
	p := torch(t)
	w := watcher(t)
	p.do("big = torch.zeros(1 << 28, device='cuda'); torch.cuda.synchronize()")
	arm(t, w, p.pid())
	for w.Events() != nil { // what came before
		select {
		case <-w.Events():
			continue
		case <-time.After(2 * time.Second):
		}
		break
	}
	if n := launches(t, w, p.pid()); n != 0 {
		wrong(t, "a process that sleeps has launched %d times", n)
	}
	start := time.Now()
	p.tell("x.add_(1); torch.cuda.synchronize()")
	for {
		select {
		case e := <-w.Events():
			if e.Kind == bpf.Woke && e.PID == p.pid() {
				found(t, "the edge came %s after the command", time.Since(start).Round(time.Microsecond))
				p.line()
				return
			}
		case <-time.After(5 * time.Second):
			wrong(t, "no edge within 5 s")
			return
		}
	}
}
