#!/usr/bin/env bash
# Generates Go from a .proto file, where protoc is installed (Debian: protobuf-compiler).
# The generated files are committed, so nobody else needs it.
#
# usage: tools/proto.sh folder/file.proto
set -euo pipefail
cd "$(dirname "$0")/.."

# Another version writes another file.
if [[ $(protoc --version 2>/dev/null) != "libprotoc 3.21.12" ]]; then
	echo "proto: protoc 3.21.12 is not installed: $1 was not generated anew" >&2
	exit 0
fi
plugins=$(mktemp -d)
trap 'rm -rf "$plugins"' EXIT
for plugin in google.golang.org/protobuf/cmd/protoc-gen-go google.golang.org/grpc/cmd/protoc-gen-go-grpc; do
	go build -modfile=tools/go.mod -o "$plugins/${plugin##*/}" "$plugin"
done
PATH=$plugins:$PATH protoc -I "$(dirname "$1")" --go_out="$(dirname "$1")" --go_opt=paths=source_relative \
	--go-grpc_out="$(dirname "$1")" --go-grpc_opt=paths=source_relative "$(basename "$1")"
