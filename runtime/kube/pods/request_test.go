package pods_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/runtime/kube/pods"
)

// said writes resources as name=amount.
func said(r spec.Resources) string {
	var out []string
	for _, e := range r {
		out = append(out, fmt.Sprintf("%s=%d", e.Name, e.Amount))
	}
	return strings.Join(out, " ")
}

func TestAPodAsksForWhatItsContainersTakeAtTheirPeak(t *testing.T) {
	for _, c := range []struct{ name, spec, want string }{
		{"a pod without requests counts as a pod", `
containers: [{name: a}]`, "pods=1"},
		{"containers add up", `
containers:
- {name: a, resources: {requests: {cpu: 500m, memory: 1Gi}}}
- {name: b, resources: {requests: {cpu: 2, memory: 1Gi, ephemeral-storage: 1k}}}`, "cpu=2500 ephemeral-storage=1000 memory=2147483648 pods=1"},
		{"an init container counts where it needs more", `
initContainers: [{name: i, resources: {requests: {cpu: 3, memory: 1Mi}}}]
containers: [{name: a, resources: {requests: {cpu: 1, memory: 2Mi}}}]`, "cpu=3000 memory=2097152 pods=1"},
		{"a sidecar runs beside the containers and later init containers", `
initContainers:
- {name: first, resources: {requests: {cpu: 4}}}
- {name: sidecar, restartPolicy: Always, resources: {requests: {cpu: 1}}}
- {name: last, resources: {requests: {cpu: 4}}}
containers: [{name: a, resources: {requests: {cpu: 2}}}]`, "cpu=5000 pods=1"},
		{"overhead of the runtime class comes on top", `
overhead: {cpu: 250m, memory: 120Mi}
containers: [{name: a, resources: {requests: {cpu: 1}}}]`, "cpu=1250 memory=125829120 pods=1"},
		{"pod-level requests are the pod's", `
resources: {requests: {cpu: 8}}
containers: [{name: a, resources: {requests: {cpu: 1, memory: 1Mi}}}]`, "cpu=8000 memory=1048576 pods=1"},
		{
			"GPUs are milli-GPUs, other devices are counts", `
containers: [{name: a, resources: {requests: {nvidia.com/gpu: 2, nvidia.com/mig-1g.10gb: 3, hugepages-2Mi: 4Mi}}}]`,
			"hugepages-2Mi=4194304 nvidia.com/gpu=2000 nvidia.com/mig-1g.10gb=3 pods=1",
		},
		{"GPUs of another vendor count in the total too", `
containers: [{name: a, resources: {requests: {amd.com/gpu: 4}}}]`, "amd.com/gpu=4000 nvidia.com/gpu=4000 pods=1"},
		{"a part of a byte is rounded up", `
containers: [{name: a, resources: {requests: {memory: 1500m, cpu: 100u}}}]`, "cpu=1 memory=2 pods=1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := said(mustRead(t, podOf(t, c.spec), &cluster{}).Request); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestRequestsThatCantBeAreRefused(t *testing.T) {
	for _, c := range []struct{ name, quantity, code string }{
		{"more memory than can be counted", "memory: 2Pi", "bad-quantity!"},
		{"more memory than an int64", "memory: 100E", "bad-quantity!"},
		{"a negative request", "cpu: -1", "bad-quantity!"},
		{"more cores than milli-cores can be counted", "cpu: 2P", "bad-quantity!"},
		{"half a GPU", "nvidia.com/gpu: 500m", "gpu-fraction!"},
		{"one and a half", "nvidia.com/gpu: 1500m", "gpu-fraction!"},
		{"a name the core keeps for itself", "'nvidia.com/gpu:H100': 1", "bad-quantity!"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := podOf(t, "containers: [{name: a, resources: {requests: {"+c.quantity+"}}}]")
			cl := &cluster{}
			_, problems := pods.Read(p, cl, cl.terms())
			if got := codes(problems); !slices.Equal(got, []string{c.code}) {
				t.Fatalf("got %v, want %s", got, c.code)
			}
			if problems[0].Field == "" || problems[0].Hint == "" || problems[0].Text == "" {
				t.Errorf("the problem does not say where, what and what to do: %+v", problems[0])
			}
		})
	}
}

func TestTheLargestAmountIsAccepted(t *testing.T) {
	p := podOf(t, fmt.Sprintf("containers: [{name: a, resources: {requests: {memory: %d}}}]", int64(amount.Limit)))
	if got, _ := mustRead(t, p, &cluster{}).Request.Get("memory"); got != amount.Limit {
		t.Errorf("got %d", got)
	}
}

func TestAPodThatIsBeingResizedCountsAsTheLarger(t *testing.T) {
	p := podOf(t, "containers: [{name: a, resources: {requests: {cpu: 1}}}]")
	p.Status.ContainerStatuses = parse[corev1.PodStatus](t, `
containerStatuses: [{name: a, image: x, imageID: x, ready: true, restartCount: 0, allocatedResources: {cpu: 3}, resources: {requests: {cpu: 2}}}]`).ContainerStatuses
	if got := said(mustRead(t, p, &cluster{}).Request); got != "cpu=3000 pods=1" {
		t.Errorf("got %s", got)
	}
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodResizePending, Reason: corev1.PodReasonInfeasible}}
	p.Spec.Containers[0].Resources.Requests["cpu"] = p.Status.ContainerStatuses[0].AllocatedResources["cpu"]
	p.Status.ContainerStatuses[0].AllocatedResources = p.Status.ContainerStatuses[0].Resources.Requests
	if got := said(mustRead(t, p, &cluster{}).Request); got != "cpu=2000 pods=1" {
		t.Errorf("an infeasible resize counts: got %s", got)
	}
}

