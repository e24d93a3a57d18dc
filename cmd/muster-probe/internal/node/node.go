// Package node puts the parts of the probe together for the machine that it runs on.
package node

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/musterhq/muster/gpuprobe/agent"
	"github.com/musterhq/muster/gpuprobe/bpf"
	"github.com/musterhq/muster/gpuprobe/cgroup"
	"github.com/musterhq/muster/gpuprobe/nvml"
	"github.com/musterhq/muster/gpuprobe/podresources"
)

// Options of New.
type Options struct {
	Name          string
	NVML          string // path of libnvidia-ml.so.1, "" to look for it
	HostRoot      string // where the host's files are, "" if ours are the host's
	EBPF          bool
	KubeletSocket string // "" for none
	Interval      time.Duration
	Duty          time.Duration
	IgnoreXIDs    []uint64
	Recall        bool // Agent.Recall will be called
	Sink          func(*agent.State)
	Log           *slog.Logger
}

// Node is an agent and what it holds open.
type Node struct {
	Agent *agent.Agent
	Clock Steady
	close []func() error
}

// New opens what is there; what is not becomes a source that is down.
func New(o Options) (*Node, error) {
	n := &Node{Clock: NewSteady()}
	library := nvml.NewReopener(o.openNVML, 0)
	n.close = append(n.close, library.Close)
	c := agent.Config{
		Node: o.Name, Boot: boot(), Clock: n.Clock, Library: library.Library, Finder: o.Finder(),
		Proxy: agent.ProxyOf(o.proc()), PodName: PodNames(filepath.Join("/", o.HostRoot, "var/log/pods")),
		Load: o.load, Recall: o.Recall,
		Sink: o.Sink, Log: o.Log, Interval: o.Interval, Duty: o.Duty, IgnoreXIDs: o.IgnoreXIDs,
		NoWatcher: bpf.Status{Reason: "TurnedOff", Detail: "turned off by --ebpf=false"},
	}
	if o.EBPF {
		c.Watcher = bpf.New(o.BPF())
		n.close = append(n.close, c.Watcher.Close)
	}
	if o.KubeletSocket != "" {
		kubelet, err := podresources.Kubelet(o.KubeletSocket, 3*time.Second)
		if err != nil {
			return nil, errors.Join(err, n.Close())
		}
		c.Lister = kubelet
		n.close = append(n.close, kubelet.Close)
	}
	a, err := agent.New(c)
	if err != nil {
		return nil, errors.Join(err, n.Close())
	}
	n.Agent = a
	return n, nil
}

// Close lets go of the driver, the kernel and the kubelet.
func (n *Node) Close() error {
	var errs []error
	for _, f := range n.close {
		errs = append(errs, f())
	}
	n.close = nil
	return errors.Join(errs...)
}

func (o Options) openNVML() (nvml.Library, error) { return nvml.Open(o.Paths()...) }

// Paths are where NVML is looked for.
func (o Options) Paths() []string {
	if o.NVML != "" {
		return []string{o.NVML}
	}
	return nvml.SearchPaths(o.HostRoot)
}

func (o Options) proc() string { return filepath.Join("/", o.HostRoot, "proc") }

// load names this start of the machine and of the driver on it. The kernel numbers the
// folder of a module in sysfs when it is loaded, and gives no number twice (kernfs); where
// that folder can't be seen, only the start of the machine is told.
func (o Options) load() string {
	text, err := os.ReadFile(filepath.Join(o.proc(), "sys/kernel/random/boot_id"))
	if err != nil {
		return ""
	}
	var module syscall.Stat_t
	_ = syscall.Stat(filepath.Join("/", o.HostRoot, "sys/module/nvidia"), &module) // then the number is 0: agent.LoadUnsure
	return fmt.Sprintf("%s/%d", strings.TrimSpace(string(text)), module.Ino)
}

// Finder finds owners in the host's /proc.
func (o Options) Finder() *cgroup.Files { return cgroup.New(cgroup.Options{Proc: o.proc()}) }

// BPF is where libcuda is looked for.
func (o Options) BPF() bpf.Options {
	if o.HostRoot == "" {
		return bpf.Options{}
	}
	return bpf.Options{Roots: []string{"", o.HostRoot, filepath.Join(o.HostRoot, "run/nvidia/driver")}}
}

// boot is another word with every start.
func boot() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // it does not fail
	return hex.EncodeToString(b[:])
}

// HostName is the node's name where nobody says it: NODE_NAME, or the machine's.
func HostName() string {
	host, _ := os.Hostname()
	return cmp.Or(os.Getenv("NODE_NAME"), host)
}

// podNamesKeep is for how long a listing of the folder of logs holds.
const podNamesKeep = 5 * time.Second

// PodNames tells pods by the kubelet's folder of their logs, whose folders are called
// namespace_name_UID; it knows none where that is not mounted.
func PodNames(folder string) func(uid string) (namespace, name string, ok bool) {
	var mu sync.Mutex
	var read time.Time
	known := map[string][2]string{}
	return func(uid string) (string, string, bool) {
		mu.Lock()
		defer mu.Unlock()
		if _, ok := known[uid]; !ok && time.Since(read) > podNamesKeep {
			read = time.Now()
			clear(known)
			entries, _ := os.ReadDir(folder)
			for _, e := range entries {
				if part := strings.Split(e.Name(), "_"); len(part) == 3 {
					known[part[2]] = [2]string{part[0], part[1]}
				}
			}
		}
		p, ok := known[uid]
		return p[0], p[1], ok
	}
}

// Run measures until the context ends.
func (n *Node) Run(ctx context.Context) error { return n.Agent.Run(ctx) }
