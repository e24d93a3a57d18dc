package servetest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/gpuprobe/wire"
	"github.com/musterhq/muster/runtime/serve/view"
	"github.com/musterhq/muster/runtime/usage"
)

// Probes stand for the probes of a cluster's nodes.
type Probes struct {
	mu    sync.Mutex
	nodes []usage.Node
}

// Into has a source ask the probes.
func (p *Probes) Into(o view.Options) view.Options {
	o.Usage, o.Pods = p.Usage, Pods
	return o
}

// Usage is the last report of every node.
func (p *Probes) Usage() []usage.Node {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.nodes)
}

// Set replaces all reports.
func (p *Probes) Set(nodes ...usage.Node) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.nodes = nodes
}

// UID is that of the pod of a task.
func UID(job string, task int32) string { return fmt.Sprintf("%s#%d", job, task) }

// Pods finds the job of a pod by its UID, or by its name, which is the same without the
// namespace.
func Pods(uid, namespace, name string) (string, bool) {
	if uid == "" && namespace == "team" {
		uid = name
	}
	job, task, ok := strings.Cut(uid, "#")
	_, err := strconv.Atoi(task)
	return job, ok && err == nil
}

// Doing is what one task does with its GPUs.
type Doing struct {
	Busy          uint32 // permille
	Idle, Watched uint64 // milliseconds
	Unknown       bool
}

// Report has every node report what its tasks do, each with whole GPUs of its own.
func (p *Probes) Report(c *Cluster, doing func(job string, task int32) Doing) {
	s := c.Snapshot()
	free := map[string]int{}
	reports := make(map[string]*usage.Node, len(s.Nodes))
	nodes := make([]usage.Node, len(s.Nodes))
	for i := range s.Nodes {
		n := &s.Nodes[i]
		nodes[i] = usage.Node{Name: n.Name, Boot: "boot-" + n.Name, Connected: true, At: c.Clock.Now(), Sources: []*wire.Source{
			{Name: "nvml", Up: true}, {Name: "ebpf", Up: true}, {Name: "podresources", Up: true},
		}}
		reports[n.Name] = &nodes[i]
		for g := range n.Devices {
			nodes[i].GPUs = append(nodes[i].GPUs, board(n, int(g)))
		}
	}
	for i := range s.Jobs {
		j := &s.Jobs[i]
		for _, t := range s.Tasks(j.ID) {
			does := doing(j.ID, t.Index)
			for range j.Groups[t.Group].Request[amount.GPUName] / 1000 {
				at := free[t.Node]
				free[t.Node]++
				if n := reports[t.Node]; at < len(n.GPUs) && t.State == "bound" && !does.Unknown {
					n.Uses = append(n.Uses, does.use(j.ID, t.Index, n.GPUs[at]))
				}
			}
		}
	}
	p.Set(nodes...)
}

// Measured is Busy with probes: train's first task has been idle for an hour, its second
// is not measured, everybody else works; GPU 3 of a-1 failed, GPU 7 is used by a process
// that nobody gave it to; the probe of h-3 is not heard of any more, that of h-2 has no
// eBPF.
func Measured(t testing.TB) (*Cluster, *Probes) {
	t.Helper()
	probes := &Probes{}
	c := Busy(t, probes.Into(view.Options{}))
	probes.Report(c, func(job string, task int32) Doing {
		if job == "train" {
			return Doing{Idle: 3_600_000, Watched: 7_200_000, Unknown: task == 1}
		}
		return Doing{Busy: 750, Watched: 1000}
	})
	nodes := probes.Usage()
	for i := range nodes {
		switch n := &nodes[i]; n.Name {
		case "a-1":
			n.GPUs[3].Health, n.GPUs[3].HealthReason = wire.Health_FAILED, "Xid79"
			n.Uses = append(n.Uses, &wire.Use{Owner: "host:/system.slice/miner.service", Gpu: n.GPUs[7].Uuid, Processes: 1, Assigned: ref(false)})
		case "h-2":
			n.Sources[1] = &wire.Source{Name: "ebpf", Reason: "NoBTF", Detail: "no BTF found for kernel version 5.4.0"}
		case "h-3":
			n.Connected, n.Stale = false, true
		}
	}
	probes.Set(nodes...)
	return c, probes
}

func board(n *view.Node, index int) *wire.Gpu {
	return &wire.Gpu{
		Uuid: fmt.Sprintf("GPU-%s-%d", n.Name, index), Index: uint32(index), AgeMs: 2000, Health: wire.Health_HEALTHY,
		Product: "NVIDIA " + n.GPUType, Busy: new(uint32), MemoryUsed: ref(uint64(0)), MemoryTotal: ref(uint64(80 << 30)), TemperatureC: ref(uint32(31)),
	}
}

func (d Doing) use(job string, task int32, g *wire.Gpu) *wire.Use {
	*g.Busy, *g.MemoryUsed = d.Busy, 60<<30
	g.Sm = ref(d.Busy * 2 / 3)
	return &wire.Use{
		Owner: UID(job, task), Gpu: g.Uuid, AgeMs: 2000, Busy: ref(d.Busy), Basis: wire.Basis_PROCESS, Memory: ref(uint64(60 << 30)),
		IdleMs: ref(d.Idle), WatchedMs: d.Watched, Processes: 1, Assigned: ref(true), Namespace: "team", Pod: UID(job, task),
	}
}

func ref[T any](v T) *T { return &v }
