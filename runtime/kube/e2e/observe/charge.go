package observe

import (
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

var onePod = resource.MustParse("1")

// charge makes a pod hold what is given instead of what it held, nil for nothing, and
// compares its node with what the node has. The caller holds the lock.
func (o *Observer) charge(p *Pod, requests corev1.ResourceList) {
	used := o.used[p.Node]
	if used == nil {
		used = map[corev1.ResourceName]int64{}
		o.used[p.Node] = used
	}
	for name, q := range p.requests {
		used[name] -= q.MilliValue()
	}
	for name, q := range requests {
		used[name] += q.MilliValue()
	}
	more := p.requests == nil && requests != nil
	p.requests = requests
	if more { // whoever is already there can't be blamed for a node that shrinks
		o.compare(p)
	}
}

// compare finds out whether a pod's node holds more than it has, now that the pod came.
func (o *Observer) compare(p *Pod) {
	has, known := o.nodes[p.Node]
	if !known {
		o.breach("pod %s/%s is bound to %s, which is no node", p.Namespace, p.Name, p.Node)
		return
	}
	for _, name := range slices.Sorted(maps.Keys(p.requests)) {
		asks, allocatable := p.requests[name], has[name]
		if used := o.used[p.Node][name]; !asks.IsZero() && used > allocatable.MilliValue() {
			o.breach("node %s holds %s of %s with pod %s/%s, and has %s",
				p.Node, resource.NewMilliQuantity(used, allocatable.Format), name, p.Namespace, p.Name, &allocatable)
		}
	}
}

// breach records a broken rule; a flood is cut off. The caller holds the lock.
func (o *Observer) breach(format string, args ...any) {
	if len(o.broken) < 100 {
		o.broken = append(o.broken, fmt.Sprintf(format, args...))
	}
}
