package agent

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"time"

	"github.com/musterhq/muster/gpuprobe/bpf"
	"github.com/musterhq/muster/gpuprobe/cgroup"
	"github.com/musterhq/muster/gpuprobe/nvml"
	"github.com/musterhq/muster/gpuprobe/podresources"
	"github.com/musterhq/muster/runtime/clock"
)

// Config is what an Agent is made of. Node, Boot, Library, Finder and Sink must be set; the
// rest has defaults.
type Config struct {
	Node string
	Boot string // random, another one with every start
	// Clock is the real clock if nil. It must not jump (see clock.Real for what does).
	Clock clock.Clock

	// Library is asked for NVML at the start of each sweep, as nvml.Reopener.Library is: a
	// library that is not the one of before is of a driver that was restarted. It may take
	// its time. Calls of what it returns should be guarded (nvml.Guard), but the agent
	// also survives if they are not.
	Library func() (nvml.Library, error)
	// Watcher sees launches; nil if there is none, NoWatcher then says why.
	Watcher   bpf.Watcher
	NoWatcher bpf.Status
	Finder    cgroup.Finder
	// Lister is nil where there is no kubelet.
	Lister podresources.Lister
	// Proxy says that a process runs the work of others, as the server of MPS does: then
	// the driver's values by process are not those of the owners. Nil: none does.
	Proxy func(pid uint32) bool
	// PodName tells the namespace and name of a pod by its UID; nil, or not ok, if that
	// is not known on the node. Without it the join with the kubelet's list is inferred.
	PodName func(uid string) (namespace, name string, ok bool)

	// Load names this start of the machine and of the driver on it, "" if that can't be
	// told; it ends in LoadUnsure if only the machine's can. It is asked when the library is
	// another one. Nil: it can't be told.
	Load func() string
	// Recall says that Agent.Recall will be called. Until then, but for RecallWithin (30 s)
	// at most, no GPU is called healthy, as it may have failed before this start.
	Recall       bool
	RecallWithin time.Duration

	// Sink gets every State, on the agent's goroutine: it must not block.
	Sink func(*State)
	Log  *slog.Logger

	Interval  time.Duration // between sweeps, 5 s
	Deadline  time.Duration // for the readings of a sweep, 3.5 s; must be below Interval
	ListEvery time.Duration // between questions to the kubelet, 10 s
	ListKeep  time.Duration // how long its last answer holds, 60 s
	// Duty is how often busy processes are watched for DutyLook (1 s), to tell a kernel
	// that never ends from a job that works. 0 is never: a busy process then pays nothing.
	Duty     time.Duration
	DutyLook time.Duration
	// IgnoreXIDs say nothing about the health of a GPU, by the will of the administrator.
	IgnoreXIDs []uint64

	MaxProcesses int // that are followed, 16,384
	MaxArmed     int // at once, 512
}

// LoadUnsure ends a Config.Load that does not tell one start of the driver from another.
const LoadUnsure = "/0"

const (
	rearmAfter = 30 * time.Second // an Overrun keeps a process from being armed for so long
	statusEach = 2                // sweeps between readings of what changes slowly
	migEach    = 12               // sweeps between enumerations of instances
	retryEach  = 6                // sweeps between tries to arm who could not be armed
	maxWatched = 4096             // owners that the server may ask to watch
	maxXIDs    = 64               // different XIDs counted for one GPU
)

// check fills in the defaults.
func (c *Config) check() error {
	switch {
	case c.Node == "" || c.Boot == "":
		return errors.New("agent: a node and a boot id are needed")
	case c.Library == nil || c.Finder == nil || c.Sink == nil:
		return errors.New("agent: Library, Finder and Sink are needed")
	}
	if c.Clock == nil {
		c.Clock = clock.Real{}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	if c.Lister == nil {
		c.Lister = noLister{}
	}
	if c.Proxy == nil {
		c.Proxy = func(uint32) bool { return false }
	}
	if c.Load == nil {
		c.Load = func() string { return "" }
	}
	if c.PodName == nil {
		c.PodName = func(string) (string, string, bool) { return "", "", false }
	}
	if c.Interval <= 0 {
		c.Interval = 5 * time.Second
	}
	for _, d := range []struct {
		to  *time.Duration
		def time.Duration
	}{
		{&c.Deadline, min(3500*time.Millisecond, c.Interval*7/10)},
		{&c.ListEvery, 10 * time.Second},
		{&c.ListKeep, time.Minute},
		{&c.DutyLook, time.Second},
		{&c.RecallWithin, 30 * time.Second},
	} {
		if *d.to <= 0 {
			*d.to = d.def
		}
	}
	if c.Deadline >= c.Interval {
		return errors.New("agent: the deadline of a sweep must be shorter than the interval")
	}
	if c.MaxProcesses <= 0 {
		c.MaxProcesses = 16384
	}
	if c.MaxArmed <= 0 {
		c.MaxArmed = 512
	}
	return nil
}

// noLister is where there is no kubelet.
type noLister struct{}

var errNoKubelet = errors.New("no kubelet was named")

func (noLister) List(context.Context) ([]podresources.Assignment, error) { return nil, errNoKubelet }
