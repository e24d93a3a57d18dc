package trace

import (
	"path/filepath"
	"strings"
)

// parseCSV reads Muster's CSV form: the job list is src; the node list is
// needed and found beside it under the same name with "jobs" replaced; so is
// the queue list, without which every job is in root.default.
func parseCSV(src source, o Options, ps *Problems) *Trace {
	nodes, queues := o.NodeFile, o.QueueFile
	base := filepath.Base(strings.TrimSuffix(src.name, ".gz"))
	if i := strings.LastIndex(base, "jobs"); i >= 0 {
		if nodes == "" {
			nodes, _ = sibling(src.name, base[:i]+"nodes"+base[i+4:])
		}
		if queues == "" {
			queues, _ = sibling(src.name, base[:i]+"queues"+base[i+4:])
		}
	}
	if nodes == "" {
		ps.file(src.name, CodeFile, "there is no node list beside this job list", "put nodes.csv beside jobs.csv, or name it")
		return nil
	}
	t := &Trace{Name: strings.TrimRight(strings.TrimSuffix(stem(src.name), "jobs"), "_-")}
	if t.Name == "" {
		t.Name = filepath.Base(filepath.Dir(src.name))
	}
	nodeSrc, ok := readSource(nodes, ps)
	if !ok {
		return nil
	}
	var queueSrc source
	if queues != "" {
		if queueSrc, ok = readSource(queues, ps); !ok {
			return nil
		}
	}
	return readCSV(t, src, nodeSrc, queueSrc, ps)
}

// readCSV reads the three tables of a trace; the queue table may be empty.
func readCSV(t *Trace, jobs, nodes, queues source, ps *Problems) *Trace {
	nr := newNodeReader(ps)
	for s := openSheet(nodes, ps, []string{"node", "gpus"}, nodeColumns); s.next(); {
		nr.read(s, 1)
	}
	t.Nodes = nr.nodes
	rows := []queueRow{{id: cell{text: "default"}, queue: oneQueue().Children[0]}}
	if queues.name != "" {
		rows = nil
		for s := openSheet(queues, ps, []string{"queue"}, queueColumns); s.next(); {
			if row, ok := readQueueRow(s, ps); ok {
				rows = append(rows, row)
			}
		}
	}
	set := buildTree(rows, ps)
	t.Queues.Root = set.root
	jr := newJobReader(set, ps)
	for s := openSheet(jobs, ps, []string{"job", "queue", "submit_s"}, jobColumns); s.next(); {
		jr.read(s, 1)
	}
	t.Jobs = jr.jobs
	return t
}
