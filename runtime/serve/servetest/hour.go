package servetest

import (
	"fmt"
	"testing"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/runtime/ledger"
	"github.com/musterhq/muster/runtime/serve/view"
)

// Hour is a pool of 384 GPUs of three types after an hour in which four organisations
// took turns: use over time has something to show.
func Hour(t testing.TB, o view.Options) *Cluster { return HourOf(t, o, func(*Cluster) {}) }

// HourOf is Hour, which calls f after every minute, before it is sampled.
func HourOf(t testing.TB, o view.Options, f func(*Cluster)) *Cluster {
	t.Helper()
	c := New(t, organisations(), o)
	var nodes []ledger.Event
	for i := range 48 {
		nodes = append(nodes, Node(fmt.Sprintf("gpu-%02d", i), []string{"H100", "H100", "A100", "L40S"}[i%4]))
	}
	c.Post(nodes...)
	d := &demand{c: c, ends: map[int64][]string{}}
	for minute := range int64(60) {
		d.minute(minute)
		f(c)
		for range 12 {
			c.Clock.Advance(c.Clock.Now() + view.FineStep)
			c.Sample()
		}
	}
	return c
}

// typed has guarantees or maxima of several GPU types.
func typed(h100, a100, l40s int64) spec.Resources {
	r := spec.GPUs(h100 + a100 + l40s)
	for name, n := range map[string]int64{"H100": h100, "A100": a100, "L40S": l40s} {
		if n > 0 {
			r = r.Set(amount.TypedGPU(name), amount.Amount(n)*1000)
		}
	}
	return r
}

func organisations() spec.Tree {
	return spec.Tree{Root: &spec.Queue{Name: "root", Parent: true, Children: []*spec.Queue{
		{Name: "research", Parent: true, Guaranteed: typed(96, 32, 0), Children: []*spec.Queue{
			{Name: "llm", Guaranteed: typed(72, 0, 0), Max: typed(192, 0, 0), JobOrder: "priority-fifo"},
			{Name: "vision", Guaranteed: typed(24, 32, 0), Max: typed(96, 96, 0)},
		}},
		{Name: "product", Parent: true, Guaranteed: typed(64, 32, 48), Children: []*spec.Queue{
			{Name: "ranking", Guaranteed: typed(48, 0, 0), Max: typed(160, 0, 0)},
			{Name: "serving", Guaranteed: typed(16, 32, 48), Max: typed(32, 64, 96)},
		}},
		{Name: "students", Max: typed(0, 64, 96)},
		{Name: "batch"},
	}}}
}

// demand is the jobs that come and go.
type demand struct {
	c      *Cluster
	number int64
	ends   map[int64][]string // by minute
}

func (d *demand) minute(m int64) {
	var evs []ledger.Event
	for _, id := range d.ends[m] {
		evs = append(evs, ledger.JobGone{ID: id})
	}
	add := func(queue, kind, gpuType string, n, gpus, minutes int64) {
		d.number++
		id := fmt.Sprintf("%s/%s-%03d", []string{"ml-core", "search", "uni"}[d.number%3], kind, d.number)
		j := Job(id, queue, gpuType, n, gpus)
		j.Job.Submit, j.Job.User = d.c.Clock.Now(), []string{"ann", "bo", "chen"}[d.number%3]
		d.ends[m+minutes] = append(d.ends[m+minutes], id)
		evs = append(evs, j)
	}
	add("root.batch", "sweep", []string{"", "A100", "L40S"}[m%3], 1, 8, 25)
	add("root.batch", "embed", "", 2, 4, 18)
	if m > 8 && m%2 == 0 {
		add("root.research.llm", "pretrain", "H100", 3, 8, 22)
		add("root.students", "lab", "L40S", 1, 4, 15)
	}
	if m > 20 && m%3 == 0 {
		add("root.product.ranking", "rank", "H100", 2, 8, 30)
		add("root.research.vision", "segment", "A100", 2, 8, 20)
	}
	if m > 30 && m%2 == 1 {
		add("root.product.serving", "replica", "L40S", 1, 4, 40)
	}
	if m == 50 {
		add("root.research.llm", "flagship", "H100", 30, 8, 60)
	}
	d.c.Post(evs...)
	for _, e := range d.c.Recorder.Evictions() {
		if e.At.UnixNano() == d.c.Clock.Now() {
			d.c.Post(ledger.Evicted{Job: e.Job, Tasks: e.Tasks})
		}
	}
}
