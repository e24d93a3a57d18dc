#!/usr/bin/env bash
# Generates, tidies, formats and lints all modules; fails if a linter complains or
# if any of it changed a file, and prints that change. A working tree that was
# already changed is no failure: the tree before is compared with the tree after.
#
# usage: tools/check.sh [folder of a nested module]…
set -euo pipefail
cd "$(dirname "$0")/.."
top=$PWD
export GOGC=400 # compilers and linters are a fifth faster with a larger heap

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# snapshot prints the id of a git tree of all files that are not ignored, without
# touching the index or the object store of the repository.
objects=$(git rev-parse --path-format=absolute --git-path objects)
mkdir "$scratch/objects"
with_scratch() {
	GIT_INDEX_FILE=$scratch/index GIT_OBJECT_DIRECTORY=$scratch/objects \
		GIT_ALTERNATE_OBJECT_DIRECTORIES=$objects git "$@"
}
snapshot() {
	with_scratch add -A .
	with_scratch write-tree
}

lint() { go tool -modfile="$top/tools/go.mod" golangci-lint "$@" --config "$top/.golangci.yml"; }

# step runs a command in a module and says which.
step() {
	local module=$1
	shift
	echo "check: $module: $*"
	(cd "$top/$module" && "$@")
}

# lint_cluster formats and lints the test cluster, under the flags that it is compiled with
# (tools/cluster.sh). govet and staticcheck are left out: they read all of Kubernetes, a
# minute on a machine with an empty cache, where the others take 12 seconds together.
lint_cluster() {
	local linter
	linter=$(go tool -modfile="$top/tools/go.mod" -n golangci-lint)
	export CGO_ENABLED=0 GOFLAGS='-trimpath -buildvcs=false' GOWORK=off
	"$linter" fmt --config "$top/.golangci.yml"
	"$linter" run --disable govet,staticcheck --config "$top/.golangci.yml" ./...
}

before=$(snapshot)
failed=
step . tools/wat.sh --check
for module in . "$@"; do
	step "$module" go generate ./...
	step "$module" go mod tidy
	step "$module" lint fmt
	step "$module" lint run ./... || failed="$failed $module"
done
step tools go mod tidy
cluster=runtime/kube/testcluster
if [ -x .cache/bin/muster-cluster ]; then
	(step $cluster lint_cluster) || failed="$failed $cluster"
else
	echo "check: $cluster: NOT LINTED: it was never built here, which takes minutes: make .cache/bin/muster-cluster"
fi
after=$(snapshot)

if [ "$before" != "$after" ]; then
	echo "check: these changes were made just now; look at them and commit them:"
	with_scratch --no-pager diff "$before" "$after"
	exit 1
fi
if [ -n "$failed" ]; then
	echo "check: the linter complains, see above:$failed"
	exit 1
fi
echo "check: ok"
