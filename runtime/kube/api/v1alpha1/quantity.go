package v1alpha1

import "k8s.io/apimachinery/pkg/api/resource"

// Quantity is an amount of a resource, written as in pods: 8, "500m", "64Gi".
//
// +kubebuilder:validation:XIntOrString
// +kubebuilder:validation:MaxLength=32
// +kubebuilder:validation:XValidation:rule="type(self) == string ? !isQuantity(self) || !quantity(self).isLessThan(quantity('0')) : self >= 0",message="an amount can't be negative; write 0 to forbid the resource, or leave it out for no bound"
// +kubebuilder:object:generate=false
type Quantity resource.Quantity

// Resources are amounts by resource name. GPUs of one type are nvidia.com/gpu:TYPE, as
// in nvidia.com/gpu:H100; nvidia.com/gpu stands for those of all types.
//
// +kubebuilder:validation:MaxProperties=64
type Resources map[string]Quantity

// Duration is a span of time as Go writes it: 90s, 5m, 1h30m.
//
// +kubebuilder:validation:MaxLength=32
// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(ns|us|ms|s|m|h))+$')",message="must be a duration: write 90s, 5m or 1h30m"
type Duration string

// MustParse reads a quantity that is known to be one.
func MustParse(text string) Quantity { return Quantity(resource.MustParse(text)) }

// Equal says whether two quantities are the same amount, however written.
func (q Quantity) Equal(o Quantity) bool {
	r := resource.Quantity(q)
	return r.Cmp(resource.Quantity(o)) == 0
}

// String is the quantity in its shortest form.
func (q Quantity) String() string {
	r := resource.Quantity(q)
	return r.String()
}

// MarshalJSON writes the quantity as a text.
func (q Quantity) MarshalJSON() ([]byte, error) { return resource.Quantity(q).MarshalJSON() }

// UnmarshalJSON reads a text or a number.
func (q *Quantity) UnmarshalJSON(b []byte) error { return (*resource.Quantity)(q).UnmarshalJSON(b) }

// ToUnstructured is the text: the converter to unstructured objects asks for it.
func (q Quantity) ToUnstructured() any { return q.String() }

// DeepCopyInto copies the quantity.
func (q *Quantity) DeepCopyInto(out *Quantity) {
	*out = Quantity((*resource.Quantity)(q).DeepCopy())
}

// DeepCopy copies the quantity.
func (q *Quantity) DeepCopy() *Quantity {
	if q == nil {
		return nil
	}
	out := new(Quantity)
	q.DeepCopyInto(out)
	return out
}
