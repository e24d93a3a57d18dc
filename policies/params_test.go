package policies

import (
	"errors"
	"strings"
	"testing"
)

var aging = []Param{
	{Name: "aging", Type: ParamF64, Default: 1.0, Min: 0, Max: 10.0},
	{Name: "floor", Type: ParamDuration, Default: "5m"},
	{Name: "label", Type: ParamString, Default: ""},
	{Name: "strict", Type: ParamBool, Default: false},
	{Name: "top", Type: ParamI64, Default: 3, Max: 100},
}

func TestSettingsThatAreNotGivenHaveTheirDefaults(t *testing.T) {
	got, err := Bind(aging, map[string]any{"aging": uint64(2), "top": 7.0, "label": "team"})
	if err != nil {
		t.Fatal(err)
	}
	want := []any{2.0, int64(300e9), "team", false, int64(7)}
	for i, p := range got {
		if p.Value != want[i] {
			t.Errorf("%s is %v (%T), want %v", p.Name, p.Value, p.Value, want[i])
		}
	}
	if aging[0].Value != nil {
		t.Error("Bind changed the schema")
	}
}

func TestASettingThatCanNotBeUsedIsNamed(t *testing.T) {
	for name, c := range map[string]struct {
		given      map[string]any
		param, say string
	}{
		"unknown":            {map[string]any{"agimg": 1}, "agimg", "no such setting"},
		"below the minimum":  {map[string]any{"aging": -0.1}, "aging", "below the minimum 0"},
		"above the maximum":  {map[string]any{"top": 101}, "top", "above the maximum 100"},
		"a text for a truth": {map[string]any{"strict": "yes"}, "strict", "not of type bool"},
		"half a count":       {map[string]any{"top": 1.5}, "top", "not of type i64"},
		"no duration":        {map[string]any{"floor": "soon"}, "floor", "not of type duration"},
	} {
		_, err := Bind(aging, c.given)
		var pe *ParamError
		if !errors.As(err, &pe) || pe.Param != c.param || !strings.Contains(pe.Problem, c.say) || pe.Hint == "" {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
