package simulate

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/musterhq/muster/gpuprobe/agent"
)

const (
	// sweep is how often a node's agent looks, and the window of what it measures.
	sweep = 5 * time.Second
	// maxGPUs of a node.
	maxGPUs = 64
)

// NodeOptions say what a node is.
type NodeOptions struct {
	Name    string
	Boot    string // "sim" if ""
	GPUs    int    // 8 if 0
	Product string // "Simulated GPU" if ""
	Memory  uint64 // bytes of each GPU; 80 GiB if 0
	Start   time.Time
	Faults  []Fault
}

// Pod uses GPUs.
type Pod struct {
	UID, Namespace, Name string
	GPUs                 []int
	Pattern              Pattern
	Start                time.Time
	// Unassigned says that the kubelet did not give it the GPUs.
	Unassigned bool
}

// Node is a simulated node. All methods may be called from any goroutine.
type Node struct {
	o NodeOptions

	mu      sync.Mutex
	pods    []Pod // by UID
	changed func()
}

// NewNode returns a node without pods.
func NewNode(o NodeOptions) (*Node, error) {
	o.Boot = cmp.Or(o.Boot, "sim")
	o.GPUs = cmp.Or(o.GPUs, 8)
	o.Product = cmp.Or(o.Product, "Simulated GPU")
	o.Memory = cmp.Or(o.Memory, 80<<30)
	if o.Name == "" || o.GPUs < 0 || o.GPUs > maxGPUs {
		return nil, fmt.Errorf("simulate: node %q with %d GPUs: it needs a name, and has at most %d [bad-node]", o.Name, o.GPUs, maxGPUs)
	}
	return &Node{o: o, changed: func() {}}, nil
}

// Name of the node.
func (n *Node) Name() string { return n.o.Name }

// Run starts a pod, in place of one with the same UID.
func (n *Node) Run(p Pod) error {
	for _, g := range p.GPUs {
		if g < 0 || g >= n.o.GPUs {
			return fmt.Errorf("simulate: pod %s: node %s has no GPU %d [no-gpu]", p.UID, n.o.Name, g)
		}
	}
	if p.UID == "" || p.Pattern.IsZero() {
		return fmt.Errorf("simulate: a pod on node %s needs a UID and a pattern [bad-pod]", n.o.Name)
	}
	p.GPUs = slices.Compact(slices.Sorted(slices.Values(p.GPUs)))
	n.change(p.UID, &p)
	return nil
}

// Stop ends a pod, if it is there.
func (n *Node) Stop(uid string) { n.change(uid, nil) }

// change replaces the list: those who read the old one go on.
func (n *Node) change(uid string, p *Pod) {
	n.mu.Lock()
	pods := slices.DeleteFunc(slices.Clone(n.pods), func(o Pod) bool { return o.UID == uid })
	if p != nil {
		pods = append(pods, *p)
		slices.SortFunc(pods, func(a, b Pod) int { return cmp.Compare(a.UID, b.UID) })
	}
	n.pods = pods
	changed := n.changed
	n.mu.Unlock()
	changed()
}

func (n *Node) running() []Pod {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.pods
}

// FreeGPUs are those that no pod uses, ascending.
func (n *Node) FreeGPUs() (free []int) {
	pods := n.running()
	for g := range n.o.GPUs {
		if !slices.ContainsFunc(pods, func(p Pod) bool { return slices.Contains(p.GPUs, g) }) {
			free = append(free, g)
		}
	}
	return free
}

// since is the time since the start of the pod, 0 before.
func (p *Pod) since(now time.Time) time.Duration { return max(0, now.Sub(p.Start)) }

// NextEdge is the next moment after a time at which something happens that a report can't
// wait for: a pod wakes up that had been idle for a sweep, or a GPU fails.
func (n *Node) NextEdge(after time.Time) (at time.Time, ok bool) {
	earlier := func(t time.Time) {
		if !ok || t.Before(at) {
			at, ok = t, true
		}
	}
	for _, p := range n.running() {
		if t, wakes := n.nextWake(&p, after); wakes {
			earlier(t)
		}
	}
	for _, f := range n.o.Faults {
		if t := n.o.Start.Add(f.At); (f.Kind == "hang" || f.Kind == "gpu-lost" || f.Kind == "xid") && t.After(after) {
			earlier(t)
		}
	}
	return at, ok
}

// maxTries bounds the search for a wake-up that somebody waits for.
const maxTries = 100

// nextWake is when a pod wakes up after a sweep had found it idle: only then is it watched.
func (n *Node) nextWake(p *Pod, after time.Time) (at time.Time, ok bool) {
	t := p.since(after)
	for range maxTries {
		if t, ok = p.Pattern.NextWake(t, sweep); !ok {
			return at, false
		}
		at = p.Start.Add(t)
		if n.armed(p, n.swept(at.Add(-1))) {
			return at, true
		}
	}
	return at, false
}

// armed says whether the launches of a pod are watched after a sweep: it had done nothing
// since the one before.
func (n *Node) armed(p *Pod, swept time.Time) bool {
	return swept.Sub(p.Start) >= 0 && !swept.Before(p.lastActive(swept).Add(sweep))
}

// lastActive is when the pod did something last, or its start.
func (p *Pod) lastActive(now time.Time) time.Time {
	last, _ := p.Pattern.LastActive(p.since(now))
	return p.Start.Add(last)
}

// swept is when the agent looked last, at now at the latest.
func (n *Node) swept(now time.Time) time.Time {
	since := now.Sub(n.o.Start)
	if since < 0 {
		return now
	}
	return now.Add(-since % sweep)
}

// State is what the node's agent knows.
func (n *Node) State(now time.Time) *agent.State {
	m := &moment{n: n, now: now, swept: n.swept(now), pods: n.running()}
	for _, f := range n.o.Faults {
		if f.on(now.Sub(n.o.Start)) {
			m.faults = append(m.faults, f)
		}
	}
	s := &agent.State{
		Node: n.o.Name, Boot: n.o.Boot, At: m.swept, Sweep: uint64(max(0, m.swept.Sub(n.o.Start))/sweep) + 1,
		Sources: m.sources(), System: agent.System{Driver: "simulated", NVML: "simulated"},
	}
	for g := range n.o.GPUs {
		s.GPUs = append(s.GPUs, m.gpu(g))
	}
	for i := range m.pods {
		for _, g := range m.pods[i].GPUs {
			s.Uses = append(s.Uses, m.use(&m.pods[i], g))
		}
	}
	return s
}
