// Package crd writes what a node's GPUs are, and how they are, into the node's GPUNode
// object, and reads what an administrator says there. It is a convenience: the agent
// never waits for it, and what goes wrong becomes a State with a reason.
//
// An object is written only when it changed, at most every 10 seconds, but at once if a
// GPU's health did. Thousands of nodes that have nothing to say write nothing.
package crd

import (
	"cmp"
	"context"
	"hash/fnv"
	"log/slog"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/musterhq/muster/runtime/clock"
	api "github.com/musterhq/muster/runtime/kube/api/v1alpha1"
)

// Options of a Writer.
type Options struct {
	Client dynamic.Interface // with the rights of Admission's account, or more
	Node   string            // the name of this node, and of its GPUNode
	// NodeUID, if known, makes the Node the owner of a GPUNode that is created, so that it
	// goes with the node. It is a claim of the probe's token, see NodeOf.
	NodeUID types.UID
	// Create the object if it is missing.
	Create bool
	Clock  clock.Clock // the real one if nil
	// Every is the least time between two writes. 10 seconds if 0.
	Every time.Duration
	// Poll is how often the object is read for its spec. 1 minute if 0.
	Poll time.Duration
	// Timeout of one request. 10 seconds if 0.
	Timeout time.Duration
	// Changed, if any, is called with the spec when it was first read and whenever it
	// changed. It must not block.
	Changed func(api.GPUNodeSpec)
	// Found, if any, is called once, after Changed: with the status that an earlier probe
	// left, before it is written over; with an error if it can't be read. It must not block.
	Found func(api.GPUNodeStatus, error)
	Log   *slog.Logger // none if nil
}

// Bounds between which requests that fail are tried again.
const (
	firstPause = time.Second
	longest    = time.Minute     // while the API server is away
	hopeless   = 5 * time.Minute // while an administrator has to act
)

// quiet is how long a change in the wording of a condition alone may wait: a text with a
// number in it would otherwise be a write every 10 seconds on every node.
const quiet = 10 * time.Minute

// urgentGap is the least time between two writes that can't wait, so that a GPU whose
// health flickers does not flood the API server.
const urgentGap = time.Second

// longAgo is when the first write is before.
const longAgo = -int64(24 * time.Hour)

// State says how writing the object is doing.
type State struct {
	Up bool
	// Reason is stable: NotTried, NoCRD, NoObject, Forbidden, Unauthorized, Refused,
	// Conflict, Throttled, Timeout, Unreachable, Failed; "" while up.
	Reason string
	Detail string // for people
}

// Writer keeps one GPUNode. All methods may be called from any goroutine.
type Writer struct {
	o      Options
	client dynamic.ResourceInterface
	knock  chan struct{}

	mu      sync.Mutex
	want    *api.GPUNodeStatus // as reported last; nil before; never changed in place
	state   State
	spec    api.GPUNodeSpec
	hasSpec bool

	// What follows belongs to Run alone.
	have *api.GPUNode // as the API server has it; nil if it is not known
	// base is the status that a report is compared with: what was read, or what was
	// written since. An API server with an older CRD keeps less than what is written
	// (answer is what it keeps of it), which is no reason to write it again.
	base     *api.GPUNodeStatus
	answer   string
	found    bool  // Found was called
	polled   int64 // when it was read last
	written  int64 // when a write was last tried
	pause    time.Duration
	notUntil int64 // when to try again after a failure
}

// New returns a Writer that does nothing until it Runs.
func New(o Options) *Writer {
	if o.Clock == nil {
		o.Clock = clock.Real{}
	}
	o.Every = cmp.Or(o.Every, 10*time.Second)
	o.Poll = cmp.Or(o.Poll, time.Minute)
	o.Timeout = cmp.Or(o.Timeout, 10*time.Second)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Writer{
		o: o, client: o.Client.Resource(api.GPUNodes), knock: make(chan struct{}, 1),
		state:   State{Reason: "NotTried", Detail: "the GPUNode was not read yet"},
		written: longAgo,
	}
}

// Report says what the status should be. The last one counts; what is the same as before
// costs nothing. The writer sets ObservedGeneration, the summary of the GPUs, the times of
// conditions, and Health.Since where it is nil or its health is the one that was written.
func (w *Writer) Report(s api.GPUNodeStatus) {
	s = *s.DeepCopy()
	complete(&s)
	w.mu.Lock()
	w.want = &s
	w.mu.Unlock()
	select {
	case w.knock <- struct{}{}:
	default:
	}
}

