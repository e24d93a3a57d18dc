package conformance

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sort"
	"strconv"
	"strings"

	"github.com/musterhq/muster/builtin/pack"
	"github.com/musterhq/muster/runtime/ledger"
	"github.com/musterhq/muster/runtime/reload"
)

var errNeedsName = errors.New("a name is missing")

// commands is the vocabulary of stories.
func commands() map[string]command {
	all := map[string]command{
		"node":         {(*Tale).addNodes, "node NAME gpus=8 type=H100 cpu=96 mem=1Ti labels=k=v taint=k=v: a node joins, or changes"},
		"nodes":        {(*Tale).nodes, "nodes n0..n9 gpus=8: many nodes join; without words: what is free on each"},
		"queues":       {(*Tale).queues, "queues: the tree in the lines below, in the short form or as queues.yaml"},
		"placement":    {(*Tale).placement, "placement binpack: how nodes are chosen"},
		"victims-take": {(*Tale).takeTime, "victims-take 30s: how long victims need to be gone"},
		"submit":       {(*Tale).submit, "submit a1..a9 queue=q gpus=1 tasks=4 min=2 …: jobs arrive; groups in the lines below"},
		"finish":       {(*Tale).finish, "finish a1..a9: jobs end"},
		"finish-task":  {taskEvent(func(j string, i int32) ledger.Event { return ledger.TaskFinished{Job: j, Task: i} }), "finish-task JOB 3: a task ends for good"},
		"lose-task":    {taskEvent(func(j string, i int32) ledger.Event { return ledger.TaskLost{Job: j, Task: i} }), "lose-task JOB 3: the task's pod dies, its node lives"},
		"release-task": {taskEvent(func(j string, i int32) ledger.Event { return ledger.TaskReleased{Job: j, Task: i} }), "release-task JOB 3: the job gives a surplus task up"},
		"fail-gpu":     {(*Tale).failGPU, "fail-gpu NODE JOB 0..3: a GPU of the node breaks: the node has one less, and the tasks on it end"},
		"fail-node":    {(*Tale).failNodes, "fail-node n0..n2: nodes die with what is on them"},
		"saves":        {(*Tale).savesAfter, "saves JOB after=20s: how long the job needs to save its work after a notice"},
		"saved":        {(*Tale).savedNow, "saved JOB: the job has saved its work"},
		"priority":     {(*Tale).priority, "priority JOB 9: the priority changes"},
		"policy":       {(*Tale).policy, "policy NAME is library/fifo-reversed mid-cycle: from the next cycle on, queues that name it ask that module; mid-cycle, it comes while the next cycle runs; library/NAME?key=value sets one of its settings"},
		"rules":        {(*Tale).rules, "rules: the rules are those in the lines below, in Rego; each package is a file, data KEY a b c is data"},
		"use":          {(*Tale).use, "use a1..a9 busy=50 idle=10m watched=1h task=2 unknown: the GPUs of jobs, or of one task, are measured; watched is for how long no use could have gone unseen; without words behind the names: what is known of them"},
		"load":         {(*Tale).load, "load NAME library/fifo-reversed shadow: an operator loads that module under the name; shadow, only to be compared with what is there"},
		"reload":       {operate(func(l *life, name string) (reload.Version, error) { return l.Reload(context.Background(), name) }), "reload NAME: the module is loaded anew"},
		"rollback":     {operate(func(l *life, name string) (reload.Version, error) { return l.Rollback(name) }), "rollback NAME: the module before it comes back"},
		"shadow":       {(*Tale).shadow, "shadow NAME: what the candidate beside a policy would have decided differently"},
		"status":       {(*Tale).status, "status NAME: the versions of a loaded policy"},
		"history":      {(*Tale).usedBefore, "history: the GPU time that queues have used, decayed"},
		"run":          {(*Tale).runNow, "run: decide until nothing is left to decide"},
		"cycle":        {(*Tale).cycleOnce, "cycle: one cycle, its plan told in full"},
		"advance":      {(*Tale).advanceBy, "advance 10m: time passes"},
		"shares":       {(*Tale).shares, "shares: how many GPUs each queue holds, and is entitled to"},
		"explain":      {(*Tale).explain, "explain a1..a9: why a job waits"},
		"where":        {(*Tale).where, "where a1..a9: what a job holds"},
		"usage":        {(*Tale).usage, "usage: a table of the queues"},
		"trail":        {(*Tale).trail, "trail: the policies that the last cycle asked"},
	}
	maps.Copy(all, outsideCommands())
	return all
}