func TestKAIsPartsOfGPUsAreRefusedNotIgnored(t *testing.T) {
	p := podOf(t, "containers: [{name: a}]")
	p.Annotations = map[string]string{"gpu-fraction": "0.5"}
	cl := &cluster{}
	_, problems := pods.Read(p, cl, cl.terms())
	if len(problems) != 1 || problems[0].Code != "gpu-fraction" || problems[0].Field != "metadata.annotations[gpu-fraction]" || !problems[0].Fatal {
		t.Errorf("got %+v", problems)
	}
}

func TestVolcanosPartsOfGPUsAreRefusedAsOnlyItsSchedulerHandsThemOut(t *testing.T) {
	for _, c := range []struct {
		name, resource string
		refused        bool
	}{
		{"virtual GPUs", "volcano.sh/vgpu-number: 1", true},
		{"the memory of virtual GPUs", "volcano.sh/vgpu-memory: 4096", true},
		{"shared memory of GPUs", "volcano.sh/gpu-memory: 1024", true},
		{"shared GPUs", "volcano.sh/gpu-number: 1", true},
		{"none of them", "volcano.sh/vgpu-number: 0", false},
		{"what the device plugin shares by itself", "nvidia.com/gpu.shared: 1", false},
		{"MIG instances", "nvidia.com/mig-1g.5gb: 1", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			cl := &cluster{}
			_, problems := pods.Read(podOf(t, "containers: [{name: a, resources: {requests: {"+c.resource+"}}}]"), cl, cl.terms())
			if got := len(problems) == 1 && problems[0].Code == "gpu-fraction" && problems[0].Fatal && problems[0].Field == "spec.containers"; got != c.refused {
				t.Errorf("got %+v, refused should be %t", problems, c.refused)
			}
		})
	}
}

