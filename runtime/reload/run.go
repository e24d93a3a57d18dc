package reload

import (
	"context"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/musterhq/muster/runtime/reload/reason"
	"github.com/musterhq/muster/runtime/reload/source"
	"github.com/musterhq/muster/runtime/reload/trust"
	"github.com/musterhq/muster/runtime/reload/wanted"
)

// How often Run looks without having been told, and how long it waits before it tries
// again what failed for a reason that may pass.
const (
	lookEvery  = 30 * time.Second
	firstRetry = time.Second
	lastRetry  = 5 * time.Minute
)

// Run makes what a policies.yaml wants so, and keeps it so until ctx ends: it follows
// the file, the files and folders that policies come from, and the requests of
// operators (see Ask). Nothing that goes wrong ends it: a file with errors changes
// nothing and is in the status, as is each policy that was refused. A registry that is
// down is tried again; a tag is not resolved again unless a reload is asked for.
func (m *Manager) Run(ctx context.Context, file string) error {
	w, err := source.NewWatcher(m.opt.Clock)
	if err != nil {
		return err
	}
	defer w.Close() //nolint:errcheck // nothing was written
	asked, err := source.NewWatcher(m.opt.Clock)
	if err != nil {
		return err
	}
	defer asked.Close() //nolint:errcheck // nothing was written
	ctx, stop := m.within(ctx)
	defer stop()
	var both sync.WaitGroup
	defer both.Wait()
	both.Go(func() { m.listenTo(ctx, asked, file) })
	r := runner{m: m, file: file}
	for ctx.Err() == nil {
		w.Follow(r.paths()) // before reading, so that no change is missed
		r.look(ctx)
		w.Follow(r.paths())
		w.Next(ctx, m.opt.Clock.Wake(r.next()))
	}
	return ctx.Err()
}

// runner is one Run.
type runner struct {
	m    *Manager
	file string
	read string // digest of policies.yaml as it was last read
}

// paths are all files that matter.
func (r *runner) paths() []string {
	out := []string{r.file}
	r.m.mu.Lock()
	specs := make([]wanted.Spec, 0, len(r.m.wanted))
	for _, w := range r.m.wanted {
		specs = append(specs, w.spec)
	}
	r.m.mu.Unlock()
	for _, s := range specs {
		out = append(out, source.Paths(s.Source, r.m.opt.Source)...)
	}
	return out
}

// look takes in whatever has changed.
func (r *runner) look(ctx context.Context) {
	r.readFile(ctx)
	r.m.refresh(ctx)
}

// readFile applies policies.yaml if it is another one than before.
func (r *runner) readFile(ctx context.Context) {
	text, err := os.ReadFile(r.file)
	if err != nil {
		r.m.setProblems([]string{err.Error()})
		return
	}
	digest := trust.Digest(text)
	if digest == r.read {
		return
	}
	r.read = digest
	f, problems := wanted.Parse(r.file, text)
	if f == nil {
		out := make([]string, len(problems))
		for i, p := range problems {
			out[i] = p.Error()
		}
		r.m.setProblems(out)
		return
	}
	if err := r.m.Trust(f.Trust); err != nil {
		r.m.setProblems([]string{err.Error()})
		r.read = "" // a key file may come yet
		return
	}
	r.m.setProblems(nil)
	_ = r.m.Apply(ctx, f) // each refusal is in the status
}

func (m *Manager) setProblems(ps []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.problems = ps
	m.writer.touch()
}

// next is when to look again without being told.
func (r *runner) next() int64 {
	r.m.mu.Lock()
	defer r.m.mu.Unlock()
	at := r.m.opt.Clock.Now() + int64(lookEvery)
	for _, w := range r.m.wanted {
		if w.then != 0 {
			at = min(at, w.then)
		}
	}
	return at
}

// tried is what is remembered of a load; v is nil if it did not begin.
func (m *Manager) tried(tries int, s wanted.Spec, v *version, err error) want {
	w := want{spec: s, err: err}
	if v != nil {
		w.seen = v.seen
	}
	if err != nil && reason.Of(err).Again {
		w.tries = tries + 1
		w.then = m.opt.Clock.Now() + int64(min(firstRetry<<min(tries, 16), lastRetry))
	}
	return w
}

// refresh loads what has changed on disk, and what is due to be tried again.
func (m *Manager) refresh(ctx context.Context) {
	m.apply.Lock()
	defer m.apply.Unlock()
	m.mu.Lock()
	wants := slices.Collect(maps.Values(m.wanted))
	now := m.opt.Clock.Now()
	m.mu.Unlock()
	slices.SortFunc(wants, func(a, b want) int {
		if a.spec.Mode != b.spec.Mode { // what decides comes before what is compared with it
			if a.spec.Mode == wanted.Shadow {
				return 1
			}
			return -1
		}
		return cmpNames(a.spec, b.spec)
	})
	for _, w := range wants {
		if ctx.Err() != nil {
			return
		}
		if m.due(ctx, w, now) {
			_, _ = m.Load(ctx, w.spec) // a refusal is in the status
		}
	}
}

// due says whether a policy is to be loaded again.
func (m *Manager) due(ctx context.Context, w want, now int64) bool {
	if w.then != 0 && now >= w.then {
		return true
	}
	if source.Paths(w.spec.Source, m.opt.Source) == nil {
		return false
	}
	a, err := source.Fetch(ctx, w.spec.Source, "", m.opt.Source)
	return err == nil && a.Fingerprint() != w.seen // what vanished, or is being written, is left alone
}
