#!/usr/bin/env bash
# Runs every fuzz target of the main module for a while, one after the other.
#
# usage: tools/fuzz.sh DURATION
set -euo pipefail
cd "$(dirname "$0")/.."

git grep -lE '^func Fuzz[A-Z]' -- '*_test.go' ':!**/testdata/**' ':!sdk' ':!policies/library' | while read -r file; do
	for target in $(sed -nE 's/^func (Fuzz[A-Za-z0-9_]+)\(.*/\1/p' "$file"); do
		echo "fuzz: $target in $(dirname "$file")"
		go test -run '^$' -fuzz "^$target\$" -fuzztime "$1" "./$(dirname "$file")" </dev/null
	done
done
