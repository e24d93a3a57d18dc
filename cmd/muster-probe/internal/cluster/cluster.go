// Package cluster plays the probes of a cluster whose nodes are made of air, such as the
// test cluster: each node with GPUs reports what its pods do as their annotations say,
// with a token that the API server bound to that node, through the real agent's client.
package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"github.com/musterhq/muster/gpuprobe/push"
	"github.com/musterhq/muster/gpuprobe/simulate"
)

// Annotations that say what is played.
const (
	// UseAnnotation of a pod is its pattern (simulate.Pattern), from its start on; one that
	// is changed begins when it was changed. A pod with it that asks for no GPU uses one all
	// the same.
	UseAnnotation = "muster.dev/gpu-use"
	// FaultAnnotation of a node has its faults (simulate.Fault), separated by semicolons,
	// from the start of the simulation on.
	FaultAnnotation = "muster.dev/gpu-faults"
)

// gpu is the resource that is played.
const gpu = corev1.ResourceName("nvidia.com/gpu")

// audience that the scheduler wants in a probe's token.
const audience = "muster"

// Options of a simulation.
type Options struct {
	API API
	// Addresses of schedulers, host:port; TLS is nil on loopback only.
	Addresses []string
	TLS       *tls.Config
	// Account whose tokens the probes have.
	Account types.NamespacedName
	// Use is what pods without the annotation do.
	Use simulate.Pattern
	// Interval between reports, Jitter the most that a first one waits; those of push if 0.
	Interval, Jitter time.Duration
	Log              *slog.Logger
}

// Cluster is a simulation.
type Cluster struct {
	o     Options
	fleet *simulate.Fleet

	mu     sync.Mutex
	nodes  map[string]*node
	played map[types.UID]*played
}

type node struct {
	*simulate.Node
	uid     types.UID
	waiting map[types.UID]*corev1.Pod // for which there were not enough GPUs
}

// played is a pod that uses GPUs.
type played struct {
	node *node
	text string // its annotation
	past string // what it has done before, as phases of a pattern, "" or ending in a comma
	pod  simulate.Pod
}

// soon is how far ahead a change of a pod's pattern lies, so that it is still to come when
// the simulation looks for it.
const soon = 20 * time.Millisecond

// then is the pattern of a pod that does something else from now on: what it did before
// stays, so that one which was idle wakes up. What it did in several phases is forgotten.
func (p *played) then(text string, now time.Time) (past string, start time.Time) {
	did := p.pod.Pattern.String()
	did = strings.TrimPrefix(did, p.past)
	if strings.ContainsAny(did, ", ") || strings.Count(p.past, ",") > 60 {
		return "", now
	}
	lasted := max(soon, now.Add(soon).Sub(p.pod.Start)-lengthOf(p.past))
	return fmt.Sprintf("%s%s for %s,", p.past, did, lasted.Round(time.Millisecond)), p.pod.Start
}

// lengthOf is how long phases last that then wrote.
func lengthOf(past string) (sum time.Duration) {
	for phase := range strings.SplitSeq(past, ",") {
		if _, text, ok := strings.Cut(phase, " for "); ok {
			d, _ := time.ParseDuration(text) // it was written by then
			sum += d
		}
	}
	return sum
}

// New reads the nodes. Those that come later are not played.
func New(ctx context.Context, o Options) (*Cluster, error) {
	c := &Cluster{o: o, nodes: map[string]*node{}, played: map[types.UID]*played{}}
	list, err := o.API.Nodes(ctx)
	if err != nil {
		return nil, fmt.Errorf("the nodes can't be read: %w", err)
	}
	var nodes []*simulate.Node
	start := time.Now()
	for i := range list.Items {
		n, err := newNode(&list.Items[i], start)
		if err != nil {
			return nil, err
		}
		if n != nil {
			c.nodes[n.Name()] = n
			nodes = append(nodes, n.Node)
		}
	}
	if len(nodes) == 0 {
		return nil, errors.New("no node of this cluster has " + string(gpu))
	}
	c.fleet, err = simulate.NewFleet(nodes, simulate.FleetOptions{Push: c.client})
	return c, err
}

// newNode plays a node; nil if it has no GPUs.
func newNode(o *corev1.Node, start time.Time) (*node, error) {
	count := o.Status.Capacity[gpu]
	if count.IsZero() {
		return nil, nil //nolint:nilnil // a node without GPUs is no error
	}
	so := simulate.NodeOptions{Name: o.Name, GPUs: int(count.Value()), Product: o.Labels["nvidia.com/gpu.product"], Start: start}
	for _, text := range strings.Split(o.Annotations[FaultAnnotation], ";") {
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		f, err := simulate.ParseFault(text)
		if err != nil {
			return nil, fmt.Errorf("node %s, annotation %s: %w", o.Name, FaultAnnotation, err)
		}
		so.Faults = append(so.Faults, f)
	}
	n, err := simulate.NewNode(so)
	if err != nil {
		return nil, err
	}
	return &node{Node: n, uid: o.UID, waiting: map[types.UID]*corev1.Pod{}}, nil
}

