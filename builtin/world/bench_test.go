package world_test

import (
	"testing"

	"github.com/musterhq/muster/builtin/world"
)

// BenchmarkWhatIf64 is one trial of a gang of 64 tasks that is taken back.
func BenchmarkWhatIf64(b *testing.B) {
	w := newWorld()
	for i := range 8 {
		w.AddNode(machine(string(rune('a'+i)), "H100", 8))
	}
	j := addJob(b, w, "j", "a", group(64, 1000, 1000))
	b.ReportAllocs()
	for b.Loop() {
		m := w.Mark()
		for i := range j.Tasks {
			w.Place(&j.Tasks[i], world.NodeIx(i/8), 1<<(i%8), world.Bound, 0)
		}
		w.Rollback(m)
	}
	if j.Placed != 0 {
		b.Fatal("the rollback left something behind")
	}
}
