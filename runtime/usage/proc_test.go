package usage_test

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// taken is what a process took: of one CPU, and MiB.
type taken struct{ cpu, rss float64 }

// cpuSeconds and rss read /proc (proc(5)).
func cpuSeconds(t testing.TB, pid int) float64 {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		t.Log("no /proc here:", err)
		return math.NaN()
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	ticks := func(i int) float64 { n, _ := strconv.ParseFloat(fields[i], 64); return n / 100 }
	return ticks(11) + ticks(12)
}

// rss in MiB.
func rss(t testing.TB, pid int) float64 {
	status, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if err != nil {
		t.Log("no /proc here:", err)
		return math.NaN()
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	kib, _ := strconv.ParseFloat(strings.Fields(rest + " 0")[0], 64)
	return kib / 1024
}

// writeFigures logs a table, and appends it to the file of -figures.
func writeFigures(t testing.TB, names []string, values []any) {
	t.Helper()
	var text strings.Builder
	fmt.Fprintf(&text, "\n## Nodes that report\n\n| what | measured |\n| --- | --- |\n")
	for i, name := range names {
		fmt.Fprintf(&text, "| %s | %v |\n", name, values[i])
	}
	t.Log(text.String())
	if *figures == "" {
		return
	}
	out, err := os.OpenFile(*figures, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	must(t, err)
	_, err = out.WriteString(text.String())
	must(t, err)
	must(t, out.Close())
}
