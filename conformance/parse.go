package conformance

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/runtime/config"
)

// options are the key=value words of a line; words without a value have "".
type options struct {
	keys, values []string
	used         []bool
}

func optionsOf(words []string) *options {
	o := &options{used: make([]bool, len(words))}
	for _, w := range words {
		k, v, _ := strings.Cut(w, "=")
		o.keys, o.values = append(o.keys, k), append(o.values, v)
	}
	return o
}

// take returns the value of a key.
func (o *options) take(key string) (string, bool) {
	i := slices.Index(o.keys, key)
	if i < 0 {
		return "", false
	}
	o.used[i] = true
	return o.values[i], true
}

// rest reports words that nobody took: a misspelt word must not be overlooked.
func (o *options) rest() error {
	for i, u := range o.used {
		if !u {
			return fmt.Errorf("no such word: %s", o.keys[i])
		}
	}
	return nil
}

func (o *options) number(key string, other int64) (int64, error) {
	text, ok := o.take(key)
	if !ok {
		return other, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s=%s is no number", key, text)
	}
	return n, nil
}

func (o *options) duration(key string) (spec.Duration, error) {
	text, ok := o.take(key)
	if !ok {
		return 0, nil
	}
	return durationOf(text)
}

func durationOf(text string) (spec.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, fmt.Errorf("%q is no duration, write 10m", text)
	}
	return spec.Duration(d), nil
}

// resourceName is the full name of what stories call gpus, mem or H100.
func resourceName(short string) string {
	switch {
	case short == "gpus" || short == "gpu":
		return amount.GPUName
	case short == "mem":
		return amount.MemoryName
	case short[0] >= 'A' && short[0] <= 'Z':
		return amount.TypedGPU(short)
	}
	return short
}

// shortName is the inverse.
func shortName(full string) string {
	if typ, ok := strings.CutPrefix(full, amount.GPUName+":"); ok {
		return typ
	}
	switch full {
	case amount.GPUName:
		return "gpu"
	case amount.MemoryName:
		return "mem"
	}
	return full
}

// setAmount reads an amount; 0.5 of a GPU may be written so.
func setAmount(rs spec.Resources, key, text string) (spec.Resources, error) {
	name := resourceName(key)
	if whole, part, ok := strings.Cut(text, "."); ok && whole == "0" && amount.IsGPU(name) {
		text = (part + "00")[:3] + "m"
	}
	a, err := amount.Parse(name, text)
	if err != nil {
		return nil, err
	}
	return rs.Set(name, a), nil
}

// resources takes the amounts that nodes and tasks have.
func (o *options) resources() (rs spec.Resources, err error) {
	for _, key := range []string{"gpus", "cpu", "mem", "pods"} {
		if text, ok := o.take(key); ok {
			if rs, err = setAmount(rs, key, text); err != nil {
				return nil, err
			}
		}
	}
	return rs, nil
}

// namesOf expands "a001..a160".
func namesOf(text string) ([]string, error) {
	first, last, ok := strings.Cut(text, "..")
	if !ok {
		return []string{text}, nil
	}
	prefix, from, ok1 := numbered(first)
	other, to, ok2 := numbered(last)
	if !ok1 || !ok2 || prefix != other || to < from {
		return nil, fmt.Errorf("%q is no range, write a1..a9", text)
	}
	width := len(first) - len(prefix)
	names := make([]string, 0, to-from+1)
	for n := from; n <= to; n++ {
		names = append(names, fmt.Sprintf("%s%0*d", prefix, width, n))
	}
	return names, nil
}

// pairsOf reads "k=v,k=v"; it comes as the value of a word, so "labels=rack=r1".
func pairsOf(text string) map[string]string {
	if text == "" {
		return nil
	}
	m := map[string]string{}
	for _, kv := range strings.Split(text, ",") {
		k, v, _ := strings.Cut(kv, "=")
		m[k] = v
	}
	return m
}

