package cli

import (
	"io"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// What people type to call us.
const (
	Muster = "muster"
	Plugin = "kubectl muster" // where the program's file is called kubectl-muster
)

// Program is what people type to call the program of this file: kubectl runs the plugin
// kubectl-muster for `kubectl muster`.
func Program(file string) string {
	if strings.TrimSuffix(filepath.Base(file), ".exe") == "kubectl-"+Muster {
		return Plugin
	}
	return Muster
}

func (a *app) plugin() bool { return a.program == Plugin }

// call is one of our commands in a text for people, after what may come before it.
var call = regexp.MustCompile("(^|[\\s(`<])(kubectl )?muster (check|completion|conformance|demo|doctor|explain|get|help|policy|scheduler|sim|top|version|COMMAND|--)")

// say has a text name our commands as people call us.
func (a *app) say(text string) string {
	if !a.plugin() {
		return text
	}
	return call.ReplaceAllString(text, "${1}"+Plugin+" ${3}")
}

// translate has the help of a command, and of all below it, speak as people call us.
func (a *app) translate(c *cobra.Command) {
	c.Short, c.Long, c.Example = a.say(c.Short), a.say(c.Long), a.say(c.Example)
	c.Flags().VisitAll(func(f *pflag.Flag) { f.Usage = a.say(f.Usage) })
	for _, sub := range c.Commands() {
		a.translate(sub)
	}
}

// speaker is a stream for people in which our commands are named as people call us.
type speaker struct {
	w   io.Writer
	say func(string) string
}

func (s *speaker) Write(b []byte) (int, error) {
	if _, err := io.WriteString(s.w, s.say(string(b))); err != nil {
		return 0, err
	}
	return len(b), nil
}
