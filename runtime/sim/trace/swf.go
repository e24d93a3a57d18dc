package trace

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"github.com/musterhq/muster/builtin/spec"
)

// swfFields are the 18 fields of the Standard Workload Format, by the names
// under which they are read here (Feitelson's archive, version 2.2).
var swfFields = []string{
	"job", "submit_s", "wait_s", "run_s", "procs", "cpu_s", "memory", "req_procs", "req_s", "req_memory",
	"status", "user", "group", "app", "queue", "partition", "previous", "think_s",
}

// parseSWF reads a log of the Standard Workload Format, processors as GPUs: P
// processors are P/8 nodes of 8 (the last may be smaller), and a job of p is a
// gang of p tasks of one GPU, so that no packing enters: published baselines
// count processors only. The machine is --nodes, else the file
// NAME.machines.txt beside the log (cpus by node), else the header's MaxProcs,
// else the widest job. The requested time, or else the run time, is the
// declared duration. A job that did not run, or ran on no processor, is dropped
// and counted. Time starts at the first submit.
func parseSWF(src source, o Options, ps *Problems) *Trace {
	var machines source
	if f, ok := sibling(src.name, stem(src.name)+".machines.txt"); ok {
		if machines, ok = readSource(f, ps); !ok {
			return nil
		}
	}
	return readSWF(src, machines, o, ps)
}

func readSWF(src, machines source, o Options, ps *Problems) *Trace {
	t := &Trace{}
	r := swfReader{ps: ps, jobs: newJobReader(queueSet{}, ps), queues: map[string]bool{}}
	for i, line := range bytes.Split(src.data, []byte("\n")) {
		r.line(src.name, i+1, string(line))
	}
	t.Jobs = r.jobs.jobs
	if len(t.Jobs) == 0 && ps.Total == 0 {
		ps.file(src.name, CodeEmpty, "no jobs in the log", "")
		return nil
	}
	procs := r.procs(machines, o)
	perNode := orElse(o.GPUsPerNode, 8)
	t.Nodes = swfNodes(procs, perNode)
	t.Queues.Root = &spec.Queue{Name: "root", Parent: true}
	for _, q := range sortedKeys(r.queues) {
		t.Queues.Root.Children = append(t.Queues.Root.Children, &spec.Queue{Name: q})
	}
	r.settle(t)
	return t
}

func swfNodes(procs, perNode int64) []spec.Node {
	nodes := nodesOf((procs+perNode-1)/perNode, perNode)
	if rest := procs % perNode; rest > 0 {
		nodes[len(nodes)-1].Capacity = spec.GPUs(rest)
	}
	return nodes
}

type swfReader struct {
	ps       *Problems
	jobs     *jobReader
	queues   map[string]bool
	maxProcs int64 // of the header
	widest   int64
	dropped  int
	guessed  int // jobs whose declared duration is their run time
}

func (r *swfReader) line(file string, n int, line string) {
	line = strings.TrimSpace(line)
	switch {
	case line == "":
		return
	case line[0] == ';':
		key, value, _ := strings.Cut(strings.TrimLeft(line, "; "), ":")
		if strings.TrimSpace(key) == "MaxProcs" {
			if v, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64); err == nil && v > 0 && v <= maxCount {
				r.maxProcs = v
			}
		}
		return
	}
	row := swfRow{file: file, line: n, fields: strings.Fields(line), text: line}
	if len(row.fields) < len(swfFields) {
		r.ps.at(row.at(len(row.fields)-1), CodeColumns, fmt.Sprintf("%d fields, a job has %d", len(row.fields), len(swfFields)), "is the file cut off?")
		return
	}
	r.job(row)
}

