//go:build linux && (amd64 || arm64)

package bpf

import (
	"errors"
	"os"
	"slices"
	"time"
)

// replacedKept is how many files keep their probes after another took their place, as
// processes that were started before go on using them.
const replacedKept = 4

// Library watches a file as well.
func (p *Probe) Library(path string) error {
	p.change.Lock()
	defer p.change.Unlock()
	if p.closed {
		return errClosed
	}
	err := p.watch(path)
	if err == nil && pidOf(path) == 0 && !slices.Contains(p.paths, path) {
		p.paths = append(p.paths, path)
	}
	p.publish()
	return err
}

// watch puts the start probes on a file, and the launch probes on it for those who are
// armed, unless it has them; change is held.
func (p *Probe) watch(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	user := pidOf(path)
	if l := p.known(signatureOf(info)); l != nil {
		l.use(user)
		return nil
	}
	l, err := openLibrary(path, p.kernel.atLeast(6, 18))
	if err != nil {
		return err
	}
	if l.start, err = l.attach(p.objs.Start, l.starts, 0); err != nil {
		l.close()
		return explain(err, AttachFailed, path)
	}
	l.guest = user != 0
	l.use(user)
	p.libraries = append(p.libraries, l)
	return p.extend(l)
}

// known finds the library that a file is, by what its inode says now.
func (p *Probe) known(s signature) *library {
	for _, l := range p.libraries {
		if now, err := l.file.Stat(); err == nil && signatureOf(now).sameFile(s) {
			return l
		}
	}
	return nil
}

func (l *library) use(pid uint32) {
	if l.guest && pid != 0 {
		l.users[pid] = true
	}
}

// extend watches the armed pids in a new library as well. Of those that use it already
// launches may have been missed.
func (p *Probe) extend(l *library) error {
	pids := p.allArmed()
	errs := make([]error, len(pids))
	parallel(len(pids), func(i int) { errs[i] = p.extendOne(l, pids[i]) })
	p.sweep()
	return errors.Join(errs...)
}

func (p *Probe) extendOne(l *library, pid uint32) error {
	k, err := l.attach(p.objs.Launch, l.launches, pid)
	found, gone, errMaps := p.maps(pid)
	uses := errMaps != nil || slices.ContainsFunc(found, func(m mapping) bool { return m.inode == l.inode })
	p.mu.Lock()
	defer p.mu.Unlock()
	a := p.armed[pid]
	switch {
	case a == nil: // it ended, or was disarmed, meanwhile
		if k != nil {
			p.leaving = append(p.leaving, k)
		}
		return nil
	case err != nil:
		p.release(pid)
		if gone || errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return err
	}
	a.links[l] = k
	if uses && !a.since.IsZero() {
		a.since = time.Now()
	}
	return nil
}

// refresh looks at the files again; change is held.
func (p *Probe) refresh() {
	p.dropUnused()
	p.failure = nil
	for _, path := range p.paths {
		if err := p.watch(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			p.failure = errors.Join(p.failure, err)
		}
	}
	p.sweep()
	p.publish()
}

// dropUnused takes the probes off files that were overwritten, guests that nobody uses any
// more, and the oldest of those that were replaced.
func (p *Probe) dropUnused() {
	replaced := 0
	for _, l := range slices.Backward(slices.Clone(p.libraries)) {
		now, err := l.file.Stat()
		switch {
		case err != nil || l.overwritten(signatureOf(now)):
			p.drop(l, true)
		case l.guest:
			for pid := range l.users {
				if !alive(pid) {
					delete(l.users, pid)
				}
			}
			if len(l.users) == 0 {
				p.drop(l, false)
			}
		case l.replaced():
			if replaced++; replaced > replacedKept {
				p.drop(l, true)
			}
		}
	}
}

// replaced tells whether its path leads to another file now, or to none.
func (l *library) replaced() bool {
	info, err := os.Stat(l.Path)
	return err != nil || !l.sameFile(signatureOf(info))
}

// drop takes all probes off a library. gap: whoever is armed may still launch through it,
// and so is not armed any more.
func (p *Probe) drop(l *library, gap bool) {
	p.libraries = slices.DeleteFunc(p.libraries, func(x *library) bool { return x == l })
	p.mu.Lock()
	for pid, a := range p.armed {
		if gap {
			p.release(pid)
		} else if k := a.links[l]; k != nil {
			p.leaving = append(p.leaving, k)
			delete(a.links, l)
		}
	}
	p.mu.Unlock()
	p.sweep()
	l.close()
}
