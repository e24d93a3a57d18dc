package pods

import (
	"strings"
	"unicode"
)

// gpuModels are the words by which product labels name a model. They are whole words, so
// A10 is not found in A100.
var gpuModels = words(`
	GB300 GB200 GH200 B300 B200 B100 H200 H100 H800 H20 A100 A800 A40 A30 A16 A10G A10 A2
	L40S L40 L20 L4 L2 T4G T4 V100S V100 P100 P40 P4 M60 K80 A6000 A5000 A4000
	MI355X MI350X MI325X MI300X MI300A MI308X MI250X MI250 MI210 MI100`)

func words(text string) map[string]bool {
	m := map[string]bool{}
	for _, w := range strings.Fields(text) {
		m[w] = true
	}
	return m
}

// GPUType is the short type of a GPU product, as quotas and people name it: the model's
// name if one of the label's words is a known model, else the label itself. Memory size
// and form factor make no difference: NVIDIA-H100-80GB-HBM3, NVIDIA-H100-PCIe,
// nvidia-h100-80gb (GKE) and h100 are all H100; Tesla-V100-SXM2-16GB is V100;
// AMD_Instinct_MI300X_OAM is MI300X. Devices that are not whole GPUs stay apart:
// NVIDIA-A100-SXM4-40GB-MIG-1g.5gb is A100-MIG-1g.5gb and Tesla-T4-SHARED is T4-SHARED.
// Options.GPUTypes overrides it where such types are to be told apart, or joined.
func GPUType(label string) string {
	model, known := modelOf(label)
	if !known {
		return label
	}
	if i := strings.Index(label, "-MIG-"); i >= 0 {
		return model + label[i:]
	}
	if strings.HasSuffix(label, "-SHARED") {
		return model + "-SHARED"
	}
	return model
}

func modelOf(label string) (model string, known bool) {
	split := func(c rune) bool { return !unicode.IsLetter(c) && !unicode.IsDigit(c) }
	for w := range strings.FieldsFuncSeq(strings.ToUpper(label), split) {
		if gpuModels[w] {
			return w, true
		}
	}
	return "", false
}

// gpuType is GPUType with the aliases of the cluster.
func (o *Options) gpuType(label string) string {
	if t, ok := o.GPUTypes[label]; ok {
		return t
	}
	return GPUType(label)
}

// nodeGPUType is the type that a node's labels tell, "" if none does.
func (o *Options) nodeGPUType(labels map[string]string) string {
	for _, key := range o.gpuLabels() {
		if product := labels[key]; product != "" {
			return o.gpuType(product)
		}
	}
	return ""
}
