package wasm_test

import (
	"testing"

	"github.com/musterhq/muster/runtime/wasm"
	"github.com/musterhq/muster/runtime/wasm/wasmtest"
)

func TestLogsAndCountersOfAPolicyAreKeptWithinBounds(t *testing.T) {
	var lines []string
	m := load(t, wasmtest.Chatty(), wasm.Options{Log: func(l wasm.Level, line string) {
		if l != wasm.LevelInfo {
			t.Errorf("level %d", l)
		}
		lines = append(lines, line)
	}})
	for range 2 {
		if err := m.ScoreJobs(t.Context(), jobsOf(1)); err != nil {
			t.Fatal(err)
		}
	}
	if len(lines) != 32 || lines[0] != "hello" {
		t.Errorf("%d lines, want 16 of each call; the first is %q", len(lines), lines[0])
	}
	if m.Counter(7) != 6 || m.Counter(8) != 0 || m.Counter(1_000_000) != 0 || m.Counter(-1) != 0 {
		t.Errorf("counters %d and %d", m.Counter(7), m.Counter(8))
	}
}

func TestATextOutsideOfMemoryIsNoLogLine(t *testing.T) {
	m := load(t, wasmtest.LogsFromNowhere(), wasm.Options{Log: func(_ wasm.Level, line string) { t.Errorf("line %q", line) }})
	if err := m.ScoreJobs(t.Context(), jobsOf(1)); err != nil {
		t.Fatal(err)
	}
}

func TestWhatATrapSaidOnStderrIsLoggedToo(t *testing.T) {
	var lines []string
	m := load(t, wasmtest.LastWords(), wasm.Options{Log: func(l wasm.Level, line string) {
		if l == wasm.LevelWarn {
			lines = append(lines, line)
		}
	}})
	if err := m.ScoreJobs(t.Context(), jobsOf(1)); err == nil {
		t.Fatal("no error")
	}
	if len(lines) != 1 || lines[0] != "boom: it broke" {
		t.Errorf("lines %q", lines)
	}
}
