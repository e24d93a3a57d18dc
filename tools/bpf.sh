#!/usr/bin/env bash
# Compiles the eBPF programs of gpuprobe/bpf/c into objects that Go embeds, where Debian's
# clang-16 is installed (tools/toolchains.sh). They are committed, so nobody else needs it.
#
# usage: tools/bpf.sh
set -euo pipefail
cd "$(dirname "$0")/.."

# Another version writes other bytes; the version is also named inside the object.
version=$(clang-16 --version 2>/dev/null | head -n 1) || version=none
if [[ $version != "Debian clang version 16.0.6 (15~deb12u1)" ]]; then
	echo "bpf: Debian's clang-16 (16.0.6-15~deb12u1) is not installed: the eBPF objects were not generated anew" >&2
	exit 0
fi

bpf2go=$(mktemp)
trap 'rm -f "$bpf2go"' EXIT
go build -modfile=tools/go.mod -o "$bpf2go" github.com/cilium/ebpf/cmd/bpf2go

cd gpuprobe/bpf
# generate IDENT [C FLAG]…: no program touches a register, so one object serves all
# little-endian machines. -mcpu=v3 (5.12): atomic operations that return the old value.
# Without stripping, which would need the package llvm-16.
generate() {
	local ident=$1
	shift
	GOPACKAGE=bpf "$bpf2go" -cc clang-16 -no-strip -no-global-types -target bpfel -tags linux \
		"$ident" c/watch.c -- -mcpu=v3 -Wall -Wextra -Wno-unused-parameter -Werror -Ic "$@" >/dev/null
}
generate lite
generate v1 -DCGROUP_V1
