package cli

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/musterhq/muster/cmd/muster/internal/output"
)

type versionInfo struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Time     string `json:"revision_time,omitempty"`
	Modified bool   `json:"modified"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func (a *app) version() *cobra.Command {
	var format string
	c := a.command("version", "print which Muster this is", "", `
  muster version
  muster version -o json`, "", cobra.NoArgs, func(context.Context, []string) error {
		if err := checkFormat(format); err != nil {
			return err
		}
		v := builtFrom()
		return a.print(format, v, func() error {
			fmt.Fprintf(a.out, "muster %s", v.Version)
			if v.Revision != "" {
				fmt.Fprintf(a.out, " (%s)", v.Revision[:min(12, len(v.Revision))])
			}
			fmt.Fprintf(a.out, ", %s, %s\n", v.Go, v.Platform)
			return nil
		})
	})
	formatFlag(c, &format)
	return c
}

func builtFrom() versionInfo {
	v := versionInfo{Version: "(devel)", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	if info.Main.Version != "" {
		v.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Revision = s.Value
		case "vcs.time":
			v.Time = s.Value
		case "vcs.modified":
			v.Modified = s.Value == "true"
		}
	}
	return v
}

func formatFlag(c *cobra.Command, to *string) {
	c.Flags().StringVarP(to, "output", "o", "text", "`FORMAT` of the answer: text, json or yaml")
}

// print writes a value in the format asked for; text writes it for people.
func (a *app) print(format string, v any, text func() error) error {
	switch format {
	case "json":
		return output.JSON(a.out, v)
	case "yaml":
		return output.YAML(a.out, v)
	default:
		return text()
	}
}

// checkFormat refuses an unknown -o before anything is done.
func checkFormat(format string) error {
	switch format {
	case "text", "json", "yaml":
		return nil
	}
	return misused("formats are text, json and yaml", "unknown output format %q", format)
}
