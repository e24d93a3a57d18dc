package trace

import (
	"fmt"
	"strings"

	"github.com/musterhq/muster/builtin/spec"
)

// openbNodes is the node list that belongs to the pod lists.
const openbNodes = "openb_node_list_gpu_node.csv"

// parseOpenb reads the Alibaba GPU 2023 trace (Weng et al., FGD, USENIX ATC
// 2023): src is a pod list. A pod with gpu_milli < 1000 takes a part of one
// device, others whole devices. A pod list without times (the multigpu
// variants) is always a static fill.
func parseOpenb(src source, o Options, ps *Problems) *Trace {
	nodes := o.NodeFile
	if nodes == "" {
		var ok bool
		if nodes, ok = sibling(src.name, openbNodes); !ok {
			ps.file(src.name, CodeFile, "there is no "+openbNodes+" beside this pod list", "name the node list")
			return nil
		}
	}
	nodeSrc, ok := readSource(nodes, ps)
	if !ok {
		return nil
	}
	return readOpenb(src, nodeSrc, o, ps)
}

func readOpenb(pods, nodes source, o Options, ps *Problems) *Trace {
	t := &Trace{Static: o.Static}
	t.Queues.Root = oneQueue()
	nr := newNodeReader(ps)
	for s := openSheet(nodes, ps, []string{"sn", "cpu_milli", "memory_mib", "gpu", "model"}, nil); s.next(); {
		nr.read(renamed{s, map[string]string{"node": "sn", "gpus": "gpu", "gpu_type": "model"}}, 1)
	}
	t.Nodes = nr.nodes
	s := openSheet(pods, ps, []string{"name", "cpu_milli", "memory_mib", "num_gpu", "gpu_milli"}, nil)
	if _, timed := s.columns["creation_time"]; !timed && !t.Static {
		t.Static = true
		t.note("the pod list has no times: read as a static fill")
	}
	jr := newJobReader(queueSet{}, ps)
	for s.next() {
		if id, ok := ps.require(s, "name"); ok {
			jr.add(id, openbPod(s, id.text, t.Static, ps))
		}
	}
	t.Jobs = jr.jobs
	return t
}

func openbPod(s *sheet, id string, static bool, ps *Problems) Job {
	count, milli := ps.integer(s, "num_gpu", 0, 0, maxGPUs), ps.integer(s, "gpu_milli", 0, 0, 1000)
	if c, _ := s.cell("gpu_milli"); count > 0 && (milli == 0 || count > 1 && milli < 1000) {
		ps.at(c, CodeValue, fmt.Sprintf("gpu_milli %s with num_gpu %d", clip(c.text), count), "1 to 1000 for one GPU, 1000 for more")
	}
	g := spec.TaskGroup{Name: "worker", Min: 1, Size: 1}
	g.Request = resources(count*milli, ps.integer(s, "cpu_milli", 0, 0, maxCPU), ps.integer(s, "memory_mib", 0, 0, maxMiB))
	if types := text(s, "gpu_spec"); types != "" {
		g.GPUTypes = strings.Split(types, "|")
	}
	j := Job{Job: spec.Job{ID: id, Queue: onlyQueue, Tasks: []spec.TaskGroup{g}}}
	if !static {
		j.Submit, j.Run = openbTimes(s, ps)
	}
	return j
}

// openbTimes takes the run from scheduled_time, or from the creation of a pod
// that never ran: the trace says when somebody gave it up. At least a second.
func openbTimes(s *sheet, ps *Problems) (submit spec.Time, run spec.Duration) {
	created, deleted := ps.seconds(s, "creation_time"), ps.seconds(s, "deletion_time")
	from := created
	if _, ok := s.cell("scheduled_time"); ok {
		from = max(from, ps.seconds(s, "scheduled_time"))
	}
	if c, ok := s.cell("deletion_time"); ok && deleted < created {
		ps.at(c, CodeValue, "deleted before it was created", "deletion_time is seconds on the clock of creation_time")
	}
	return created, max(deleted-from, spec.Second)
}

// renamed reads a record under other names.
type renamed struct {
	record
	names map[string]string // asked for → in the file
}

func (r renamed) cell(name string) (cell, bool) {
	if n, ok := r.names[name]; ok {
		name = n
	}
	return r.record.cell(name)
}