// parseNodes reads "node a gpus=8 type=H100 labels=rack=r1 taint=k=v".
func parseNodes(words []string) ([]spec.Node, error) {
	if len(words) == 0 {
		return nil, fmt.Errorf("a node needs a name")
	}
	names, err := namesOf(words[0])
	if err != nil {
		return nil, err
	}
	o := optionsOf(words[1:])
	n := spec.Node{}
	if n.Capacity, err = o.resources(); err != nil {
		return nil, err
	}
	n.GPUType, _ = o.take("type")
	labels, _ := o.take("labels")
	n.Labels = pairsOf(labels)
	if taint, ok := o.take("taint"); ok {
		k, v, _ := strings.Cut(taint, "=")
		n.Taints = []spec.Taint{{Key: k, Value: v}}
	}
	_, n.Unschedulable = o.take("cordoned")
	var nodes []spec.Node
	for _, name := range names {
		n.Name = name
		nodes = append(nodes, n)
	}
	return nodes, o.rest()
}

// parseJob reads the words of a submit after the name, and its groups.
func (t *Tale) parseJob(o *options, block []string) (*spec.Job, error) {
	j := &spec.Job{Submit: t.now()}
	var err error
	queue, _ := o.take("queue")
	j.Queue = "root." + strings.TrimPrefix(queue, "root.")
	if j.User, _ = o.take("user"); j.User == "" {
		j.User = "ann"
	}
	if groups, ok := o.take("groups"); ok {
		j.Groups = strings.Split(groups, ",")
	}
	if j.Priority, err = o.number("priority", 0); err != nil {
		return nil, err
	}
	for key, to := range map[string]*spec.Duration{
		"duration": &j.Duration, "notice": &j.Notice, "checkpoint": &j.CheckpointEvery, "restart": &j.RestartCost,
	} {
		if *to, err = o.duration(key); err != nil {
			return nil, err
		}
	}
	_, j.NonPreemptible = o.take("nonpreemptible")
	_, j.NeverPreempts = o.take("neverpreempts")
	if len(block) == 0 {
		g, err := parseGroup(o)
		j.Tasks = []spec.TaskGroup{g}
		return j, err
	}
	for _, l := range block {
		words := strings.Fields(l)
		o := optionsOf(words[1:])
		g, err := parseGroup(o)
		if err == nil {
			err = o.rest()
		}
		if err != nil {
			return nil, fmt.Errorf("group %s: %w", words[0], err)
		}
		g.Name = words[0]
		j.Tasks = append(j.Tasks, g)
	}
	return j, nil
}

// parseGroup reads a task group; its gang is all of it unless min says less.
func parseGroup(o *options) (g spec.TaskGroup, err error) {
	if g.Size, err = o.number("tasks", 1); err != nil {
		return g, err
	}
	if g.Min, err = o.number("min", g.Size); err != nil {
		return g, err
	}
	if g.Request, err = o.resources(); err != nil {
		return g, err
	}
	if types, ok := o.take("type"); ok {
		g.GPUTypes = strings.Split(types, ",")
	}
	if sel, ok := o.take("selector"); ok {
		g.NodeSelector = pairsOf(sel)
	}
	if tol, ok := o.take("tolerates"); ok {
		k, v, _ := strings.Cut(tol, "=")
		g.Tolerations = []spec.Toleration{{Key: k, Value: v}}
	}
	_, g.Leader = o.take("leader")
	g.Near, err = o.near()
	return g, err
}

