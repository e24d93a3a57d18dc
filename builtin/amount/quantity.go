package amount

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"
)

// QuantityError says why a text is not a quantity of a resource.
type QuantityError struct{ Text, Problem, Hint string }

func (e *QuantityError) Error() string {
	return fmt.Sprintf("invalid quantity %q: %s", e.Text, e.Problem)
}

var suffixes = map[string]uint64{
	"": 1, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18,
	"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40, "Pi": 1 << 50, "Ei": 1 << 60,
}

// Parse reads a quantity as YuniKorn's queues.yaml and Kubernetes write it, into
// the base unit of the resource: "2" cpu is 2000, "500m" cpu is 500, "1Gi"
// memory is 2^30, "8" nvidia.com/gpu is 8000, "500m" nvidia.com/gpu is half a
// device. Integers with one suffix only; YuniKorn refuses fractions too.
func Parse(resource, text string) (Amount, error) {
	s := strings.TrimSpace(text)
	digits := strings.TrimRight(s, "mkKMGTPEi")
	suffix := strings.TrimSpace(s[len(digits):])
	digits = strings.TrimSpace(digits)
	if digits == "" || strings.Trim(digits, "0123456789") != "" {
		if strings.HasPrefix(digits, "-") {
			return 0, &QuantityError{text, "negative", "amounts start at 0; leave the key out for no limit"}
		}
		return 0, &QuantityError{text, "not a whole number with a suffix", "write 500m, 16, 4k, 64Gi"}
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil {
		return 0, &QuantityError{text, "overflow", "the largest amount is " + strconv.FormatInt(int64(Limit), 10) + " base units"}
	}
	factor, problem := factorOf(Canonical(resource), suffix)
	if problem != "" {
		return 0, &QuantityError{text, problem, "suffixes are m (cpu and GPU only), k M G T P E, Ki Mi Gi Ti Pi Ei"}
	}
	hi, lo := bits.Mul64(n, factor)
	if hi != 0 || lo > uint64(Limit) {
		return 0, &QuantityError{text, "overflow", "the largest amount is " + strconv.FormatInt(int64(Limit), 10) + " base units"}
	}
	return Amount(lo), nil
}

func factorOf(resource, suffix string) (factor uint64, problem string) {
	milli := resource == CPUName || IsGPU(resource)
	if suffix == "m" {
		if !milli {
			return 0, "suffix m is for cpu and GPUs only"
		}
		return 1, ""
	}
	f, ok := suffixes[suffix]
	if !ok {
		return 0, fmt.Sprintf("unknown suffix %q", suffix)
	}
	if milli {
		if f > 1<<53 {
			return 0, "overflow"
		}
		f *= 1000
	}
	return f, ""
}

// Format writes an amount the way people read it: whole GPUs and cores without
// their milli, memory in the largest binary unit that divides it.
func Format(resource string, a Amount) string {
	if a == Max {
		return "unlimited"
	}
	resource = Canonical(resource)
	switch {
	case resource == CPUName || IsGPU(resource):
		if a%1000 == 0 {
			return strconv.FormatInt(int64(a/1000), 10)
		}
		return strconv.FormatInt(int64(a), 10) + "m"
	case resource == MemoryName:
		return formatBytes(a)
	default:
		return strconv.FormatInt(int64(a), 10)
	}
}

func formatBytes(a Amount) string {
	units := []string{"", "Ki", "Mi", "Gi", "Ti", "Pi"}
	i := 0
	for a != 0 && a%1024 == 0 && i < len(units)-1 {
		a /= 1024
		i++
	}
	return strconv.FormatInt(int64(a), 10) + units[i]
}
