# Muster's commands. `make` alone lists them. Go is all they need: guests are
# built by the same Go toolchain, and the linter comes as a Go tool from
# tools/go.mod.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Settings, as in: make bench BENCH=Cycle PKG=./builtin/cycle BENCHTIME=3s
BENCH     ?= .
BENCHTIME ?= 1s
FUZZTIME  ?= 10s
CHECKS    ?= 2000
PKG       ?= ./...

# Properties draw the same worlds in every run, so that a change is judged by what it
# changes; `make explore` draws others.
export RAPID_SEED ?= 1

# Modules of their own beside the main one: the guests' SDK and the policies that
# we ship, so that neither carries the host's dependencies, and what plays the alert rules
# in Prometheus' engine, so that the host does not carry that.
NESTED := $(patsubst %/go.mod,%,$(wildcard sdk/go/go.mod policies/library/go.mod tools/alerts/go.mod))

# Which guests there are and how each is built into bin/policies; adds
# prerequisites to `guests`.
include $(wildcard policies/library/guests.mk)

.PHONY: help
help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: demo
demo: build ## play the three stories on a simulated GPU cluster
	bin/muster demo

# Vet is `make check`'s: here it would read all that we import once more, minutes on a
# machine with an empty build cache.
.PHONY: test
test: guests ## run all tests of all modules, and of the SDKs whose toolchain is there
	tools/sdks.sh build
	@tools/cluster.sh >/dev/null || echo "NO TEST CLUSTER: tests that need a control plane say so below"
	@GOGC=400 go list -export -test ./... >/dev/null # the compiler is a fifth faster with a larger heap; tests keep theirs
	go test -vet=off $$(go list ./... | grep -v /runtime/kube/)
	go test -vet=off -timeout 20m ./runtime/kube/e2e
	go test -vet=off -p 2 -timeout 20m $$(go list ./runtime/kube/... | grep -v /e2e$$)
	@for m in $(NESTED); do echo "cd $$m && go test ./..."; (cd $$m && go test ./...); done
	tools/sdks.sh test

.PHONY: toolchains
toolchains: ## install the toolchains of the SDKs in C, Rust and AssemblyScript (Debian)
	tools/toolchains.sh

.PHONY: check
check: guests ## generate, tidy, format and lint; fails if that changes a file
	tools/check.sh $(NESTED)

# Where goroutines meet. The rest is one goroutine's: the core, the simulator, parsers, the
# rewriter of modules.
RACE := clock ledger loop rego reload rules serve usage

# One goroutine too, and each compiles a guest, which takes a quarter of a minute there.
SLOW_UNDER_RACE := SameBits|FuelGrows|NothingIsAllocated|NewestFirst|RawBatch|NoLimitAllows|AnswersThatAreKept

.PHONY: race
race: guests ## run the tests of all that has goroutines under the race detector
	go test -race $(RACE:%=./runtime/%/...) ./gpuprobe/...
	go test -race ./runtime/wasm -skip '$(SLOW_UNDER_RACE)'
	go test -race -short ./runtime/kube/...

.PHONY: bench
bench: guests ## run the benchmarks once (BENCH, BENCHTIME and PKG choose)
	go test -run '^$$' -bench '$(BENCH)' -benchtime '$(BENCHTIME)' $(PKG)

.PHONY: fuzz
fuzz: guests ## run each fuzz target for FUZZTIME (10s)
	tools/fuzz.sh '$(FUZZTIME)'

.PHONY: explore
explore: guests ## check every property on CHECKS (2000) worlds that no run has seen
	RAPID_SEED=0 RAPID_CHECKS=$(CHECKS) go test -vet=off -timeout 2h $$(git grep -l pgregory.net/rapid -- '*_test.go' | xargs -n 1 dirname | sort -u | sed 's|^|./|')

.PHONY: build
build: guests ## build bin/muster, bin/muster-probe and the Wasm policies
	go build -o bin/ ./cmd/muster ./cmd/muster-probe

.PHONY: guests
guests: ## build the Wasm policies of policies/library

# The test cluster: where its state is, and what `up` is told (tools/cluster.sh up -h).
CLUSTER       ?= .cache/cluster
CLUSTER_FLAGS ?= --nodes 100 --jobs

.PHONY: cluster
cluster: .cache/bin/muster-cluster build ## start a Kubernetes control plane with GPU nodes on loopback, and Muster with probes on it
	.cache/bin/muster-cluster up --dir $(CLUSTER) $(CLUSTER_FLAGS)
	go run ./runtime/kube/play up $(CLUSTER)

.PHONY: cluster-down
cluster-down: .cache/bin/muster-cluster ## end all of them and remove their state
	go run ./runtime/kube/play down $(CLUSTER)
	.cache/bin/muster-cluster down --dir $(CLUSTER)

# Free if it is there: the script knows by a hash of the sources.
.PHONY: .cache/bin/muster-cluster
.cache/bin/muster-cluster:
	tools/cluster.sh

.PHONY: clean
clean: ## remove what the other commands built
	rm -rf bin
