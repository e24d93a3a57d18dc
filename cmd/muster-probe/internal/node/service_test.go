package node

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/musterhq/muster/gpuprobe/agent"
	"github.com/musterhq/muster/gpuprobe/push"
	"github.com/musterhq/muster/gpuprobe/wire"
	api "github.com/musterhq/muster/runtime/kube/api/v1alpha1"
)

// leader is a scheduler, as far as reports are concerned. Only what stands behind a door
// speaks gRPC, so this is all that a stream takes of HTTP/2: its first frame of data.
type leader struct {
	reports chan *wire.NodeReport
	tokens  chan string
}

func newLeader(t *testing.T) (*leader, string) {
	t.Helper()
	l := &leader{reports: make(chan *wire.NodeReport, 100), tokens: make(chan string, 100)}
	server := httptest.NewUnstartedServer(l)
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return l, server.Listener.Addr().String()
}

func (l *leader) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.tokens <- r.Header.Get("Authorization")
	w.Header().Set("Content-Type", "application/grpc")
	w.WriteHeader(http.StatusOK)
	w.(http.Flusher).Flush()
	for {
		var head [5]byte // whether it is compressed, and its length
		if _, err := io.ReadFull(r.Body, head[:]); err != nil {
			return
		}
		body := make([]byte, binary.BigEndian.Uint32(head[1:]))
		if _, err := io.ReadFull(r.Body, body); err != nil {
			return
		}
		report := &wire.NodeReport{}
		if err := proto.Unmarshal(body, report); err != nil {
			return
		}
		l.reports <- report
	}
}

