// Package suite proves policies. It holds a policy, in Go or in Wasm, to laws: sentences
// that are true of every batch, tried on batches made from a seed, and made as small as
// can be where they are broken. docs/conformance.md lists the laws.
//
// Most laws need no oracle. They compare two answers of the same policy: to the same
// batch in another place, to the same batch with one job of higher priority. Where the
// policy has a twin among the built-ins, the two are compared bit for bit.
//
// Check gives a report on everything that applies; Smoke is the short form for a life
// cycle, that has to decide in less than a second whether a new version may go on.
package suite
