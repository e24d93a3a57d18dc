// Command muster-cluster runs a Kubernetes control plane on loopback for tests and
// demonstrations, and is all of its components itself: its first argument says which,
// or what to do. See package testcluster.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/musterhq/muster/runtime/kube/testcluster"
)

func main() {
	if len(os.Args) > 1 {
		if component, ok := components[os.Args[1]]; ok {
			os.Exit(runComponent(component))
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// runComponent becomes a component, whose arguments begin after its name.
func runComponent(component func() int) int {
	os.Args = os.Args[1:]
	if err := testcluster.Follow(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	return component()
}

// run does a command and returns the exit status: 0, 1 if it failed, 2 if it was not
// understood.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 || args[0] == "help" || args[0] == "-h" || args[0] == "--help" {
		fmt.Fprint(stdout, usage())
		return 0
	}
	for _, c := range commands {
		if c.name != args[0] {
			continue
		}
		return c.main(ctx, args[1:], stdout, stderr)
	}
	fmt.Fprintf(stderr, "muster-cluster: there is no command or component %q\n%s", args[0], usage())
	return 2
}