func TestAProbeReportsAndIsAlive(t *testing.T) {
	leader, address := newLeader(t)
	dir := t.TempDir()
	listening := make(chan net.Addr, 1)
	s := &Service{
		Options: Options{
			Name: "gpu-17", NVML: filepath.Join(dir, "none.so"), KubeletSocket: filepath.Join(dir, "kubelet.sock"),
			Interval: 200 * time.Millisecond, Log: slog.New(slog.DiscardHandler),
		},
		Push:   &push.Options{Addresses: []string{address}, Jitter: -1, Token: func() (string, error) { return "proof", nil }},
		Listen: "127.0.0.1:0", Debug: true, Listening: func(a net.Addr) { listening <- a },
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	base := "http://" + (<-listening).String()

	r := <-leader.reports
	if r.Node != "gpu-17" || r.BootId == "" || !r.Full || r.Seq != 1 || len(r.Sources) != 4 || r.Sources[0].Reason != "LibraryNotFound" {
		t.Errorf("%v", r)
	}
	if token := <-leader.tokens; token != "Bearer proof" {
		t.Errorf("token %q", token)
	}
	for path, want := range map[string]string{
		"/healthz": "ok", "/readyz": "ok", "/debug/state": `"node":"gpu-17"`,
		"/metrics": `muster_probe_scheduler_up{reason=""} 1`,
	} {
		if got := get(t, base+path); !strings.Contains(got, want) {
			t.Errorf("%s: %s", path, got)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func get(t *testing.T, url string) string {
	t.Helper()
	answer, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	if answer.StatusCode != http.StatusOK {
		t.Errorf("%s: %s", url, answer.Status)
	}
	return string(body)
}

func to[T any](v T) *T { return &v }

func TestStatusOfAGPUNode(t *testing.T) {
	at := time.Unix(1000, 0)
	if _, ok := Status(&agent.State{}); ok {
		t.Error("nothing is told before the driver was asked")
	}
	got, ok := Status(&agent.State{
		Sweep: 1, System: agent.System{Driver: "580.95.05", CUDA: 12080},
		Sources: []agent.Source{
			{Name: agent.SourceNVML, Up: true},
			{Name: agent.SourceEBPF, Reason: "KernelTooOld", Detail: "5.15"},
			{Name: agent.SourcePodResources, Up: true},
			{Name: agent.SourceProcfs, Up: true},
		},
		GPUs: []agent.GPU{
			{UUID: "GPU-0", MIG: true, Health: wire.Health_HEALTHY, HealthSince: at, MemoryTotal: to(uint64(80 << 30)), Busy: to(uint32(500))},
			{UUID: "MIG-0", Parent: "GPU-0", Profile: "1g.10gb", Health: wire.Health_HEALTHY},
			{UUID: "GPU-1", Index: 1, Health: wire.Health_UNRESPONSIVE, HealthReason: "DriverUnresponsive", Recovery: to(uint32(1))},
		},
	})
	if !ok || got.CUDA != "12.8" || got.Driver != "580.95.05" || len(got.GPUs) != 2 {
		t.Fatalf("%+v", got)
	}
	if g := got.GPUs[0]; g.MIG[0] != (api.MIGInstance{UUID: "MIG-0", Profile: "1g.10gb"}) || g.Health.State != api.GPUHealthy || !g.Health.Since.Time.Equal(at) {
		t.Errorf("%+v", g)
	}
	if g := got.GPUs[1]; g.Health.State != api.GPUUnresponsive || g.Health.Reason != "DriverUnresponsive" || g.Health.RecoveryAction != api.RecoveryReset {
		t.Errorf("%+v", g)
	}
	conditions := map[string]string{}
	for _, c := range got.Conditions {
		conditions[c.Type] = string(c.Status) + " " + c.Reason
	}
	for name, want := range map[string]string{
		api.GPUNodeNVMLReady: "True Up", api.GPUNodeEBPFReady: "False KernelTooOld",
		api.GPUNodePodResourcesReady: "True Up", api.GPUNodeDriverResponsive: "False Hangs",
	} {
		if conditions[name] != want {
			t.Errorf("%s: %s", name, conditions[name])
		}
	}
}

// failing is a state in which a GPU failed.
func failing() *agent.State {
	return &agent.State{
		Sweep: 1, System: agent.System{Driver: "580.95.05", Load: "boot/1"},
		Sources: []agent.Source{{Name: agent.SourceNVML, Up: true}},
		GPUs: []agent.GPU{
			{UUID: "GPU-0", Product: "NVIDIA H100", Health: wire.Health_HEALTHY},
			{UUID: "GPU-1", Index: 1, Product: "NVIDIA H100", PCI: "00000000:19:00.0", Health: wire.Health_FAILED, HealthReason: "Xid79", HealthSince: time.Unix(1000, 0)},
		},
	}
}

func TestWhatAGPUNodeSaysOfHealthIsThePastOfTheNextProbe(t *testing.T) {
	status, _ := Status(failing())
	want := agent.Past{Load: "boot/1", GPUs: []agent.PastGPU{
		{UUID: "GPU-0", Product: "NVIDIA H100", Health: wire.Health_HEALTHY},
		{UUID: "GPU-1", Index: 1, Product: "NVIDIA H100", PCI: "00000000:19:00.0", Health: wire.Health_FAILED, Reason: "Xid79", Since: time.Unix(1000, 0)},
	}}
	if got := Past(status, nil); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
	status.GPUs[1].Health.State = "Exploded"
	if got := Past(status, errors.New("odd")); got.GPUs[1].Health != wire.Health_HEALTH_UNKNOWN || got.Unknown != "odd" {
		t.Errorf("%+v", got)
	}
}

// A probe that starts while the driver is away must not write over what is known.
func TestWithoutADriverTheGPUsOfBeforeStayInTheGPUNode(t *testing.T) {
	past, _ := Status(failing())
	now, _ := Status(&agent.State{Sweep: 1, Sources: []agent.Source{{Name: agent.SourceNVML, Reason: "Unresponsive"}}})
	keep(&now, &past)
	if len(now.GPUs) != 2 || now.DriverLoad != "boot/1" || now.GPUs[1].Health != past.GPUs[1].Health {
		t.Errorf("%+v", now)
	}
	if h := now.GPUs[0].Health; h.State != api.GPUUnknown || h.Reason == "" || past.GPUs[0].Health.State != api.GPUHealthy {
		t.Errorf("%+v", h)
	}
}

func TestOneStartOfTheDriverIsToldFromAnother(t *testing.T) {
	root := t.TempDir()
	o := Options{HostRoot: root}
	if got := o.load(); got != "" {
		t.Errorf("without /proc: %q", got)
	}
	put := func(name, text string) {
		t.Helper()
		file := filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	seen := map[string]string{}
	is := func(what string) {
		t.Helper()
		got := o.load()
		if got != o.load() || got == "" || seen[got] != "" {
			t.Errorf("%s: %q, as %s", what, got, seen[got])
		}
		seen[got] = what
	}
	put("proc/sys/kernel/random/boot_id", "8f1c\n")
	is("no module")
	put("sys/module/nvidia/refcnt", "1")
	is("the module")
	put("sys/module/anew/refcnt", "1")
	if err := errors.Join(os.RemoveAll(filepath.Join(root, "sys/module/nvidia")), os.Rename(filepath.Join(root, "sys/module/anew"), filepath.Join(root, "sys/module/nvidia"))); err != nil {
		t.Fatal(err)
	}
	is("the module, loaded again")
	put("proc/sys/kernel/random/boot_id", "8f1d\n")
	is("another start of the machine")
}

func TestPodsAreNamedByTheFoldersOfTheirLogs(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"team_trainer-0_8f1c0000-0000-4000-8000-000000000001", "junk"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	names := PodNames(dir)
	if ns, pod, ok := names("8f1c0000-0000-4000-8000-000000000001"); !ok || ns != "team" || pod != "trainer-0" {
		t.Errorf("%s %s %v", ns, pod, ok)
	}
	if _, _, ok := names("unknown"); ok {
		t.Error("nobody knows that one")
	}
	if _, _, ok := PodNames(filepath.Join(dir, "none"))("unknown"); ok {
		t.Error("there is no such folder")
	}
}

func TestTheSteadyClockWakes(t *testing.T) {
	c := NewSteady()
	at := c.Now() + int64(2*time.Millisecond)
	if <-c.Wake(at) != at || c.Now() < at {
		t.Error("woken before the time")
	}
	<-c.Wake(0) // long ago: at once
}
