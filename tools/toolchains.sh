#!/usr/bin/env bash
# Installs what the SDKs in C, Rust and AssemblyScript are tested with, on Debian
# bookworm: clang and lld, rustc with the standard library for Wasm, node and npm, and
# the AssemblyScript compiler at the version that sdk/assemblyscript pins. Quick when all
# is there. Muster itself and its Go guests need none of it.
#
# usage: tools/toolchains.sh
set -euo pipefail
cd "$(dirname "$0")/.."

missing=()
# want PACKAGE FILE…: the package is missing if one of the files is.
want() {
	local package=$1 file
	shift
	for file in "$@"; do
		[ -e "$file" ] || { missing+=("$package"); return; }
	done
}

want gcc /usr/bin/cc
want clang-16 /usr/bin/clang-16
want lld-16 /usr/bin/wasm-ld-16
want rustc /usr/bin/rustc
want libstd-rust-dev-wasm32 /usr/lib/rustlib/wasm32-unknown-unknown/lib
command -v node >/dev/null || missing+=(nodejs)
command -v npm >/dev/null || missing+=(npm)

if [ ${#missing[@]} -gt 0 ]; then
	echo "toolchains: installing ${missing[*]}"
	sudo=
	[ "$(id -u)" = 0 ] || sudo=sudo
	command -v apt-get >/dev/null || { echo "toolchains: there is no apt-get here; install them by hand" >&2; exit 1; }
	$sudo apt-get update -qq
	$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
fi

# npm ci is slow, so it runs only where the lock file is newer than what it wrote.
as=sdk/assemblyscript
if [ -e $as/package-lock.json ] && ! cmp -s $as/package-lock.json $as/node_modules/.muster-lock; then
	echo "toolchains: installing the AssemblyScript compiler into $as/node_modules"
	(cd $as && npm ci --no-audit --no-fund --loglevel=error)
	cp $as/package-lock.json $as/node_modules/.muster-lock
fi
echo "toolchains: ok"
