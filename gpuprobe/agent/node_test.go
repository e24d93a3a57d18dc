package agent

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/musterhq/muster/gpuprobe/bpf"
	"github.com/musterhq/muster/gpuprobe/cgroup"
	"github.com/musterhq/muster/gpuprobe/nvml"
	"github.com/musterhq/muster/gpuprobe/podresources"
	"github.com/musterhq/muster/runtime/clock"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// node is a machine made of fakes, on a clock that stands still.
type node struct {
	t     testing.TB
	clock *clock.Virtual
	gpus  *nvml.Fake
	bpf   *bpf.Fake
	who   *people
	kube  *kubelet
	agent *Agent

	mu     sync.Mutex
	states []*State // newest last
	told   int      // edges
	lib    nvml.Library
	libErr error
	names  map[string]string // uid to "ns/name"
}

const epoch = int64(1_700_000_000_000_000_000)

// newNode has n GPUs. change may alter the configuration; the agent runs until the test
// ends.
func newNode(t testing.TB, n int, change func(*Config)) *node {
	t.Helper()
	v := clock.NewVirtual(epoch)
	nd := &node{
		t: t, clock: v, who: &people{of: map[uint32]cgroup.Owner{}}, kube: &kubelet{}, names: map[string]string{},
		bpf: bpf.NewFake(func() time.Time { return time.Unix(0, v.Now()) }),
	}
	var ids []nvml.Identity
	for i := range n {
		ids = append(ids, nvml.FakeH100(i))
	}
	nd.gpus = nvml.NewFake(ids...)
	nd.lib = nd.gpus
	c := Config{
		Node: "node-1", Boot: "boot-1", Clock: v, Library: nd.library, Watcher: nd.bpf, Finder: nd.who, Lister: nd.kube,
		Sink: nd.take, PodName: nd.podName,
	}
	if change != nil {
		change(&c)
	}
	a, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	nd.agent = a
	return nd
}

// run starts the agent and waits for its first sweep.
func (n *node) run() *State {
	n.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.agent.Run(ctx) }()
	n.t.Cleanup(func() {
		_ = n.gpus.Close() // ends its wait for events
		cancel()
		if err := <-done; err != nil {
			n.t.Error(err)
		}
	})
	s := n.await("the first sweep", func(s *State) bool { return s.Sweep == 1 })
	n.settle()
	return s
}

func (n *node) library() (nvml.Library, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.libErr != nil {
		return nil, n.libErr
	}
	return n.lib, nil
}

func (n *node) setLibrary(l nvml.Library, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lib, n.libErr = l, err
}

func (n *node) podName(uid string) (string, string, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	name, ok := n.names[uid]
	if !ok {
		return "", "", false
	}
	var space, pod string
	_, _ = fmt.Sscanf(name, "%s %s", &space, &pod)
	return space, pod, true
}

func (n *node) take(s *State) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.states = append(n.states, s)
	if s.Edge {
		n.told++
	}
	if len(n.states) > 64 {
		n.states = n.states[32:]
	}
}

func (n *node) last() *State {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.states) == 0 {
		return &State{}
	}
	return n.states[len(n.states)-1]
}

// edges so far.
func (n *node) edges() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.told
}

func (n *node) now() time.Time { return time.Unix(0, n.clock.Now()) }

// pass moves the clock and nothing else.
func (n *node) pass(d time.Duration) { n.clock.Advance(n.clock.Now() + int64(d)) }

// await waits, with the clock standing, for a State that will do.
func (n *node) await(what string, ok func(*State) bool) *State {
	n.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(200 * time.Microsecond) {
		if s := n.last(); ok(s) {
			return s
		}
	}
	n.t.Fatalf("never came: %s; the last state is %+v", what, n.last())
	return nil
}

// sweep lets an interval pass, and returns the State at its end. The agent is at rest
// then: what was to be armed is.
func (n *node) sweep() *State {
	n.t.Helper()
	next := n.last().Sweep + 1
	n.pass(n.agent.c.Interval)
	n.await("the next sweep", func(s *State) bool { return s.Sweep >= next })
	n.settle()
	return n.last()
}

func (n *node) sweeps(times int) (s *State) {
	n.t.Helper()
	for range times {
		s = n.sweep()
	}
	return s
}

// settle waits until the agent has nothing under way.
func (n *node) settle() {
	n.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Microsecond) {
		answer := make(chan bool, 1)
		n.agent.atRest <- answer
		if <-answer {
			return
		}
	}
	n.t.Fatal("the agent does not come to rest")
}

// use of an owner and a GPU in a State.
func (n *node) use(s *State, owner string, gpu int) Use {
	n.t.Helper()
	for _, u := range s.Uses {
		if u.Owner == owner && u.GPU == nvml.FakeH100(gpu).UUID {
			return u
		}
	}
	n.t.Fatalf("no use of GPU %d by %s: %+v", gpu, owner, s.Uses)
	return Use{}
}

// put has pids hold contexts on a GPU, with 1 GiB each and the given use.
func (n *node) put(gpu int, use map[uint32]int) {
	n.gpus.GPU(gpu).Set(func(s *nvml.FakeState) {
		s.Processes, s.Use = nil, map[uint32]nvml.ProcessUse{}
		total := 0
		for pid, sm := range use {
			s.Processes = append(s.Processes, nvml.Process{PID: pid, Memory: to(uint64(1 << 30)), GI: -1, CI: -1})
			if sm > 0 {
				s.Use[pid] = nvml.ProcessUse{SM: sm, Samples: 10}
			}
			total += sm
		}
		s.Utilization = min(total, 1000)
		s.Memory.Used = uint64(len(use)) << 30
	})
}

// people own processes.
type people struct {
	mu sync.Mutex
	of map[uint32]cgroup.Owner
}

func (p *people) set(pid uint32, pod string, start uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.of[pid] = cgroup.Owner{Pod: pod, Start: start}
	if pod == "" {
		p.of[pid] = cgroup.Owner{Path: "/system.slice", Start: start}
	}
}

func (p *people) end(pid uint32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.of, pid)
}

func (p *people) Owner(pid uint32) (cgroup.Owner, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	o, ok := p.of[pid]
	if !ok {
		return o, fmt.Errorf("no process %d", pid)
	}
	return o, nil
}

func (p *people) Exited(uint32)                        {}
func (p *people) OfCgroup(uint64) (cgroup.Owner, bool) { return cgroup.Owner{}, false }

// kubelet has given devices to pods.
type kubelet struct {
	mu    sync.Mutex
	list  []podresources.Assignment
	err   error
	calls int
	hang  chan struct{} // if not nil, List waits for it
}

func (k *kubelet) give(gpu int, namespace, pod string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.list = append(k.list, podresources.Assignment{
		Namespace: namespace, Pod: pod, Resource: "nvidia.com/gpu", Device: nvml.FakeH100(gpu).UUID,
	})
}

func (k *kubelet) set(list []podresources.Assignment, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.list, k.err = list, err
}

func (k *kubelet) List(ctx context.Context) ([]podresources.Assignment, error) {
	k.mu.Lock()
	k.calls++
	list, err, hang := k.list, k.err, k.hang
	k.mu.Unlock()
	if hang != nil {
		select {
		case <-hang:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return list, err
}
