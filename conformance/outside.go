package conformance

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/runtime/ledger"
)

// outsideCommands tell what an adapter of a real cluster finds there.
func outsideCommands() map[string]command {
	return map[string]command{
		"others":  {(*Tale).others, "others NODE gpus=2 cpu=4 counts=web:2 avoids=web@zone: what others than our jobs use on a node, how many of them count for a term, and which terms they keep away"},
		"found":   {(*Tale).found, "found JOB 0..3 on NODE: tasks run there, whoever started them"},
		"kept":    {(*Tale).kept, "kept JOB 3 on NODE for 1m: a place that was decided before a restart is still kept"},
		"grow":    {(*Tale).grow, "grow JOB tasks=2 min=0 gpus=1 …: the job gets a group of tasks more"},
		"gang":    {(*Tale).gang, "gang JOB 0 min=4: so many tasks of a group must run together from now on"},
		"absent":  {taskEvents(func(j string, i int32) ledger.Event { return ledger.TaskAbsent{Job: j, Task: i} }), "absent JOB 0..3: tasks have no pod"},
		"again":   {taskEvents(func(j string, i int32) ledger.Event { return ledger.TaskAgain{Job: j, Task: i} }), "again JOB 0..3: tasks that were absent, done or given up are wanted again"},
		"counted": {(*Tale).counted, "counted JOB 0 web,db: what the tasks of a group count for from now on"},
	}
}

func (t *Tale) others(words, _ []string) error {
	if len(words) == 0 {
		return errNeedsName
	}
	o := optionsOf(words[1:])
	used, err := o.resources()
	if err != nil {
		return err
	}
	e := ledger.NodeUsed{Name: words[0], Used: used, Counts: map[string]int32{}, Avoids: map[spec.Term]int32{}}
	for _, text := range o.list("counts") {
		id, number, _ := strings.Cut(text, ":")
		n, err := strconv.ParseInt(number, 10, 32)
		if err != nil {
			return fmt.Errorf("counts=%s: write counts=web:2", text)
		}
		e.Counts[id] = int32(n)
	}
	for _, text := range o.list("avoids") {
		e.Avoids[termOf(text)]++
	}
	t.post(e)
	return o.rest()
}

// list takes the parts of a word's value between commas.
func (o *options) list(key string) []string {
	text, ok := o.take(key)
	if !ok {
		return nil
	}
	return strings.Split(text, ",")
}

// termOf reads web@zone; web alone is by node.
func termOf(text string) spec.Term {
	id, topology, _ := strings.Cut(text, "@")
	return spec.Term{ID: id, Topology: topology}
}

// near takes counts=web needs=db@zone avoids=web spread=web@zone:1.
func (o *options) near() (n spec.Near, err error) {
	n.Counts = o.list("counts")
	for _, text := range o.list("needs") {
		n.Needs = append(n.Needs, termOf(text))
	}
	for _, text := range o.list("avoids") {
		n.Avoids = append(n.Avoids, termOf(text))
	}
	for _, text := range o.list("spread") {
		of, skew, _ := strings.Cut(text, ":")
		most, err := strconv.ParseInt(skew, 10, 32)
		if err != nil {
			return n, fmt.Errorf("spread=%s: write spread=web@zone:1", text)
		}
		s := spec.Spread{Term: termOf(of), MaxSkew: int32(most)}
		for _, id := range n.Counts {
			s.Self = s.Self || id == s.ID
		}
		n.Spread = append(n.Spread, s)
	}
	return n, nil
}

// onNode reads JOB 0..3 on NODE, and what follows.
func onNode(words []string) (job string, tasks []int32, node string, rest []string, err error) {
	if len(words) < 4 || words[2] != "on" {
		return "", nil, "", nil, errors.New("write JOB 0..3 on NODE")
	}
	tasks, err = tasksOf(words[1])
	return words[0], tasks, words[3], words[4:], err
}

// tasksOf reads 3 or 0..3.
func tasksOf(text string) (out []int32, err error) {
	numbers, err := namesOf(text)
	for _, n := range numbers {
		i, err := strconv.ParseInt(n, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("%q is no number of a task", n)
		}
		out = append(out, int32(i))
	}
	return out, err
}

func (t *Tale) found(words, _ []string) error {
	job, tasks, node, _, err := onNode(words)
	for _, i := range tasks {
		t.post(ledger.TaskRunning{Job: job, Task: i, Node: node, Since: t.now()})
	}
	return err
}

// failGPU is what an adapter posts when a GPU reports that it can't go on.
func (t *Tale) failGPU(words, _ []string) error {
	if len(words) != 1 && len(words) != 3 {
		return errors.New("write fail-gpu NODE JOB 0..3, or fail-gpu NODE of one that nobody uses")
	}
	n, ok := t.world().NodeNamed(words[0])
	if !ok {
		return fmt.Errorf("there is no node %s", words[0])
	}
	node := t.world().Nodes[n].Spec
	gpus, _ := node.Capacity.Get(amount.GPUName)
	node.Capacity = slices.Clone(node.Capacity).Set(amount.GPUName, gpus-1000)
	t.post(ledger.NodeAdded{Node: node})
	if len(words) == 1 {
		return nil
	}
	tasks, err := tasksOf(words[2])
	t.post(ledger.Evicted{Job: words[1], Tasks: tasks})
	return err
}

func (t *Tale) kept(words, _ []string) error {
	job, tasks, node, rest, err := onNode(words)
	if err != nil || len(rest) != 2 || rest[0] != "for" {
		return errors.Join(err, errors.New("write kept JOB 3 on NODE for 1m"))
	}
	d, err := durationOf(rest[1])
	for _, i := range tasks {
		t.post(ledger.TaskClaimed{Job: job, Task: i, Node: node, Until: t.now() + d})
	}
	return err
}

func (t *Tale) grow(words, _ []string) error {
	if len(words) == 0 {
		return errNeedsName
	}
	o := optionsOf(words[1:])
	g, err := parseGroup(o)
	if err != nil {
		return err
	}
	t.post(ledger.JobGrown{ID: words[0], Tasks: []spec.TaskGroup{g}})
	return o.rest()
}

// ofGroup reads JOB 0, the job and the number of a group.
func ofGroup(words []string) (job string, group int32, err error) {
	if len(words) != 3 {
		return "", 0, errors.New("name the job, the number of the group, and what changes")
	}
	tasks, err := tasksOf(words[1])
	if err != nil {
		return "", 0, err
	}
	return words[0], tasks[0], nil
}

func (t *Tale) gang(words, _ []string) error {
	job, group, err := ofGroup(words)
	if err != nil {
		return err
	}
	o := optionsOf(words[2:])
	least, err := o.number("min", 0)
	t.post(ledger.JobGang{ID: job, Group: group, Min: least})
	return errors.Join(err, o.rest())
}

func (t *Tale) counted(words, _ []string) error {
	job, group, err := ofGroup(words)
	if err != nil {
		return err
	}
	t.post(ledger.JobNear{ID: job, Group: group, Counts: strings.Split(words[2], ",")})
	return nil
}

// taskEvents is a command that happens to some tasks of a job.
func taskEvents(of func(job string, task int32) ledger.Event) func(t *Tale, words, block []string) error {
	return func(t *Tale, words, _ []string) error {
		if len(words) != 2 {
			return errors.New("name the job and the numbers of its tasks")
		}
		tasks, err := tasksOf(words[1])
		for _, i := range tasks {
			t.post(of(words[0], i))
		}
		return err
	}
}
