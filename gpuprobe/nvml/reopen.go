package nvml

import (
	"errors"
	"fmt"
	"sync"
	"time"
)

// Reopener keeps a guarded library open over restarts and upgrades of the driver. The
// agent calls Library at the start of each sweep, and before each wait for events:
//
//	lib, err := reopener.Library()
//	if err != nil { ... no GPU is seen; err says why }
//
// A library that is not the one of the sweep before (lib != last) is of a driver that was
// restarted: list its devices again. Old ones say ErrUninitialized.
type Reopener struct {
	open     func() (Library, error)
	deadline time.Duration
	now      func() time.Time

	mu      sync.Mutex
	current *Guarded
	file    FromFile    // of current, nil if it has none
	since   time.Time   // when current was opened
	opening chan opened // an open that has not been answered
	failure error       // of the last open
	retry   time.Time   // not opened again before
	pause   time.Duration
	closed  bool
}

type opened struct {
	lib Library
	err error
}

// Pauses between two tries to open: doubled from the first to the last.
const (
	firstPause = time.Second
	lastPause  = 30 * time.Second
)

// NewReopener opens with open, on the first call of Library. The deadline is that of
// Guard, and holds for opening too.
func NewReopener(open func() (Library, error), deadline time.Duration) *Reopener {
	if deadline <= 0 {
		deadline = DefaultDeadline
	}
	return &Reopener{open: open, deadline: deadline, now: time.Now}
}

// Library is the driver's library, guarded. It is opened again once a call has said that
// the driver was unloaded or replaced, or the library's file is another; not while a call
// is stuck in the old one, which is kept until the driver comes back.
//
// The error is that of the last try to open, which is repeated after 1 s, 2 s, ... 30 s,
// or ErrUnresponsive while the driver does not answer a try.
func (r *Reopener) Library() (Library, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, ErrUninitialized
	}
	if r.current != nil {
		if !r.stale() {
			return r.current, nil
		}
		r.drop()
	}
	if r.opening == nil {
		if r.failure != nil && r.now().Before(r.retry) {
			return nil, r.failure
		}
		r.start()
	}
	return r.wait()
}

// stale says whether current is of a driver that is gone, and can be let go.
func (r *Reopener) stale() bool {
	return (r.current.gone.Load() || r.file != nil && r.file.Changed()) && r.current.Stuck() == 0
}

// drop closes current; a close that hangs goes on by itself. The next is opened at once,
// unless this one did not last: then the trouble is not over.
func (r *Reopener) drop() {
	err := r.current.Close()
	lasted := r.now().Sub(r.since) >= lastPause
	r.current, r.file = nil, nil
	switch {
	case errors.Is(err, ErrUnresponsive):
		r.fail(fmt.Errorf("closing the library of the driver before: %w", err))
	case !lasted:
		r.fail(fmt.Errorf("%w: opened again after a pause", ErrLibraryVersion))
	default:
		r.failure, r.pause = nil, 0
	}
}

func (r *Reopener) start() {
	answer := make(chan opened, 1)
	r.opening = answer
	go func() {
		lib, err := r.open()
		answer <- opened{lib, err}
	}()
}

// wait for the open that is under way: for the deadline when it is new, else not at all.
func (r *Reopener) wait() (Library, error) {
	patience := r.deadline
	if errors.Is(r.failure, errOpening) {
		patience = 0
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case o := <-r.opening:
		return r.take(o)
	default:
	}
	select {
	case o := <-r.opening:
		return r.take(o)
	case <-timer.C:
		r.failure = errOpening
		return nil, r.failure
	}
}

var errOpening = fmt.Errorf("opening the library: %w", ErrUnresponsive)

func (r *Reopener) take(o opened) (Library, error) {
	r.opening = nil
	if o.err != nil {
		r.fail(o.err)
		return nil, o.err
	}
	r.failure, r.since = nil, r.now()
	r.current = Guard(o.lib, r.deadline)
	r.file, _ = o.lib.(FromFile)
	return r.current, nil
}

func (r *Reopener) fail(err error) {
	r.pause = min(max(2*r.pause, firstPause), lastPause)
	r.failure, r.retry = err, r.now().Add(r.pause)
}

// Close closes the library, and the one that is being opened when it comes.
func (r *Reopener) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil
	}
	r.closed = true
	if r.opening != nil {
		go func(late chan opened) {
			if o := <-late; o.lib != nil {
				_ = o.lib.Close() // nobody is left to tell
			}
		}(r.opening)
	}
	if r.current == nil {
		return nil
	}
	return r.current.Close()
}
