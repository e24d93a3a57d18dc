package keysort

import (
	"cmp"
	"math"
	"math/rand"
	"slices"
	"strconv"
	"testing"

	"pgregory.net/rapid"
)

// twin is the same order by the standard library.
func twin(rows []int32, keys [][]int64) {
	slices.SortStableFunc(rows, func(x, y int32) int {
		for _, k := range keys {
			if c := cmp.Compare(k[x], k[y]); c != 0 {
				return c
			}
		}
		return 0
	})
}

var extremes = []int64{math.MinInt64, math.MinInt64 + 1, -1, 0, 1, math.MaxInt64 - 1, math.MaxInt64}

// shape makes a column; the names are those of what real orders look like.
var shapes = map[string]func(r *rand.Rand, i int) int64{
	"one value":           func(*rand.Rand, int) int64 { return 7 },
	"few values":          func(r *rand.Rand, _ int) int64 { return r.Int63n(5) - 2 },
	"all different":       func(r *rand.Rand, _ int) int64 { return int64(r.Uint64()) },
	"bits of floats":      func(r *rand.Rand, _ int) int64 { return int64(math.Float64bits(math.Abs(r.NormFloat64()) * 1e12)) },
	"unknown ones last":   func(r *rand.Rand, _ int) int64 { return []int64{math.MaxInt64, r.Int63n(1e14)}[min(1, r.Intn(4))] },
	"extremes":            func(r *rand.Rand, _ int) int64 { return extremes[r.Intn(len(extremes))] },
	"rising":              func(_ *rand.Rand, i int) int64 { return int64(i) },
	"falling":             func(_ *rand.Rand, i int) int64 { return -int64(i) },
	"rising in pairs":     func(_ *rand.Rand, i int) int64 { return int64(i / 2) },
	"rising, some strays": func(r *rand.Rand, i int) int64 { return []int64{r.Int63n(5000), int64(i)}[min(1, r.Intn(40))] },
	"rising, clumps of strays": func(r *rand.Rand, i int) int64 {
		if i%200 < 5 {
			return int64(r.Intn(5000))
		}
		return int64(i)
	},
	"saw": func(_ *rand.Rand, i int) int64 { return int64(i % 37) },
}

