package amount

import (
	"cmp"
	"slices"
	"strings"
)

// Dim is the small integer that stands for a resource name inside one Table.
type Dim uint16

// The dimensions that every table has, in this order. GPU is the total over all
// GPU types of a node, whatever the vendor's resource name.
const (
	CPU Dim = iota
	Memory
	GPU
	Pods
	fixedDims
)

// Names of the fixed dimensions as users write them.
const (
	CPUName    = "cpu"
	MemoryName = "memory"
	GPUName    = "nvidia.com/gpu"
	PodsName   = "pods"
)

// Table interns resource names. Dimensions are only ever added. The number a
// name gets depends on the order of arrival, so no decision may depend on it.
type Table struct {
	names []string
	dims  map[string]Dim
}

// NewTable returns a table that holds the fixed dimensions.
func NewTable() *Table {
	t := &Table{dims: map[string]Dim{}}
	for _, n := range []string{CPUName, MemoryName, GPUName, PodsName} {
		t.Intern(n)
	}
	return t
}

// Len is the number of dimensions, the R of every matrix.
func (t *Table) Len() int { return len(t.names) }

// Name returns the resource name of a dimension.
func (t *Table) Name(d Dim) string { return t.names[d] }

// Names lists all names in the order of their dimensions. Do not change it.
func (t *Table) Names() []string { return t.names }

// Intern returns the dimension of a name, adding it if it is new.
func (t *Table) Intern(name string) Dim {
	name = Canonical(name)
	if d, ok := t.dims[name]; ok {
		return d
	}
	d := Dim(len(t.names))
	t.names = append(t.names, name)
	t.dims[name] = d
	return d
}

// Lookup returns the dimension of a known name.
func (t *Table) Lookup(name string) (Dim, bool) {
	d, ok := t.dims[Canonical(name)]
	return d, ok
}

// Canonical folds the names by which the fixed resources are also known:
// YuniKorn's vcore is cpu.
func Canonical(name string) string {
	if name == "vcore" {
		return CPUName
	}
	return name
}

// IsGPU says whether a resource name counts GPUs, in total or of one type
// ("nvidia.com/gpu:H100"). Such amounts are kept in milli-GPUs.
func IsGPU(name string) bool {
	base, _, _ := strings.Cut(name, ":")
	return strings.HasSuffix(base, "/gpu")
}

// TypedGPU returns the resource name under which GPUs of one type are counted.
func TypedGPU(gpuType string) string { return GPUName + ":" + gpuType }

// Entry is one dimension of a sparse vector.
type Entry struct {
	Dim    Dim
	Amount Amount
}

// List is a sparse vector: sorted by Dim, no dimension twice, no zero amount
// unless an explicit zero has a meaning to its owner (a max of 0 forbids).
type List []Entry

// Get returns the amount of a dimension and whether the list has it.
func (l List) Get(d Dim) (Amount, bool) {
	i, ok := slices.BinarySearchFunc(l, d, func(e Entry, d Dim) int { return cmp.Compare(e.Dim, d) })
	if !ok {
		return 0, false
	}
	return l[i].Amount, true
}
