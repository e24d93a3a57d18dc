// Package shell is what Muster's programs have in common on a command line: errors with a
// hint and an exit code, help that begins with examples, logs.
package shell

import (
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"
)

// Exit codes of every command; a command with others states them in its help.
const (
	ExitOK     = 0
	ExitFailed = 1
	ExitUsage  = 2
)

// Hinted is an error with what to do about it and the exit code it leads to.
type Hinted struct {
	Err  error
	Hint string
	Code int
}

func (e *Hinted) Error() string { return e.Err.Error() }
func (e *Hinted) Unwrap() error { return e.Err }

// Failed is an error that everybody can do something about.
func Failed(hint, format string, args ...any) error {
	return &Hinted{fmt.Errorf(format, args...), hint, ExitFailed}
}

// Misused is a call that makes no sense.
func Misused(hint, format string, args ...any) error {
	return &Hinted{fmt.Errorf(format, args...), hint, ExitUsage}
}

// Silent ends the program with a code; everything has been said already.
type Silent int

func (e Silent) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// Dress gives a root command, and so all below it, the form of our help: examples first,
// exit codes last. Commands have their exit codes in the annotation "exit".
func Dress(root *cobra.Command) {
	root.SetHelpTemplate(helpTemplate)
	root.SetUsageTemplate(usageTemplate)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return &Hinted{err, "`" + c.CommandPath() + " --help` lists the flags", ExitUsage}
	})
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

// Group makes a command one that only has commands below it: alone it shows its help, and
// what is no command is an error that says what was meant.
func Group(c *cobra.Command) {
	c.Args = cobra.ArbitraryArgs
	c.SuggestionsMinimumDistance = 2
	c.RunE = func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return c.Help()
		}
		hint := "`" + c.CommandPath() + " --help` lists the commands"
		if like := c.SuggestionsFor(args[0]); len(like) > 0 {
			hint = "did you mean `" + c.CommandPath() + " " + like[0] + "`?"
		}
		return Misused(hint, "there is no command %q", c.CommandPath()+" "+args[0])
	}
}

// Logger logs to people (text) or to machines (json), as --log-format and --log-level say.
func Logger(w io.Writer, format, level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, Misused("debug, info, warn or error", "--log-level %s is no level", level)
	}
	o := &slog.HandlerOptions{Level: l}
	switch strings.ToLower(format) {
	case "text":
		return slog.New(slog.NewTextHandler(w, o)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, o)), nil
	}
	return nil, Misused("text or json", "--log-format %s is no format", format)
}
