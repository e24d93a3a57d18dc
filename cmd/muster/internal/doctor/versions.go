package doctor

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/musterhq/muster/runtime/reload"
	"github.com/musterhq/muster/runtime/serve"
)

// abi compares the versions of the policy ABI: what modules need and what the scheduler
// speaks, which refuses those that need more, and what this program speaks, whose `policy
// check` and `policy build` people trust before they load something.
func abi(list []serve.Policy, spoken, ours string) Check {
	if spoken == "" {
		return skip("abi", "update it; schedulers from 0.4 on say so", "the scheduler does not say which policy ABI it speaks")
	}
	var refused, details, needed []string
	undecided := false
	for i := range list {
		p := &list[i]
		if v := p.Refused; v != nil && ofABI(v) {
			refused = append(refused, strings.TrimSpace(p.Name+" "+v.Version))
			details = append(details, fmt.Sprintf("%s: %s [%s]", p.Name, v.Text, v.Code))
			undecided = undecided || p.Active == nil
		}
		for _, v := range []*reload.Version{p.Active, p.Shadow} {
			if v != nil && v.ABI != "" {
				needed = append(needed, v.ABI)
			}
		}
	}
	slices.SortFunc(needed, compare)
	const mend = "update the scheduler, or build the policy with the SDK of its version; `muster policy inspect` shows what a module needs"
	switch {
	case undecided:
		return fail("abi", mend, "the scheduler speaks policy ABI %s, which is not that of %s: a built-in decides instead", spoken, some(refused)).with(details)
	case len(refused) > 0:
		return warn("abi", mend, "the scheduler speaks policy ABI %s, which is not that of %s: the version before decides", spoken, some(refused)).with(details)
	case compare(ours, spoken) > 0:
		return warn("abi", "update the scheduler, or check and build policies with the muster of its version", "the scheduler speaks policy ABI %s and this muster %s: what passes `policy check` here may be refused there", spoken, ours)
	case len(needed) == 0:
		return ok("abi", "the scheduler speaks policy ABI %s; no module is loaded", spoken)
	}
	if len(needed) == 1 {
		return ok("abi", "the scheduler speaks policy ABI %s; the one module it has needs %s", spoken, needed[0])
	}
	return ok("abi", "the scheduler speaks policy ABI %s; the %d modules it has need %s", spoken, len(needed), span(needed))
}

// ofABI says whether a version was refused for what it was built for.
func ofABI(v *reload.Version) bool {
	return v.Code == "abi-version" || strings.Contains(v.Text, "needs ABI ")
}

// span is "1.0", or "1.0 to 1.1", of sorted versions.
func span(versions []string) string {
	first, last := versions[0], versions[len(versions)-1]
	if first == last {
		return first
	}
	return first + " to " + last
}

// compare compares versions such as 1.10.
func compare(a, b string) int {
	x, y := strings.Split(a, "."), strings.Split(b, ".")
	for i := range min(len(x), len(y)) {
		m, _ := strconv.Atoi(x[i]) // what is no number is the oldest
		n, _ := strconv.Atoi(y[i])
		if c := cmp.Compare(m, n); c != 0 {
			return c
		}
	}
	return cmp.Compare(len(x), len(y))
}

// The labels of our pods, as the chart and the manifests have them.
const (
	ourPods   = "app.kubernetes.io/component in (scheduler,probe),app.kubernetes.io/name in (muster,muster-probe)"
	component = "app.kubernetes.io/component"
)

// images compares what the pods of the scheduler and of the probes run: they are released
// together, and tested with each other only.
func images(ctx context.Context, api kubernetes.Interface, in Installation) Check {
	pods, err := api.CoreV1().Pods(in.Namespace).List(ctx, metav1.ListOptions{LabelSelector: ourPods})
	if err != nil {
		return skip("versions", "may you list pods there?", "the pods in %s can't be listed: %v", in.Namespace, err)
	}
	run := map[string]map[string]int{} // image → component → pods
	for i := range pods.Items {
		p := &pods.Items[i]
		if p.DeletionTimestamp != nil || len(p.Spec.Containers) == 0 {
			continue
		}
		image := p.Spec.Containers[0].Image
		if run[image] == nil {
			run[image] = map[string]int{}
		}
		run[image][p.Labels[component]]++
	}
	var each []string
	for _, image := range slices.Sorted(maps.Keys(run)) {
		for _, what := range slices.Sorted(maps.Keys(run[image])) {
			each = append(each, fmt.Sprintf("%s of %d %s", image, run[image][what], cmp.Or(what, "other")+" pods"))
		}
	}
	switch {
	case len(run) == 0:
		return skip("versions", "--namespace names where Muster is installed", "there are no pods of Muster in %s", in.Namespace)
	case len(run) > 1:
		return warn("versions", "wait until the upgrade is over, or give all the image of one release; `kubectl rollout status` tells how far it is", "the pods of Muster run %d images: %s", len(run), strings.Join(each, ", ")).with(each)
	}
	return ok("versions", "all pods of Muster run one image: %s", strings.Join(each, ", "))
}
