// Package wasm runs policies compiled to WebAssembly. It is the only package that
// knows wazero. Load checks a module against the ABI (package hostabi) before any of
// its code runs, and rewrites it so that it counts its fuel (package meter); the Module
// that it returns is a policies.Policy like any other: it encodes a batch straight into
// the guest's memory, makes one call, and checks every output.
//
// A guest can reach nothing but its batch. Fuel bounds its work, the same on every
// machine; a look at the clock each 2^20 units bounds its time; pages bound its memory.
// Whatever it does instead of answering comes back as a *policies.CallError, and the
// instance is replaced.
//
// A job order that claims row independence is asked only for the rows that changed
// since the last batch of the queue (kept.go).
package wasm
