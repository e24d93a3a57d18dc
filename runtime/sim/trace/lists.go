package trace

import (
	"fmt"
	"strings"

	"github.com/musterhq/muster/builtin/spec"
)

// parseMuri reads a Muri job list (Zhao et al., SIGCOMM 2022): one queue, 8
// nodes of 8 GPUs. The file's priority column is drawn at random and used by no
// published policy, so it is not read.
func parseMuri(src source, o Options, ps *Problems) *Trace {
	perNode := orElse(o.GPUsPerNode, 8)
	t := &Trace{Nodes: nodesOf(orElse(o.Nodes, 8), perNode)}
	t.Queues.Root = oneQueue()
	jr := newJobReader(queueSet{}, ps)
	for s := openSheet(src, ps, []string{"job", "num_gpu", "submit_s", "duration_s"}, nil); s.next(); {
		id, ok := ps.require(s, "job")
		j := Job{Run: ps.seconds(s, "duration_s")}
		j.ID, j.Queue, j.Submit = "j"+id.text, onlyQueue, ps.seconds(s, "submit_s")
		j.Tasks = []spec.TaskGroup{gangOf(ps.integer(s, "num_gpu", 1, 1, maxCount), perNode)}
		if ok {
			jr.add(id, j)
		}
	}
	t.Jobs = jr.jobs
	return t
}

// parseShockwave reads a Shockwave job list (Zheng et al., NSDI 2023): one
// queue. The cluster is the paper's for that number of jobs: 120 jobs on 32
// GPUs, 220 on 64, 460 on 128, 900 on 256, in nodes of 8; else it is 32.
func parseShockwave(src source, o Options, ps *Problems) *Trace {
	perNode := orElse(o.GPUsPerNode, 8)
	t := &Trace{}
	t.Queues.Root = oneQueue()
	jr := newJobReader(queueSet{}, ps)
	s := openSheet(src, ps, []string{"job", "arrival_s", "gpus"}, nil)
	run := "duration_s"
	if _, ok := s.columns["exclusive_s"]; ok {
		run = "exclusive_s"
	}
	for s.next() {
		id, ok := ps.require(s, "job")
		_, has := ps.require(s, run)
		j := Job{Run: ps.seconds(s, run)}
		j.ID, j.Queue, j.Submit = "j"+id.text, onlyQueue, ps.seconds(s, "arrival_s")
		j.Tasks = []spec.TaskGroup{gangOf(ps.integer(s, "gpus", 1, 1, maxCount), perNode)}
		if ok && has {
			jr.add(id, j)
		}
	}
	t.Jobs = jr.jobs
	gpus := map[int]int64{220: 64, 460: 128, 900: 256}[len(t.Jobs)]
	t.Nodes = nodesOf(orElse(o.Nodes, max(1, orElse(gpus, 32)/perNode)), perNode)
	return t
}

// chronusNodes of 8 GPUs hold about the mean demand of the published lists,
// 1,100 GPUs.
const chronusNodes = 128

// parseChronus reads a Chronus job list (Gao et al., SoCC 2021). Its users are
// Philly's virtual clusters, drawn evenly, so each queue gets an equal part. A
// job with several deadlines (soft) keeps the first, where its value is full;
// best-effort jobs have none. Jobs without GPUs are dropped and counted.
func parseChronus(src source, o Options, ps *Problems) *Trace {
	nodes, perNode := orElse(o.Nodes, chronusNodes), orElse(o.GPUsPerNode, 8)
	t := &Trace{Nodes: nodesOf(nodes, perNode)}
	jr := newJobReader(queueSet{}, ps)
	users, dropped := map[string]bool{}, 0
	required := []string{"job_id", "user", "num_gpu", "submit_time", "duration", "expect_time_list", "best_effort"}
	for s := openSheet(src, ps, required, nil); s.next(); {
		id, ok := ps.require(s, "job_id")
		user, ok2 := ps.require(s, "user")
		gpus := ps.integer(s, "num_gpu", 0, 0, maxCount)
		j := Job{Run: ps.seconds(s, "duration")}
		j.Submit = ps.seconds(s, "submit_time")
		j.Deadline = chronusDeadline(s, j.Submit, ps)
		switch {
		case !ok || !ok2:
		case gpus == 0:
			dropped++
		default:
			queue := queueName(user.text)
			users[queue] = true
			j.ID, j.Queue, j.User = "j"+id.text, "root."+queue, user.text
			j.Tasks = []spec.TaskGroup{gangOf(gpus, perNode)}
			jr.add(id, j)
		}
	}
	var parts []share
	for _, u := range sortedKeys(users) {
		parts = append(parts, share{u, 1})
	}
	t.Queues.Root = sharedQueues(parts, nodes*perNode)
	t.Jobs = jr.jobs
	if dropped > 0 {
		t.note(fmt.Sprintf("dropped %d jobs without GPUs", dropped))
	}
	return t
}

func chronusDeadline(s *sheet, submit spec.Time, ps *Problems) spec.Time {
	if ps.boolean(s, "best_effort", false) {
		return 0
	}
	c, ok := ps.require(s, "expect_time_list")
	if !ok {
		return 0
	}
	c.text, _, _ = strings.Cut(c.text, "-")
	return submit + ps.decimal(c, nanoDigits, 0, maxSeconds*spec.Second)
}
