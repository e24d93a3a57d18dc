package cli

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/runtime/serve/client"
	"github.com/musterhq/muster/runtime/serve/view"
)

type topFlags struct {
	readerFlags
	every    time.Duration
	once     bool
	queue    string
	resource string
}

func (a *app) top() *cobra.Command {
	var f topFlags
	c := a.command("top", "show the queues of a running scheduler as bars", `
A bar for each queue and GPU type, as long as the pool has of it: █ used inside the
guarantee, ▓ borrowed, ░ asked for and waiting, ┃ the guarantee, ] the max. Drawn anew
until Ctrl-C; once, if the output is no terminal.`, `
  muster top
  muster top --queue root.research --every 5s`,
		readerExits, cobra.NoArgs, func(ctx context.Context, _ []string) error {
			if f.every < 200*time.Millisecond {
				return misused("as in --every 2s", "--every must be at least 200ms")
			}
			return a.watch(ctx, f)
		})
	f.add(c)
	fl := c.Flags()
	fl.DurationVar(&f.every, "every", 2*time.Second, "time between two pictures")
	fl.BoolVar(&f.once, "once", false, "draw one picture and end")
	fl.StringVar(&f.queue, "queue", "", "only the subtree of this `QUEUE`")
	fl.StringVar(&f.resource, "resource", "", "bars of this `RESOURCE` (default: GPUs by type)")
	return c
}

func (a *app) watch(ctx context.Context, f topFlags) error {
	c, err := f.open()
	if err != nil {
		return err
	}
	defer c.Close()
	screen := terminal(a.out)
	once := f.once || screen == nil
	for first := true; ; first = false {
		picture, err := topPicture(ctx, c, f, screen)
		switch {
		case err != nil && (first || once):
			return err
		case ctx.Err() != nil:
			return nil
		case err != nil:
			picture += "\n" + err.Error() + "\n"
		}
		if once {
			fmt.Fprint(a.out, picture)
			return nil
		}
		fmt.Fprint(a.out, "\x1b[H"+strings.ReplaceAll(picture, "\n", "\x1b[K\n")+"\x1b[J")
		select {
		case <-ctx.Done():
			return nil // Ctrl-C is how it ends
		case <-time.After(f.every):
		}
	}
}

// topPicture asks and draws once.
func topPicture(ctx context.Context, c *client.Client, f topFlags, screen *os.File) (string, error) {
	var pool view.Pool
	m, err := readFrom(ctx, c, "/pool", nil, &pool)
	if err != nil {
		return "", err
	}
	q := url.Values{"limit": {"50000"}}
	if f.queue != "" {
		q.Set("queue", f.queue)
	}
	var queues []view.Queue
	if _, err := readFrom(ctx, c, "/queues", q, &queues); err != nil {
		return "", err
	}
	width, height := 100, 0
	if screen != nil {
		if w, h, err := term.GetSize(int(screen.Fd())); err == nil {
			width, height = w, h
		}
	}
	head := fmt.Sprintf("%s: %d nodes, %d jobs run, %d wait, %s\n", c.Server(), pool.Nodes, pool.Running, pool.Pending, m.At.UTC().Format("15:04:05Z"))
	if pool.Paused != "" {
		head += "paused: " + safe(pool.Paused) + "\n"
	}
	return fit(head+topBars(queues, pool.Capacity, f.resource, width), height), nil
}

// fit cuts a picture to a screen; 0 is no screen.
func fit(picture string, height int) string {
	lines := strings.SplitAfter(picture, "\n")
	if height < 3 || len(lines) <= height {
		return picture
	}
	return strings.Join(lines[:height-2], "") + fmt.Sprintf("%d more lines: --queue shows a part\n", len(lines)-height+1)
}

// topBars draws the bars of the queues on lines of a width.
func topBars(queues []view.Queue, capacity view.Amounts, resource string, width int) string {
	names := 8
	for i := range queues {
		names = max(names, len(topName(&queues[i])))
	}
	names = min(names, 32)
	room := max(10, width-names-50)
	var b strings.Builder
	for i := range queues {
		name := topName(&queues[i])
		for _, r := range topResources(&queues[i], resource) {
			fmt.Fprintf(&b, "%-*.*s %-8.8s %s %s\n", names, names, name, topLabel(r.Resource), topBar(r, capacity[r.Resource], room), topNumbers(r))
			name = ""
		}
		if name != "" {
			fmt.Fprintf(&b, "%-*.*s -\n", names, names, name)
		}
	}
	return b.String()
}

func topName(q *view.Queue) string {
	return strings.Repeat("  ", q.Depth) + safe(q.Path[strings.LastIndex(q.Path, ".")+1:])
}

// topResources are the resources of a queue that get a bar: its GPU types, and all GPUs
// where they are bounded.
func topResources(q *view.Queue, only string) (out []view.QueueResource) {
	for _, r := range q.Resources {
		switch {
		case only != "":
			if r.Resource == only {
				out = append(out, r)
			}
		case r.Resource == amount.GPUName:
			if r.Guaranteed != nil || r.Max != nil || r.Pending > 0 {
				out = append(out, r)
			}
		case amount.IsGPU(r.Resource):
			out = append(out, r)
		}
	}
	return out
}

func topLabel(resource string) string {
	if resource == amount.GPUName {
		return "GPUs"
	}
	return safe(resource[strings.LastIndex(resource, ":")+1:])
}

// topBar is a bar of a width that stands for what the pool has.
func topBar(r view.QueueResource, pool int64, width int) string {
	if pool <= 0 {
		return strings.Repeat(" ", width)
	}
	cells := []rune(strings.Repeat("·", width))
	at := func(v int64) int { return int(min(int64(width), max(0, v*int64(width)/pool))) }
	paint := func(from, to int64, c rune) {
		for i := at(from); i < at(to); i++ {
			cells[i] = c
		}
	}
	paint(0, r.Used-r.Borrowed, '█')
	paint(r.Used-r.Borrowed, r.Used, '▓')
	paint(r.Used, r.Used+r.Pending, '░')
	if r.Max != nil {
		cells[max(0, min(width-1, at(*r.Max)-1))] = ']'
	}
	if r.Effective != nil {
		cells[max(0, min(width-1, at(*r.Effective)-1))] = '┃'
	}
	return string(cells)
}

func topNumbers(r view.QueueResource) string {
	text := view.Quantity(r.Resource, r.Used)
	if r.Guaranteed != nil {
		text += " of " + effective(r) + " guaranteed"
	}
	if r.Max != nil {
		text += ", max " + view.Quantity(r.Resource, *r.Max)
	}
	if r.Pending > 0 {
		text += ", +" + view.Quantity(r.Resource, r.Pending)
	}
	return text
}
