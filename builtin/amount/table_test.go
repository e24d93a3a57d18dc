package amount_test

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/musterhq/muster/builtin/amount"
)

func TestEveryTableBeginsWithTheFixedDimensions(t *testing.T) {
	table := amount.NewTable()
	want := []string{"cpu", "memory", "nvidia.com/gpu", "pods"}
	if !slices.Equal(table.Names(), want) || table.Len() != 4 {
		t.Fatalf("a new table has %v", table.Names())
	}
	for i, d := range []amount.Dim{amount.CPU, amount.Memory, amount.GPU, amount.Pods} {
		if table.Name(d) != want[i] {
			t.Errorf("dimension %d is %s, want %s", d, table.Name(d), want[i])
		}
	}
}

func TestANameKeepsItsDimensionWhateverComesLater(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table, seen := amount.NewTable(), map[string]amount.Dim{}
		for _, name := range rapid.SliceOf(rapid.SampledFrom([]string{"cpu", "vcore", "a", "b", "c", "d"})).Draw(t, "names") {
			d := table.Intern(name)
			if old, ok := seen[name]; ok && old != d {
				t.Fatalf("%s was %d and is %d", name, old, d)
			}
			seen[name] = d
			if found, ok := table.Lookup(name); !ok || found != d || table.Name(d) != amount.Canonical(name) {
				t.Fatalf("%s: looked up as %d, %v", name, found, ok)
			}
		}
	})
}

func TestVcoreIsCPUAndUnknownNamesAreNotMadeUp(t *testing.T) {
	table := amount.NewTable()
	if d, ok := table.Lookup("vcore"); !ok || d != amount.CPU {
		t.Errorf("vcore is dimension %d, %v", d, ok)
	}
	if _, ok := table.Lookup("fpga"); ok || table.Len() != 4 {
		t.Error("looking up a name added it")
	}
}

func TestGPUsAreKnownByTheirResourceNames(t *testing.T) {
	for name, want := range map[string]bool{
		"nvidia.com/gpu": true, "amd.com/gpu": true, "nvidia.com/gpu:H100": true, amount.TypedGPU("A100"): true,
		"cpu": false, "memory": false, "gpu": false, "nvidia.com/gpu-memory": false, "": false,
	} {
		if amount.IsGPU(name) != want {
			t.Errorf("IsGPU(%q) is %v", name, !want)
		}
	}
}

func TestAListTellsZeroFromAbsent(t *testing.T) {
	l := amount.List{{Dim: amount.CPU, Amount: 5}, {Dim: amount.GPU, Amount: 0}}
	if a, ok := l.Get(amount.GPU); !ok || a != 0 {
		t.Errorf("an explicit zero reads as %d, %v", a, ok)
	}
	if a, ok := l.Get(amount.Memory); ok || a != 0 {
		t.Errorf("an absent amount reads as %d, %v", a, ok)
	}
	if a, ok := l.Get(amount.CPU); !ok || a != 5 {
		t.Errorf("cpu reads as %d, %v", a, ok)
	}
}
