// Package cli is Muster's command line. It parses arguments and prints; what the
// commands do lives in packages that know no command line.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/musterhq/muster/cmd/internal/shell"
	"github.com/musterhq/muster/cmd/muster/internal/operator"
)

// Exit codes of every command; a command with others states them in its help.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitNotable     = 3 // it did, and found what it was asked to signal
	exitInterrupted = 130
)

const exitCodes = "0 it did, 1 it failed, 2 it was called wrongly, 130 it was interrupted"

// app is one call of the program.
type app struct {
	in       io.Reader
	out, err io.Writer
	program  string    // as people call it; "" is muster
	began    bool      // a command's own code has started: errors are no longer of usage
	at       time.Time // of the picture of a scheduler that is being told; ages count from it

	cluster *operator.Cluster // instead of the one of a kubeconfig, in tests
}

// Run runs the program and returns its exit code.
func Run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	return RunAs(Muster, args, stdin, stdout, stderr)
}

// RunAs is Run for a program that people call otherwise (see Program).
func RunAs(program string, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	return (&app{in: stdin, out: stdout, err: stderr, program: program}).run(args)
}

func (a *app) run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once
	out := &sticky{w: a.out}
	a.out = out
	if a.plugin() {
		a.err = &speaker{a.err, a.say}
	}
	root := a.root()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		fmt.Fprintln(a.err, "muster: interrupted; nothing was written")
		return exitInterrupted
	}
	if err == nil && out.err != nil {
		err = failed("is the disk full, or the reader of the pipe gone?", "cannot write the answer: %w", out.err)
	}
	return a.report(err)
}

// sticky is a stream that remembers the first failure of a write.
type sticky struct {
	w   io.Writer
	err error
}

func (s *sticky) Write(b []byte) (int, error) {
	n, err := s.w.Write(b)
	if s.err == nil {
		s.err = err
	}
	return n, err
}

func (a *app) root() *cobra.Command {
	root := a.group(Muster, "Muster shares one GPU cluster between many teams", `
  muster demo
  muster sim run talk2`,
		a.demo(),
		a.group("sim", "play recorded workloads on a simulated cluster", `
  muster sim run talk2
  muster sim compare talk1 --run old=job-order:fifo --run new=job-order:fair`,
			a.simRun(), a.simCompare(), a.simServe(), a.simImport()),
		a.group("check", "find every problem of a file", `
  muster check config queues.yaml
  muster check policy bin/policies/fifo.wasm`,
			a.checkConfig(), a.checkTrace(), a.checkPolicy()),
		a.policy(),
		a.get(), a.explain(), a.top(), a.doctor(),
		a.conformance(),
		a.scheduler(),
		a.version())
	root.SetIn(a.in)
	root.SetOut(a.out) // before completion is added: it keeps the stream
	root.SetErr(a.err)
	root.SilenceErrors, root.SilenceUsage = true, true
	shell.Dress(root)
	root.InitDefaultCompletionCmd()
	root.InitDefaultHelpCmd()
	for _, c := range root.Commands() {
		a.fillExamples(c)
	}
	if a.plugin() {
		root.Use = "kubectl-" + Muster
		root.Annotations[cobra.CommandDisplayNameAnnotation] = Plugin
		a.translate(root)
	}
	return root
}

// fillExamples gives cobra's own commands the examples that ours have.
func (a *app) fillExamples(c *cobra.Command) {
	if c.Example == "" {
		switch {
		case c.Parent().Name() == "completion":
			c.Short = "print what completes commands in " + c.Name()
			c.Example = "  muster completion " + c.Name() + "\n  muster completion " + c.Name() + " --no-descriptions"
		case c.Name() == "completion":
			c.Short = "print what completes commands in a shell"
			c.Example = "  source <(muster completion bash)\n  muster completion zsh > ~/.zfunc/_muster"
		default:
			c.Example = "  muster help sim run\n  muster help check"
		}
		c.Annotations = map[string]string{"exit": exitCodes}
	}
	for _, sub := range c.Commands() {
		a.fillExamples(sub)
	}
}

// group is a command that only has commands below it.
func (a *app) group(use, short, examples string, below ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{
		Use: use, Short: short, Long: sentence(short), Example: strings.TrimPrefix(examples, "\n"),
		Annotations: map[string]string{"exit": exitCodes},
	}
	shell.Group(c)
	c.AddCommand(below...)
	return c
}

// command is a command that does something. exits are its exit codes, "" for the
// usual ones.
func (a *app) command(use, short, long, examples, exits string, args cobra.PositionalArgs, do func(context.Context, []string) error) *cobra.Command {
	if exits == "" {
		exits = exitCodes
	}
	return &cobra.Command{
		Use: use, Short: short, Long: strings.TrimSpace(sentence(short) + "\n\n" + strings.TrimSpace(long)), Example: strings.TrimPrefix(examples, "\n"),
		Annotations: map[string]string{"exit": exits},
		Args: func(c *cobra.Command, given []string) error {
			if args(c, given) == nil {
				return nil
			}
			count := fmt.Sprintf("%s given, which does not fit", plural(len(given), "argument"))
			if len(given) == 0 {
				count = "an argument is missing"
			}
			example, _, _ := strings.Cut(strings.TrimSpace(c.Example), "\n")
			return misused("as in: "+example, "%s: %s", count, c.UseLine())
		},
		RunE: func(c *cobra.Command, args []string) error {
			a.began = true
			return do(c.Context(), args)
		},
	}
}

func sentence(short string) string { return strings.ToUpper(short[:1]) + short[1:] + "." }

// terminal is a stream's file if it is a terminal, else nil.
func terminal(w io.Writer) *os.File {
	switch s := w.(type) {
	case *sticky:
		w = s.w
	case *speaker:
		w = s.w
	}
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return nil
	}
	return f
}

// colorful says whether a stream takes colours: it is a terminal that is not dumb,
// and NO_COLOR (no-color.org) is not set.
func colorful(w io.Writer) bool {
	return terminal(w) != nil && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

// remark tells people something beside what they asked for.
func (a *app) remark(format string, args ...any) {
	fmt.Fprintf(a.err, "muster: "+format+"\n", args...)
}
