package agent

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/musterhq/muster/gpuprobe/cgroup"
	"github.com/musterhq/muster/gpuprobe/nvml"
)

// Starting is the reason of a source that was not asked yet.
const Starting = "Starting"

// maxDetail bounds a text that goes with every report.
const maxDetail = 300

// brief is a text in one line, cut where it gets long.
func brief(text string) string {
	text = strings.ReplaceAll(strings.TrimSpace(text), "\n", "; ")
	if len(text) > maxDetail {
		text = strings.ToValidUTF8(text[:maxDetail], "") + "…"
	}
	return text
}

// sources are how the four ways of measuring do.
type sources struct{ nvml, ebpf, podresources, procfs Source }

func newSources(now time.Time) sources {
	one := func(name string) Source { return Source{Name: name, Reason: Starting, Since: now} }
	return sources{one(SourceNVML), one(SourceEBPF), one(SourcePodResources), one(SourceProcfs)}
}

func (s *sources) list() []Source { return []Source{s.nvml, s.ebpf, s.podresources, s.procfs} }

// set notes how a source does.
func (a *Agent) set(s *Source, up bool, reason, detail string, now time.Time) {
	detail = brief(detail)
	if s.Up != up || s.Reason != reason {
		s.Since = now
		a.c.Log.Info("source", "name", s.Name, "up", up, "reason", reason, "detail", detail)
	}
	s.Up, s.Reason, s.Detail = up, reason, detail
}

// checkSources looks at those that nobody tells about.
func (a *Agent) checkSources(now time.Time) {
	a.checkNVML(now)
	e := a.c.NoWatcher
	if a.c.Watcher != nil {
		e = a.c.Watcher.Status()
	} else if e.Reason == "" {
		e.Reason = "NotConfigured"
	}
	a.set(&a.sources.ebpf, e.Up, e.Reason, e.Detail, now)

	a.checkProcfs(now)
}

// checkProcfs: in the first place it is what the finder says, but whether the processes
// that NVML names can be found shows only with them.
func (a *Agent) checkProcfs(now time.Time) {
	looked, unowned, _ := a.lookup.counts()
	asked, failed := looked-a.lookedAt, unowned-a.unownedAt
	a.lookedAt, a.unownedAt = looked, unowned
	up := cgroup.State{Up: true}
	if f, can := a.c.Finder.(interface{ State() cgroup.State }); can {
		up = f.State()
	}
	s := &a.sources.procfs
	switch {
	case up.Up && asked > 0 && asked == failed:
		a.set(s, false, "NoOwners", "no process on a GPU is found in /proc: is hostPID set?", now)
	case up.Up && asked == 0 && s.Reason == "NoOwners": // nothing new
	default:
		a.set(s, up.Up, up.Reason, up.Detail, now)
	}
}

func (a *Agent) checkNVML(now time.Time) {
	if a.libErr != nil {
		a.set(&a.sources.nvml, false, nvmlReason(a.libErr), a.libErr.Error(), now)
		return
	}
	answering, nameless := 0, 0
	for _, s := range a.slots {
		if s.whole == nil || s.nameless {
			nameless++
		} else if s.whole.fresh {
			answering++
		}
	}
	switch {
	case len(a.slots) > 0 && answering == 0:
		a.set(&a.sources.nvml, false, "Unresponsive", "no GPU answers", now)
	case nameless > 0:
		a.set(&a.sources.nvml, true, "", fmt.Sprintf("%d GPUs never told who they are", nameless), now)
	default:
		a.set(&a.sources.nvml, true, "", cmp.Or(a.oddAnswers(), a.eventsDetail), now)
	}
}

// oddAnswers tells of the first GPU that fails to answer a question, though it answers
// others; "" if there is none.
func (a *Agent) oddAnswers() string {
	for i, s := range a.slots {
		if s.odd != nil && s.whole != nil && s.whole.fresh {
			return fmt.Sprintf("GPU %d: %v: what it was asked for is unknown", i, s.odd)
		}
	}
	return ""
}

// nvmlReason is a stable word for why there is no NVML.
func nvmlReason(err error) string {
	for _, r := range []struct {
		err    error
		reason string
	}{
		{nvml.ErrLibraryNotFound, "LibraryNotFound"},
		{nvml.ErrDriverNotLoaded, "DriverNotLoaded"},
		{nvml.ErrUnresponsive, "Unresponsive"},
		{nvml.ErrLibraryVersion, "DriverReplaced"},
		{nvml.ErrUninitialized, "DriverReplaced"},
		{nvml.ErrNoPermission, "NoPermission"},
		{nvml.ErrNotSupported, "Unsupported"},
	} {
		if errors.Is(err, r.err) {
			return r.reason
		}
	}
	return "NvmlError"
}
