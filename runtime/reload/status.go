package reload

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/musterhq/muster/policies"
	"github.com/musterhq/muster/runtime/reload/guard"
	"github.com/musterhq/muster/runtime/reload/reason"
	"github.com/musterhq/muster/runtime/reload/shadow"
)

// State is how far a version has come.
type State string

// The states.
const (
	Fetching    State = "fetching" // before the first step
	Fetched     State = "fetched"
	Verified    State = "verified"
	Compiled    State = "compiled"
	Checked     State = "checked"
	Shadow      State = "shadow"
	Active      State = "active"
	Quarantined State = "quarantined"
	Retired     State = "retired"
	Refused     State = "refused" // at the step after the last one in its history
)

// Bounds of what is remembered.
const (
	maxSteps = 32 // of one version; the first ones are kept, and the last
	maxPast  = 16 // versions of one name that are gone
)

// Step is one change of a version's state.
type Step struct {
	State State       `json:"state"`
	Code  reason.Code `json:"code"`
	Text  string      `json:"text,omitempty"`
	Hint  string      `json:"hint,omitempty"`
	At    int64       `json:"at"` // ns since the Unix epoch
}

// Version is what is known of one version of a policy.
type Version struct {
	Number  int         `json:"number"` // of the load, counted from 1
	Spec    string      `json:"spec"`   // the name in policies.yaml
	Name    string      `json:"name,omitempty"`
	Version string      `json:"version,omitempty"`
	Kinds   []string    `json:"kinds,omitempty"` // job_order …, or rules
	Digest  string      `json:"digest,omitempty"`
	ABI     string      `json:"abi,omitempty"`    // the least that a module needs, as 1.0
	Source  string      `json:"source"`           // as it was asked for
	Origin  string      `json:"origin,omitempty"` // what that meant: a tag's digest, a file of a folder
	Signers []string    `json:"signers,omitempty"`
	State   State       `json:"state"`
	Code    reason.Code `json:"code"`
	Text    string      `json:"text,omitempty"`
	Hint    string      `json:"hint,omitempty"`
	Since   int64       `json:"since"` // ns since the Unix epoch
	Check   string      `json:"check,omitempty"`
	// Params are the settings in force.
	Params  []policies.Param `json:"params,omitempty"`
	Calls   *guard.Stats     `json:"calls,omitempty"`
	Until   int64            `json:"until,omitempty"` // end of the quarantine, batch time in ns
	Shadow  *shadow.Report   `json:"shadow,omitempty"`
	History []Step           `json:"history"`
}

// PolicyStatus is everything under one name that queues use.
type PolicyStatus struct {
	Name     string    `json:"name"`
	Active   *Version  `json:"active,omitempty"`
	Shadow   *Version  `json:"shadow,omitempty"`
	Standby  *Version  `json:"standby,omitempty"`  // what a rollback would bring back
	Incoming *Version  `json:"incoming,omitempty"` // on its way
	Past     []Version `json:"past,omitempty"`     // refused or retired, the last ones, newest first
}

// Status is a picture of all policies.
type Status struct {
	At       int64          `json:"at"`
	Problems []string       `json:"problems,omitempty"` // of policies.yaml: what runs is the last valid one
	Policies []PolicyStatus `json:"policies"`
}

// Status returns the state of all policies, sorted by name.
func (m *Manager) Status() Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := Status{At: m.opt.Clock.Now(), Problems: slices.Clone(m.problems), Policies: []PolicyStatus{}}
	for _, name := range slices.Sorted(maps.Keys(m.slots)) {
		s := m.slots[name]
		out.Policies = append(out.Policies, PolicyStatus{
			Name: name, Active: m.describeIf(s.active), Shadow: m.describeIf(s.candidate), Standby: m.describeIf(s.standby),
			Incoming: m.describeIf(s.incoming), Past: slices.Clone(s.past),
		})
	}
	return out
}

// WriteStatus has the status file written anew, in the background: counters and shadow
// reports move without a step.
func (m *Manager) WriteStatus() { m.writer.touch() }

// Find returns the status of one name.
func (s Status) Find(name string) (PolicyStatus, bool) {
	for _, p := range s.Policies {
		if p.Name == name {
			return p, true
		}
	}
	return PolicyStatus{}, false
}

// ReadStatus reads a status file.
func ReadStatus(path string) (Status, error) {
	var s Status
	text, err := os.ReadFile(path)
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(text, &s)
}

func (m *Manager) describeIf(v *version) *Version {
	if v == nil {
		return nil
	}
	d := m.describe(v)
	return &d
}

// describe makes a copy of a version's record with its counters; m.mu is held.
func (m *Manager) describe(v *version) Version {
	if v == nil {
		return Version{}
	}
	d := v.record
	d.History = slices.Clone(d.History)
	if v.guard != nil {
		s := v.guard.Stats()
		d.Calls = &s
		if state, until := v.guard.State(); state == guard.Quarantined {
			d.Until = until
		}
	}
	if v.shadow != nil {
		r := v.shadow.Report()
		d.Shadow = &r
	}
	return d
}

// statusWriter writes the status file behind everybody's back, so that no step waits
// for a disk.
type statusWriter struct {
	m    *Manager
	path string
	wake chan struct{} // holds a token while there is something to write
	end  chan struct{}
	done sync.WaitGroup
	err  error // of the last write
}

func newStatusWriter(m *Manager, path string) *statusWriter {
	w := &statusWriter{m: m, path: path, wake: make(chan struct{}, 1), end: make(chan struct{})}
	if path != "" {
		w.done.Go(w.run)
	}
	return w
}

func (w *statusWriter) run() {
	for {
		select {
		case <-w.wake:
			w.err = w.write()
		case <-w.end:
			w.err = w.write()
			return
		}
	}
}

// touch says that something has changed; it never blocks.
func (w *statusWriter) touch() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *statusWriter) close() error {
	close(w.end)
	w.done.Wait()
	return w.err
}

func (w *statusWriter) write() error {
	text, err := json.MarshalIndent(w.m.Status(), "", "  ")
	if err != nil {
		return err
	}
	return writeAtomically(w.path, append(text, '\n'))
}

// writeAtomically replaces a file by a rename, so that a reader never sees half of it.
func writeAtomically(path string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Chmod(f.Name(), 0o644) // for operators to read
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // the first error is the one to show
	}
	return err
}
