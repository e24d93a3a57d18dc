package conformance

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/musterhq/muster/policies"
	"github.com/musterhq/muster/runtime/reload"
	"github.com/musterhq/muster/runtime/reload/reason"
	"github.com/musterhq/muster/runtime/reload/source"
	"github.com/musterhq/muster/runtime/reload/wanted"
	"github.com/musterhq/muster/runtime/wasm"
)

// life is the life cycle of the policies that a story loads as an operator would.
type life struct {
	*reload.Manager
	dir    string // where its modules lie
	named  map[string]policies.Policy
	loads  int
	before map[string]uint64 // calls of the active policy when its shadow came
	trail  []reload.Event    // not yet told
}

// patience is how long a shadow may take to catch up.
const patience = 20 * time.Second

// manager is the tale's life cycle, made when first needed. What it makes active takes
// the place of policies of the same name.
func (t *Tale) manager() (*life, error) {
	if t.life != nil {
		return t.life, nil
	}
	if t.Module == nil {
		return nil, errors.New("this teller has no modules")
	}
	dir, err := os.MkdirTemp("", "tale")
	if err != nil {
		return nil, err
	}
	l := &life{dir: dir, named: t.set.Named, before: map[string]uint64{}}
	l.Manager, err = reload.New(reload.Options{
		Swap:   t.swapIn,
		Source: source.Options{Dir: dir},
		Clock:  t.clock,
		Log:    func(e reload.Event) { l.trail = append(l.trail, e) },
	})
	t.life = l
	return l, err
}

// swapIn takes over what the life cycle has made active.
func (t *Tale) swapIn(s reload.Set) <-chan struct{} {
	t.set.Named = maps.Clone(t.life.named)
	maps.Copy(t.set.Named, s.Named)
	return t.theLoop().Swap(t.set)
}

// Close ends what the tale has running: its life cycle of policies.
func (t *Tale) Close() error {
	if t.life == nil {
		return nil
	}
	return errors.Join(t.life.Close(), os.RemoveAll(t.life.dir))
}

// tellLife tells the steps since it was last called, a line for each version. What a
// step says in words is not told: it has digests in it, which depend on the compiler.
func (t *Tale) tellLife() {
	steps := t.life.trail
	t.life.trail = nil
	for i := 0; i < len(steps); {
		var states []string
		v := steps[i].Version
		for ; i < len(steps) && steps[i].Version.Number == v.Number; i++ {
			if name := steps[i].Version.Name; name != "" {
				v.Name = name
			}
			states = append(states, stateText(steps[i].Step))
		}
		t.out.plain("%s: version %d, %s: %s\n", steps[i-1].Policy, v.Number, cmp.Or(v.Name, "unknown"), strings.Join(states, ", "))
	}
}

func stateText(s reload.Step) string {
	switch s.State {
	case reload.Refused, reload.Quarantined, reload.Retired:
		return fmt.Sprintf("%s (%s)", s.State, s.Code)
	}
	return string(s.State)
}

// load brings a module into use as an operator does.
func (t *Tale) load(words, _ []string) error {
	asShadow := len(words) == 3 && words[2] == "shadow"
	if len(words) != 2 && !asShadow {
		return errors.New("write load NAME library/fifo-reversed, and shadow if it is only to be compared")
	}
	l, err := t.manager()
	if err != nil {
		return err
	}
	module, err := t.Module(words[1])
	if err != nil {
		return err
	}
	l.loads++
	file := fmt.Sprintf("%d.wasm", l.loads)
	if err := os.WriteFile(filepath.Join(l.dir, file), module, 0o600); err != nil {
		return err
	}
	s := wanted.Spec{
		Name: words[0], Mode: wanted.Active, Source: wanted.Source{Kind: wanted.FromFile, At: file},
		Limits: wanted.Limits{Timeout: wasm.NoTimeout},
	}
	if asShadow {
		s.Name, s.Mode, s.Beside = words[0]+"-candidate", wanted.Shadow, words[0]
		l.before[words[0]] = l.calls(words[0])
	}
	_, err = l.Load(t.ctx, s)
	t.tellLife()
	t.choose()
	var refused *reason.Error
	if errors.As(err, &refused) { // a story may be about just that
		return nil
	}
	return err
}

// choose adds what is active to the policies that the story chose.
func (t *Tale) choose() {
	for name, p := range t.set.Named {
		if _, own := t.life.named[name]; !own {
			t.chosen = append(t.chosen, p)
		}
	}
}

func (l *life) calls(name string) uint64 {
	s, _ := l.Status().Find(name)
	if s.Active == nil || s.Active.Calls == nil {
		return 0
	}
	return s.Active.Calls.Calls
}

// operate is a command on one loaded policy.
func operate(do func(l *life, name string) (reload.Version, error)) func(t *Tale, words, block []string) error {
	return func(t *Tale, words, _ []string) error {
		l, err := t.manager()
		if err != nil || len(words) != 1 {
			return errors.Join(err, errNeedsName)
		}
		_, err = do(l, words[0])
		t.tellLife()
		return err
	}
}

// catchUp waits for shadows to have compared what the last turn asked: they do so on
// goroutines of their own, behind the scheduler's back.
func (t *Tale) catchUp() {
	if t.life == nil {
		return
	}
	for name, before := range t.life.before {
		for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
			r, ok := t.life.ShadowReport(name)
			if !ok || r.Compared()+r.Dropped+r.ActiveFailed >= t.life.calls(name)-before {
				break
			}
		}
	}
}

// shadow tells what the candidate beside a policy would have decided differently.
func (t *Tale) shadow(words, _ []string) error {
	l, err := t.manager()
	if err != nil || len(words) != 1 {
		return errors.Join(err, errNeedsName)
	}
	r, ok := l.ShadowReport(words[0])
	if !ok {
		return fmt.Errorf("%s has no shadow", words[0])
	}
	t.out.plain("%s beside %s: %d batches compared, %d differ\n", r.Candidate.Name, r.Active.Name, r.Compared(), r.Differs())
	if o := r.Jobs; o != nil {
		t.out.plain("  jobs: %d of %d at another place, %d times another one first\n", o.Moved, o.Rows, o.First)
	}
	if o := r.Victims; o != nil {
		t.out.plain("  victims: %d of %d at another place, %d times another one first\n", o.Moved, o.Rows, o.First)
	}
	if q := r.Queues; q != nil {
		t.out.plain("  queues: %d of %d batches differ\n", q.Different, q.Batches)
	}
	for _, e := range r.Examples {
		t.out.plain("  cycle %d: %s\n", e.Cycle, e.Text)
	}
	return nil
}

// status tells what runs under a name, and what could.
func (t *Tale) status(words, _ []string) error {
	l, err := t.manager()
	if err != nil || len(words) != 1 {
		return errors.Join(err, errNeedsName)
	}
	s, _ := l.Status().Find(words[0])
	for _, v := range []struct {
		role string
		v    *reload.Version
	}{{"in use", s.Active}, {"shadow", s.Shadow}, {"to go back to", s.Standby}} {
		if v.v == nil {
			continue
		}
		text := fmt.Sprintf("%s: %s, %s", v.role, v.v.Name, v.v.State)
		if v.v.Until > 0 && v.v.State == reload.Quarantined {
			text += " until " + clockText(v.v.Until)
		}
		t.out.plain("%s\n", text)
	}
	return nil
}
