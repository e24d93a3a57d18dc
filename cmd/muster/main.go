// Command muster schedules GPU clusters: it plays workloads under policies, tells
// what came of it, and checks what people wrote. `muster --help` lists what it does.
package main

import (
	"os"

	"github.com/musterhq/muster/cmd/muster/internal/cli"
)

func main() { os.Exit(cli.RunAs(cli.Program(os.Args[0]), os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }
