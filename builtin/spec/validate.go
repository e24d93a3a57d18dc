package spec

import (
	"fmt"
	"strings"

	"github.com/musterhq/muster/builtin/amount"
)

// Problem is one thing wrong with an input, at a path inside it.
type Problem struct{ Path, Code, Message string }

func (p Problem) String() string { return fmt.Sprintf("%s: %s [%s]", p.Path, p.Message, p.Code) }

// Problems is everything wrong with an input. A nil value is no error.
type Problems []Problem

func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// AsError returns nil for an empty list.
func (ps Problems) AsError() error {
	if len(ps) == 0 {
		return nil
	}
	return ps
}

func (ps *Problems) add(path, code, format string, args ...any) {
	*ps = append(*ps, Problem{path, code, fmt.Sprintf(format, args...)})
}

// MaxTasks is the largest number of tasks of one job, MaxDevices of GPUs of one
// node (a node's devices are a 64-bit mask).
const (
	MaxTasks   = 1 << 20
	MaxDevices = 64
)

// Validate reports all problems of a job. It does not know the queues.
func (j *Job) Validate() error {
	var ps Problems
	at := "job " + j.ID
	if j.ID == "" {
		ps.add("job", "no-id", "a job needs an id")
	}
	if j.Queue == "" {
		ps.add(at, "no-queue", "names no queue")
	}
	if len(j.Tasks) == 0 {
		ps.add(at, "no-tasks", "has no task groups")
	}
	for _, d := range []Duration{j.Duration, j.Notice, j.CheckpointEvery, j.RestartCost} {
		if d < 0 {
			ps.add(at, "negative-duration", "has a negative duration")
			break
		}
	}
	total := int64(0)
	for i := range j.Tasks {
		g := &j.Tasks[i]
		g.validate(&ps, fmt.Sprintf("%s, group %d %q", at, i, g.Name))
		if g.Size > 0 && g.Size <= MaxTasks {
			total += g.Size
		}
	}
	if total > MaxTasks {
		ps.add(at, "too-many-tasks", "has %d tasks, at most %d", total, MaxTasks)
	}
	return ps.AsError()
}

func (g *TaskGroup) validate(ps *Problems, at string) {
	switch {
	case g.Size < 1:
		ps.add(at, "no-size", "has size %d, at least 1", g.Size)
	case g.Size > MaxTasks:
		ps.add(at, "too-many-tasks", "has size %d, at most %d", g.Size, MaxTasks)
	}
	if g.Min < 0 || g.Min > g.Size {
		ps.add(at, "min-out-of-range", "has min %d, between 0 and its size %d", g.Min, g.Size)
	}
	g.Request.validate(ps, at)
	g.Request.untyped(ps, at)
	g.Near.validate(ps, at)
	if gpu, ok := g.Request.Get(amount.GPUName); ok && gpu > 1000 && gpu%1000 != 0 {
		ps.add(at, "gpu-fraction", "asks for %s GPUs; a fraction is of one device", amount.Format(amount.GPUName, gpu))
	}
}

// Validate reports all problems of how tasks stand to others.
func (n *Near) Validate(at string) error {
	var ps Problems
	n.validate(&ps, at)
	return ps.AsError()
}

func (n *Near) validate(ps *Problems, at string) {
	for i, id := range n.Counts {
		if i > 0 && n.Counts[i-1] >= id {
			ps.add(at, "unsorted-terms", "counts for %s twice or out of order", id)
		}
	}
	for _, s := range n.Spread {
		if s.MaxSkew < 1 {
			ps.add(at, "skew-out-of-range", "spreads %s with a skew of at most %d, at least 1", s.ID, s.MaxSkew)
		}
	}
}

// Validate reports all problems of what is used or asked for somewhere: amounts are not
// negative, sorted by name, and GPUs go without their type.
func (r Resources) Validate(at string) error {
	var ps Problems
	r.validate(&ps, at)
	r.untyped(&ps, at)
	return ps.AsError()
}

func (r Resources) untyped(ps *Problems, at string) {
	for _, e := range r {
		if strings.Contains(e.Name, ":") {
			ps.add(at, "typed-request", "asks for %s; ask for %s and name the GPU type", e.Name, amount.GPUName)
		}
	}
}

func (r Resources) validate(ps *Problems, at string) {
	for i, e := range r {
		switch {
		case e.Amount < 0:
			ps.add(at, "negative-amount", "has a negative amount of %s", e.Name)
		case e.Amount > amount.Limit:
			ps.add(at, "overflow", "has more than %d base units of %s", amount.Limit, e.Name)
		}
		if i > 0 && r[i-1].Name >= e.Name {
			ps.add(at, "unsorted", "names %s twice or out of order", e.Name)
		}
	}
}

// Validate reports all problems of a node.
func (n *Node) Validate() error {
	var ps Problems
	at := "node " + n.Name
	if n.Name == "" {
		ps.add("node", "no-name", "a node needs a name")
	}
	n.Capacity.validate(&ps, at)
	gpu, _ := n.Capacity.Get(amount.GPUName)
	if gpu%1000 != 0 {
		ps.add(at, "gpu-fraction", "has %s GPUs; devices are whole", amount.Format(amount.GPUName, gpu))
	}
	if gpu > MaxDevices*1000 {
		ps.add(at, "too-many-gpus", "has %s GPUs, at most %d", amount.Format(amount.GPUName, gpu), MaxDevices)
	}
	return ps.AsError()
}
