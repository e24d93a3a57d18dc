package podresources

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

const id = "8f1c2d3e-0a1b-2c3d-4e5f-60718293a4b5"

func TestDeviceIdsOfEveryPluginHaveOneForm(t *testing.T) {
	for _, tt := range []struct {
		name, resource, id string
		want               string // "" is no GPU
		shared             bool
	}{
		{"NVIDIA's plugin", "nvidia.com/gpu", "GPU-" + id, "GPU-" + id, false},
		{"a replica", "nvidia.com/gpu", "GPU-" + id + "::0", "GPU-" + id, true},
		{"a replica of a high number", "nvidia.com/gpu", "GPU-" + id + "::47", "GPU-" + id, true},
		{"the resource of replicas", "nvidia.com/gpu.shared", "GPU-" + id + "::1", "GPU-" + id, true},
		{"the resource of replicas, without a number", "nvidia.com/gpu.shared", "GPU-" + id, "GPU-" + id, true},
		{"a MIG instance", "nvidia.com/mig-1g.10gb", "MIG-" + id, "MIG-" + id, false},
		{"a replica of a MIG instance", "nvidia.com/mig-1g.10gb.shared", "MIG-" + id + "::2", "MIG-" + id, true},
		{"the single strategy", "nvidia.com/gpu", "MIG-" + id, "MIG-" + id, false},
		{"a MIG instance before driver 470", "nvidia.com/mig-1g.5gb", "MIG-GPU-" + id + "/7/0", "MIG-GPU-" + id + "/7/0", false},
		{"a replica of one", "nvidia.com/mig-1g.5gb", "MIG-GPU-" + id + "/7/0::1", "MIG-GPU-" + id + "/7/0", true},
		{"a resource by another name", "nvidia.com/a100", "GPU-" + id, "GPU-" + id, false},
		{"upper case", "nvidia.com/gpu", "GPU-" + strings.ToUpper(id), "GPU-" + id, false},
		{"HAMi", "nvidia.com/gpu", "GPU-" + id + "-9", "GPU-" + id, true},
		{"GKE", "nvidia.com/gpu", "nvidia0", "nvidia0", false},
		{"GKE, tenth GPU", "nvidia.com/gpu", "nvidia15", "nvidia15", false},
		{"GKE, shared", "nvidia.com/gpu", "nvidia0/vgpu3", "nvidia0", true},
		{"GKE, MIG", "nvidia.com/gpu", "nvidia0/gi2", "nvidia0/gi2", false},
		{"GKE, MIG, shared", "nvidia.com/gpu", "nvidia0/gi2/vgpu1", "nvidia0/gi2", true},

		{"another vendor", "amd.com/gpu", "GPU-" + id, "", false},
		{"no domain", "gpu", "GPU-" + id, "", false},
		{"no name", "nvidia.com/", "GPU-" + id, "", false},
		{"another domain with the same end", "notnvidia.com/gpu", "GPU-" + id, "", false},
		{"a passed-through device", "nvidia.com/GA100_A100_PCIE_40GB", "42", "", false},
		{"a network card", "nvidia.com/hostdev", "0000:18:00.2", "", false},
		{"CPUs", "cpu", "1", "", false},
		{"nothing", "nvidia.com/gpu", "", "", false},
		{"a prefix", "nvidia.com/gpu", "GPU-", "", false},
		{"a short UUID", "nvidia.com/gpu", "GPU-" + id[1:], "", false},
		{"a long UUID", "nvidia.com/gpu", "GPU-" + id + "0", "", false},
		{"a UUID with a g", "nvidia.com/gpu", "GPU-g" + id[1:], "", false},
		{"dashes elsewhere", "nvidia.com/gpu", "GPU-8f1c2d3e0-a1b-2c3d-4e5f-60718293a4b5", "", false},
		{"a replica without a number", "nvidia.com/gpu", "GPU-" + id + "::", "", false},
		{"a replica of a replica", "nvidia.com/gpu", "GPU-" + id + "::1::2", "", false},
		{"a replica in words", "nvidia.com/gpu", "GPU-" + id + "::x", "", false},
		{"half an old MIG instance", "nvidia.com/gpu", "MIG-GPU-" + id + "/7", "", false},
		{"an old MIG instance without numbers", "nvidia.com/gpu", "MIG-GPU-" + id, "", false},
		{"an old MIG instance and more", "nvidia.com/gpu", "MIG-GPU-" + id + "/7/0/1", "", false},
		{"no index", "nvidia.com/gpu", "nvidia", "", false},
		{"a control device", "nvidia.com/gpu", "nvidiactl", "", false},
		{"an index in words", "nvidia.com/gpu", "nvidiax", "", false},
		{"GKE, half", "nvidia.com/gpu", "nvidia0/", "", false},
		{"GKE, no instance", "nvidia.com/gpu", "nvidia0/gi", "", false},
		{"GKE, no replica", "nvidia.com/gpu", "nvidia0/vgpu", "", false},
		{"GKE, something else", "nvidia.com/gpu", "nvidia0/gi1/gi2", "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, shared, ok := Device(tt.resource, tt.id)
			if ok != (tt.want != "") || ok && (got != tt.want || shared != tt.shared) {
				t.Errorf("%q, shared %t, ok %t", got, shared, ok)
			}
			if !ok && shared {
				t.Error("what is no GPU is shared")
			}
		})
	}
}

