// Package gpucheck holds the checks that need a GPU, a driver and, for most of them, torch
// or nvcc: what the rest of the probe's tests can only assume. They are built with the tag
// gpu and write what they found, whatever it is:
//
//	go test -tags gpu ./gpuprobe/gpucheck -v -timeout 20m -findings docs/gpu-checks.md
//
// On a machine without Go, carry the test binary (go test -c -tags gpu). They change no
// setting of a GPU, and reset none. docs/gpu-checks.md says when they ran last, and on what.
package gpucheck
