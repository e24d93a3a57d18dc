#!/usr/bin/env bash
# Installs what the page and the SDKs in C, Rust and AssemblyScript are tested with, on
# Debian bookworm: chromium, clang and lld, rustc with the standard library for Wasm, node
# and npm, and the AssemblyScript compiler at the version that sdk/assemblyscript pins.
# Quick when all is there. Muster itself and its Go guests need none of it.
#
# usage: tools/toolchains.sh
set -euo pipefail
cd "$(dirname "$0")/.."

missing=()
# want PACKAGE FILE: the package is missing if the file is.
want() { [ -e "$2" ] || missing+=("$1"); }

# install_missing installs the packages noted so far.
updated=
install_missing() {
	[ ${#missing[@]} -gt 0 ] || return 0
	local sudo=
	[ "$(id -u)" = 0 ] || sudo=sudo
	echo "toolchains: installing ${missing[*]}"
	command -v apt-get >/dev/null || { echo "toolchains: there is no apt-get here; install them by hand" >&2; exit 1; }
	[ -n "$updated" ] || $sudo apt-get update -qq
	updated=1
	$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
	missing=()
}

want gcc /usr/bin/cc
want make /usr/bin/make
want clang-16 /usr/bin/clang-16
want lld-16 /usr/bin/wasm-ld-16
want rustc /usr/bin/rustc
want wabt /usr/bin/wat2wasm
want chromium /usr/bin/chromium
want libstd-rust-dev-wasm32 /usr/lib/rustlib/wasm32-unknown-unknown/lib
command -v node >/dev/null || missing+=(nodejs)
install_missing
command -v npm >/dev/null || missing+=(npm) # some packages of node bring it along
install_missing

# Debian bookworm has node 18; the compiler says that it wants 20.
major=$(node --version | sed -E 's/^v([0-9]+).*/\1/')
[ "$major" -ge 20 ] || echo "toolchains: node is $(node --version), the AssemblyScript compiler asks for 20: if it fails, install a newer one"

# npm ci is slow, so it runs only where the lock file is not the one of the last time.
as=sdk/assemblyscript
if ! cmp -s $as/package-lock.json $as/node_modules/.muster-lock; then
	echo "toolchains: installing the AssemblyScript compiler into $as/node_modules"
	(cd $as && npm ci --no-audit --no-fund --ignore-scripts --loglevel=error)
	cp $as/package-lock.json $as/node_modules/.muster-lock
fi
echo "toolchains: ok"