// client is how a node's probe reports.
func (c *Cluster) client(n *simulate.Node) push.Options {
	return push.Options{
		Addresses: c.o.Addresses, TLS: c.o.TLS, Interval: c.o.Interval, Jitter: c.o.Jitter, Log: c.o.Log,
		Token: func() (string, error) { return c.token(n.Name()) },
	}
}

// token is one that the API server bound to the node, as it does for the pods there.
func (c *Cluster) token(name string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	hour := int64(3600)
	r, err := c.o.API.Token(ctx, c.o.Account, &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{
			Audiences: []string{audience}, ExpirationSeconds: &hour,
			BoundObjectRef: &authenticationv1.BoundObjectReference{Kind: "Node", APIVersion: "v1", Name: name, UID: c.nodes[name].uid},
		},
	})
	if err != nil {
		return "", fmt.Errorf("no token for node %s: %w", name, err)
	}
	return r.Status.Token, nil
}

// Run follows the pods and reports until the context ends.
func (c *Cluster) Run(ctx context.Context) error {
	_, follow := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: c.o.API.Pods(), ObjectType: &corev1.Pod{},
		Handler: cache.ResourceEventHandlerFuncs{
			AddFunc:    func(o any) { c.pod(o.(*corev1.Pod)) },
			UpdateFunc: func(_, o any) { c.pod(o.(*corev1.Pod)) },
			DeleteFunc: func(o any) {
				if gone, ok := o.(cache.DeletedFinalStateUnknown); ok {
					o = gone.Obj
				}
				if p, ok := o.(*corev1.Pod); ok {
					c.stop(p)
				}
			},
		},
	})
	go follow.RunWithContext(ctx)
	return c.fleet.Run(ctx)
}

// Status of the probes.
func (c *Cluster) Status() simulate.Status { return c.fleet.Status() }

// Trouble is what keeps one of the probes that are not connected from it, "" if all are.
func (c *Cluster) Trouble() string {
	for i := range len(c.nodes) {
		if s := c.fleet.Client(i).Status(); !s.Connected && s.Detail != "" {
			return s.Detail
		}
	}
	return ""
}

// pod plays a pod that was seen, or no longer.
func (c *Cluster) pod(p *corev1.Pod) {
	if p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
		c.stop(p)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := c.nodes[p.Spec.NodeName]; n != nil {
		c.play(n, p)
	}
}

func (c *Cluster) play(n *node, p *corev1.Pod) {
	text, said := p.Annotations[UseAnnotation]
	wants := gpusOf(p)
	now := c.played[p.UID]
	if wants == 0 && !said || now != nil && now.text == text {
		return
	}
	next := &played{node: n, text: text, pod: simulate.Pod{
		UID: string(p.UID), Namespace: p.Namespace, Name: p.Name, Start: time.Now(), Unassigned: wants == 0,
	}}
	does := text
	if !said {
		does = c.o.Use.String()
	}
	if now != nil {
		next.past, next.pod.Start = now.then(does, next.pod.Start)
	}
	var err error
	if next.pod.Pattern, err = simulate.ParsePattern(next.past + does); err != nil {
		c.o.Log.Warn("a pod's pattern can't be read", "pod", p.Namespace+"/"+p.Name, "annotation", UseAnnotation, "error", err)
		return
	}
	switch free := n.FreeGPUs(); {
	case now != nil:
		next.pod.GPUs = now.pod.GPUs
	case wants == 0:
		next.pod.GPUs = []int{0}
	case len(free) < wants:
		n.waiting[p.UID] = p // the one before it has not gone yet
		return
	default:
		next.pod.GPUs = slices.Clone(free[:wants])
	}
	delete(n.waiting, p.UID)
	if err := n.Run(next.pod); err != nil {
		c.o.Log.Warn("a pod can't be played", "pod", p.Namespace+"/"+p.Name, "error", err)
		return
	}
	c.played[p.UID] = next
}

// stop ends a pod; its GPUs go to those that wait for them.
func (c *Cluster) stop(p *corev1.Pod) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.nodes[p.Spec.NodeName]
	if n == nil {
		return
	}
	n.Stop(string(p.UID))
	delete(c.played, p.UID)
	delete(n.waiting, p.UID)
	for _, w := range n.waiting {
		c.play(n, w)
	}
}

// gpusOf is how many GPUs a pod asks for.
func gpusOf(p *corev1.Pod) (n int) {
	for i := range p.Spec.Containers {
		q := p.Spec.Containers[i].Resources.Limits[gpu]
		n += int(q.Value())
	}
	return n
}
