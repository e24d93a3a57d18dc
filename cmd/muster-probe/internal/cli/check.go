package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/musterhq/muster/cmd/internal/shell"
	"github.com/musterhq/muster/cmd/muster-probe/internal/node"
	"github.com/musterhq/muster/gpuprobe/bpf"
	"github.com/musterhq/muster/gpuprobe/nvml"
	"github.com/musterhq/muster/gpuprobe/podresources"
)

// verdict of one thing that the probe needs.
type verdict struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
	// Without says what is lost; "" if nothing is.
	Without string `json:"without,omitempty"`
	vital   bool
}

func (a *app) check() *cobra.Command {
	var o node.Options
	var format string
	c := a.command("check", "tell what can be measured here, and what is missing", `
Tells what can be measured on this machine, one line for each thing that it takes, and
what is lost without it. It changes nothing: probes of eBPF are put on and taken off.`, `
  muster-probe check
  muster-probe check --ebpf=false -o json`,
		"0 all is fine, 1 something is missing, 2 no GPU can be measured, or it was called wrongly",
		func(ctx context.Context) error {
			if err := checkFormat(format); err != nil {
				return err
			}
			list := examine(ctx, o)
			if err := a.print(format, map[string]any{"checks": list, "exit_code": int(codeOf(list))}, func() error { return a.tell(list) }); err != nil {
				return err
			}
			if code := codeOf(list); code != shell.ExitOK {
				return code
			}
			return nil
		})
	machineFlags(c.Flags(), &o)
	formatFlag(c, &format)
	return c
}

func codeOf(list []verdict) (code shell.Silent) {
	for _, v := range list {
		switch {
		case v.OK:
		case v.vital:
			return shell.ExitUsage
		default:
			code = shell.ExitFailed
		}
	}
	return code
}

func (a *app) tell(list []verdict) error {
	t := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	for _, v := range list {
		mark := "ok"
		if !v.OK {
			mark = "MISSING"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\n", v.Name, mark, v.Detail)
		if v.Without != "" {
			fmt.Fprintf(t, "\t\twithout it: %s\n", v.Without)
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintln(a.out, summary(codeOf(list)))
	return err
}

func summary(code shell.Silent) string {
	switch code {
	case shell.ExitOK:
		return "verdict: all is measured"
	case shell.ExitFailed:
		return "verdict: GPUs are measured, with less than there could be"
	}
	return "verdict: no GPU can be measured here"
}

func examine(ctx context.Context, o node.Options) []verdict {
	list := []verdict{checkNVML(o), checkProc(o), checkKubelet(ctx, o)}
	if !o.EBPF {
		return list
	}
	for _, f := range bpf.Check(o.BPF()) {
		v := verdict{Name: f.Name, OK: f.OK, Detail: f.Detail}
		if !f.OK && f.Name == "probes" {
			v.Without = "idleness is sampled only, and a wake-up is seen by the next sweep"
		}
		list = append(list, v)
	}
	return list
}

// checkNVML opens the library, which may hang.
func checkNVML(o node.Options) verdict {
	v := verdict{Name: "nvml", vital: true, Without: "no GPU is measured"}
	library := nvml.NewReopener(func() (nvml.Library, error) { return nvml.Open(o.Paths()...) }, 0)
	defer func() { _ = library.Close() }() // nothing comes after
	l, err := library.Library()
	if err != nil {
		v.Detail = firstLine(err.Error())
		if errors.Is(err, nvml.ErrLibraryNotFound) {
			v.Detail += ": is there a driver, and is it mounted into this container?"
		}
		return v
	}
	devices, err := l.Devices()
	if err != nil {
		v.Detail = err.Error()
		return v
	}
	s, err := l.System()
	if err != nil {
		v.Detail = err.Error()
		return v
	}
	v.OK, v.Without = true, ""
	v.Detail = fmt.Sprintf("driver %s, %d GPUs", s.Driver, len(devices))
	if s.Path != "" {
		v.Detail += ", " + s.Path
	}
	if len(s.Missing) > 0 {
		v.Detail += "; it lacks " + strings.Join(s.Missing, ", ")
	}
	if len(devices) == 0 {
		v.OK, v.Without = false, "there is nothing to measure"
	}
	return v
}

func checkProc(o node.Options) verdict {
	s := o.Finder().State()
	v := verdict{Name: "processes", OK: s.Up, Detail: s.Detail}
	switch {
	case !s.Up:
		v.Without = "which pod uses a GPU is not known"
	case v.Detail == "":
		v.Detail = "found with their cgroups"
	}
	return v
}

func checkKubelet(ctx context.Context, o node.Options) verdict {
	v := verdict{Name: "podresources", Without: "which pod was given a GPU is not known"}
	if o.KubeletSocket == "" {
		v.Detail = "no socket was named"
		return v
	}
	k, err := podresources.Kubelet(o.KubeletSocket, 3*time.Second)
	if err != nil {
		v.Detail = err.Error()
		return v
	}
	defer func() { _ = k.Close() }() // nothing comes after
	list, err := k.List(ctx)
	if err != nil {
		v.Detail = firstLine(err.Error())
		return v
	}
	v.OK, v.Without = true, ""
	v.Detail = fmt.Sprintf("%s, %d GPUs are assigned", o.KubeletSocket, len(list))
	return v
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}
