#!/usr/bin/env bash
# Assembles the hand-written modules of the tests (*.wat) by wat2wasm of the package wabt.
# Nothing but this needs it: the modules stand beside their texts.
#
# usage: tools/wat.sh [--check]   with --check only compares, and fails if one differs
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v wat2wasm >/dev/null; then
	echo "wat: wat2wasm is not installed (package wabt): the modules beside the .wat files are NOT compared with them"
	exit 0
fi
tmp=$(mktemp)
trap 'rm -f "$tmp"' EXIT
differ=0
for text in runtime/wasm/wasmtest/wat/*.wat runtime/wasm/meter/testdata/*.wat conformance/suite/testdata/*.wat; do
	wat2wasm --debug-names "$text" -o "$tmp"
	module=${text%.wat}.wasm
	cmp -s "$tmp" "$module" && continue
	if [ "${1:-}" = --check ]; then
		echo "wat: $module is not what $text says; run tools/wat.sh"
		differ=1
	else
		install -m 644 "$tmp" "$module"
		echo "wat: $module"
	fi
done
[ $differ = 0 ] && echo "wat: all modules are current"
exit $differ
