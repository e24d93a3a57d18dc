// Package cli is the command line of muster-probe. It parses arguments and prints; what the
// commands do lives in packages that know no command line.
package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// Exit codes of every command; a command with others states them in its help.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
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

// hinted is an error with what to do about it and the exit code it leads to.
type hinted struct {
	err  error
	hint string
	code int
}

func (e *hinted) Error() string { return e.err.Error() }
func (e *hinted) Unwrap() error { return e.err }

func failed(hint, format string, args ...any) error {
	return &hinted{fmt.Errorf(format, args...), hint, exitFailed}
}

func misused(hint, format string, args ...any) error {
	return &hinted{fmt.Errorf(format, args...), hint, exitUsage}
}

// silent ends the program with a code; everything has been said already.
type silent int

func (e silent) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// report prints an error, the hint last, and returns the exit code.
func (a *app) report(err error) int {
	if err == nil {
		return exitOK
	}
	var quiet silent
	if errors.As(err, &quiet) {
		return int(quiet)
	}
	code, hint := exitFailed, "`muster-probe --help` and `muster-probe COMMAND --help` have examples"
	if !a.began {
		code = exitUsage
	}
	var h *hinted
	if errors.As(err, &h) {
		code, hint = h.code, h.hint
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
		Args:        cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return c.Help()
			}
			hint := "`muster-probe --help` lists the commands"
			if like := c.SuggestionsFor(args[0]); len(like) > 0 {
				hint = "did you mean `muster-probe " + like[0] + "`?"
			}
			return misused(hint, "there is no command %q", "muster-probe "+args[0])
		},
	}
	root.SuggestionsMinimumDistance = 2
	root.AddCommand(a.run(), a.check(), a.dump(), a.simulate())
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	root.SilenceErrors, root.SilenceUsage = true, true
	root.SetHelpTemplate(helpTemplate)
	root.SetUsageTemplate(usageTemplate)
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetHelpCommand(&cobra.Command{Hidden: true})
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return &hinted{err, "`" + c.CommandPath() + " --help` lists the flags", exitUsage}
	})
	return root
}

const helpTemplate = `Examples:
{{.Example | trimTrailingWhitespaces}}

{{with (or .Long .Short)}}{{. | trimTrailingWhitespaces}}

{{end}}{{.UsageString}}`

const usageTemplate = `Usage:{{if not .HasAvailableSubCommands}}
  {{.UseLine}}{{end}}{{if .HasAvailableSubCommands}}
  {{.CommandPath}} COMMAND

Commands:{{range .Commands}}{{if .IsAvailableCommand}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}{{end}}{{if .HasAvailableLocalFlags}}

Flags:
{{.LocalFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}

Exit codes: {{index .Annotations "exit"}}
`

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

// logger logs to people and to machines.
func logger(w io.Writer, format, level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, misused("debug, info, warn or error", "--log-level %s is no level", level)
	}
	o := &slog.HandlerOptions{Level: l}
	switch strings.ToLower(format) {
	case "text":
		return slog.New(slog.NewTextHandler(w, o)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, o)), nil
	}
	return nil, misused("text or json", "--log-format %s is no format", format)
}