// parseQueues reads the short form of a queue tree, a queue per line, children
// indented:
//
//	research guaranteed gpu=60 max gpu=100 weight=2
//	  llm    guaranteed gpu=40
//
// or, if it starts with "partitions:", queues.yaml as it is.
func parseQueues(lines []string) (spec.Tree, error) {
	lines = dedented(lines)
	if len(lines) > 0 && strings.HasPrefix(lines[0], "partitions:") {
		f, problems := config.Parse("queues", []byte(strings.Join(lines, "\n")+"\n"))
		if err := problems.Err(); err != nil {
			return spec.Tree{}, err
		}
		return f.Partitions[0].Tree, nil
	}
	root := &spec.Queue{Name: "root", Parent: true}
	type level struct {
		indent int
		q      *spec.Queue
	}
	path := []level{{-1, root}}
	for _, l := range lines {
		text := strings.TrimLeft(l, " ")
		words := strings.Fields(text)
		if len(words) == 0 {
			continue
		}
		q := &spec.Queue{Name: words[0]}
		if words[0] == "root" {
			q = root
		}
		if err := queueWords(q, words[1:]); err != nil {
			return spec.Tree{}, fmt.Errorf("queue %s: %w", words[0], err)
		}
		if q == root {
			continue
		}
		indent := len(l) - len(text)
		for path[len(path)-1].indent >= indent {
			path = path[:len(path)-1]
		}
		up := path[len(path)-1].q
		up.Children = append(up.Children, q)
		path = append(path, level{indent, q})
	}
	return spec.Tree{Root: root}, nil
}

// dedented removes the indentation of the first line from all lines.
func dedented(lines []string) []string {
	if len(lines) == 0 {
		return nil
	}
	indent := lines[0][:len(lines[0])-len(strings.TrimLeft(lines[0], " "))]
	out := make([]string, len(lines))
	for i, l := range lines {
		out[i] = strings.TrimPrefix(l, indent)
	}
	return out
}

// queueWords reads the settings of a queue. Amounts belong to the last of
// guaranteed, max or limit before them.
func queueWords(q *spec.Queue, words []string) (err error) {
	var amounts *spec.Resources
	for _, w := range words {
		key, value, valued := strings.Cut(w, "=")
		switch {
		case key == "guaranteed" && !valued:
			amounts = &q.Guaranteed
		case key == "max" && !valued:
			amounts = &q.Max
		case key == "limit" && !valued:
			q.Limits = append(q.Limits, spec.Limit{})
			amounts = &q.Limits[len(q.Limits)-1].Max
		case !valued || !slices.Contains([]string{"gpu", "cpu", "mem"}, key) && (key[0] < 'A' || key[0] > 'Z'):
			if err = queueWord(q, key, value); err != nil {
				return err
			}
		case amounts == nil:
			return fmt.Errorf("%s stands behind neither guaranteed nor max nor limit", w)
		default:
			if *amounts, err = setAmount(*amounts, key, value); err != nil {
				return err
			}
		}
	}
	return nil
}

func queueWord(q *spec.Queue, key, value string) (err error) {
	switch key {
	case "order":
		q.JobOrder = value
	case "fairness":
		q.Fairness = value
	case "victims":
		q.Victims = value
	case "strict":
		q.StrictFIFO = true
	case "fence", "disabled":
		q.Preemption = spec.PreemptionPolicy(key)
	case "apps":
		q.MaxApps, err = strconv.ParseInt(value, 10, 64)
	case "weight":
		q.Weight, err = strconv.ParseInt(value, 10, 64)
	case "reserve-after":
		q.ReserveAfter, err = durationOf(value)
	case "min-runtime":
		q.MinRuntime, err = durationOf(value)
	case "delay":
		q.PreemptionDelay, err = durationOf(value)
	case "idle-after":
		q.IdleAfter, err = durationOf(value)
	case "idle-grace":
		q.IdleGrace, err = durationOf(value)
	case "user", "group":
		if len(q.Limits) == 0 {
			return fmt.Errorf("%s stands behind no limit", key)
		}
		l := &q.Limits[len(q.Limits)-1]
		if key == "user" {
			l.Users = append(l.Users, value)
		} else {
			l.Groups = append(l.Groups, value)
		}
	default:
		return fmt.Errorf("no such word: %s", key)
	}
	return err
}
