package trace

import (
	"fmt"
	"strings"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/spec"
)

// jobColumns are the columns of Muster's CSV and the keys of a job in its YAML,
// in the order in which they are written.
var jobColumns = []string{
	"job", "queue", "user", "submit_s", "workers", "gpus_per_worker", "cpu_milli", "memory_mib",
	"duration_s", "declared_s", "priority", "min_workers", "gpu_types", "checkpoint_s", "notice_s",
	"deadline_s", "preemptible", "restart_s", "warmup", "use",
}

// nodeColumns are those of a node.
var nodeColumns = []string{"node", "gpus", "gpu_type", "cpu_milli", "memory_mib"}

// jobReader collects the jobs of one trace and refuses an id that comes twice.
type jobReader struct {
	ps     *Problems
	queues queueSet
	seen   map[string]int // id → line
	jobs   []Job
}

func newJobReader(queues queueSet, ps *Problems) *jobReader {
	return &jobReader{ps: ps, queues: queues, seen: map[string]int{}}
}

// read takes one row; count > 1 makes that many alike, numbered.
func (jr *jobReader) read(r record, count int64) {
	id, ok := jr.ps.require(r, "job")
	queue, ok2 := jr.ps.require(r, "queue")
	if !ok || !ok2 {
		return
	}
	j := readJob(r, jr.ps)
	j.Queue = jr.queues.resolve(queue, jr.ps)
	if int64(len(jr.jobs))+count > maxCount {
		jr.ps.at(id, CodeOverflow, "too many jobs", fmt.Sprintf("at most %d", maxCount))
		return
	}
	for i := range count {
		j.ID = id.text
		if count > 1 {
			j.ID = numbered(id.text, i, count)
		}
		jr.add(id, j)
	}
}

func (jr *jobReader) add(id cell, j Job) {
	if line, twice := jr.seen[j.ID]; twice {
		jr.ps.at(id, CodeDuplicate, fmt.Sprintf("job %q is there twice", clip(j.ID)), fmt.Sprintf("first in line %d", line))
		return
	}
	jr.seen[j.ID] = id.line
	jr.jobs = append(jr.jobs, j)
}

func readJob(r record, ps *Problems) Job {
	g := readGroup(r, ps)
	return Job{
		Job: spec.Job{
			User: text(r, "user"), Priority: ps.integer(r, "priority", 0, -maxCount, maxCount),
			Submit: ps.seconds(r, "submit_s"), Duration: ps.seconds(r, "declared_s"),
			Deadline: ps.seconds(r, "deadline_s"), Notice: ps.seconds(r, "notice_s"),
			CheckpointEvery: ps.seconds(r, "checkpoint_s"), RestartCost: ps.seconds(r, "restart_s"),
			NonPreemptible: !ps.boolean(r, "preemptible", true),
			Tasks:          []spec.TaskGroup{g},
		},
		Run:    ps.seconds(r, "duration_s"),
		Use:    ps.pattern(r, "use"),
		Warmup: ps.boolean(r, "warmup", false),
	}
}

func readGroup(r record, ps *Problems) spec.TaskGroup {
	g := spec.TaskGroup{Name: "worker"}
	g.Size = ps.integer(r, "workers", 1, 1, maxCount)
	g.Min = ps.integer(r, "min_workers", g.Size, 0, maxCount)
	if c, ok := r.cell("min_workers"); ok && g.Min > g.Size {
		ps.at(c, CodeValue, fmt.Sprintf("min_workers %d is more than workers %d", g.Min, g.Size), "leave it out for a full gang")
	}
	gpus := ps.milli(r, "gpus_per_worker", 0)
	if c, _ := r.cell("gpus_per_worker"); gpus > 1000 && gpus%1000 != 0 {
		ps.at(c, CodeValue, fmt.Sprintf("gpus_per_worker %s: only a part of one device, or whole devices", clip(c.text)), "write 0.5, 1, 2")
	}
	g.Request = resources(gpus, ps.integer(r, "cpu_milli", 0, 0, maxCPU), ps.integer(r, "memory_mib", 0, 0, maxMiB))
	if len(g.Request) == 0 {
		c, _ := r.cell("gpus_per_worker")
		ps.at(c, CodeEmpty, "the job asks for nothing", "give gpus_per_worker, cpu_milli or memory_mib")
	}
	if types := text(r, "gpu_types"); types != "" {
		g.GPUTypes = strings.Split(types, "|")
	}
	return g
}

// resources leaves out what is 0: it need not be compared.
func resources(milliGPU, cpuMilli, memoryMiB int64) spec.Resources {
	var out spec.Resources
	if cpuMilli > 0 {
		out = append(out, spec.Resource{Name: amount.CPUName, Amount: amount.Amount(cpuMilli)})
	}
	if memoryMiB > 0 {
		out = append(out, spec.Resource{Name: amount.MemoryName, Amount: amount.Amount(memoryMiB).Mul(1 << 20)})
	}
	if milliGPU > 0 {
		out = append(out, spec.Resource{Name: amount.GPUName, Amount: amount.Amount(milliGPU)})
	}
	return out
}

// nodeReader collects nodes and refuses a name that comes twice.
type nodeReader struct {
	ps    *Problems
	seen  map[string]int
	nodes []spec.Node
}

func newNodeReader(ps *Problems) *nodeReader { return &nodeReader{ps: ps, seen: map[string]int{}} }

func (nr *nodeReader) read(r record, count int64) {
	name, ok := nr.ps.require(r, "node")
	if !ok {
		return
	}
	n := spec.Node{GPUType: text(r, "gpu_type")}
	gpus := nr.ps.integer(r, "gpus", 0, 0, maxGPUs)
	n.Capacity = resources(gpus*1000, nr.ps.integer(r, "cpu_milli", 0, 0, maxCPU), nr.ps.integer(r, "memory_mib", 0, 0, maxMiB))
	if int64(len(nr.nodes))+count > maxCount {
		nr.ps.at(name, CodeOverflow, "too many nodes", fmt.Sprintf("at most %d", maxCount))
		return
	}
	for i := range count {
		n.Name = name.text
		if count > 1 {
			n.Name = numbered(name.text, i, count)
		}
		nr.add(name, n)
	}
}

func (nr *nodeReader) add(name cell, n spec.Node) {
	if line, twice := nr.seen[n.Name]; twice {
		nr.ps.at(name, CodeDuplicate, fmt.Sprintf("node %q is there twice", clip(n.Name)), fmt.Sprintf("first in line %d", line))
		return
	}
	nr.seen[n.Name] = name.line
	nr.nodes = append(nr.nodes, n)
}
