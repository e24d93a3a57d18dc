package conformance

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/cycle"
	"github.com/musterhq/muster/builtin/quota"
	"github.com/musterhq/muster/builtin/world"
	"github.com/musterhq/muster/policies"
	"github.com/musterhq/muster/runtime/ledger"
	"github.com/musterhq/muster/runtime/rego"
	"github.com/musterhq/muster/runtime/rules"
)

// policy puts a policy in the place of a name, between two cycles or in the middle of
// the next one.
func (t *Tale) policy(words, _ []string) error {
	midway := len(words) == 4 && words[3] == "mid-cycle"
	if len(words) != 3 && !midway || words[1] != "is" || t.Load == nil {
		return errors.New("write policy NAME is library/fifo-reversed, and mid-cycle if it is to come while a cycle runs")
	}
	p, err := t.Load(words[2])
	if err != nil {
		return err
	}
	t.chosen = append(t.chosen, p)
	next := t.set
	next.Named = withPolicy(t.set.Named, words[0], p)
	if midway {
		t.swapMidway(next)
		return nil
	}
	t.set = next
	t.theLoop().Swap(t.set)
	return nil
}

// swapMidway swaps when a policy is asked for the first time from now on.
func (t *Tale) swapMidway(next cycle.Set) {
	once := sync.OnceFunc(func() {
		t.set = next
		t.theLoop().Swap(next)
	})
	now := t.set
	now.Named = map[string]policies.Policy{}
	for name, p := range t.set.Named {
		now.Named[name] = &interrupted{p, once}
	}
	t.theLoop().Swap(now)
}

// interrupted is a policy in the middle of whose job order something else happens.
type interrupted struct {
	policies.Policy
	happens func()
}

// ScoreJobs answers as the policy does.
func (i *interrupted) ScoreJobs(ctx context.Context, b *policies.JobBatch) error {
	i.happens()
	return i.Policy.ScoreJobs(ctx, b)
}

// rules replaces the rules in Rego by the lines below; without lines there are none.
// Each package clause begins a file; a line "data" has the data behind it, as JSON.
func (t *Tale) rules(_, block []string) error {
	t.set.Admission, t.set.Protection = nil, nil
	if src := sourceOf(dedented(block)); len(src.Files) > 0 {
		compiled, err := rego.Load(t.ctx, src, rego.Options{})
		if err != nil {
			return err
		}
		r := rules.New(compiled, 0)
		t.set.Admission, t.set.Protection = r.Admission(), r.Protection()
	}
	t.theLoop().Swap(t.set)
	return nil
}

func sourceOf(lines []string) rego.Source {
	src := rego.Source{Files: map[string]string{}}
	data := map[string]any{}
	name := ""
	for _, l := range lines {
		if text, ok := strings.CutPrefix(l, "data "); ok {
			key, list, _ := strings.Cut(text, " ")
			data[key] = strings.Fields(list)
			continue
		}
		if of, ok := strings.CutPrefix(l, "package "); ok {
			name = of + ".rego"
		}
		src.Files[name] += l + "\n"
	}
	src.Data = data
	return src
}

// use says how busy the GPUs of jobs are measured to be.
func (t *Tale) use(words, _ []string) error {
	if len(words) == 1 {
		return t.measured(words)
	}
	if len(words) == 0 {
		return errors.New("write use a1..a9 busy=50, use a1 idle=10m watched=1h, use a1 unknown, or use a1 to be told")
	}
	names, err := namesOf(words[0])
	if err != nil {
		return err
	}
	o := optionsOf(words[1:])
	_, unknown := o.take("unknown")
	ev := ledger.UseMeasured{Known: !unknown, At: t.now()}
	percent, err := o.number("busy", 0)
	if err != nil {
		return err
	}
	ev.Busy = amount.One * amount.Share(percent) / 100
	if ev.Idle, err = o.duration("idle"); err != nil {
		return err
	}
	if ev.Watched, err = o.duration("watched"); err != nil {
		return err
	}
	only, err := o.number("task", -1)
	for _, name := range names {
		for i := range max(1, t.tasksOf(name)) {
			if ev.Job, ev.Task = name, int32(i); only < 0 || only == int64(i) {
				t.post(ev)
			}
		}
	}
	return errors.Join(err, o.rest())
}

func (t *Tale) tasksOf(job string) int {
	j := t.world().Job(job)
	if j == nil {
		return 0
	}
	return len(j.Tasks)
}

// trail tells how the policies that the story chose fared in the last cycle that
// asked any, and the rules. A digest depends on the compiler; told is whether it is
// the module's.
func (t *Tale) trail(_, _ []string) error {
	for _, u := range t.uses {
		i := slices.IndexFunc(t.chosen, func(p policies.Policy) bool { return p.Info().Digest == u.Digest })
		version := u.Version
		if version == "" {
			version = "without a version"
		}
		switch {
		case u.Kind == "protection":
			t.out.plain("%s by %s; %d calls, %d rows, %d protected\n", u.Kind, u.Name, u.Calls, u.Rows, u.Protected)
		case i < 0:
			continue
		default:
			t.out.plain("%s by %s, %s, the digest is that of the module; %d calls, %d rows\n", u.Kind, u.Name, version, u.Calls, u.Rows)
		}
		if u.Fallbacks > 0 {
			t.out.plain("  built-in %s answered %d of them: %s\n", u.Fallback, u.Fallbacks, u.Failure)
		}
	}
	return nil
}

// usedBefore tells the decayed usage of each queue, in GPU-hours.
func (t *Tale) usedBefore(_, _ []string) error {
	tree := t.world().Quota
	past := make([]int64, len(tree.Queues))
	tree.Decayed(t.now(), past)
	for q := range tree.Queues {
		hours := strconv.FormatFloat(float64(past[q])/3600_000, 'f', 2, 64)
		t.out.plain("%s%s: %s GPU-hours\n", strings.Repeat("  ", tree.Queues[q].Depth), tree.Queues[q].Name, hours)
	}
	return nil
}

// useOf is what is known of the GPUs of a job, for people.
func useOf(w *world.World, j *world.Job, now int64) string {
	sum := w.UseOfJob(j, now)
	busy, idle, ok := sum.Mean()
	switch {
	case !ok:
		return "unknown"
	case idle > 0:
		return "idle for " + clockText(idle)
	}
	return fmt.Sprintf("%d%% busy", (busy*100+amount.One/2)/amount.One)
}

// measured tells what is known of the GPUs of jobs.
func (t *Tale) measured(words []string) error {
	return each(words, func(job string) {
		if j := t.world().Job(job); j != nil {
			t.out.plain("%s: %s\n", job, useOf(t.world(), j, t.now()))
		}
	})
}

// shares tells what the fairness policy said last.
func (t *Tale) shares(_, _ []string) error {
	tree := t.world().Quota
	for q, e := range cycle.Entitlements(t.world()) {
		held := tree.Used(quota.Account(q))[amount.GPU]
		t.out.plain("%s%s holds %s of %s\n", strings.Repeat("  ", tree.Queues[q].Depth), tree.Queues[q].Name,
			amount.Format(amount.GPUName, held), amount.Format(amount.GPUName, e.Entitled[amount.GPU]))
	}
	return nil
}