func (r *swfReader) job(row swfRow) {
	ps := r.ps
	id, _ := row.cell("job")
	j := Job{}
	j.Submit = ps.seconds(row, "submit_s")
	run := ps.decimal(row.must("run_s"), nanoDigits, -maxSeconds*spec.Second, maxSeconds*spec.Second)
	procs := ps.integer(row, "procs", -1, -1, maxCount)
	if procs <= 0 {
		procs = ps.integer(row, "req_procs", -1, -1, maxCount)
	}
	requested := ps.decimal(row.must("req_s"), nanoDigits, -spec.Second, maxSeconds*spec.Second)
	if run <= 0 || procs <= 0 {
		r.dropped++
		return
	}
	if requested <= 0 {
		requested = run
		r.guessed++
	}
	j.Run, j.Duration = run, requested
	j.ID, j.User, j.Queue = "j"+id.text, "u"+text(row, "user"), "root."+row.queue()
	j.Tasks = []spec.TaskGroup{{Name: "worker", Min: procs, Size: procs, Request: spec.GPUs(1)}}
	r.queues[row.queue()] = true
	r.widest = max(r.widest, procs)
	r.jobs.add(id, j)
}

// procs is the size of the machine.
func (r *swfReader) procs(machines source, o Options) int64 {
	if o.Nodes > 0 {
		return o.Nodes * orElse(o.GPUsPerNode, 8)
	}
	if p := swfMachines(machines, r.ps); p > 0 {
		return p
	}
	return orElse(r.maxProcs, max(r.widest, 1))
}

// swfMachines sums nodes x processors of lines "id name nodes processors ...".
func swfMachines(src source, ps *Problems) int64 {
	var sum int64
	for i, line := range bytes.Split(src.data, []byte("\n")) {
		row := swfRow{file: src.name, line: i + 1, fields: strings.Fields(string(line)), text: string(line)}
		switch {
		case len(row.fields) == 0:
		case len(row.fields) < 4:
			ps.at(row.at(0), CodeColumns, "a machine needs id, name, nodes, processors", "")
		default:
			sum += ps.decimal(row.at(2), 0, 1, 100_000) * ps.decimal(row.at(3), 0, 1, 10_000)
		}
	}
	if sum > maxCount {
		ps.file(src.name, CodeOverflow, "too many processors", fmt.Sprintf("at most %d", maxCount))
		return 0
	}
	return sum
}

// settle moves the first submit to 0 and says what was assumed.
func (r *swfReader) settle(t *Trace) {
	if len(t.Jobs) == 0 {
		return
	}
	first := t.Jobs[0].Submit
	for _, j := range t.Jobs {
		first = min(first, j.Submit)
	}
	if first > 0 {
		t.shift(-first)
	}
	if r.dropped > 0 {
		t.note(fmt.Sprintf("dropped %d jobs that did not run", r.dropped))
	}
	if r.guessed > 0 {
		t.note(fmt.Sprintf("%d jobs request no time: their run time is declared", r.guessed))
	}
}

// swfRow is one job line.
type swfRow struct {
	file   string
	line   int
	fields []string
	text   string
}

func (r swfRow) at(i int) cell {
	c := cell{file: r.file, line: r.line, col: 1}
	if i >= len(r.fields) || i < 0 {
		return c
	}
	c.text = r.fields[i]
	// The column: skip i fields, then blanks.
	rest := r.text
	for k := 0; ; k++ {
		trimmed := strings.TrimLeft(rest, " \t")
		c.col += len(rest) - len(trimmed)
		if k == i {
			return c
		}
		n := strings.IndexAny(trimmed, " \t")
		if n < 0 {
			return c
		}
		c.col += n
		rest = trimmed[n:]
	}
}

func (r swfRow) cell(name string) (cell, bool) {
	for i, f := range swfFields {
		if f == name {
			c := r.at(i)
			c.name = name
			return c, c.text != ""
		}
	}
	return cell{file: r.file, line: r.line, col: 1, name: name}, false
}

func (r swfRow) must(name string) cell {
	c, _ := r.cell(name)
	return c
}

// queue is the name in field 19, which some logs append, else the number in
// field 15.
func (r swfRow) queue() string {
	if len(r.fields) > len(swfFields) {
		return queueName(r.fields[len(swfFields)])
	}
	if q := text(r, "queue"); q != "-1" {
		return "q" + queueName(q)
	}
	return "default"
}
