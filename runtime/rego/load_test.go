package rego

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
)

// rules puts the package line before a text, so that line 2 is its first.
func rules(text string) map[string]string {
	return map[string]string{"a.rego": "package muster.admission\n" + text}
}

// load has a generous time limit: only the tests about time look at the clock.
func load(t testing.TB, files map[string]string, data any) *Rules {
	t.Helper()
	a, err := Load(t.Context(), Source{Files: files, Data: data}, Options{Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestLoadRefuses(t *testing.T) {
	type problem struct{ at, code, says string }
	tests := []struct {
		name  string
		files map[string]string
		data  any
		want  []problem
	}{
		{
			"what does not parse, in every file at once",
			map[string]string{"a.rego": "package muster.admission\nallow if {", "b.rego": "package muster.admission\ndeny contains x if )"},
			nil,
			[]problem{{"a.rego:2:10", ast.ParseErr, ""}, {"b.rego:2:20", ast.ParseErr, ""}},
		},
		{
			"rules of the old dialect, with a hint",
			rules("allow { true }"), nil,
			[]problem{{"a.rego:2:1", ast.ParseErr, "Rego v1"}},
		},
		{
			"several unsafe variables at once",
			rules("allow if x > 1\ndeny contains \"no\" if y == input.job.user"), nil,
			[]problem{{"a.rego:2:10", ast.UnsafeVarErr, "x"}, {"a.rego:3:23", ast.UnsafeVarErr, "y"}},
		},
		{
			"more than ten problems are not cut off",
			rules(strings.Repeat("allow if nothing > 1\n", 14)), nil,
			slices.Repeat([]problem{{"", ast.UnsafeVarErr, "nothing"}}, 14),
		},
		{
			"the network, the clock, chance and the environment",
			rules("allow if http.send({\"url\": \"x\"}).status_code == 200\nallow if time.now_ns() > 1\nallow if rand.intn(\"a\", 2) == 1\nallow if opa.runtime().env.A == \"1\"\nallow if net.lookup_ip_addr(\"x\") == set()\nallow if uuid.rfc4122(\"k\") == \"x\""), nil,
			[]problem{
				{"a.rego:2:10", ast.TypeErr, "http.send"},
				{"a.rego:3:10", ast.TypeErr, "time.now_ns"},
				{"a.rego:4:10", ast.TypeErr, "rand.intn"},
				{"a.rego:5:10", ast.TypeErr, "opa.runtime"},
				{"a.rego:6:10", ast.TypeErr, "net.lookup_ip_addr"},
				{"a.rego:7:10", ast.TypeErr, "uuid.rfc4122"},
			},
		},
		{
			"an input field that does not exist",
			rules("default allow := true\ndeny contains \"too many\" if input.job.gpu > 8"), nil,
			[]problem{{"a.rego:3:29", ast.TypeErr, "input.job.gpu"}},
		},
		{
			"an input document that does not exist",
			rules("allow if input.request.user == \"ada\""), nil,
			[]problem{{"a.rego:2:10", ast.TypeErr, "input.request"}},
		},
		{
			"data documents that are not there, each by name",
			rules("import data.windows\ndefault allow := true\ndeny contains sprintf(\"limit %v\", [data.limits.max.gpus]) if input.job.gpus > 1\ndeny contains \"closed\" if not windows.open\nx := data.present.a.b"),
			map[string]any{"limits": map[string]any{"min": 1}, "present": map[string]any{"a": map[string]any{"b": 1}}},
			[]problem{{"a.rego:4:36", ErrCodeMissingData, "data.limits.max,"}, {"a.rego:5:31", ErrCodeMissingData, "data.windows,"}},
		},
		{
			"a rule that does not exist in its own package",
			rules("default allow := true\ndeny contains \"no\" if data.muster.admission.blocked"), nil,
			[]problem{{"a.rego:3:23", ErrCodeMissingData, "data.muster.admission.blocked,"}},
		},
		{
			"a document inside a value that is no object",
			rules("allow if data.max.gpus > 1"),
			map[string]any{"max": 3},
			[]problem{{"a.rego:2:10", ErrCodeMissingData, "data.max.gpus,"}},
		},
		{"rules that never define allow", rules("deny contains \"x\" if false"), nil, []problem{{"", ErrCodeMissingOutput, "default allow"}}},
		{"allow in another package", map[string]string{"a.rego": "package admission\nallow := true"}, nil, []problem{{"", ErrCodeNoDecision, "muster.admission"}}},
		{"no files", nil, nil, []problem{{"", ErrCodeNoDecision, ""}}},
		{
			"the input of another decision",
			map[string]string{"a.rego": "package muster.protection\nprotect[i] contains \"x\" if { some i; input.units[i]; input.job.user == \"x\" }"},
			nil,
			[]problem{{"a.rego:2:54", ErrCodeOtherInput, "input.job"}},
		},
		{"protection that protects nothing", map[string]string{"a.rego": "package muster.protection\nx := 1"}, nil, []problem{{"", ErrCodeMissingOutput, "protect"}}},
		{"data that is a list", rules("allow := true"), []int{1}, []problem{{"", ErrCodeBadData, "not an object"}}},
		{"data that is no JSON", rules("allow := true"), map[string]any{"f": func() {}}, []problem{{"", ErrCodeBadData, "func"}}},
		{
			"data in the place of a rule",
			rules("allow := true"),
			map[string]any{"muster": map[string]any{"admission": map[string]any{"allow": true}}},
			[]problem{{"a.rego:2:1", ast.CompileErr, "conflict"}},
		},
		{"rules that need themselves", rules("allow if allow2\nallow2 if allow"), nil, []problem{{"a.rego:2:1", ast.RecursionErr, ""}, {"a.rego:3:1", ast.RecursionErr, ""}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Load(t.Context(), Source{Files: tt.files, Data: tt.data}, Options{})
			var got Errors
			if !errors.As(err, &got) {
				t.Fatalf("got %v, want Errors", err)
			}
			if len(got) != len(tt.want) {
				t.Fatalf("%d problems, want %d:\n%v", len(got), len(tt.want), err)
			}
			for i, w := range tt.want {
				text := got[i].Error()
				if !strings.HasPrefix(text, w.at) || !strings.Contains(text, w.code) || !strings.Contains(text, w.says) {
					t.Errorf("problem %d is\n  %s\nwant %q at %q, saying %q", i, text, w.code, w.at, w.says)
				}
			}
			var one *Error
			if !errors.As(err, &one) || one != got[0] {
				t.Error("errors.As does not find the first problem")
			}
		})
	}
}

func TestLoadTakesReferencesThatAreDefinedSomewhere(t *testing.T) {
	files := map[string]string{
		"a.rego":     "package muster.admission\nimport data.lib.time_windows\ndefault allow := false\nallow if { time_windows.open; data.limits[input.job.queue].max > 1; data.lib; data.limits.a.max == 2 }",
		"lib/w.rego": "package lib.time_windows\nopen if input.job.user in data.people\nstate := {\"a\": 1}",
	}
	load(t, files, map[string]any{"limits": map[string]any{"a": map[string]any{"max": 2}}, "people": []string{}})
}

func TestDigestNamesRulesAndData(t *testing.T) {
	base := load(t, rules("allow := data.a.x == data.a.y"), map[string]any{"a": map[string]int{"x": 1, "y": 2}})
	same := load(t, rules("allow := data.a.x == data.a.y"), struct {
		A struct {
			Y int `json:"y"`
			X int `json:"x"`
		} `json:"a"`
	}{A: struct {
		Y int `json:"y"`
		X int `json:"x"`
	}{2, 1}})
	if base.Digest() != same.Digest() || !strings.HasPrefix(base.Digest(), "sha256:") {
		t.Errorf("digests %s and %s of the same rules and data", base.Digest(), same.Digest())
	}
	for name, other := range map[string]*Rules{
		"other data":  load(t, rules("allow := data.a.x == data.a.y"), map[string]any{"a": map[string]int{"x": 1, "y": 3}}),
		"other rules": load(t, rules("allow := data.a.x != data.a.y"), map[string]any{"a": map[string]int{"x": 1, "y": 2}}),
	} {
		if other.Digest() == base.Digest() {
			t.Errorf("%s have the same digest", name)
		}
	}
}

func TestReadDirTakesRulesAndDataButNoTests(t *testing.T) {
	fsys := fstest.MapFS{
		"p/a.rego":             {Data: []byte("package muster.admission\nallow := data.on")},
		"p/a_test.rego":        {Data: []byte("not rego")},
		"p/data.json":          {Data: []byte(`{"on": true}`)},
		"p/README.md":          {Data: []byte("hello")},
		"p/sub/other.rego":     {Data: []byte("package lib\nx := data.sub.deep.y")},
		"p/sub/deep/data.json": {Data: []byte(`{"y": 1}`)},
	}
	src, err := ReadDir(fsys, "p")
	if err != nil {
		t.Fatal(err)
	}
	if got := slices.Sorted(maps.Keys(src.Files)); !slices.Equal(got, []string{"p/a.rego", "p/sub/other.rego"}) {
		t.Errorf("files %v", got)
	}
	if _, err := Load(t.Context(), src, Options{}); err != nil {
		t.Error(err)
	}
	if _, err := ReadDir(fsys, "nowhere"); err == nil {
		t.Error("a folder that is not there was read")
	}
}

func TestReadDirSaysWhereTheDataIsBroken(t *testing.T) {
	for text, at := range map[string]string{
		"{\n  \"a\": 1,\n  \"b\" 2\n}": "data.json:3:7: rego_bad_data",
		"[1]":                          "data.json:1:1: rego_bad_data",
		"{\"a\": ":                     "data.json:1:6: rego_bad_data",
	} {
		_, err := ReadDir(fstest.MapFS{"data.json": {Data: []byte(text)}}, ".")
		if err == nil || !strings.HasPrefix(err.Error(), at) {
			t.Errorf("%q: got %v, want %s", text, err, at)
		}
	}
}

func FuzzLoadNeverPanics(f *testing.F) {
	for _, s := range []string{"", "allow := true", "allow if data.x.y", "deny contains sprintf(\"%v\", [data.a]) if true", "allow if { some i in numbers.range(1, 3); i > input.job.gpus }", "default allow := 1", "allow { true }"} {
		f.Add(s, `{"a": 1}`)
	}
	f.Fuzz(func(t *testing.T, text, dataText string) {
		data, err := parseData("data.json", []byte(dataText))
		if err != nil {
			data = nil
		}
		a, err := Load(t.Context(), Source{Files: rules(text), Data: data}, Options{})
		if err != nil {
			return
		}
		v, err := a.Decide(t.Context(), job())
		if err != nil {
			t.Fatal(err)
		}
		if v.Allow != (v.Code == CodeAllowed) || v.Allow != (len(v.Messages) == 0) {
			t.Fatalf("contradiction: %+v", v)
		}
	})
}
