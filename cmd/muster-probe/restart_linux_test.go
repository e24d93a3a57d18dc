//go:build linux && (amd64 || arm64)

package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/musterhq/muster/runtime/usage"
)

// apiServer has the GPUNode of gpu-1, and nothing else.
type apiServer struct {
	mu     sync.Mutex
	object map[string]any // nil before it was created
}

func newAPIServer(t *testing.T) (a *apiServer, kubeconfig string) {
	t.Helper()
	a = &apiServer{}
	server := httptest.NewServer(a)
	t.Cleanup(server.Close)
	kubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	must(t, os.WriteFile(kubeconfig, []byte(`{"clusters":[{"name":"c","cluster":{"server":"`+server.URL+`"}}],`+
		`"contexts":[{"name":"c","context":{"cluster":"c"}}],"current-context":"c"}`), 0o600))
	return a, kubeconfig
}

func (a *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	path, status := strings.CutSuffix(strings.TrimPrefix(r.URL.Path, "/apis/muster.dev/v1alpha1/gpunodes"), "/status")
	switch {
	case r.Method == http.MethodPost && path == "":
		_ = json.NewDecoder(r.Body).Decode(&a.object) // what is odd is found out by the test
		w.WriteHeader(http.StatusCreated)
	case a.object == nil || path != "/gpu-1":
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404}`)
		return
	case r.Method == http.MethodPatch && status:
		var patch []struct{ Value any }
		if err := json.NewDecoder(r.Body).Decode(&patch); err == nil && len(patch) == 1 {
			a.object["status"] = patch[0].Value
		}
	}
	_ = json.NewEncoder(w).Encode(a.object)
}

// says what the GPUNode has of the first GPU.
func (a *apiServer) says(t *testing.T) (state, reason, load string) {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	text, err := json.Marshal(a.object["status"])
	must(t, err)
	var s struct {
		DriverLoad string
		GPUs       []struct {
			Health struct{ State, Reason string }
		}
	}
	must(t, json.Unmarshal(text, &s))
	if len(s.GPUs) > 0 {
		state, reason = s.GPUs[0].Health.State, s.GPUs[0].Health.Reason
	}
	return state, reason, s.DriverLoad
}

// doctor is a scheduler that hears of health only: what it was told of the first GPU, in
// order.
type doctor struct {
	mu   sync.Mutex
	said []string
}

func (*doctor) Used(string, []usage.PodUse) {}

func (d *doctor) Health(_ string, gpus []usage.GPUHealth) {
	d.mu.Lock()
	defer d.mu.Unlock()
	said := "well"
	if len(gpus) == 0 {
		said = "gone"
	} else if gpus[0].Failed {
		said = gpus[0].Reason
	}
	if len(d.said) == 0 || d.said[len(d.said)-1] != said {
		d.said = append(d.said, said)
	}
}

func (d *doctor) heard(want ...string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Equal(d.said, want)
}

// A fatal XID is an event that is seen once. The probe is killed after that, as by a
// rollout or for want of memory, and another one starts; then the driver is loaded anew.
func TestAGPUThatFailedStaysSoOverARestartOfTheProbe(t *testing.T) {
	m := newMachine(t)
	d := &doctor{}
	_, address := serve(t, d)
	api, kubeconfig := newAPIServer(t)
	module := filepath.Join(m.root, "sys/module/nvidia")
	must(t, os.MkdirAll(module, 0o755), os.MkdirAll(module+"-anew", 0o755))
	m.gpus[0].Mute = 1
	m.tell()
	start := func() *probe {
		return m.probe(os.Args[0], address, "--interval=200ms", "--report-interval=400ms", "--first-report-within=0", "--ebpf=false", "--gpunode", "--kubeconfig="+kubeconfig)
	}

	first := start()
	eventually(t, "all is well", time.Minute, func() bool { return d.heard("well") })
	first.said("msg=GPUNode", "up")
	m.gpus[0].XID = 79
	m.tell()
	eventually(t, "the scheduler and the GPUNode know", time.Minute, func() bool {
		_, reason, load := api.says(t)
		return d.heard("well", "Xid79") && reason == "Xid79" && load != ""
	})
	must(t, syscall.Kill(first.pid, syscall.SIGKILL))

	second := start()
	second.said("was not repaired since", "reason")
	eventually(t, "its own metrics say so", time.Minute, func() bool {
		return second.metric(`muster_gpu_health{gpu="GPU-0",state="failed"}`) == "1"
	})
	eventually(t, "it reports", time.Minute, func() bool { return second.metric(`muster_probe_reports_total{kind="delta"}`) > "0" })
	if state, reason, _ := api.says(t); state != "Failed" || reason != "Xid79" {
		t.Errorf("the GPUNode says %s %s", state, reason)
	}
	if !d.heard("well", "Xid79") {
		t.Errorf("it was called well in between: %v", d.said)
	}
	must(t, syscall.Kill(second.pid, syscall.SIGKILL))

	must(t, os.Rename(module+"-anew", filepath.Join(m.root, "anew")), os.Remove(module), os.Rename(filepath.Join(m.root, "anew"), module))
	start().said("the machine or the driver was restarted", "level")
	eventually(t, "all is well again", time.Minute, func() bool { return d.heard("well", "Xid79", "well") })
}
