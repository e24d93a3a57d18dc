package source

import (
	"context"
	"path/filepath"
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/musterhq/muster/runtime/clock"
)

// Settle is how long a file must be left alone before it is read: editors and copiers
// write in several steps.
const Settle = 100 * time.Millisecond

// Watcher tells when something has changed in the folders of files. It watches folders,
// not files: an atomic replacement is a new file, and a mounted ConfigMap changes by a
// link beside the file.
type Watcher struct {
	notify *fsnotify.Watcher
	clock  clock.Clock
	dirs   map[string]bool
}

// NewWatcher returns a watcher of nothing.
func NewWatcher(c clock.Clock) (*Watcher, error) {
	n, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, err
	}
	return &Watcher{notify: n, clock: c, dirs: map[string]bool{}}, nil
}

// Follow watches the folders of these paths, and of what they link to, and no others.
// A folder that is not there yet is passed over; Follow again later.
func (w *Watcher) Follow(paths []string) {
	want := map[string]bool{}
	for _, p := range paths {
		want[filepath.Dir(p)] = true
		if real, err := filepath.EvalSymlinks(p); err == nil {
			want[filepath.Dir(real)] = true
		}
	}
	for dir := range w.dirs {
		if !want[dir] {
			_ = w.notify.Remove(dir) // it may be gone already
			delete(w.dirs, dir)
		}
	}
	for dir := range want {
		// Adding again is cheap, and needed after a folder was replaced.
		if w.notify.Add(dir) == nil {
			w.dirs[dir] = true
		} else {
			delete(w.dirs, dir)
		}
	}
}

// Next waits until something has changed and then been left alone for Settle. It
// returns false when the alarm came first, ctx has ended or the watcher is closed.
func (w *Watcher) Next(ctx context.Context, alarm <-chan int64) bool {
	if !w.event(ctx, alarm) {
		return false
	}
	// A stream of events does not put it off for ever.
	last := w.clock.Now() + 20*int64(Settle)
	for w.clock.Now() < last {
		if !w.event(ctx, w.clock.Wake(w.clock.Now()+int64(Settle))) {
			break
		}
	}
	return ctx.Err() == nil
}

// event waits for one event that may matter; false if there was none before the alarm,
// which may be nil.
func (w *Watcher) event(ctx context.Context, alarm <-chan int64) bool {
	for {
		select {
		case <-ctx.Done():
			return false
		case <-alarm:
			return false
		case e, ok := <-w.notify.Events:
			if !ok {
				return false
			}
			if e.Op != fsnotify.Chmod {
				return true
			}
		case _, ok := <-w.notify.Errors: // too many events to keep: something has changed
			return ok
		}
	}
}

// Close ends the watching.
func (w *Watcher) Close() error { return w.notify.Close() }

// Watched lists the folders that are followed, sorted.
func (w *Watcher) Watched() []string {
	out := make([]string, 0, len(w.dirs))
	for d := range w.dirs {
		out = append(out, d)
	}
	slices.Sort(out)
	return out
}
