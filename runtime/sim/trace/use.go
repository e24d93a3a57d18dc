package trace

import (
	_ "embed"

	"github.com/musterhq/muster/builtin/spec"
)

//go:embed use.yaml
var useYAML []byte

// Use is the story of what GPUs really do: a queue borrows for four gangs of the same
// age, of which three fall asleep and one wakes up again in time, and another queue comes
// back for what it is guaranteed.
func Use() *Trace {
	ps := &Problems{}
	t := parse(source{"use.yaml", useYAML}, Options{}, ps)
	if err := ps.err(); err != nil {
		panic(err) // the file is part of the program
	}
	t.settle()
	return t
}

// UsePromise is what must hold in Use at every moment: what runs, victims under notice
// too, and who has gone.
func UsePromise() []Interval {
	const minute = 60 * spec.Second
	return []Interval{
		{0, 100 * minute, wholeGPUs(32, 0), 0},
		{100 * minute, 135 * minute, wholeGPUs(24, 8), 1},
		{135 * minute, 180 * minute, wholeGPUs(16, 16), 2},
	}
}
