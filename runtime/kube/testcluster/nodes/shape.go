package nodes

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// CPU is the product of a node without GPUs.
const CPU = "CPU"

// shape is what a machine with a GPU product has to offer.
type shape struct {
	gpus   int
	cpu    string
	memory string
	// gpuMemory is the memory of one GPU in MiB, the unit of GPU feature discovery.
	gpuMemory int
}

// shapes are sizes that clouds and vendors sell such machines in.
var shapes = map[string]shape{
	"B200": {8, "192", "4Ti", 183359},
	"H200": {8, "192", "2Ti", 143771},
	"H100": {8, "192", "2Ti", 81559},
	"A100": {8, "96", "1152Gi", 81920},
	"L40S": {8, "192", "1536Gi", 46068},
	"L4":   {8, "192", "768Gi", 23034},
	"T4":   {8, "96", "384Gi", 15360},
	CPU:    {0, "64", "256Gi", 0},
}

// shapeOf finds the machine for a product, which may be the full name that GPU feature
// discovery puts on a node: NVIDIA-H100-80GB-HBM3.
func shapeOf(product string) (shape, error) {
	for word := range strings.SplitSeq(product, "-") {
		if s, ok := shapes[word]; ok {
			return s, nil
		}
	}
	known := slices.Sorted(maps.Keys(shapes))
	return shape{}, fmt.Errorf("product %q is none of %s; a nodes file can say its capacity", product, strings.Join(known, ", "))
}
