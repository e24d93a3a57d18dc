package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/runtime/serve"
	"github.com/musterhq/muster/runtime/serve/view"
)

// columns begins a table.
func columns(w io.Writer, names string) *tabwriter.Writer {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, strings.ReplaceAll(names, " ", "\t"))
	return t
}

// safe is a text without what moves a terminal's cursor: names come from others.
func safe(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return '?'
		}
		return r
	}, text)
}

// dash is "-" for what is not set.
func dash(resource string, v *int64) string {
	if v == nil {
		return "-"
	}
	return view.Quantity(resource, *v)
}

func (a *app) queuesText(raw json.RawMessage, wide bool) error {
	var queues []view.Queue
	if err := json.Unmarshal(raw, &queues); err != nil {
		return err
	}
	names := "QUEUE RESOURCE GUARANTEED MAX USED BORROWED PENDING RUNNING WAITING"
	if wide {
		names += " BUSY IDLE UNKNOWN MADE-BY"
	}
	w := columns(a.out, names)
	for i := range queues {
		q := &queues[i]
		first := true
		line := func(r view.QueueResource) {
			name, running, waiting, origin := safe(q.Path), fmt.Sprint(q.RunningJobs), fmt.Sprint(q.PendingJobs), q.Origin()
			if !first {
				running, waiting, origin = "", "", ""
			}
			first = false
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s", name, r.Resource, effective(r), dash(r.Resource, r.Max),
				view.Quantity(r.Resource, r.Used), view.Quantity(r.Resource, r.Borrowed), view.Quantity(r.Resource, r.Pending), running, waiting)
			if wide {
				busy, idle, unknown := measuredText(r)
				fmt.Fprintf(w, "\t%s\t%s\t%s\t%s", busy, idle, unknown, origin)
			}
			fmt.Fprintln(w)
		}
		for _, r := range q.Resources {
			if wide || amount.IsGPU(r.Resource) {
				line(r)
			}
		}
		if first {
			line(view.QueueResource{Resource: "-"})
		}
	}
	return w.Flush()
}

// effective is a guarantee as the pool can keep it, of what was configured.
func effective(r view.QueueResource) string {
	if r.Guaranteed == nil || r.Effective == nil || *r.Effective == *r.Guaranteed {
		return dash(r.Resource, r.Guaranteed)
	}
	return fmt.Sprintf("%s of %s", view.Quantity(r.Resource, *r.Effective), view.Quantity(r.Resource, *r.Guaranteed))
}

