package nodes

import (
	"errors"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

func TestAMixThatMakesNoSenseIsOneClearError(t *testing.T) {
	for text, want := range map[string]string{
		"":               `"" is not like H100=60`,
		"H100":           `"H100" is not like H100=60`,
		"H100=":          `is not like`,
		"H100=-1":        `is not like`,
		"H100=1e9":       `is not like`,
		"H100=200000":    `is not like`,
		"H100=1,,A100=1": `"" is not like`,
		"H1000=1":        `product "H1000" is none of A100, B200, CPU, H100`,
		"H100=1,H100=2":  `H100 is there twice`,
		"H100=0,CPU=0":   `no product has a part`,
	} {
		if mix, err := ParseMix(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, %v; want an error with %s", text, mix, err, want)
		}
	}
}

func TestNodesAreSharedOutByWeight(t *testing.T) {
	for _, c := range []struct {
		mix   string
		total int
		want  []int
	}{
		{"H100=60,A100=30,L40S=10", 100, []int{60, 30, 10}},
		{"H100=60,A100=30,L40S=10", 10, []int{6, 3, 1}},
		{"H100=60,A100=30,L40S=10", 1, []int{1}},
		{"H100=1,A100=1,L40S=1", 5, []int{2, 2, 1}},
		{"H100=3,CPU=2", 0, []int{3, 2}},
		{"H100=0,CPU=2", 7, []int{7}},
		{" NVIDIA-H100-80GB-HBM3=1 , CPU=1", 4, []int{2, 2}},
	} {
		mix, err := ParseMix(c.mix)
		if err != nil {
			t.Fatal(err)
		}
		var got []int
		for _, g := range Apportion(c.total, mix) {
			got = append(got, g.Count)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%d of %q: got %v, want %v", c.total, c.mix, got, c.want)
		}
	}
}

func TestApportionIsExactAndFair(t *testing.T) {
	mix := []Share{{"H100", 7}, {"A100", 2}, {"L40S", 1}, {"T4", 3}}
	for total := 1; total < 300; total++ {
		count := map[string]int{}
		sum := 0
		for _, g := range Apportion(total, mix) {
			count[g.Product] = g.Count
			sum += g.Count
		}
		if sum != total {
			t.Fatalf("%d nodes were shared out as %d", total, sum)
		}
		for _, s := range mix {
			if off := count[s.Product]*13 - total*s.Weight; off <= -13 || off >= 13 {
				t.Fatalf("%d of %d nodes are %s, a whole node off its part %d/13", count[s.Product], total, s.Product, s.Weight)
			}
		}
	}
}

func TestANodeLooksLikeAMachineWithGPUs(t *testing.T) {
	n := Group{Product: "H100"}.Node(37)
	for label, want := range map[string]string{
		LabelProduct: "H100", LabelGPUs: "8", LabelGPUMemory: "81559", LabelRack: "h100-rack-2",
		corev1.LabelTopologyZone: "zone-c", corev1.LabelHostname: "h100-0037",
	} {
		if got := n.Labels[label]; got != want {
			t.Errorf("label %s is %q, want %q", label, got, want)
		}
	}
	for resource, want := range map[corev1.ResourceName]string{ResourceGPU: "8", "cpu": "192", "memory": "2Ti", "pods": "110", "ephemeral-storage": "1Ti"} {
		q := n.Status.Allocatable[resource]
		if q.String() != want {
			t.Errorf("%s is %s, want %s", resource, q.String(), want)
		}
	}
	cpu := Group{Product: CPU}.Node(0)
	if _, gpu := cpu.Status.Capacity[ResourceGPU]; gpu || cpu.Labels[LabelProduct] != "" || cpu.Name != "cpu-0000" {
		t.Errorf("a node without GPUs has some: %v", cpu)
	}
}

func TestANodesFileSaysEverythingElse(t *testing.T) {
	groups, err := ParseFile([]byte(`
nodes:
- {count: 2, product: A100, zone: eu-1a, rack: r7}
- count: 1
  name: odd
  product: MI300X
  capacity: {amd.com/gpu: "8", cpu: "128"}
  labels: {team: blue}
  taints: [{key: dedicated, value: blue, effect: NoSchedule}]
`))
	if err != nil {
		t.Fatal(err)
	}
	a, odd := groups[0].Node(1), groups[1].Node(0)
	if a.Labels[corev1.LabelTopologyZone] != "eu-1a" || a.Labels[LabelRack] != "r7" {
		t.Errorf("the group is not in its place: %v", a.Labels)
	}
	gpus, cpu := odd.Status.Capacity["amd.com/gpu"], odd.Status.Capacity["cpu"]
	if gpus.String() != "8" || cpu.String() != "128" || odd.Labels["team"] != "blue" || odd.Spec.Taints[0].Key != "dedicated" || odd.Labels[LabelProduct] != "MI300X" {
		t.Errorf("the file was not followed: %v", odd)
	}
}

func TestANodesFileThatIsWrongSaysWhere(t *testing.T) {
	for text, want := range map[string]string{
		`nodes: [{cuont: 1}]`:                           `cuont`,
		`nodes: [{count: -1}]`:                          `nodes[0]: count: -1`,
		`nodes: [{count: 1}, {product: X}]`:             `nodes[1]: product "X" is none of`,
		`nodes: [{name: "Upper Case"}]`:                 `name: "Upper Case"`,
		`nodes: [{labels: {a: "b c"}}]`:                 `label a="b c"`,
		`nodes: [{capacity: {cpu: many}}]`:              `nodes file`,
		"nodes:\n\t- x":                                 `nodes file`,
		`nodes: [{product: "A B", capacity: {cpu: 1}}]`: `name: "a b"`,
	} {
		if _, err := ParseFile([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want an error with %s", text, err, want)
		}
	}
}

func TestMoreNodesGetNewNames(t *testing.T) {
	client := fake.NewClientset(Group{Product: "H100"}.Node(4), &corev1.Node{})
	n, err := Create(t.Context(), client, []Group{{Count: 2, Product: "H100"}, {Count: 1, Product: "A100"}, {Count: 30, Product: "H100"}})
	if err != nil || n != 33 {
		t.Fatalf("made %d nodes: %v", n, err)
	}
	for _, name := range []string{"h100-0005", "h100-0006", "a100-0000", "h100-0036"} {
		if _, err := client.CoreV1().Nodes().Get(t.Context(), name, metav1.GetOptions{}); err != nil {
			t.Error(err)
		}
	}
	if _, err := Create(t.Context(), client, []Group{{Count: 1, Name: "h100-0005"}}); err != nil {
		t.Errorf("a prefix that ends like a number: %v", err)
	}
}

func TestTheFirstNodeThatCannotBeMadeEndsIt(t *testing.T) {
	client := fake.NewClientset()
	client.PrependReactor("create", "nodes", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, errors.New("no room")
	})
	n, err := Create(t.Context(), client, []Group{{Count: 500, Product: "T4"}})
	if err == nil || !strings.Contains(err.Error(), "making node t4-") || !strings.Contains(err.Error(), "no room") {
		t.Errorf("made %d nodes, got %v", n, err)
	}
	if made := len(client.Actions()); made > 100 {
		t.Errorf("went on after the error: %d requests", made)
	}
}