func TestGPUTypesOfProductLabels(t *testing.T) {
	for label, want := range map[string]string{
		"NVIDIA-H100-80GB-HBM3": "H100", "NVIDIA-H100-PCIe": "H100", "nvidia-h100-mega-80gb": "H100", "H100": "H100",
		"NVIDIA-H200": "H200", "NVIDIA-B200": "B200", "NVIDIA-GB200": "GB200", "NVIDIA-GH200-480GB": "GH200",
		"NVIDIA-A100-SXM4-80GB": "A100", "nvidia-tesla-a100": "A100", "NVIDIA-A10": "A10", "NVIDIA-A10G": "A10G",
		"NVIDIA-L40S": "L40S", "NVIDIA-L4": "L4", "nvidia-l4": "L4", "Tesla-T4": "T4", "nvidia-tesla-t4": "T4",
		"Tesla-V100-SXM2-16GB": "V100", "AMD_Instinct_MI300X_OAM": "MI300X",
		"NVIDIA-A100-SXM4-40GB-MIG-1g.5gb": "A100-MIG-1g.5gb", "Tesla-T4-SHARED": "T4-SHARED",
		"Quadro-RTX-8000": "Quadro-RTX-8000", "made-by-us": "made-by-us", "": "",
	} {
		if got := pods.GPUType(label); got != want {
			t.Errorf("%q is %q, want %q", label, got, want)
		}
	}
}

func TestSelectorAndAffinityLeaveGPUTypes(t *testing.T) {
	const gpu = "containers: [{name: a, resources: {requests: {nvidia.com/gpu: 1}}}]\n"
	term := func(terms string) string {
		return gpu + "affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [" + terms + "]}}}"
	}
	in := func(products string) string {
		return "{matchExpressions: [{key: nvidia.com/gpu.product, operator: In, values: [" + products + "]}]}"
	}
	for _, c := range []struct {
		name, spec string
		want       []string
	}{
		{"any", gpu, nil},
		{"one product", gpu + "nodeSelector: {nvidia.com/gpu.product: NVIDIA-H100-80GB-HBM3}", []string{"H100"}},
		{"GKE's label", gpu + "nodeSelector: {cloud.google.com/gke-accelerator: nvidia-l4}", []string{"L4"}},
		{"a product of GKE that has no known model says nothing", gpu + "nodeSelector: {cloud.google.com/gke-accelerator: nvidia-x1}", nil},
		{"several products", term(in("NVIDIA-H200, NVIDIA-H100-PCIe, NVIDIA-H100-NVL")), []string{"H100", "H200"}},
		{"alternatives", term(in("H100") + "," + in("A100")), []string{"A100", "H100"}},
		{"an alternative without a product leaves any", term(in("H100") + ", {matchExpressions: [{key: x, operator: Exists}]}"), nil},
		{"an empty alternative selects nothing", term(in("H100") + ", {}"), []string{"H100"}},
		{"selector and affinity", term(in("H100, A100")) + "\nnodeSelector: {nvidia.com/gpu.product: A100}", []string{"A100"}},
		{"what contradicts itself is left to Where", term(in("H100")) + "\nnodeSelector: {nvidia.com/gpu.product: A100}", nil},
		{"a product not wanted says nothing", term("{matchExpressions: [{key: nvidia.com/gpu.product, operator: NotIn, values: [H100]}]}"), nil},
		{"a pod without GPUs has no type", "containers: [{name: a}]\nnodeSelector: {nvidia.com/gpu.product: H100}", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := mustRead(t, podOf(t, c.spec), &cluster{}).GPUTypes; !slices.Equal(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func TestAClusterNamesItsOwnGPUTypes(t *testing.T) {
	o := pods.Options{GPULabels: []string{"gpu"}, GPUTypes: map[string]string{"NVIDIA-A100-SXM4-80GB": "A100-80", "gen5": "H100"}}
	p := podOf(t, "containers: [{name: a, resources: {requests: {nvidia.com/gpu: 1}}}]\nnodeSelector: {gpu: NVIDIA-A100-SXM4-80GB}")
	task, _ := pods.Read(p, &cluster{}, pods.NewTerms(o, nil))
	if !slices.Equal(task.GPUTypes, []string{"A100-80"}) {
		t.Errorf("got %v", task.GPUTypes)
	}
}
