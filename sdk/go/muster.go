// Package muster is the guest side of Muster's policy ABI: what a policy written in
// Go and compiled to Wasm sees of a batch. A policy is a function that reads columns
// and fills columns:
//
//	package main
//
//	import "github.com/musterhq/muster/sdk/go/joborder"
//
//	func init() {
//		joborder.Register(func(b *joborder.Batch) error {
//			for i := range b.N {
//				b.Key0[i] = -b.Submit[i] // newest first
//			}
//			return nil
//		})
//	}
//
//	func main() {}
//
// Build it by
//
//	GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -ldflags='-s -w' -o policy.wasm
//
// One module may decide several kinds: import joborder, queueshares, victimcosts as
// needed. The columns are views of the batch, so nothing is copied or allocated; a
// policy should not allocate either (see Grow) and keeps no state between calls.
package muster

import "errors"

// Call is what every batch says about its cycle. There is no other source of time
// or chance for a policy.
type Call struct {
	N     int    // rows
	R     int    // resources, the width of a matrix
	Now   int64  // cycle time, ns
	Cycle uint64 // cycle number
	Seed  uint64 // a number derived from the cycle, for tie-breaking by chance

	params []uint64
	texts  dictionary
}

// Unset is an amount that was not configured or is not known, NoMax a maximum that
// was not configured, One the whole of a share.
const (
	Unset int64 = -1
	NoMax int64 = 1<<63 - 1
	One   int64 = 1 << 32
)

// NoText is the id of no text: a job without the label.
const NoText uint32 = 1<<32 - 1

// MaxKeys is the largest number of sort keys, MaxLabels that of labels.
const (
	MaxKeys   = 4
	MaxLabels = 64
)

// Answers other than a decision. Any other error is an internal fault of the policy;
// the host shows its text, and decides by the built-in policy.
var (
	// ErrAbstain asks the host to decide by its built-in policy this time.
	ErrAbstain = errors.New("abstain")
	// ErrBadInput says that the batch makes no sense to the policy.
	ErrBadInput = errors.New("bad input")
	// ErrBadParams says that the settings make no sense together. Bounds of a single one
	// belong into policy.yaml, where the host checks them.
	ErrBadParams = errors.New("bad params")
)

// Grow returns a slice of n zeros, reusing the memory of s where it is large enough:
// keep scratch space in a package variable and nothing is allocated per call.
func Grow[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n, n+n/2)
	}
	s = s[:n]
	clear(s)
	return s
}

// SetKeys says how many key columns to sort by, 1 to MaxKeys; it is 1 if a policy
// says nothing.
func (b *Jobs) SetKeys(n int) { b.keyCount[0] = uint32(n) }

// Keys returns how many key columns the host will sort by.
func (b *Jobs) Keys() int { return int(b.keyCount[0]) }

// Key returns key column i, 0 to MaxKeys-1.
func (b *Jobs) Key(i int) []int64 { return [MaxKeys][]int64{b.Key0, b.Key1, b.Key2, b.Key3}[i] }

// FloatKey returns key column i to be filled with float64. Every element must be
// finite.
func (b *Jobs) FloatKey(i int) []float64 {
	b.keyFormat[0] |= 1 << (2 * i)
	return Floats(b.Key(i))
}

// KeyFormat returns how the host will read key i.
func (b *Jobs) KeyFormat(i int) (isFloat, descending bool) {
	f := b.keyFormat[0] >> (2 * i)
	return f&1 != 0, f&2 != 0
}

// Descending sorts key i from the largest to the smallest.
func (b *Jobs) Descending(i int) { b.keyFormat[0] |= 2 << (2 * i) }