func shapeNames() []string {
	names := make([]string, 0, len(shapes))
	for n := range shapes {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

func TestTwinSortedAsByTheStandardLibrary(t *testing.T) {
	var kept Scratch // all draws share it: what one leaves must not show in the next
	names := shapeNames()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.SampledFrom([]int{0, 1, 2, 5, few, few + 1, 60, 300, 2500}).Draw(t, "rows")
		r := rand.New(rand.NewSource(rapid.Int64().Draw(t, "seed")))
		keys := make([][]int64, rapid.IntRange(0, 4).Draw(t, "columns"))
		for c := range keys {
			column := shapes[rapid.SampledFrom(names).Draw(t, "shape")]
			keys[c] = make([]int64, n)
			for i := range keys[c] {
				keys[c][i] = column(r, i)
			}
		}
		rows := identity(n)
		if rapid.Bool().Draw(t, "shuffled") {
			r.Shuffle(n, func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
		}
		rows = rows[:rapid.IntRange(0, n).Draw(t, "of which")]
		want := slices.Clone(rows)
		twin(want, keys)
		Sort(rows, keys, &kept)
		if !slices.Equal(rows, want) {
			t.Fatalf("got  %v\nwant %v", rows, want)
		}
	})
}

func TestEveryShapeByItself(t *testing.T) {
	for _, name := range shapeNames() {
		for _, n := range []int{25, 1000, 10_000} {
			r := rand.New(rand.NewSource(int64(n)))
			key := make([]int64, n)
			for i := range key {
				key[i] = shapes[name](r, i)
			}
			rows, want := identity(n), identity(n)
			twin(want, [][]int64{key})
			Sort(rows, [][]int64{key}, &Scratch{})
			if !slices.Equal(rows, want) {
				t.Errorf("%s, %d rows: not as by the standard library", name, n)
			}
		}
	}
}

func TestAFewChangesTakeTheShortWay(t *testing.T) {
	const n = 10_000
	r := rand.New(rand.NewSource(1))
	key := make([]int64, n)
	for i := range key {
		key[i] = int64(i) * 1000
	}
	for range 100 {
		key[r.Intn(n)] = r.Int63n(n * 1000)
	}
	s := Scratch{keys: [][]int64{key}, rows: identity(n)}
	if !s.nearly(identity(n)) {
		t.Fatal("100 changes in 10,000 rows were too many")
	}
	if got := len(s.items); got > 150 {
		t.Errorf("%d rows were taken out for 100 changes", got)
	}
}

func TestEqualRowsTakenOutAtDifferentMomentsStayInOrder(t *testing.T) {
	key := []int64{1, 2, 10, 11, 12, 13, 10, 14} // the second 10 is taken out first
	for range 10 {
		key = append(key, 5) // for these, the first 10 is
	}
	for i := range int64(300) {
		key = append(key, 20+i)
	}
	rows, want := identity(len(key)), identity(len(key))
	twin(want, [][]int64{key})
	Sort(rows, [][]int64{key}, &Scratch{})
	if !slices.Equal(rows, want) {
		t.Errorf("got %v", rows[:20])
	}
}

func TestAKeptScratchAllocatesNothing(t *testing.T) {
	r := rand.New(rand.NewSource(1))
	keys := [][]int64{make([]int64, 5000), make([]int64, 5000)}
	for i := range keys[0] {
		keys[0][i], keys[1][i] = r.Int63n(9), int64(r.Uint64())
	}
	near := [][]int64{make([]int64, 5000)}
	for i := range near[0] {
		near[0][i] = int64(i)
	}
	near[0][77], near[0][4000] = 4500, 3
	var s Scratch
	rows, fresh := identity(5000), identity(5000)
	if a := testing.AllocsPerRun(5, func() {
		copy(rows, fresh)
		Sort(rows, keys, &s)
		copy(rows, fresh)
		Sort(rows, near, &s)
	}); a != 0 {
		t.Errorf("%v allocations a call", a)
	}
}

func identity(n int) []int32 {
	rows := make([]int32, n)
	for i := range rows {
		rows[i] = int32(i)
	}
	return rows
}

func BenchmarkSort(b *testing.B) {
	for _, shape := range []string{"all different", "bits of floats", "unknown ones last", "few values", "rising", "rising, 1% changed", "2 columns"} {
		for _, n := range []int{1000, 10_000, 100_000} {
			keys := benchKeys(shape, n)
			b.Run(shape+"/"+strconv.Itoa(n)+"/keysort", func(b *testing.B) {
				var s Scratch
				bench(b, n, func(rows []int32) { Sort(rows, keys, &s) })
			})
			b.Run(shape+"/"+strconv.Itoa(n)+"/SortStableFunc", func(b *testing.B) {
				bench(b, n, func(rows []int32) { twin(rows, keys) })
			})
		}
	}
}

func bench(b *testing.B, n int, sort func([]int32)) {
	rows, fresh := identity(n), identity(n)
	sort(rows) // the scratch grows once
	b.ReportAllocs()
	for b.Loop() {
		copy(rows, fresh)
		sort(rows)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/row")
}

func benchKeys(shape string, n int) [][]int64 {
	r := rand.New(rand.NewSource(1))
	keys := [][]int64{make([]int64, n)}
	for i := range n {
		switch shape {
		case "rising, 1% changed":
			keys[0][i] = int64(i) * 1000
		case "2 columns":
			keys[0][i] = r.Int63n(9)
		default:
			keys[0][i] = shapes[shape](r, i)
		}
	}
	switch shape {
	case "rising, 1% changed":
		for range n / 100 {
			keys[0][r.Intn(n)] = r.Int63n(int64(n) * 1000)
		}
	case "2 columns":
		keys = append(keys, make([]int64, n))
		for i := range n {
			keys[1][i] = r.Int63n(1e14)
		}
	}
	return keys
}
