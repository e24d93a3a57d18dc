//go:build linux && (amd64 || arm64)

package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/runtime/usage"
)

var figures = flag.String("figures", "", "append what is measured at full size to this `FILE`; without it a small size runs")

// asProbe has this program be the probe.
const asProbe = "MUSTER_TEST_AS_PROBE"

func TestMain(m *testing.M) {
	if os.Getenv(asProbe) != "" {
		os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	goleak.VerifyTestMain(m)
}

// heard is the scheduler: it keeps what it is told.
type heard struct {
	mu   sync.Mutex
	pods map[string]usage.PodUse
	woke map[string]time.Time // when it was last told of a pod that it is not idle
	gpus int
}

func (h *heard) Used(_ string, uses []usage.PodUse) {
	now := time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, u := range uses {
		h.pods[u.UID] = u
		if u.Known && u.Idle == 0 {
			h.woke[u.UID] = now
		}
	}
}

func (h *heard) Health(_ string, gpus []usage.GPUHealth) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.gpus = len(gpus)
}

func (h *heard) pod(uid string) (u usage.PodUse, woke time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.pods[uid], h.woke[uid]
}

// watched says that a pod is known to have done nothing for so long, and that its next
// launch would be seen.
func (h *heard) watched(p *pod, idle time.Duration) bool {
	u, _ := h.pod(p.uid)
	return u.Known && u.Idle >= spec.Duration(idle) && u.Watched > 0
}

func scheduler(t testing.TB) (*heard, string) {
	t.Helper()
	h := &heard{pods: map[string]usage.PodUse{}, woke: map[string]time.Time{}}
	_, address := serve(t, h)
	return h, address
}

// serve takes reports on loopback.
func serve(t testing.TB, sink usage.Sink) (table *usage.Table, address string) {
	t.Helper()
	server, err := usage.NewServer(usage.Options{Sink: sink, Identify: usage.NamedByToken})
	must(t, err)
	server.SetLeading(true)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		must(t, <-ended)
	})
	return server.Table(), l.Addr().String()
}

// probe runs `muster-probe run` on a machine, as node gpu-1.
type probe struct {
	*program
	log string
}

func (m *machine) probe(binary, scheduler string, args ...string) *probe {
	m.t.Helper()
	token := filepath.Join(m.root, "token")
	must(m.t, os.WriteFile(token, []byte("gpu-1"), 0o600))
	p := &probe{log: filepath.Join(m.root, "log")}
	log, err := os.Create(p.log)
	must(m.t, err)
	defer func() { _ = log.Close() }() // the process has its own
	cmd := exec.Command(binary, append([]string{
		"run", "--node=gpu-1", "--nvml=" + m.nvml, "--host-root=" + m.root, "--kubelet-socket=",
		"--scheduler=" + scheduler, "--token-file=" + token, "--listen=127.0.0.1:0",
	}, args...)...)
	cmd.Env = append(os.Environ(), asProbe+"=1", "FAKE_NVML="+m.told.Name())
	cmd.Stderr = log
	p.program = start(m.t, cmd)
	m.t.Cleanup(func() {
		if text, _ := os.ReadFile(p.log); m.t.Failed() {
			m.t.Logf("the probe said\n%s", text)
		}
	})
	return p
}

// said waits for a line of the log, and returns what stands behind a word in it.
func (p *probe) said(line, word string) (value string) {
	p.t.Helper()
	eventually(p.t, "the probe says "+line, time.Minute, func() bool {
		text, err := os.ReadFile(p.log)
		must(p.t, err)
		for l := range strings.Lines(string(text)) {
			if _, rest, ok := strings.Cut(l, word+"="); ok && strings.Contains(l, line) && strings.HasSuffix(l, "\n") {
				value, _, _ = strings.Cut(strings.TrimSpace(rest), " ")
				return true
			}
		}
		return false
	})
	return value
}

