//go:build gpu

package gpucheck

import (
	"errors"
	"fmt"
	"math"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/musterhq/muster/gpuprobe/nvml"
)

func library(t *testing.T) nvml.Library {
	t.Helper()
	lib, err := nvml.Open()
	if err != nil {
		t.Fatal(err)
	}
	g := nvml.Guard(lib, nvml.DefaultDeadline)
	t.Cleanup(func() { _ = g.Close() })
	return g
}

func first(t *testing.T) nvml.Device {
	t.Helper()
	list, err := library(t).Devices()
	if err != nil || len(list) == 0 {
		t.Fatal("no GPU: ", err)
	}
	return list[0]
}

// nvidia-smi is asked the same.
func TestNVMLAgreesWithNvidiaSmi(t *testing.T) {
	lib := library(t)
	sys, err := lib.System()
	if err != nil {
		t.Fatal(err)
	}
	found(t, "driver %s, NVML %s, CUDA %d, functions that are missing: %v", sys.Driver, sys.NVML, sys.CUDA, sys.Missing)
	list, err := lib.Devices()
	if err != nil {
		t.Fatal(err)
	}
	rows := strings.Split(strings.TrimSpace(output("nvidia-smi", "--query-gpu=uuid,name,pci.bus_id,memory.total,memory.used,power.draw", "--format=csv,noheader,nounits")), "\n")
	if len(rows) != len(list) {
		wrong(t, "nvidia-smi knows %d GPUs and we %d", len(rows), len(list))
		return
	}
	for i, d := range list {
		f := strings.Split(rows[i], ", ")
		id, err := d.Identity()
		if err != nil || id.UUID != f[0] || id.Product != f[1] || id.PCI != f[2] {
			wrong(t, "%+v (%v) is to nvidia-smi %s", id, err, rows[i])
		}
		m, err := d.Memory()
		if err != nil {
			wrong(t, "memory: %v", err)
			continue
		}
		const mib = 1 << 20
		near(t, "memory in total, MiB", float64(m.Total/mib), f[3], 2)
		near(t, "memory used, MiB", float64(m.Used/mib), f[4], 64)
		s, err := d.Status()
		if err == nil && s.PowerMilliwatts != nil {
			near(t, "power, W", float64(*s.PowerMilliwatts)/1000, f[5], 30)
		}
		found(t, "GPU %d: %+v, %+v, recovery %v, throttle %v (%v)", i, id, m, deref(s.Recovery), deref(s.Throttle), err)
	}
}

func deref[T any](p *T) string {
	if p == nil {
		return "unknown"
	}
	return fmt.Sprint(*p)
}

func near(t *testing.T, what string, ours float64, theirs string, within float64) {
	t.Helper()
	v, err := strconv.ParseFloat(theirs, 64)
	if err != nil || math.Abs(ours-v) > within {
		wrong(t, "%s: %g, and nvidia-smi says %s", what, ours, theirs)
	}
}

// What each call costs.
func TestWhatCallsCost(t *testing.T) {
	d := first(t)
	for name, call := range map[string]func() error{
		"Memory":             func() error { _, err := d.Memory(); return err },
		"Utilization":        func() error { _, err := d.Utilization(); return err },
		"Processes":          func() error { _, err := d.Processes(); return err },
		"ProcessUtilization": func() error { _, err := d.ProcessUtilization(); return err },
		"Status":             func() error { _, err := d.Status(); return err },
		"MIG":                func() error { _, err := d.MIG(); return err },
	} {
		start := time.Now()
		var err error
		for range 100 {
			err = errors.Join(err, call())
		}
		found(t, "%s: %s a call%s", name, (time.Since(start) / 100).Round(time.Microsecond), errorText(err))
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	text, _, _ := strings.Cut(err.Error(), "\n")
	return ", error: " + text
}

// Whose pids does the driver tell, and how well is half a load measured?
func TestUseOfAProcess(t *testing.T) {
	p := torch(t)
	d := first(t)
	list, err := d.Processes()
	there := false
	for _, q := range list {
		there = there || q.PID == p.pid()
		if q.PID == p.pid() {
			found(t, "its memory: %s bytes", deref(q.Memory))
		}
	}
	if !there {
		wrong(t, "pid %d has a context and is not among %v (%v): are these the host's pids?", p.pid(), list, err)
	}
	_, _ = d.ProcessUtilization()
	_, _ = d.Utilization()
	_, _ = d.GPM()
	p.do("m = torch.ones(8192, 8192, device='cuda'); r = 0")
	p.do("e = time.time() + 10; exec('while time.time() < e:\\n    b = time.time()\\n    while time.time() < b + .05: torch.mm(m, m); torch.cuda.synchronize()\\n    time.sleep(.05)')")
	use, err := d.ProcessUtilization()
	found(t, "half a load for 10 s: by process %+v (%v)", use[p.pid()], err)
	busy, err := d.Utilization()
	found(t, "half a load for 10 s: device %d permille (%v)", busy, err)
	sm, err := d.GPM()
	found(t, "half a load for 10 s: GPM %d permille (%v)", sm, err)
	time.Sleep(5 * time.Second)
	_, _ = d.ProcessUtilization()
	time.Sleep(5 * time.Second)
	use, err = d.ProcessUtilization()
	if u, ok := use[p.pid()]; ok && u.SM > 0 {
		wrong(t, "idle for 10 s: %+v", u)
	}
	found(t, "idle: by process %+v (%v)", use[p.pid()], err)
}

// A kernel that reads what is not its own: an XID that is the application's fault.
func TestAnIllegalAddressIsAnEvent(t *testing.T) {
	lib := library(t)
	for {
		if _, err := lib.Events(100 * time.Millisecond); err != nil {
			break
		}
	}
	if err := exec.Command("python3", "-c", "import torch").Run(); err != nil {
		t.Skip("no torch")
	}
	_ = exec.Command("python3", "-c", `
import torch
x = torch.zeros(4, device='cuda'); i = torch.tensor([1 << 40], device='cuda')
torch.ops.aten._index_put_impl_(x, [i], torch.ones(1, device='cuda'), False, True)
torch.cuda.synchronize()
`).Run()
	e, err := lib.Events(10 * time.Second)
	found(t, "event %+v (%v)", e, err)
}