func TestClaimedDevicesAreOfNVIDIAsDriver(t *testing.T) {
	for _, tt := range []struct {
		driver, pool, device, share string
		want                        string
		shared                      bool
	}{
		{Driver, "node-1", "gpu-0", "", "node-1/gpu-0", false},
		{Driver, "node-1", "gpu-0-mig-1g10gb-0", "", "node-1/gpu-0-mig-1g10gb-0", false},
		{Driver, "node-1", "gpu-0", "a1b2", "node-1/gpu-0", true},
		{"compute-domain.nvidia.com", "node-1", "channel-0", "", "", false},
		{"gpu.intel.com", "node-1", "card0", "", "", false},
		{Driver, "", "gpu-0", "", "", false},
		{Driver, "node-1", "", "", "", false},
	} {
		got, shared, ok := Claimed(tt.driver, tt.pool, tt.device, tt.share)
		if got != tt.want || shared != tt.shared || ok != (tt.want != "") {
			t.Errorf("%+v: %q, shared %t, ok %t", tt, got, shared, ok)
		}
	}
}

// A device that has its form keeps it, and each replica is the device, shared.
func TestOneFormIsTheLast(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		hex := rapid.StringMatching("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}").Draw(t, "uuid")
		device := rapid.SampledFrom([]string{"GPU-" + hex, "MIG-" + hex, "MIG-GPU-" + hex + "/1/2", "nvidia7", "nvidia7/gi1"}).Draw(t, "device")
		if got, shared, ok := Device("nvidia.com/gpu", device); got != device || shared || !ok {
			t.Fatalf("%s became %s, shared %t, ok %t", device, got, shared, ok)
		}
		n := rapid.StringMatching("[0-9]{1,3}").Draw(t, "replica")
		if got, shared, ok := Device("nvidia.com/gpu", device+"::"+n); got != device || !shared || !ok {
			t.Fatalf("a replica of %s became %s, shared %t, ok %t", device, got, shared, ok)
		}
	})
}

func FuzzDevice(f *testing.F) {
	for _, text := range []string{"GPU-" + id, "GPU-" + id + "::3", "MIG-GPU-" + id + "/7/0", "nvidia0/gi2/vgpu1", "GPU-" + id + "-1", "::", "/", ""} {
		f.Add("nvidia.com/gpu", text)
	}
	f.Add("nvidia.com/mig-1g.5gb.shared", "MIG-"+id)
	f.Fuzz(func(t *testing.T, resource, text string) {
		got, shared, ok := Device(resource, text)
		if !ok {
			if shared {
				t.Error("no GPU, and shared")
			}
			return
		}
		if again, _, ok := Device("nvidia.com/gpu", got); !ok || again != got {
			t.Errorf("%q became %q, and that %q", text, got, again)
		}
		if len(got) > len(text) || strings.ContainsAny(got, ": \x00") {
			t.Errorf("%q became %q", text, got)
		}
	})
}