// metric of the probe, as its /metrics tells it; "" if it is not there (yet).
func (p *probe) metric(name string) string {
	p.t.Helper()
	answer, err := http.Get("http://" + p.said("msg=serving", "address") + "/metrics")
	must(p.t, err)
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	must(p.t, err)
	for l := range strings.Lines(string(body)) {
		if value, ok := strings.CutPrefix(l, name+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// TestAWholeProbeWithoutAGPU has the probe run as it would on a node, the driver being
// stubs in C: a pod launches, and the scheduler hears it. At full size (-figures FILE) it
// measures what that takes, with 64 processes on 8 GPUs.
func TestAWholeProbeWithoutAGPU(t *testing.T) {
	c := whole{pods: 8, gpus: 2, wakes: 2, interval: time.Second}
	if *figures != "" {
		c = whole{pods: 64, gpus: 8, wakes: 20, interval: 5 * time.Second, run: time.Minute}
	}
	c.test(t)
}

// What waits for ever in a kernel is as busy as what works. Looks tell them apart.
func TestAHangIsToldToTheScheduler(t *testing.T) {
	m := newMachine(t)
	table, address := serve(t, nil)
	hangs, works := m.pod(0), m.pod(1)
	m.add(0, uint32(hangs.pid), 40)
	m.add(0, uint32(works.pid), 40)
	m.tell()
	p := m.probe(os.Args[0], address, "--interval=500ms", "--report-interval=1s", "--first-report-within=0", "--duty=3s")
	if p.said("name=ebpf", "up") != "true" {
		missing(t, "no eBPF here: %s", p.said("name=ebpf", "reason"))
	}
	silent := func(q *pod) *uint64 {
		n, _ := table.One("gpu-1")
		for _, u := range n.Uses {
			if u.GetOwner() == q.uid {
				return u.NoLaunchMs
			}
		}
		return nil
	}
	eventually(t, "the one that launches nothing is told, and not the other", time.Minute, func() bool {
		works.launch()
		ms := silent(hangs)
		return ms != nil && *ms >= 5000 && silent(works) == nil
	})
	hangs.launch() // the collective went on
	eventually(t, "it goes on", time.Minute, func() bool {
		hangs.launch()
		return silent(hangs) == nil
	})
}

type whole struct {
	pods, gpus, wakes int
	interval          time.Duration
	run               time.Duration // 0: nothing is measured
}

func (c whole) test(t *testing.T) {
	m := newMachine(t)
	h, address := scheduler(t)
	busy, idle := c.start(m)
	p := m.probe(c.binary(m), address, "--interval="+c.interval.String(), "--report-interval="+(2*c.interval).String(), "--first-report-within=0")
	if p.said("name=ebpf", "up") != "true" {
		missing(t, "no eBPF here: %s", p.said("name=ebpf", "reason"))
	}
	for _, q := range idle {
		eventually(t, "an idle pod is known to be, and is watched", time.Minute, func() bool { return h.watched(q, c.interval) })
	}
	for _, q := range busy {
		eventually(t, "a busy pod is known to be", time.Minute, func() bool {
			u, _ := h.pod(q.uid)
			return u.Known && u.Busy > 0 && u.Idle == 0 && u.GPUs == 1
		})
	}
	armed := fmt.Sprint(len(idle))
	eventually(t, "the idle ones are armed, and no others", time.Minute, func() bool {
		return p.metric("muster_probe_armed_pids") == armed
	})
	before := takenBy(t, p.pid)
	began := time.Now()
	var late []time.Duration
	for i := range c.wakes {
		late = append(late, h.wake(t, idle[i]))
		time.Sleep(time.Until(began.Add(c.run * time.Duration(i+1) / time.Duration(c.wakes))))
	}
	if u, woke := h.pod(idle[c.wakes].uid); woke.After(began) {
		t.Errorf("nobody woke this one: %+v", u)
	}
	if c.run > 0 {
		c.report(t, p, armed, before, time.Since(began), late)
	}
}

// start puts pods on GPUs. Every other on each is busy, by the word of NVML.
func (c whole) start(m *machine) (busy, idle []*pod) {
	for i := range c.pods {
		p := m.pod(i)
		if i/c.gpus%2 == 0 {
			busy = append(busy, p)
			m.add(i%c.gpus, uint32(p.pid), 20)
		} else {
			idle = append(idle, p)
			m.add(i%c.gpus, uint32(p.pid), 0)
		}
	}
	m.tell()
	return busy, idle
}

// wake has an idle pod launch once, and returns after what time the scheduler knew.
func (h *heard) wake(t *testing.T, p *pod) (late time.Duration) {
	t.Helper()
	at := p.launch()
	eventually(t, "the scheduler hears of the launch", time.Minute, func() bool {
		u, woke := h.pod(p.uid)
		late = woke.Sub(at)
		return late > 0 && u.Known
	})
	return late
}

// binary is the program as it is shipped where it is measured, else this one.
func (c whole) binary(m *machine) string {
	if c.run == 0 {
		return os.Args[0]
	}
	file := filepath.Join(m.root, "muster-probe")
	if b, err := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", file, ".").CombinedOutput(); err != nil {
		m.t.Fatalf("%v\n%s", err, b)
	}
	return file
}

func (c whole) report(t *testing.T, p *probe, armed string, before taken, took time.Duration, late []time.Duration) {
	now := takenBy(t, p.pid)
	cpu := (now.cpu - before.cpu) / took.Seconds()
	slices.Sort(late)
	var text strings.Builder
	fmt.Fprintf(&text, "\n## A whole probe, %d processes on %d GPUs (stubs in C), for %v\n\n| what | measured | goal |\n| --- | --- | --- |\n", c.pods, c.gpus, took.Round(time.Second))
	for _, row := range [][3]any{
		{"CPU, of one core", fmt.Sprintf("%.2f %%", cpu*100), "below 1 %"},
		{"resident (VmRSS)", fmt.Sprintf("%.1f MiB", now.rss), "below 40 MiB"},
		{"of that its own (RssAnon)", fmt.Sprintf("%.1f MiB", now.anonymous), ""},
		{"processes armed", armed, ""},
		{fmt.Sprintf("launch until the scheduler knows, p50 of %d", len(late)), late[len(late)/2].Round(10 * time.Microsecond), ""},
		{"most", late[len(late)-1].Round(10 * time.Microsecond), "1s"},
	} {
		fmt.Fprintf(&text, "| %v | %v | %v |\n", row[0], row[1], row[2])
	}
	t.Log(text.String())
	out, err := os.OpenFile(*figures, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	must(t, err)
	_, err = out.WriteString(text.String())
	must(t, err, out.Close())
	// The rest of what is resident are pages of the program's file. How many of those the
	// kernel maps at once is its choice, so they are told and not judged.
	if cpu > 0.01 || now.anonymous > 40 {
		t.Errorf("the goals are 1 %% of a core and 40 MiB:\n%s", text.String())
	}
}