func (a *app) jobsText(raw json.RawMessage, wide bool) error {
	var jobs []view.Job
	if err := json.Unmarshal(raw, &jobs); err != nil {
		return err
	}
	names := "JOB QUEUE STATE TASKS GPUS NODES REASON"
	if wide {
		names = "JOB QUEUE USER PRIORITY STATE TASKS GPUS NODES SUBMITTED REASON"
	}
	w := columns(a.out, names)
	for i := range jobs {
		j := &jobs[i]
		queue, tasks, held := or(safe(j.Queue), "-"), tasksText(j.Groups), gpusOf(j)
		if wide {
			fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%s\t%s\t%d\t%s\t%s\n", safe(j.ID), queue, or(safe(j.User), "-"), j.Priority, j.State, tasks, held, j.Nodes, submitted(j), safe(reasonOf(j, wide)))
			continue
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d\t%s\n", safe(j.ID), queue, j.State, tasks, held, j.Nodes, safe(reasonOf(j, wide)))
	}
	return w.Flush()
}

// reasonOf is why a job waits: the code, or a sentence that has it.
func reasonOf(j *view.Job, wide bool) string {
	switch {
	case j.Reason == nil:
		return "-"
	case !wide:
		return j.Reason.Code
	case j.State == view.Outside:
		return j.Reason.Code + ": " + j.Reason.Text
	}
	return j.Reason.Text
}

func submitted(j *view.Job) string {
	if j.Submit.IsZero() {
		return "-"
	}
	return j.Submit.UTC().Format(time.RFC3339)
}

// gpusOf is how many GPUs a job holds, of how many it wants if some of its tasks wait.
func gpusOf(j *view.Job) string {
	if j.State == view.Outside {
		return "-"
	}
	wanted := int64(0)
	for _, g := range j.Groups {
		wanted += int64(g.Waiting) * g.Request[amount.GPUName]
	}
	if wanted == 0 {
		return gpus(j.GPUs)
	}
	return gpus(j.GPUs) + "/" + gpus(j.GPUs+wanted)
}

// tasksText is how many of a job's tasks run, and the gang if not all belong to it.
func tasksText(groups []view.Group) string {
	var running, size, least int32
	for _, g := range groups {
		running, size, least = running+g.Running, size+g.Size, least+g.Min
	}
	if len(groups) == 0 {
		return "-"
	}
	if least == size {
		return fmt.Sprintf("%d/%d", running, size)
	}
	return fmt.Sprintf("%d/%d (min %d)", running, size, least)
}

func (a *app) nodesText(raw json.RawMessage, wide bool) error {
	var nodes []view.Node
	if err := json.Unmarshal(raw, &nodes); err != nil {
		return err
	}
	names := "NODE GPU-TYPE GPUS FREE WHOLE TASKS STATE"
	if wide {
		names = "NODE GPU-TYPE GPUS FREE WHOLE CPU FREE-CPU MEMORY FREE-MEMORY TASKS STATE"
	}
	w := columns(a.out, names)
	for i := range nodes {
		n := &nodes[i]
		of := func(m view.Amounts, r string) string { return view.Quantity(r, m[r]) }
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t", safe(n.Name), or(safe(n.GPUType), "-"), of(n.Capacity, amount.GPUName), of(n.Free, amount.GPUName), n.FreeDevices)
		if wide {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t", of(n.Capacity, "cpu"), of(n.Free, "cpu"), of(n.Capacity, "memory"), of(n.Free, "memory"))
		}
		fmt.Fprintf(w, "%d\t%s\n", n.Tasks, nodeState(n))
	}
	return w.Flush()
}

func nodeState(n *view.Node) string {
	switch {
	case n.Cordoned && n.Note != "":
		return "cordoned: " + safe(n.Note)
	case n.Cordoned:
		return "cordoned"
	case n.ReservedFor != "":
		return "reserved for " + safe(n.ReservedFor)
	default:
		return "open"
	}
}

func (a *app) policiesText(raw json.RawMessage, wide bool) error {
	var list []serve.Policy
	if err := json.Unmarshal(raw, &list); err != nil {
		return err
	}
	w := columns(a.out, "NAME DECIDES VERSION STATE CALLS FALLBACKS QUEUES LAST-FAILURE")
	for i := range list {
		p := &list[i]
		version, state := "built-in", "active"
		if p.Active != nil {
			version, state = identity(p.Active.Name, p.Active.Version)+" "+short(p.Active.Digest), string(p.Active.State)
		} else if !p.BuiltIn {
			version, state = "-", "not active"
		}
		if p.Shadow != nil {
			state += ", with a shadow"
		}
		var calls, fallbacks int64
		failure := "-"
		for _, u := range p.Uses {
			calls, fallbacks = calls+u.Calls, fallbacks+u.Fallbacks
			if u.Failure != "" && wide {
				failure = u.Failure
			} else if u.Failure != "" {
				failure = u.LastCode
			}
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%d\t%d\t%s\n", safe(p.Name), strings.Join(p.Kinds, ","), safe(version), state, calls, fallbacks, len(p.Queues), safe(failure))
	}
	return w.Flush()
}

func (a *app) evictionsText(raw json.RawMessage, wide bool) error {
	var list []view.Eviction
	if err := json.Unmarshal(raw, &list); err != nil {
		return err
	}
	names := "WHEN JOB QUEUE FOR RULE TASKS GPUS UNSAVED-GPU-HOURS BECAME"
	if wide {
		names += " COST NEXT-BEST CANDIDATES PRICED-BY IDLE"
	}
	w := columns(a.out, names)
	for i := range list {
		e := &list[i]
		tasks := fmt.Sprint(len(e.Tasks))
		if e.Whole {
			tasks = "all " + tasks
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%.1f\t%s", e.At.UTC().Format(time.RFC3339), safe(e.Job), safe(e.Queue), safe(e.For), e.Rule, tasks, gpus(e.GPUs), unsaved(e), becameOf(e))
		if wide {
			fmt.Fprintf(w, "\t%d\t%d\t%d\t%s\t%s", e.Cost, e.AlternativeCost, e.Candidates, safe(e.Policy), idle(&e.Idle))
		}
		fmt.Fprintln(w)
	}
	return w.Flush()
}

// unsaved is for how long the GPUs of a victim had been held since its start or its last
// checkpoint, idle or not, in GPU-hours: nothing is lost if it stayed, or saved its work.
func unsaved(e *view.Eviction) float64 {
	if !e.Stayed.IsZero() || e.Saved {
		return 0
	}
	return float64(e.LostMS) / 3.6e6
}

// becameOf is what became of an eviction.
func becameOf(e *view.Eviction) string {
	switch {
	case !e.Stayed.IsZero():
		return "stayed: " + safe(e.StayedFor)
	case !e.Ended.IsZero() && e.Saved:
		return "saved, then ended"
	case e.Ended.IsZero() && !e.Deadline.IsZero():
		return "until " + e.Deadline.UTC().Format("15:04:05Z")
	default:
		return "ended"
	}
}