// Spec is what an administrator says, as last read; false before the first time.
func (w *Writer) Spec() (api.GPUNodeSpec, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return *w.spec.DeepCopy(), w.hasSpec
}

// State says how it is doing.
func (w *Writer) State() State {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.state
}

// Run reads and writes until ctx ends.
func (w *Writer) Run(ctx context.Context) error {
	for {
		if now := w.o.Clock.Now(); now >= w.due() {
			w.step(ctx, now)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-w.knock: // a report may be due earlier
		case <-w.o.Clock.Wake(w.due()):
		}
	}
}

// due is when the next request is.
func (w *Writer) due() int64 {
	next := w.polled + w.phase()
	if w.have == nil {
		next = 0
	} else if c := w.change(); c > same {
		next = min(next, w.written+int64(w.wait(c)))
	}
	return max(next, w.notUntil)
}

// phase is the time between two polls: that of nodes differs a little, so that they don't
// all come at once.
func (w *Writer) phase() int64 {
	h := fnv.New32a()
	h.Write([]byte(w.o.Node))
	return int64(w.o.Poll) - int64(w.o.Poll)/8*int64(h.Sum32()%100)/100
}

// wait is the least time between the last write and one of a change.
func (w *Writer) wait(c change) time.Duration {
	switch c {
	case urgent:
		return min(urgentGap, w.o.Every)
	case wording:
		return max(quiet, w.o.Every)
	}
	return w.o.Every
}

// change is how what is wanted differs from what is there.
func (w *Writer) change() change {
	want := w.next()
	if want == nil {
		return same
	}
	return compare(w.base, want)
}

// next is the status to write, given what is there; nil if nothing was reported.
func (w *Writer) next() *api.GPUNodeStatus {
	w.mu.Lock()
	want := w.want
	w.mu.Unlock()
	if want == nil {
		return nil
	}
	s := want.DeepCopy()
	s.ObservedGeneration = w.have.Generation
	since(s, w.base, w.o.Clock.Now())
	return s
}

// step does what is due: reads the object, or writes it.
func (w *Writer) step(ctx context.Context, now int64) {
	request, cancel := context.WithTimeout(ctx, w.o.Timeout)
	defer cancel()
	do := w.read
	if w.have != nil {
		if c := w.change(); c > same && now >= w.written+int64(w.wait(c)) {
			do = w.write
		}
	}
	if err := do(request, now); ctx.Err() == nil {
		w.done(err)
	}
}

// done notes how a request ended, and when to try again.
func (w *Writer) done(err error) {
	s, wait := judge(err)
	if err == nil {
		w.pause, w.notUntil = 0, 0
	} else {
		w.pause = min(max(2*w.pause, firstPause), wait.longest)
		w.notUntil = w.o.Clock.Now() + int64(max(w.pause, wait.least))
	}
	w.mu.Lock()
	news := w.state.Up != s.Up || w.state.Reason != s.Reason
	w.state = s
	w.mu.Unlock()
	if news {
		w.o.Log.Info("GPUNode", "up", s.Up, "reason", s.Reason, "detail", s.Detail)
	}
}

// learn takes an object as the API server has it; unreadable is why its status is not
// there. One of several API servers may be behind: what is known to be older is left alone.
func (w *Writer) learn(n *api.GPUNode, unreadable error) {
	if w.have != nil && w.have.UID == n.UID && w.have.Generation > n.Generation {
		return
	}
	if w.have = n; text(&n.Status) != w.answer {
		w.base, w.answer = &n.Status, text(&n.Status)
	}
	w.mu.Lock()
	fresh := !w.hasSpec || !equality.Semantic.DeepEqual(w.spec, n.Spec)
	w.spec, w.hasSpec = *n.Spec.DeepCopy(), true
	w.mu.Unlock()
	if fresh && w.o.Changed != nil {
		w.o.Changed(*n.Spec.DeepCopy())
	}
	if !w.found && w.o.Found != nil {
		w.o.Found(*n.Status.DeepCopy(), unreadable)
	}
	w.found = true
}
