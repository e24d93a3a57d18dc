package wasm_test

import (
	"errors"
	"io/fs"
	"testing"

	"github.com/musterhq/muster/builtin/keysort"
	"github.com/musterhq/muster/policies"
	"github.com/musterhq/muster/runtime/wasm/guests"
)

// languages are the modules of the policy aged-sjf: the library's in Go, and the
// examples in other languages, where their compilers have built them.
var languages = []struct{ name, example string }{
	{"c", "aged-sjf-c"}, {"rust", "aged-sjf-rust"}, {"assemblyscript", "aged-sjf-assemblyscript"}, {"go", ""},
}

// agedSJF returns the bytes of one of them; it skips the test where there is none.
func agedSJF(t testing.TB, example string) []byte {
	t.Helper()
	if example == "" {
		bin, err := guests.Build("aged-sjf")
		if err != nil {
			t.Fatal(err)
		}
		return bin
	}
	bin, err := guests.Example(example)
	if errors.Is(err, fs.ErrNotExist) {
		t.Skipf("bin/examples/%s.wasm is not there: tools/sdks.sh builds it where its compiler is installed", example)
	}
	if err != nil {
		t.Fatal(err)
	}
	return bin
}

// BenchmarkLanguages is one job order from end to end, copies and the sort on the
// host's side included: by the policy aged-sjf in native Go, and in Wasm by guests in
// four languages.
func BenchmarkLanguages(b *testing.B) {
	const n = 10_000
	run := func(b *testing.B, p policies.Policy) {
		batch, rows, s := jobsOf(n), make([]int32, n), keysort.Scratch{}
		b.ReportAllocs()
		for b.Loop() {
			if err := p.ScoreJobs(b.Context(), batch); err != nil {
				b.Fatal(err)
			}
			for r := range rows {
				rows[r] = int32(r)
			}
			keysort.Sort(rows, batch.Keys[:batch.NKeys], &s)
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/row")
	}
	b.Run("native", func(b *testing.B) { run(b, builtin(b, "sjf-aged")) })
	for _, l := range languages {
		b.Run(l.name, func(b *testing.B) { run(b, load(b, agedSJF(b, l.example), trusted)) })
	}
}
