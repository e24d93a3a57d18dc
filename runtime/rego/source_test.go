package rego

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"strings"
	"testing"
	"time"
)

func tarball(t testing.TB, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for name, text := range files {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text)), Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []interface{ Close() error }{w, z} {
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

func TestABundleIsReadLikeAFolder(t *testing.T) {
	s, err := ReadBundle(bytes.NewReader(tarball(t, map[string]string{
		"a.rego":             "package muster.admission\nallow if input.job.user in data.teams.users",
		"a_test.rego":        "package muster.admission_test\ntest_x if true",
		"teams/data.json":    `{"users": ["ann"]}`,
		".manifest":          `{"revision": "7"}`,
		"policies/more.rego": "package lib\nx := 1",
	})))
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Files) != 2 || len(s.Tests) != 1 {
		t.Errorf("files %d, tests %d", len(s.Files), len(s.Tests))
	}
	r, err := Load(t.Context(), s, Options{Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	j := job()
	j.User = "ann"
	if v := decide(t, r, j); !v.Allow {
		t.Errorf("ann is refused: %+v", v)
	}
}

func TestAFileThatIsNoBundleSaysSo(t *testing.T) {
	for name, b := range map[string][]byte{
		"text": []byte("hello"), "nothing": nil,
		"cut off":   tarball(t, map[string]string{"a.rego": "package muster.admission\nallow := true"})[:60],
		"bad rules": tarball(t, map[string]string{"a.rego": "package muster.admission\nallow if {"}),
	} {
		_, err := ReadBundle(bytes.NewReader(b))
		var es Errors
		if !errors.As(err, &es) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestTwoFilesThatDefineTheSameDataAreRefused(t *testing.T) {
	err := insert(map[string]any{"a": 1}, "", "x/data.json", []byte(`{"a": 2}`))
	if err == nil || !strings.Contains(err.Error(), "also defined") {
		t.Errorf("got %v", err)
	}
}

func TestRegoTestsRunAndSayWhatDoesNotHold(t *testing.T) {
	s := Source{
		Files: map[string]string{"a.rego": "package muster.admission\n\nallow if input.job.gpus <= data.limit"},
		Tests: map[string]string{"a_test.rego": `package muster.admission_test

import data.muster.admission

test_small_is_allowed if admission.allow with input as {"job": {"gpus": 1}}

test_large_is_allowed if {
	admission.allow with input as {"job": {"gpus": 100}}
}

test_limit_can_be_replaced if admission.allow with input as {"job": {"gpus": 100}} with data.limit as 200

todo_test_later if false
`},
		Data: map[string]any{"limit": 8},
	}
	got, err := s.Test(t.Context(), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	want := [][3]string{
		{"test_small_is_allowed", "pass", ""},
		{"test_large_is_allowed", "fail", "a_test.rego:8:2"},
		{"test_limit_can_be_replaced", "pass", ""},
		{"todo_test_later", "skipped", ""},
	}
	if len(got) != len(want) {
		t.Fatalf("got %+v", got)
	}
	for i, w := range want {
		if got[i].Name != w[0] || got[i].Outcome != w[1] || !strings.Contains(got[i].Message, w[2]) || got[i].Row == 0 {
			t.Errorf("got %+v, want %v", got[i], w)
		}
	}
}

func TestRegoTestsMayNotCallTheNetworkEither(t *testing.T) {
	s := Source{
		Files: map[string]string{"a.rego": "package muster.admission\nallow := true"},
		Tests: map[string]string{"a_test.rego": "package x_test\ntest_net if http.send({\"method\": \"get\", \"url\": \"http://localhost\"})"},
	}
	if _, err := s.Test(t.Context(), time.Minute); err == nil || !strings.Contains(err.Error(), "http.send") {
		t.Errorf("got %v", err)
	}
}

func FuzzReadBundle(f *testing.F) {
	f.Add(tarball(f, map[string]string{"a.rego": "package muster.admission\nallow := true", "data.json": `{"a": 1}`}))
	f.Add([]byte("hello"))
	f.Fuzz(func(_ *testing.T, b []byte) {
		_, _ = ReadBundle(bytes.NewReader(b)) // it must not panic
	})
}
