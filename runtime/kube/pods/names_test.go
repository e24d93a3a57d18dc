package pods

import (
	"testing"

	"pgregory.net/rapid"
)

func anyNames() *rapid.Generator[names] {
	return rapid.Custom(func(t *rapid.T) names {
		n := theseNames(rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c"}), 0, 3).Draw(t, "list")...)
		n.Not = rapid.Bool().Draw(t, "not")
		return n
	})
}

func TestNamesAreSets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x, y := anyNames().Draw(t, "x"), anyNames().Draw(t, "y")
		for _, name := range []string{"a", "b", "c", "none of them"} {
			in, and := x.has(name), y.has(name)
			if x.or(y).has(name) != (in || and) || x.and(y).has(name) != (in && and) || x.not().has(name) == in {
				t.Fatalf("%s: x %v, y %v, or %v, and %v", name, x, y, x.or(y), x.and(y))
			}
		}
		if !x.or(x.not()).every() || !x.and(x.not()).none() || !x.or(y).equal(y.or(x)) {
			t.Fatalf("x %v, y %v", x, y)
		}
	})
}
