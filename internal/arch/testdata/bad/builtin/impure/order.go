package impure

import (
	"maps"
	"slices"
	"sort"

	"github.com/musterhq/muster/builtin/batch"
)

type names map[string]int

// First takes whatever key comes first.
func First(m names) string {
	for k := range m { // want "random order"
		return k
	}
	return ""
}

// Sum adds up in any order, and says so.
func Sum(m map[string]int) (sum int) {
	//muster:anyorder addition of integers commutes
	for _, v := range m {
		sum += v
	}
	//muster:anyorder
	for _, v := range m { // want "random order"
		sum += v
	}
	return sum
}

// Unsorted collects and forgets to sort.
func Unsorted(m map[string]int) (keys []string) {
	for k := range m { // want "random order"
		keys = append(keys, k)
	}
	return keys
}

// SortedTooEarly sorts before it collects.
func SortedTooEarly(m map[string]int, keys []string) []string {
	slices.Sort(keys)
	for k := range m { // want "random order"
		keys = append(keys, k)
	}
	return keys
}

// HalfSorted sorts one of two.
func HalfSorted(m map[string]int) (keys []string, values []int) {
	for k, v := range m { // want "random order"
		keys = append(keys, k)
		values = append(values, v)
	}
	sort.Strings(keys)
	return keys, values
}

// SortedElsewhere sorts in another function.
func SortedElsewhere(m map[string]int) (keys []string) {
	func() {
		for k := range m { // want "random order"
			keys = append(keys, k)
		}
	}()
	slices.Sort(keys)
	return keys
}

// Sorted collects under a condition and sorts.
func Sorted(m map[string]int) (keys []string) {
	for k, v := range m {
		if v == 0 {
			continue
		}
		if v > 1 {
			keys = append(keys, k)
		}
	}
	sort.Slice(keys, func(i, j int) bool { return keys[i] < keys[j] })
	return keys
}

// Keys uses sequences.
func Keys(m map[string]int, b *batch.Batch) []string {
	for k := range maps.Keys(m) { // want "maps.Keys"
		b.Names = append(b.Names, k)
	}
	for range b.ByName { // want "random order"
		b.Names = nil
	}
	all := slices.Collect(maps.Values(m)) // want "maps.Values"
	for range all {
		b.Names = nil
	}
	return slices.Sorted(maps.Keys(m))
}

// Generic hides the map behind a type parameter.
func Generic[M ~map[string]int](m M) (s string) {
	for k := range m { // want "random order"
		s += k
	}
	return s
}

// Prune deletes what it has come to, which any order does alike.
func Prune(m map[string]int) {
	for k, v := range m {
		if v == 0 {
			delete(m, k)
		}
	}
}

// PruneOther deletes from another map until that is small enough.
func PruneOther(m, other map[string]int) {
	for k := range m { // want "random order"
		if len(other) > 3 {
			delete(other, k)
		}
	}
}

// Once stops at the first.
func Once(m map[string]int, keys []string) []string {
	for k := range m { // want "random order"
		keys = append(keys, k)
		break
	}
	slices.Sort(keys)
	return keys
}
