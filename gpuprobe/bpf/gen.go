package bpf

// The objects are committed: nobody else needs clang.

//go:generate ../../tools/bpf.sh
