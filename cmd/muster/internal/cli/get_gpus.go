package cli

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/runtime/serve/view"
)

func (a *app) getGPUs() *cobra.Command {
	return a.list(listing{
		use: "gpus", short: "list the GPUs with what they really do", path: "/gpus",
		long: `As the nodes' probes measure it. What nobody knows is "?", which is never 0. IDLE is for
how long none of a GPU's users has done anything; COVERAGE says whether every launch
would have been seen (watched), or only what the driver's samples met (sampled).

-o wide has a line for each user of a GPU: its own use with the basis of that figure
(process, mig, exclusive, or launch_share, which is an estimate), how old it is, and for
how long it was busy whenever the probe looked and launched nothing (SILENT): a hang, or
a kernel that never ends. Probes look if they are told to (--duty).`,
		examples: "  muster get gpus --idle 30m\n  muster get gpus --queue root.research --product H100 -o wide",
		filters: []filter{
			{name: "node", usage: "only of this `NODE`"},
			{name: "queue", usage: "only those that the subtree of this `QUEUE` uses"},
			{name: "product", usage: "only those with this `TEXT` in their product or type"},
			{name: "idle", usage: "only those whose users did nothing for `TIME` or longer, as 30m"},
			{name: "unhealthy", usage: "only those that are degraded, failed or unresponsive", flag: true},
			{name: "unrequested", usage: "only those that somebody uses to whom they were not given", flag: true},
		}, text: (*app).gpusText,
	})
}

func (a *app) getProbes() *cobra.Command {
	return a.list(listing{
		use: "probes", short: "list the nodes' probes and what they can measure", path: "/probes",
		long:     "A line for each node with GPUs. `muster doctor` sums it up.",
		examples: "  muster get probes\n  muster get probes --state none -o json",
		filters:  []filter{{name: "state", usage: "only in this `STATE`: connected, stale or none"}}, text: (*app).probesText,
	})
}

func (a *app) gpusText(raw json.RawMessage, wide bool) error {
	var gpus []view.GPU
	if err := json.Unmarshal(raw, &gpus); err != nil {
		return err
	}
	names := "NODE GPU PRODUCT HEALTH BUSY MEMORY IDLE COVERAGE POD QUEUE"
	if wide {
		names = "NODE GPU UUID PRODUCT HEALTH BUSY SM MEMORY WATTS CELSIUS IDLE COVERAGE AGE POD JOB QUEUE USE BASIS SILENT"
	}
	w := columns(a.out, names)
	for i := range gpus {
		g := &gpus[i]
		if !wide {
			fmt.Fprintln(w, strings.Join(gpuLine(g), "\t"))
			continue
		}
		for _, u := range usesOf(g) {
			fmt.Fprintln(w, strings.Join(a.useLine(g, &u), "\t"))
		}
	}
	return w.Flush()
}

func gpuLine(g *view.GPU) []string {
	return []string{
		safe(g.Node), gpuName(g), product(g), health(g), percent(g.Busy), memory(g.MemoryUsed, g.MemoryAll), idle(g.Idle), g.Coverage,
		usersOf(g, pod), usersOf(g, func(u *view.GPUUse) string { return u.Queue }),
	}
}

// useLine is a GPU with one of its users; one without an owner is none.
func (a *app) useLine(g *view.GPU, u *view.GPUUse) []string {
	measured, coverage, since, power := g.Measured, g.Coverage, g.Idle, "?"
	if u.Owner != "" {
		measured, coverage, since = u.Measured, u.Coverage, u.Idle
	}
	if g.Power != nil {
		power = fmt.Sprint((*g.Power + 500) / 1000)
	}
	return []string{
		safe(g.Node), gpuName(g), or(safe(g.UUID), "?"), product(g), health(g), percent(g.Busy), percent(g.SM), memory(g.MemoryUsed, g.MemoryAll), power,
		count(g.Degrees), idle(since), coverage, a.ageOf(measured), or(pod(u), nobody(g)), or(safe(u.Job), nobody(g)), or(safe(u.Queue), nobody(g)), useText(u), or(u.Basis, "-"), silence(u),
	}
}

// silence is for how long a user was busy and launched nothing; "-" if that is not known, as
// nobody looked or it did.
func silence(u *view.GPUUse) string {
	if u.NoLaunch == nil {
		return "-"
	}
	return lasted(time.Duration(*u.NoLaunch) * time.Millisecond)
}

// nobody is who uses a GPU that nobody is known to use.
func nobody(g *view.GPU) string {
	if g.Probe != view.ProbeConnected {
		return "?"
	}
	return "-"
}

