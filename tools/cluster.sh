#!/usr/bin/env bash
# Builds muster-cluster, a Kubernetes control plane in one binary (runtime/kube/testcluster),
# unless it is there, and prints where it is; with arguments it runs it. The binary is kept
# in .cache/bin under a hash of all it was made from.
#
# The first build downloads 94 MB of modules and takes 5 minutes on two cores, later ones
# seconds. The flags below are the only ones to build or test that module with: others
# compile all of Kubernetes again.
#
# usage: tools/cluster.sh [COMMAND of muster-cluster]…
# exit status: 75 if the modules can't be had, which another time or place may change
set -euo pipefail
cd "$(dirname "$0")/.."
top=$PWD
kubernetes=v1.36.3

export CGO_ENABLED=0 GOFLAGS='-trimpath -buildvcs=false' GOWORK=off
version=k8s.io/component-base/version
ldflags="-s -w -X $version.gitVersion=$kubernetes -X $version.gitMajor=1 -X $version.gitMinor=36"

say() { echo "cluster: $*" >&2; }

# key is a hash of the sources, the modules, the compiler and how they are used.
key() {
	(
		cd runtime/kube/testcluster
		go env GOVERSION GOOS GOARCH
		echo "$ldflags"
		find . -type f ! -name '*_test.go' ! -path '*/testdata/*' -print | LC_ALL=C sort | xargs sha256sum
	) | sha256sum | cut -c1-16
}

# progress turns the names of packages that `go build -v` prints into a line now and
# then, and lets everything else, such as errors, through.
progress() {
	awk -v begin="$(date +%s)" '
		/^[a-z0-9.-]+(\/[A-Za-z0-9_.~-]+)*$/ {
			if (++n % 200 == 0) { "date +%s" | getline now; close("date +%s"); printf "cluster: %d packages compiled of at most 2700, %d s\n", n, now - begin }
			next
		}
		/^go: downloading/ { if (++d % 25 == 0) printf "cluster: %d modules downloaded of at most 190\n", d; next }
		{ print }
	' >&2
}

build() {
	local binary=$1 start
	cd runtime/kube/testcluster
	say "building $(basename "$binary"), 5 minutes if nothing of it was compiled before"
	go list -deps ./cmd/muster-cluster 2>&1 >/dev/null | progress || {
		say "the modules are not on this machine and can't be downloaded"
		exit 75
	}
	start=$(date +%s)
	# With a larger heap the compiler is a fifth faster.
	GOGC=400 go build -v -ldflags "$ldflags" -o "$binary.$$" ./cmd/muster-cluster 2>&1 | progress
	mv "$binary.$$" "$binary"
	say "built in $(($(date +%s) - start)) s"
	cd "$top"
}

mkdir -p .cache/bin
binary=$top/.cache/bin/muster-cluster-$(key)
if [ ! -x "$binary" ]; then
	exec 9>.cache/bin/muster-cluster.lock # one build at a time; tests of several packages may come together
	flock 9
	[ -x "$binary" ] || build "$binary"
	exec 9>&-
	find .cache/bin -name 'muster-cluster-*' ! -name "$(basename "$binary")" -mtime +2 -delete
fi
ln -sfn "$(basename "$binary")" .cache/bin/muster-cluster
if [ $# -gt 0 ]; then exec "$binary" "$@"; fi
echo "$binary"
