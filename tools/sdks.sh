#!/usr/bin/env bash
# Builds the examples of policies/examples in C, Rust and AssemblyScript into
# bin/examples, if a source is newer, and tests the SDKs of these languages. A language
# whose toolchain is missing is skipped, and named.
#
# usage: tools/sdks.sh build | test
set -euo pipefail
cd "$(dirname "$0")/.."
out=bin/examples
as=sdk/assemblyscript
rustc=${RUSTC:-/usr/bin/rustc} # Debian's, the one with a standard library for Wasm

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export ASAN_OPTIONS=detect_leaks=0 # tests keep their batches to the end

have() {
	case $1 in
	c) command -v clang-16 wasm-ld-16 >/dev/null ;;
	rust) [ -x "$rustc" ] && [ -d "$("$rustc" --print sysroot)/lib/rustlib/wasm32-unknown-unknown/lib" ] && command -v wasm-ld-16 >/dev/null ;;
	assemblyscript) [ -x $as/node_modules/.bin/asc ] && command -v node >/dev/null ;;
	esac
}

# newer OUT FOLDER…: whether OUT is there and no file of the folders is newer.
newer() {
	local file=$1
	shift
	[ -e "$file" ] && [ -z "$(find "$@" -path '*/node_modules' -prune -o -type f -newer "$file" -print -quit)" ]
}

compile_c() {
	clang-16 --target=wasm32 -std=c11 -O3 -Wall -Wextra -Werror -ffreestanding -nostdlib -ffp-contract=off \
		-mbulk-memory -msign-ext -mnontrapping-fptoint -Isdk/c -c -o "$scratch/c.o" "$1/policy.c"
	wasm-ld-16 --no-entry --stack-first -z stack-size=65536 --gc-sections --strip-all -o "$2" "$scratch/c.o"
}

compile_rust() {
	local features='-Ctarget-feature=+bulk-memory,+nontrapping-fptoint'
	local common=(--edition 2021 --target wasm32-unknown-unknown -Copt-level=3 -Cpanic=abort -Cembed-bitcode=yes "$features")
	"$rustc" "${common[@]}" --crate-type rlib --crate-name muster --out-dir "$scratch" sdk/rust/src/lib.rs
	"$rustc" "${common[@]}" -Clto=fat -Ccodegen-units=1 -Cstrip=symbols -Clinker=wasm-ld-16 -Clink-arg=-zstack-size=65536 \
		--crate-type cdylib --crate-name policy --extern "muster=$scratch/libmuster.rlib" -o "$2" "$1/src/lib.rs"
}

# project FOLDER: lays an example out as muster policy new does, with the SDK in muster.
project() {
	rm -rf "$scratch/project"
	mkdir -p "$scratch/project/muster/testing"
	cp -r "$1"/* "$scratch/project"
	cp $as/assembly/*.ts "$scratch/project/muster"
	cp $as/testing/*.mjs "$scratch/project/muster/testing"
}

compile_assemblyscript() {
	project "$1"
	$as/node_modules/.bin/asc "$scratch/project/assembly/policy.ts" --runtime stub --use abort= --exportStart _initialize -O3 --noColors -o "$2"
}

test_c() {
	local cc=(cc -std=c11 -g -Wall -Wextra -Werror -ffp-contract=off -fsanitize=address,undefined -fno-sanitize-recover)
	"${cc[@]}" -Isdk/c -o "$scratch/sdk_test" sdk/c/sdk_test.c
	"$scratch/sdk_test"
	"${cc[@]}" -Isdk/c -Ipolicies/examples/aged-sjf/c -o "$scratch/policy_test" policies/examples/aged-sjf/c/policy_test.c
	"$scratch/policy_test"
}

test_rust() {
	"$rustc" --edition 2021 --test -o "$scratch/sdk_test" sdk/rust/src/lib.rs
	"$scratch/sdk_test" -q
	"$rustc" --edition 2021 --crate-type rlib --crate-name muster --out-dir "$scratch" sdk/rust/src/lib.rs
	"$rustc" --edition 2021 --test --extern "muster=$scratch/libmuster.rlib" -o "$scratch/policy_test" policies/examples/aged-sjf/rust/src/lib.rs
	"$scratch/policy_test" -q
	"$rustc" --edition 2021 --test --extern "muster=$scratch/libmuster.rlib" -o "$scratch/golden_test" sdk/rust/tests/golden.rs
	"$scratch/golden_test" -q
}

test_assemblyscript() {
	project policies/examples/aged-sjf/assemblyscript
	cp $as/sdk.test.mjs "$scratch/project"
	cp $as/sdk_policy.ts "$scratch/project/assembly"
	cp -r hostabi/testdata "$scratch/project"
	ln -s "$PWD/$as/node_modules" "$scratch/project/node_modules"
	(cd "$scratch/project" && node --test --test-reporter=dot .)
}

# annotate YAML IN OUT: writes the metadata into the module.
annotate() {
	if [ -d runtime/manifest/annotate ]; then
		go run ./runtime/manifest/annotate "$@"
	else
		cp "$2" "$3"
	fi
}

build() {
	local lang=$1 dir example
	mkdir -p $out
	for dir in policies/examples/*/"$lang"; do
		[ -d "$dir" ] || continue
		example=$(basename "$(dirname "$dir")")
		newer "$out/$example-$lang.wasm" "$dir" "sdk/$lang" "$(dirname "$dir")/policy.yaml" tools/sdks.sh && continue
		echo "sdks: $out/$example-$lang.wasm"
		"compile_$lang" "$dir" "$scratch/$lang.wasm"
		annotate "$(dirname "$dir")/policy.yaml" "$scratch/$lang.wasm" "$scratch/done.wasm"
		mv "$scratch/done.wasm" "$out/$example-$lang.wasm"
	done
}

case ${1:-} in build | test) ;; *) sed -n '2,/^$/s/^# \{0,1\}//p' "$0" && exit 2 ;; esac
for lang in c rust assemblyscript; do
	[ -d "sdk/$lang" ] || continue
	if ! have $lang; then
		echo "sdks: $lang skipped: its toolchain is missing, tools/toolchains.sh installs it"
		continue
	fi
	build $lang
	if [ "$1" = test ]; then
		echo "sdks: testing $lang"
		test_$lang
	fi
done
