package pods

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	requests "k8s.io/component-helpers/resource"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/spec"
)

// requestOf is what a pod takes of a node, as kube-scheduler's NodeResourcesFit counts it:
// the larger of what is asked for, allocated and in effect while a resize is under way.
func requestOf(pod *corev1.Pod) (spec.Resources, []string) {
	list := requests.PodRequests(pod, requests.PodResourcesOptions{
		UseStatusResources: resized(pod), // it takes three times as long
		InPlacePodLevelResourcesVerticalScalingEnabled: true,
		UseDRANodeAllocatableResourceClaimStatus:       true,
	})
	out, bad := resources(list)
	return out.Set(amount.PodsName, 1), bad
}

// resources converts a list into base units, leaving zeros out. What can't be converted is
// left out too and told, in order. GPUs of vendors other than NVIDIA count under their own
// name, which keeps them on their nodes, and in the total.
func resources(list corev1.ResourceList) (out spec.Resources, bad []string) {
	out = make(spec.Resources, 0, len(list)+2)
	var gpus amount.Amount
	for name, q := range list {
		a, problem := base(string(name), q)
		if problem != "" {
			bad = append(bad, fmt.Sprintf("%s: %s is %s", name, q.String(), problem))
			continue
		}
		if a == 0 {
			continue
		}
		if amount.IsGPU(string(name)) {
			gpus = gpus.Add(a)
		}
		if string(name) != amount.GPUName {
			out = append(out, spec.Resource{Name: amount.Canonical(string(name)), Amount: a})
		}
	}
	if gpus > 0 {
		out = append(out, spec.Resource{Name: amount.GPUName, Amount: gpus})
	}
	slices.SortFunc(out, func(a, b spec.Resource) int { return cmp.Compare(a.Name, b.Name) })
	slices.Sort(bad)
	return out, bad
}

// base converts one quantity, rounding up.
func base(name string, q resource.Quantity) (a amount.Amount, problem string) {
	limit := int64(amount.Limit)
	milli := name == amount.CPUName || amount.IsGPU(name)
	if milli {
		limit /= 1000
	}
	switch {
	case strings.Contains(name, ":") || name == "vcore":
		return 0, "of a resource whose name the scheduler keeps for itself"
	case q.Sign() < 0:
		return 0, "negative"
	case q.CmpInt64(limit) > 0:
		return 0, fmt.Sprintf("more than %d", limit)
	case milli:
		return amount.Amount(q.MilliValue()), ""
	default:
		return amount.Amount(q.Value()), ""
	}
}

// sumInto adds b to a, at most amount.Limit of each.
func sumInto(a, b spec.Resources) spec.Resources {
	for _, r := range b {
		have, _ := a.Get(r.Name)
		a = a.Set(r.Name, min(have.Add(r.Amount), amount.Limit))
	}
	return a
}
