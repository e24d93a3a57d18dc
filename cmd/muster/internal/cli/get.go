package cli

import (
	"context"
	"encoding/json"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

// listing is one command of `muster get`.
type listing struct {
	use, short, long, examples string
	path                       string
	filters                    []filter
	// text prints the items for people.
	text func(a *app, raw json.RawMessage, wide bool) error
}

// filter is a flag that becomes a parameter of the API.
type filter struct {
	name, usage string
	flag        bool // it is set or not, and takes no value
}

func (a *app) get() *cobra.Command {
	return a.group("get", "list what a running scheduler knows", `
  muster get queues
  muster get jobs --queue root.research --state waiting
  muster get gpus --idle 30m`,
		a.list(listing{
			use: "queues", short: "list the queues with what they hold and may hold", path: "/queues",
			long: `A line for each queue and resource: guaranteed, max, used, borrowed and asked for, in
GPUs, cores and bytes. Without -o wide only GPUs are told, unless a queue has none. With
it also what the used GPUs really do, where nodes have probes: BUSY (as if of GPUs that
always do something), IDLE for five minutes or longer, UNKNOWN; and who made the queue:
config, or a placement rule, and how long it must be empty then to go.`,
			examples: "  muster get queues\n  muster get queues --queue root.research -o json",
			filters:  []filter{{name: "queue", usage: "only the subtree of this `QUEUE`"}}, text: (*app).queuesText,
		}),
		a.list(listing{
			use: "jobs", short: "list the jobs, by submit time", path: "/jobs",
			long: `Jobs that wait are told with the reason; ` + "`muster explain job NAME`" + ` says more. GPUS are those
that a job holds, of those that it wants (0/8) if some of its tasks wait. Jobs that no queue
takes come last, as outside: they have neither queue nor submit time.`,
			examples: "  muster get jobs --state waiting\n  muster get jobs --queue root.batch --reason queue-max -o wide",
			filters: []filter{
				{name: "queue", usage: "only in the subtree of this `QUEUE`"},
				{name: "state", usage: "only in this `STATE`: pending, starting, running, growing, leaving, outside, or waiting for all with tasks that wait"},
				{name: "user", usage: "only of this `USER`"},
				{name: "reason", usage: "only those that wait for this `CODE`"},
			}, text: (*app).jobsText,
		}),
		a.list(listing{
			use: "nodes", short: "list the nodes with what is free on them", path: "/nodes",
			long:     "-o wide tells cores and memory too.",
			examples: "  muster get nodes\n  muster get nodes --gpu-type H100 --free 4",
			filters:  []filter{{name: "gpu-type", usage: "only with GPUs of this `TYPE`"}, {name: "free", usage: "only with at least `N` wholly free GPUs"}}, text: (*app).nodesText,
		}),
		a.getGPUs(),
		a.getProbes(),
		a.list(listing{
			use: "policies", short: "list the policies with their versions, calls and fallbacks", path: "/policies",
			long:     "`muster policy status` tells the steps of what was loaded.",
			examples: "  muster get policies\n  muster get policies -o yaml", text: (*app).policiesText,
		}),
		a.list(listing{
			use: "evictions", short: "list who was evicted for whom, newest first", path: "/evictions",
			long:     "The last 2,000 since the scheduler started.",
			examples: "  muster get evictions --since 1h\n  muster get evictions --job team/train -o wide",
			filters:  []filter{{name: "queue", usage: "only of the subtree of this `QUEUE`"}, {name: "job", usage: "only of or for this `JOB`"}, {name: "since", usage: "only since this `TIME`: 2h, or 2026-01-31T12:00:00Z"}}, text: (*app).evictionsText,
		}))
}

// list makes the command of a listing.
func (a *app) list(l listing) *cobra.Command {
	var f readerFlags
	given, set := make([]string, len(l.filters)), make([]bool, len(l.filters))
	limit := 500
	c := a.command(l.use, l.short, l.long, l.examples, readerExits, cobra.NoArgs, func(ctx context.Context, _ []string) error {
		if err := f.checkFormat(); err != nil {
			return err
		}
		q := url.Values{}
		for i, v := range given {
			if set[i] {
				v = "true"
			}
			if v != "" {
				q.Set(strings.ReplaceAll(l.filters[i].name, "-", "_"), v)
			}
		}
		if l.path != "/policies" {
			q.Set("limit", strconv.Itoa(limit))
		}
		return a.getList(ctx, l, f, q)
	})
	f.add(c)
	f.addFormat(c)
	for i, x := range l.filters {
		if x.flag {
			c.Flags().BoolVar(&set[i], x.name, false, x.usage)
			continue
		}
		c.Flags().StringVar(&given[i], x.name, "", x.usage)
	}
	if l.path != "/policies" {
		c.Flags().IntVar(&limit, "limit", limit, "list at most `N`")
	}
	return c
}

func (a *app) getList(ctx context.Context, l listing, f readerFlags, q url.Values) error {
	c, err := f.open()
	if err != nil {
		return err
	}
	defer c.Close()
	var raw json.RawMessage
	m, err := readFrom(ctx, c, l.path, q, &raw)
	if err != nil {
		return err
	}
	a.stale(m)
	a.at = m.At
	err = a.printRead(f.format, raw, func() error { return l.text(a, raw, f.format == "wide") })
	if limit, _ := strconv.Atoi(q.Get("limit")); limit > 0 && m.Total > limit {
		a.remark("%d of %d are listed; --limit lists more", limit, m.Total)
	}
	return err
}
