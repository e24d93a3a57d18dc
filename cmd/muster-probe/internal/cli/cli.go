// Package cli is the command line of muster-probe. It parses arguments and prints; what the
// commands do lives in packages that know no command line.
package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/musterhq/muster/cmd/internal/shell"
)

const exitCodes = "0 it did, 1 it failed, 2 it was called wrongly"

// app is one call of the program.
type app struct {
	in       io.Reader
	out, err io.Writer
	began    bool // a command's own code has started: errors are no longer of usage
}

// Run runs the program and returns its exit code.
func Run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once
	return execute(ctx, args, stdin, stdout, stderr)
}

func execute(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{in: stdin, out: stdout, err: stderr}
	root := a.root()
	root.SetArgs(args)
	return a.report(root.ExecuteContext(ctx))
}

var failed, misused = shell.Failed, shell.Misused

// report prints an error, the hint last, and returns the exit code.
func (a *app) report(err error) int {
	if err == nil {
		return shell.ExitOK
	}
	var quiet shell.Silent
	if errors.As(err, &quiet) {
		return int(quiet)
	}
	code, hint := shell.ExitFailed, "`muster-probe --help` and `muster-probe COMMAND --help` have examples"
	if !a.began {
		code = shell.ExitUsage
	}
	var h *shell.Hinted
	if errors.As(err, &h) {
		code, hint = h.Code, h.Hint
	}
	fmt.Fprintf(a.err, "muster-probe: %s\nhint: %s\n", strings.TrimSpace(err.Error()), hint)
	return code
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use: "muster-probe", Short: "measure the GPUs of a node for Muster's scheduler",
		Long:        "Measures the GPUs of a node for Muster's scheduler.",
		Example:     "  muster-probe check\n  muster-probe dump -o json",
		Annotations: map[string]string{"exit": exitCodes},
	}
	shell.Group(root)
	root.AddCommand(a.run(), a.check(), a.dump(), a.simulate())
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	root.SilenceErrors, root.SilenceUsage = true, true
	shell.Dress(root)
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetHelpCommand(&cobra.Command{Hidden: true})
	return root
}

// command is a command without arguments that does something. exits are its exit codes.
func (a *app) command(use, short, long, examples, exits string, do func(context.Context) error) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Long: strings.TrimSpace(long), Example: strings.TrimPrefix(examples, "\n"),
		Annotations: map[string]string{"exit": exits},
		Args: func(c *cobra.Command, given []string) error {
			if len(given) > 0 {
				return misused("it only takes flags", "%s takes no argument, and %q was given", c.CommandPath(), given[0])
			}
			return nil
		},
		RunE: func(c *cobra.Command, _ []string) error {
			a.began = true
			return do(c.Context())
		},
	}
}

func formatFlag(c *cobra.Command, to *string) {
	c.Flags().StringVarP(to, "output", "o", "text", "`FORMAT` of the answer: text or json")
}

// print writes a value as JSON if that is asked for; text writes it for people.
func (a *app) print(format string, v any, text func() error) error {
	if format != "json" {
		return text()
	}
	enc := json.NewEncoder(a.out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

func checkFormat(format string) error {
	if format != "text" && format != "json" {
		return misused("formats are text and json", "unknown output format %q", format)
	}
	return nil
}
