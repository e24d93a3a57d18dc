package groups

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/spec"
)

// badQuantity is a resource whose amount makes no sense.
type badQuantity struct{ name, text, hint string }

// resourcesOf turns named quantities into base units, sorted. What makes no sense is
// left out and told.
func resourcesOf[Q any](list map[corev1.ResourceName]Q, parse func(Q) (resource.Quantity, error)) (spec.Resources, []badQuantity) {
	out, bad := spec.Resources{}, []badQuantity(nil)
	for _, name := range slices.Sorted(maps.Keys(list)) {
		q, err := parse(list[name])
		if err != nil {
			bad = append(bad, badQuantity{string(name), err.Error(), "write 500m, 16, 64Gi"})
			continue
		}
		a, problem := amountOf(string(name), q)
		if problem != "" {
			bad = append(bad, badQuantity{string(name), problem, ""})
			continue
		}
		out = out.Set(string(name), a)
	}
	return out, bad
}

// ParseResources reads amounts by the names of their resources, as YuniKorn's annotations
// write them ("64", "500m", "256Gi"). The error names all that make no sense, sorted.
func ParseResources(list map[string]string) (spec.Resources, error) {
	texts := make(map[corev1.ResourceName]string, len(list))
	for name, text := range list {
		texts[corev1.ResourceName(name)] = text
	}
	out, bad := resourcesOf(texts, parseQuantity)
	var errs []string
	for _, b := range bad {
		errs = append(errs, fmt.Sprintf("%s is %s", b.name, b.text))
	}
	if len(errs) > 0 {
		return nil, errors.New(strings.Join(errs, ", "))
	}
	return out, nil
}

// amountOf is a quantity in the resource's base unit, rounded up.
func amountOf(name string, q resource.Quantity) (amount.Amount, string) {
	name = amount.Canonical(name)
	scale, per := resource.Scale(0), int64(1)
	if name == amount.CPUName || amount.IsGPU(name) {
		scale, per = resource.Milli, 1000
	}
	switch {
	case q.Sign() < 0:
		return 0, "negative"
	case q.CmpInt64(int64(amount.Limit)/per) > 0:
		return 0, "too large"
	}
	return amount.Amount(q.ScaledValue(scale)), ""
}

// parseQuantity reads a quantity that a stranger wrote: exponents beyond the largest
// suffix, with which a few characters ask for gigabytes of digits, are refused.
func parseQuantity(text string) (resource.Quantity, error) {
	if len(text) > 64 {
		return resource.Quantity{}, fmt.Errorf("too long to be a quantity")
	}
	if e := strings.LastIndexAny(text, "eE"); e >= 0 && len(strings.TrimLeft(text[e+1:], "+-0")) > 2 {
		return resource.Quantity{}, fmt.Errorf("%q, whose exponent is too large", text)
	}
	q, err := resource.ParseQuantity(text)
	if err != nil {
		return q, fmt.Errorf("%q, which is not a quantity", text)
	}
	return q, nil
}

// quantityOfJSON takes "2" and 2 alike, as resource.Quantity does.
func quantityOfJSON(raw json.RawMessage) (resource.Quantity, error) {
	var text string
	if json.Unmarshal(raw, &text) != nil {
		text = string(raw)
	}
	return parseQuantity(text)
}