// usesOf lists who uses a GPU; one that nobody uses has a line all the same.
func usesOf(g *view.GPU) []view.GPUUse {
	if len(g.Uses) == 0 {
		return []view.GPUUse{{}}
	}
	return g.Uses
}

// gpuName is a GPU's index on its node; that of an instance comes after its GPU's.
func gpuName(g *view.GPU) string {
	switch {
	case g.Index == nil:
		return "?"
	case g.ParentIndex != nil:
		return fmt.Sprintf("%d/%d", *g.ParentIndex, *g.Index)
	default:
		return fmt.Sprint(*g.Index)
	}
}

func product(g *view.GPU) string {
	name := or(strings.TrimPrefix(safe(g.Product), "NVIDIA "), safe(g.Type))
	return strings.ReplaceAll(or(name, "?"), " ", "-") // a column of one word
}

func health(g *view.GPU) string {
	text := g.Health
	if g.HealthReason != "" {
		text += ":" + safe(g.HealthReason)
	}
	if g.Probe == view.ProbeStale {
		text += "(stale)"
	}
	return text
}

// percent is a share in whole percent; what runs at all is not 0%.
func percent(permille *int64) string {
	switch {
	case permille == nil:
		return "?"
	case *permille > 0 && *permille < 10:
		return "<1%"
	default:
		return fmt.Sprintf("%d%%", *permille/10)
	}
}

func memory(used, all *int64) string {
	if used == nil && all == nil {
		return "?"
	}
	return bytesText(used) + "/" + bytesText(all)
}

func bytesText(v *int64) string {
	if v == nil {
		return "?"
	}
	return fmt.Sprintf("%.0fGi", float64(*v)/(1<<30))
}

func count(v *int64) string {
	if v == nil {
		return "?"
	}
	return fmt.Sprint(*v)
}

// idle is how long nothing was done; "-" of who works.
func idle(ms *int64) string {
	switch {
	case ms == nil:
		return "?"
	case *ms == 0:
		return "-"
	default:
		return lasted(time.Duration(*ms) * time.Millisecond)
	}
}

// lasted is a time as people say it: 12s, 34m, 5h20m, 3d.
func lasted(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%02dm", d/time.Hour, d%time.Hour/time.Minute)
	default:
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	}
}

// ageOf is how old a value is in the picture that was answered.
func (a *app) ageOf(t time.Time) string {
	if t.IsZero() || a.at.IsZero() {
		return "?"
	}
	return lasted(max(0, a.at.Sub(t)))
}

// pod is who uses a GPU, as people know it.
func pod(u *view.GPUUse) string {
	name := safe(or(u.Pod, u.Owner))
	if u.Assigned != nil && !*u.Assigned {
		name += "(unrequested)"
	}
	return name
}

// usersOf lists something of all who use a GPU in one word.
func usersOf(g *view.GPU, of func(*view.GPUUse) string) string {
	var names []string
	for i := range g.Uses {
		if name := safe(of(&g.Uses[i])); name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	switch len(names) {
	case 0:
		return nobody(g)
	case 1, 2:
		return strings.Join(names, ",")
	default:
		return fmt.Sprintf("%s,+%d", names[0], len(names)-1)
	}
}

// useText is the part of a GPU that one user takes.
func useText(u *view.GPUUse) string {
	if u.Owner == "" {
		return "-"
	}
	return percent(u.Busy)
}

func (a *app) probesText(raw json.RawMessage, _ bool) error {
	var probes []view.Probe
	if err := json.Unmarshal(raw, &probes); err != nil {
		return err
	}
	w := columns(a.out, "NODE STATE REPORTED GPUS OFFERED SOURCES")
	for i := range probes {
		p := &probes[i]
		var sources []string
		for _, s := range p.Sources {
			if text := safe(s.Name); s.Up {
				sources = append(sources, text)
			} else {
				sources = append(sources, text+":"+or(safe(s.Reason), "down"))
			}
		}
		reported, n := "-", "?"
		if p.State != view.ProbeNone {
			reported, n = a.ageOf(p.Reported), fmt.Sprint(p.GPUs)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s\n", safe(p.Node), p.State, reported, n, p.Devices, or(strings.Join(sources, ","), "-"))
	}
	return w.Flush()
}

// measuredText are the columns of real use of a queue's resource.
func measuredText(r view.QueueResource) (busy, idle, unknown string) {
	switch m := r.Measured; {
	case !amount.IsGPU(r.Resource):
		return "-", "-", "-"
	case m == nil:
		return "?", "?", "?"
	default:
		return view.Quantity(r.Resource, m.Busy), view.Quantity(r.Resource, m.Idle), view.Quantity(r.Resource, m.Unknown)
	}
}
