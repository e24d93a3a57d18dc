//go:build !linux || !(amd64 || arm64)

package bpf

import "runtime"

// New returns a Watcher that sees nothing: there are no probes but on Linux on amd64 and
// arm64.
func New(Options) Watcher { return newDown(Unsupported, unsupported) }

// Check says so as well.
func Check(Options) []Finding { return []Finding{{Name: "system", Detail: unsupported}} }

const unsupported = "launches are seen on Linux on amd64 and arm64 only, and this is " + runtime.GOOS + " on " + runtime.GOARCH
