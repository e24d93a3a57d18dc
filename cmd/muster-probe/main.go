// Command muster-probe measures the GPUs of a node for Muster's scheduler: what they are
// used for, by whom, and how they are. `muster-probe --help` lists what it does.
package main

import (
	"io"
	"os"

	"github.com/musterhq/muster/cmd/muster-probe/internal/cli"
)

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

// run is the whole program: everything it reads and writes comes as an argument.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	return cli.Run(args, stdin, stdout, stderr)
}
