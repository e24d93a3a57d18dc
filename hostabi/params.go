package hostabi

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"time"
)

// The types of a param.
const (
	ParamI64      = "i64"
	ParamF64      = "f64"
	ParamBool     = "bool"
	ParamString   = "string"
	ParamDuration = "duration"
)

// MaxParams is how many settings a policy may have.
const MaxParams = 64

// Normalize brings the values of the params, as a JSON or YAML reader gives them, into
// the forms of their types. A value that does not fit stays as it is, for Problems.
func (md *Metadata) Normalize() {
	for i := range md.Params {
		p := &md.Params[i]
		for _, v := range []*any{&p.Default, &p.Min, &p.Max} {
			if p.Type == ParamDuration {
				if text, isText := (*v).(string); isText && validDuration(text) {
					continue
				}
			}
			if typed, ok := paramValue(p.Type, *v); ok {
				*v = typed
			}
		}
	}
}

func validDuration(text string) bool {
	_, err := time.ParseDuration(text)
	return err == nil
}

// paramValue reads a value as a param's type: int64 for i64 and duration, float64,
// bool, string.
func paramValue(typ string, v any) (any, bool) {
	switch typ {
	case ParamI64:
		return wholeNumber(v)
	case ParamF64:
		return floatNumber(v)
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
		return wholeNumber(v)
	}
	return nil, false
}

func wholeNumber(v any) (any, bool) {
	switch n := v.(type) {
	case int:
		return int64(n), true
	case int64:
		return n, true
	case uint64:
		return int64(n), n <= math.MaxInt64
	case float64:
		return int64(n), n == math.Trunc(n) && math.Abs(n) < 1<<53
	case json.Number:
		if i, err := strconv.ParseInt(string(n), 10, 64); err == nil {
			return i, true
		}
		f, err := n.Float64() // 1e9, 5.0
		if err != nil || !strings.ContainsAny(string(n), ".eE") {
			return nil, false
		}
		return wholeNumber(f)
	}
	return nil, false
}

func floatNumber(v any) (any, bool) {
	switch n := v.(type) {
	case int:
		return float64(n), true
	case int64:
		return float64(n), true
	case uint64:
		return float64(n), true
	case float64:
		return n, !math.IsNaN(n) && !math.IsInf(n, 0)
	case json.Number:
		f, err := n.Float64()
		return f, err == nil
	}
	return nil, false
}

// Slot is the wire form of a param's value, which is an int64, a float64, a bool or a
// string; text gives the place of a string in the batch's dictionary.
func Slot(value any, text func(string) uint32) uint64 {
	switch v := value.(type) {
	case int64:
		return uint64(v)
	case float64:
		return math.Float64bits(v)
	case bool:
		if v {
			return 1
		}
	case string:
		return uint64(text(v))
	}
	return 0
}
