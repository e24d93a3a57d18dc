package v1alpha1

import (
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

const someGPU = "GPU-8f1c0000-1111-2222-3333-00000000000"

func gpuNode(fields string) string {
	return "apiVersion: muster.dev/v1alpha1\nkind: GPUNode\nmetadata: {name: node-1}\n" + fields + "\n"
}

func TestAGPUNodeThatCannotBeIsRefusedWithWhatToDo(t *testing.T) {
	c := load(t, "muster.dev_gpunodes.yaml")
	for _, tt := range []struct{ name, fields, want string }{
		{"an index as a UUID", `spec: {cordonedGPUs: ["0"]}`, "spec.cordonedGPUs[0]: write the UUID of a GPU as nvidia-smi -L prints it"},
		{"upper case", `spec: {cordonedGPUs: ["` + strings.ToUpper(someGPU) + `0"]}`, "in lower case"},
		{"the same GPU twice", `spec: {cordonedGPUs: ["` + someGPU + `1", "` + someGPU + `1"]}`, "spec.cordonedGPUs[1]"},
		{"no XID", `spec: {ignoredXIDs: [0]}`, "should be greater than or equal to 1"},
		{"an XID of no driver", `spec: {ignoredXIDs: [70000]}`, "should be less than or equal to 4095"},
		{"an XID in words", `spec: {ignoredXIDs: [Xid79]}`, "spec.ignoredXIDs[0]"},
		{"another state", `status: {gpus: [{uuid: a, index: 0, health: {state: Fine}}]}`, `"Healthy"`},
		{"trouble without a reason", `status: {gpus: [{uuid: a, index: 0, health: {state: Failed}}]}`, "a GPU that is not Healthy has a reason"},
		{"a GPU without a name", `status: {gpus: [{uuid: "", index: 0, health: {state: Healthy}}]}`, "status.gpus[0].uuid"},
		{"a GPU without health", `status: {gpus: [{uuid: a, index: 0}]}`, "status.gpus[0].health"},
		{"one GPU twice", `status: {gpus: [{uuid: a, index: 0, health: {state: Healthy}}, {uuid: a, index: 1, health: {state: Healthy}}]}`, "status.gpus[1]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := c.admit(t, gpuNode(tt.fields), ""); !strings.Contains(got, tt.want) {
				t.Errorf("said:\n%s\nwant %q", got, tt.want)
			}
		})
	}
}

// fullGPUNode uses every field.
func fullGPUNode() *GPUNode {
	since := metav1.NewTime(time.Unix(1_800_000_000, 0).UTC())
	n := &GPUNode{
		TypeMeta:   metav1.TypeMeta{APIVersion: GroupVersion.String(), Kind: "GPUNode"},
		ObjectMeta: metav1.ObjectMeta{Name: "node-1"},
		Spec:       GPUNodeSpec{IgnoredXIDs: []int32{13, 31}, CordonedGPUs: []GPUUUID{someGPU + "1", "MIG-" + someGPU + "1/7/0"}},
		Status: GPUNodeStatus{
			ObservedGeneration: 2, Driver: "580.95.05", CUDA: "13.0",
			Conditions: []metav1.Condition{{Type: GPUNodeNVMLReady, Status: metav1.ConditionTrue, Reason: "Answers", LastTransitionTime: since}},
		},
	}
	for i := range 8 {
		g := GPU{
			UUID: someGPU + fmt.Sprint(i), Index: int32(i), Product: "NVIDIA H100 80GB HBM3", Memory: Bytes(80 << 30),
			PCI: "00000000:18:00.0", Clique: "c1f0.7", Peers: []string{"00000000:19:00.0"},
			Health: GPUHealth{State: GPUHealthy, RecoveryAction: Recovery(0), Since: &since},
		}
		n.Status.GPUs = append(n.Status.GPUs, g)
	}
	n.Status.GPUs[3].MIGMode, n.Status.GPUs[3].MIG = true, []MIGInstance{{UUID: "MIG-1", Profile: "1g.10gb"}}
	n.Status.GPUs[5].Health = GPUHealth{State: GPUFailed, Reason: "Xid79", RecoveryAction: Recovery(1), Since: &since}
	n.Status.Summarize()
	return n
}

func TestAGPUNodeWithEverythingIsTakenAndReadsBack(t *testing.T) {
	c := load(t, "muster.dev_gpunodes.yaml")
	text, err := yaml.Marshal(fullGPUNode())
	if err != nil {
		t.Fatal(err)
	}
	if said := c.admit(t, string(text), ""); said != "" {
		t.Errorf("%s\nis refused:\n%s", text, said)
	}
	if !strings.Contains(string(text), "memory: 80Gi\n") {
		t.Errorf("memory is not written for people:\n%s", text)
	}
	var again GPUNode
	if err := yaml.UnmarshalStrict(text, &again); err != nil {
		t.Fatal(err)
	}
	back, err := yaml.Marshal(&again)
	if err != nil || string(back) != string(text) {
		t.Errorf("%v\n%s\nbecame\n%s", err, text, back)
	}
	if said := c.admit(t, gpuNode(""), ""); said != "" {
		t.Errorf("one without a spec is refused: %s", said)
	}
}

func TestTheSummaryIsWhatTheTableShows(t *testing.T) {
	failed := func(i int32) GPU {
		return GPU{Index: i, Product: "A", Health: GPUHealth{State: GPUFailed, Reason: "GpuLost"}}
	}
	for _, tt := range []struct {
		name             string
		gpus             []GPU
		healthy          int64
		product, trouble string
	}{
		{"none", nil, 0, "", ""},
		{"all well", []GPU{{Product: "A", Health: GPUHealth{State: GPUHealthy}}}, 1, "A", ""},
		{"products differ", []GPU{{Product: "A", Health: GPUHealth{State: GPUHealthy}}, {Product: "B", Health: GPUHealth{State: GPUHealthy}}, {Product: "A", Health: GPUHealth{State: GPUHealthy}}}, 3, "A and 1 more", ""},
		{"one failed", []GPU{{Product: "A", Health: GPUHealth{State: GPUHealthy}}, failed(1)}, 1, "A", "1: Failed GpuLost"},
		{"three failed", []GPU{failed(0), failed(1), failed(2)}, 0, "A", "0: Failed GpuLost, and 2 more"},
	} {
		s := GPUNodeStatus{GPUs: tt.gpus}
		s.Summarize()
		if *s.GPUCount != int64(len(tt.gpus)) || *s.HealthyCount != tt.healthy || s.Product != tt.product || s.Trouble != tt.trouble {
			t.Errorf("%s: %d of %d, product %q, trouble %q", tt.name, *s.HealthyCount, *s.GPUCount, s.Product, s.Trouble)
		}
	}
}

func TestRecoveryActionsHaveNames(t *testing.T) {
	for n, want := range []GPURecovery{RecoveryNone, RecoveryReset, RecoveryReboot, RecoveryDrain, RecoveryDrainAndReset, RecoveryOther} {
		if got := Recovery(uint32(n)); got != want {
			t.Errorf("%d is %s, not %s", n, got, want)
		}
	}
	if got := Recovery(1 << 31); got != RecoveryOther {
		t.Errorf("a large number is %s", got)
	}
}
