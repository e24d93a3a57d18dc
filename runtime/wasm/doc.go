// Package wasm runs policies compiled to WebAssembly. It is the only package that
// knows wazero. Load checks a module against the ABI (package hostabi) before any of
// its code runs; the Module that it returns is a policies.Policy like any other: it
// encodes a batch straight into the guest's memory, makes one call, and checks every
// output. A guest can reach nothing but its batch. Whatever it does instead of
// answering comes back as a *policies.CallError, and the instance is replaced.
package wasm
