package reload

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/musterhq/muster/runtime/reload/reason"
	"github.com/musterhq/muster/runtime/reload/source"
	"github.com/musterhq/muster/runtime/reload/wanted"
)

// Request is what an operator asks of a running scheduler.
type Request struct {
	Op   string `json:"op"` // rollback, promote or reload
	Name string `json:"name"`
	By   string `json:"by,omitempty"`
}

// The operations of a Request.
const (
	OpRollback = "rollback"
	OpPromote  = "promote"
	OpReload   = "reload"
)

// maxRequest bounds the file of a request.
const maxRequest = 4 << 10

// requests is the folder of requests beside a policies.yaml. Who may write there may
// also write policies.yaml.
func requests(file string) string { return file + ".requests" }

// Ask hands a request to the scheduler that runs with this policies.yaml. It returns at
// once; what became of it is in the status file.
func Ask(file string, r Request) error {
	dir := requests(file)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return writeAtomically(filepath.Join(dir, strings.ToLower(rand.Text())+".json"), text)
}

// listenTo answers requests until ctx ends. It has a goroutine of its own: a rollback
// does not wait for a version that is being compiled.
func (m *Manager) listenTo(ctx context.Context, w *source.Watcher, file string) {
	for ctx.Err() == nil {
		// The folder is made by who asks first; until then it is the one around it that
		// changes.
		w.Follow([]string{filepath.Join(requests(file), "any"), file})
		m.answerRequests(ctx, file)
		w.Next(ctx, m.opt.Clock.Wake(m.opt.Clock.Now()+int64(lookEvery)))
	}
}

// answerRequests carries out what operators ask for, and removes what was asked.
func (m *Manager) answerRequests(ctx context.Context, file string) {
	entries, err := os.ReadDir(requests(file))
	if err != nil {
		return // nobody has asked for anything yet
	}
	for _, e := range entries {
		path := filepath.Join(requests(file), e.Name())
		if filepath.Ext(path) != ".json" || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		r, err := readRequest(path)
		if e := os.Remove(path); e != nil {
			m.setProblems([]string{e.Error()}) // or it would be answered for ever
			continue
		}
		if err == nil {
			err = m.Do(ctx, r)
		}
		if err != nil {
			m.addProblem(fmt.Sprintf("request %s %s: %v", r.Op, r.Name, err))
		}
	}
}

func readRequest(path string) (r Request, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return r, err
	}
	if info.Size() > maxRequest {
		return r, fmt.Errorf("%s: a request of %d bytes", path, info.Size())
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return r, err
	}
	return r, json.Unmarshal(text, &r)
}

// Do carries out a request.
func (m *Manager) Do(ctx context.Context, r Request) error {
	var err error
	switch r.Op {
	case OpRollback:
		_, err = m.Rollback(r.Name)
	case OpPromote:
		_, err = m.Promote(r.Name)
	case OpReload:
		_, err = m.Reload(ctx, r.Name)
	default:
		err = reason.New(reason.NotFound, r.Name, "operations are rollback, promote and reload", "there is no operation %q", r.Op)
	}
	return err
}

// maxProblems is how many are remembered.
const maxProblems = 32

func (m *Manager) addProblem(p string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.problems = append(m.problems, p)
	m.problems = slices.Clone(m.problems[max(len(m.problems)-maxProblems, 0):])
	m.writer.touch()
}

func cmpNames(a, b wanted.Spec) int { return cmp.Compare(a.Name, b.Name) }