// Vocabulary is the help of all commands, a line each.
func Vocabulary() []string {
	var out []string
	for _, c := range commands() {
		out = append(out, c.help)
	}
	sort.Strings(out)
	return out
}

func (t *Tale) addNodes(words, _ []string) error {
	nodes, err := parseNodes(words)
	for _, n := range nodes {
		t.post(ledger.NodeAdded{Node: n})
	}
	return err
}

func (t *Tale) nodes(words, _ []string) error {
	if len(words) > 0 {
		return t.addNodes(words, nil)
	}
	t.freeNodes()
	return nil
}

func (t *Tale) queues(_, block []string) error {
	tree, err := parseQueues(block)
	if err != nil {
		return err
	}
	if t.loop == nil {
		t.tree = tree
		return nil
	}
	t.post(ledger.QueuesChanged{Tree: tree})
	return nil
}

func (t *Tale) placement(words, _ []string) (err error) {
	t.set.Placement, err = pack.ParseStrategy(strings.Join(words, " "))
	t.theLoop().Swap(t.set)
	return err
}

func (t *Tale) takeTime(words, _ []string) (err error) {
	t.victimsTake, err = durationOf(strings.Join(words, " "))
	return err
}

func (t *Tale) submit(words, block []string) error {
	if len(words) == 0 {
		return errNeedsName
	}
	names, err := namesOf(words[0])
	if err != nil {
		return err
	}
	o := optionsOf(words[1:])
	proto, err := t.parseJob(o, block)
	if err != nil {
		return err
	}
	for _, name := range names {
		j := *proto
		j.ID = name
		t.jobs[name] = &run{lasts: j.Duration}
		t.post(ledger.JobSubmitted{Job: &j})
	}
	return o.rest()
}

// each calls f for every name in the words.
func each(words []string, f func(name string)) error {
	if len(words) == 0 {
		return errNeedsName
	}
	for _, w := range words {
		names, err := namesOf(w)
		if err != nil {
			return err
		}
		for _, n := range names {
			f(n)
		}
	}
	return nil
}

func (t *Tale) finish(words, _ []string) error {
	return each(words, func(job string) {
		delete(t.jobs, job)
		t.post(ledger.JobGone{ID: job})
	})
}

func (t *Tale) failNodes(words, _ []string) error {
	return each(words, func(node string) {
		if n, ok := t.world().NodeNamed(node); ok {
			for _, task := range t.world().TasksOn(n) {
				t.stop(task.Job.Spec.ID)
			}
		}
		t.post(ledger.NodeRemoved{Name: node})
	})
}

// taskEvent is a command that happens to one task.
func taskEvent(make func(job string, task int32) ledger.Event) func(t *Tale, words, block []string) error {
	return func(t *Tale, words, _ []string) error {
		if len(words) != 2 {
			return errors.New("name the job and the number of the task")
		}
		i, err := strconv.ParseInt(words[1], 10, 32)
		if err != nil {
			return fmt.Errorf("%q is no number of a task", words[1])
		}
		t.post(make(words[0], int32(i)))
		return nil
	}
}

func (t *Tale) savesAfter(words, _ []string) error {
	if len(words) != 2 {
		return errors.New("write saves JOB after=20s")
	}
	d, err := optionsOf(words[1:]).duration("after")
	t.saves[words[0]] = d
	return err
}

func (t *Tale) savedNow(words, _ []string) error {
	return each(words, func(job string) { t.post(ledger.Saved{Job: job}) })
}

func (t *Tale) priority(words, _ []string) error {
	if len(words) != 2 {
		return errors.New("write priority JOB 9")
	}
	p, err := strconv.ParseInt(words[1], 10, 64)
	t.post(ledger.JobPriority{ID: words[0], Priority: p})
	return err
}

func (t *Tale) runNow(_, _ []string) error { return t.settle() }

func (t *Tale) cycleOnce(_, _ []string) error {
	var b strings.Builder
	t.turn().Taken.Text(&b)
	t.out.plain("%s", b.String())
	return nil
}

func (t *Tale) advanceBy(words, _ []string) error {
	d, err := durationOf(strings.Join(words, " "))
	if err != nil {
		return err
	}
	return t.advance(d)
}
