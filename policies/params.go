package policies

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
)

// ParamType is the type of a setting.
type ParamType string

// The types. The values of a param are int64, float64, bool, string; a duration is an
// int64 in ns, and may be given as text, "5m".
const (
	ParamI64      ParamType = "i64"
	ParamF64      ParamType = "f64"
	ParamBool     ParamType = "bool"
	ParamString   ParamType = "string"
	ParamDuration ParamType = "duration"
)

// Param is one setting of a policy.
type Param struct {
	Name string
	Type ParamType
	// Value is what is in force; Default holds where nothing was given. Min and Max
	// are nil where there is no bound.
	Value, Default, Min, Max any
	Doc                      string
}

// ParamError is a setting that can't be used.
type ParamError struct {
	Param   string
	Problem string
	Hint    string
}

func (e *ParamError) Error() string { return fmt.Sprintf("param %s: %s", e.Param, e.Problem) }

// Bind returns the params with the given values in force, and the default for each one
// not given. Numbers may come as any type that YAML and JSON readers give. The error, a
// *ParamError, names the first setting that is unknown, of another type or out of
// bounds, in order of the names.
func Bind(params []Param, given map[string]any) ([]Param, error) {
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if !slices.ContainsFunc(params, func(p Param) bool { return p.Name == name }) {
			return nil, &ParamError{name, "there is no such setting", settings(params)}
		}
	}
	out := slices.Clone(params)
	for i := range out {
		p := &out[i]
		v, ok := given[p.Name]
		if !ok {
			v = p.Default
		}
		if err := p.set(v); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func settings(params []Param) string {
	if len(params) == 0 {
		return "the policy has no settings"
	}
	names := make([]string, len(params))
	for i, p := range params {
		names[i] = p.Name
	}
	return "it has " + strings.Join(names, ", ")
}

// set checks a value and puts it in force.
func (p *Param) set(v any) error {
	value, ok := p.Type.Read(v)
	if !ok {
		return &ParamError{p.Name, fmt.Sprintf("%v (%T) is not of type %s", v, v, p.Type), p.want()}
	}
	if low, ok := p.Type.Read(p.Min); ok && less(value, low) {
		return &ParamError{p.Name, fmt.Sprintf("%v is below the minimum %v", v, p.Min), p.want()}
	}
	if high, ok := p.Type.Read(p.Max); ok && less(high, value) {
		return &ParamError{p.Name, fmt.Sprintf("%v is above the maximum %v", v, p.Max), p.want()}
	}
	p.Value = value
	return nil
}

func (p *Param) want() string {
	s := "want " + string(p.Type)
	if p.Min != nil {
		s += fmt.Sprintf(", at least %v", p.Min)
	}
	if p.Max != nil {
		s += fmt.Sprintf(", at most %v", p.Max)
	}
	return s
}

// Read brings a value into the form of its type: int64, float64, bool or string.
func (t ParamType) Read(v any) (any, bool) {
	switch t {
	case ParamI64:
		return whole(v)
	case ParamF64:
		return number(v)
	case ParamBool:
		b, ok := v.(bool)
		return b, ok
	case ParamString:
		s, ok := v.(string)
		return s, ok
	case ParamDuration:
		if s, ok := v.(string); ok {
			d, err := time.ParseDuration(s)
			return int64(d), err == nil
		}
		return whole(v)
	}
	return nil, false
}

func whole(v any) (any, bool) {
	switch n := v.(type) {
	case int:
		return int64(n), true
	case int64:
		return n, true
	case uint64:
		return int64(n), n <= math.MaxInt64
	case float64:
		return int64(n), n == math.Trunc(n) && math.Abs(n) < 1<<53
	}
	return nil, false
}

func number(v any) (any, bool) {
	switch n := v.(type) {
	case int:
		return float64(n), true
	case int64:
		return float64(n), true
	case uint64:
		return float64(n), true
	case float64:
		return n, !math.IsNaN(n) && !math.IsInf(n, 0)
	}
	return nil, false
}

// less compares two values of one type; texts and truth values have no order.
func less(a, b any) bool {
	switch x := a.(type) {
	case int64:
		return x < b.(int64)
	case float64:
		return x < b.(float64)
	}
	return false
}
