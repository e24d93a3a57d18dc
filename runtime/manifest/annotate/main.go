// Command annotate writes what a policy.yaml says into a module, as
// `muster policy annotate` does, for builds that have no muster yet.
//
//	go run ./runtime/manifest/annotate policy.yaml in.wasm out.wasm
package main

import (
	"fmt"
	"os"

	"github.com/musterhq/muster/runtime/manifest"
)

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: annotate policy.yaml in.wasm out.wasm")
		os.Exit(2)
	}
	if err := annotate(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func annotate(manifestFile, in, out string) error {
	src, err := os.ReadFile(manifestFile)
	if err != nil {
		return err
	}
	md, problems := manifest.Parse(manifestFile, src)
	if err := problems.Err(); err != nil {
		return err
	}
	bin, err := os.ReadFile(in)
	if err != nil {
		return err
	}
	annotated, err := manifest.Annotate(bin, md)
	if err != nil {
		return fmt.Errorf("%s does not fit %s:\n%w", manifestFile, in, err)
	}
	return os.WriteFile(out, annotated, 0o644)
}
