#!/usr/bin/env bash
# Runs every fuzz target of all modules for a while, one after the other. Inputs are made
# small in a few steps only: else a target spends all of its time on that.
#
# usage: tools/fuzz.sh DURATION
set -euo pipefail
cd "$(dirname "$0")/.."

git grep -lE '^func Fuzz[A-Z]' -- '*_test.go' ':!**/testdata/**' | while read -r file; do
	for target in $(sed -nE 's/^func (Fuzz[A-Za-z0-9_]+)\(.*/\1/p' "$file"); do
		echo "fuzz: $target in $(dirname "$file")"
		(cd "$(dirname "$file")" && go test -run '^$' -fuzz "^$target\$" -fuzztime "$1" -fuzzminimizetime 10x . </dev/null)
	done
done
