//go:build linux && (amd64 || arm64)

package bpf

import (
	"cmp"
	"errors"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
)

// Probe is the kernel's Watcher.
//
// Launch probes are put on one process at a time (a link per armed pid and library): the
// trap is what a probe costs, and the kernel puts it into the memory of that process only.
// A pid that is not armed, and one on the same library too, runs the bytes that the driver
// came with.
type Probe struct {
	options Options
	kernel  kernel
	cgroups bool // the programs can tell cgroups
	objs    *objects
	exits   link.Link
	ring    *ringbuf.Reader
	events  chan Event
	dropped atomic.Uint64 // events for which the channel had no room
	kick    chan struct{} // something is in leaving
	stop    chan struct{}
	running sync.WaitGroup

	// change is held by whoever puts probes on or takes them off, and waits for the kernel
	// to do so. It guards the next block, and comes before mu.
	change    sync.Mutex
	libraries []*library
	paths     []string // looked at again and again: candidates, and those of Library
	closed    bool
	maps      func(pid uint32) (found []mapping, gone bool, err error) // mappedLibraries, but in tests
	blind     bool                                                     // maps of a process could not be read
	detail    string                                                   // what the load said
	failure   error                                                    // of the last library that was found and got no probes

	// mu guards the rest and is not held while waiting, so that a wake edge does not wait.
	mu      sync.Mutex
	armed   map[uint32]*arming
	leaving []link.Link // to be closed by whoever next holds change
	status  Status

	counter counter
}

// arming of one pid.
type arming struct {
	since time.Time // zero if it may launch by a library without probes
	links map[*library]link.Link
}

// New loads the programs and puts probes on the libraries that are there. It never fails:
// where there can be no probes it returns a Watcher that sees nothing and says why.
func New(o Options) Watcher {
	p, err := open(o)
	if err == nil {
		return p
	}
	var r *refusal
	if errors.As(err, &r) {
		return newDown(r.reason, r.detail)
	}
	return newDown(AttachFailed, err.Error())
}

func open(o Options) (*Probe, error) {
	k := thisKernel()
	if reason, detail := k.refuse(); reason != "" {
		return nil, &refusal{reason, detail}
	}
	objs, cgroups, detail, err := load(k, o)
	if err != nil {
		return nil, err
	}
	p := &Probe{
		options: o, kernel: k, objs: objs, cgroups: cgroups, detail: detail, paths: o.candidates(),
		events: make(chan Event, cmp.Or(o.room, 1024)), kick: make(chan struct{}, 1), stop: make(chan struct{}),
		armed: map[uint32]*arming{}, counter: newCounter(objs), maps: mappedLibraries,
	}
	if err := p.listen(); err != nil {
		objs.close()
		return nil, err
	}
	p.refresh()
	p.running.Add(2)
	go p.read()
	go p.tend()
	return p, nil
}

// listen opens what events come from.
func (p *Probe) listen() error {
	exits, err := link.AttachRawTracepoint(link.RawTracepointOptions{Name: "sched_process_exit", Program: p.objs.ExitLast})
	if errors.Is(err, syscall.EINVAL) { // before 6.16
		exits, err = link.AttachRawTracepoint(link.RawTracepointOptions{Name: "sched_process_exit", Program: p.objs.ExitLeader})
	}
	if err != nil {
		return explain(err, AttachFailed, "attach to sched_process_exit")
	}
	ring, err := ringbuf.NewReader(p.objs.Events)
	if err != nil {
		_ = exits.Close()
		return explain(err, AttachFailed, "open the ring of events")
	}
	p.exits, p.ring = exits, ring
	return nil
}

// Close takes all probes off. No pins are left: the kernel would do the same if we died.
func (p *Probe) Close() error {
	p.close()
	p.running.Wait()
	return nil
}

func (p *Probe) close() {
	p.change.Lock()
	defer p.change.Unlock()
	if p.closed {
		return
	}
	p.closed = true
	close(p.stop)
	_ = p.ring.Close()
	p.mu.Lock()
	for pid := range p.armed {
		p.release(pid)
	}
	p.mu.Unlock()
	p.sweep()
	_ = p.exits.Close()
	for _, l := range p.libraries {
		l.close()
	}
	p.libraries = nil
	p.publish()
	p.counter.close()
	p.objs.close()
}

// Status says what is seen.
func (p *Probe) Status() Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.status
	s.Libraries = slices.Clone(s.Libraries)
	return s
}

// publish makes a new status; change is held.
func (p *Probe) publish() {
	s := Status{Up: len(p.libraries) > 0, Detail: p.detail, CgroupV1: p.kernel.cgroupV1 && p.cgroups}
	for _, l := range p.libraries {
		s.Libraries = append(s.Libraries, l.Library)
	}
	slices.SortFunc(s.Libraries, func(a, b Library) int { return cmp.Compare(a.Path, b.Path) })
	switch {
	case p.closed:
		s.Reason, s.Detail = AttachFailed, "closed"
	case !s.Up && p.failure != nil:
		s.Reason, s.Detail = AttachFailed, p.failure.Error()
		var r *refusal
		if errors.As(p.failure, &r) {
			s.Reason, s.Detail = r.reason, r.detail
		}
	case !s.Up:
		s.Reason, s.Detail = NoLibrary, "no "+soname+" where drivers put it; it is looked for again"
	}
	if s.Up && p.failure != nil {
		s.Detail = join(s.Detail, p.failure.Error())
	}
	if s.Up && p.blind {
		s.Detail = join(s.Detail, "maps of processes can't be read: the libcuda of an image that brings its own "+
			"would not be seen, so who started before the probe is not called watched (before kernel 6.15 this needs CAP_SYS_PTRACE)")
	}
	p.mu.Lock()
	p.status = s
	p.mu.Unlock()
}

func join(a, b string) string {
	if a == "" {
		return b
	}
	return a + "; " + b
}

// Lost counts events that the ring or the channel had no room for.
func (p *Probe) Lost() uint64 { return p.dropped.Load() + p.counter.lost() }

// Events is closed by Close.
func (p *Probe) Events() <-chan Event { return p.events }

var errClosed = os.ErrClosed
