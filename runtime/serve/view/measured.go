package view

import (
	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/quota"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/runtime/usage"
)

// Measured is what the GPUs that a queue uses really do, in milli-GPUs. What is neither
// idle nor unknown works, or has paused for less than IdleAfter.
type Measured struct {
	// Busy is the work in them, as if of GPUs that always run some kernel: two that run
	// one half of the time are one.
	Busy    int64 `json:"busy"`
	Idle    int64 `json:"idle"`    // that did nothing for IdleAfter or longer
	Unknown int64 `json:"unknown"` // used, and not measured (any more)
}

// measurement is what was measured of one job on one node, in milli-GPUs.
type measurement struct{ known, busy, idle int64 }

type jobOnNode struct{ job, node string }

// measurements sums what pods of jobs do with the GPUs that they were given. Whoever uses
// one that he was not given does not use what his queue holds.
func measurements(nodes []usage.Node, pods Pods) map[jobOnNode]measurement {
	out := map[jobOnNode]measurement{}
	for i := range nodes {
		if stateOf(&nodes[i]) != ProbeConnected {
			continue
		}
		for _, u := range nodes[i].Uses {
			if u.Busy == nil && u.GetIdleMs() == 0 || u.Assigned != nil && !*u.Assigned {
				continue
			}
			job, ok := pods.jobOf(u)
			if !ok {
				continue
			}
			m := out[jobOnNode{job, nodes[i].Name}]
			m.known, m.busy = m.known+1000, m.busy+int64(u.GetBusy()) // a permille of a GPU is a milli-GPU
			if spec.Duration(u.GetIdleMs())*1e6 >= IdleAfter {
				m.idle += 1000
			}
			out[jobOnNode{job, nodes[i].Name}] = m
		}
	}
	return out
}

// within cuts a measurement to what the job holds: several pods of it may share one GPU.
func (m measurement) within(held int64) measurement {
	return measurement{min(m.known, held), min(m.busy, held), min(m.idle, held)}
}

// measure brings measurements to the queues, queue × r. Without any probe it does
// nothing: then nothing is told.
func (c *captured) measure(nodes []usage.Node, pods Pods) {
	if len(nodes) == 0 {
		return
	}
	of := measurements(nodes, pods)
	type place struct{ job, node int32 }
	held := map[place]int64{}
	for i := range c.tasks {
		t := &c.tasks[i]
		if request, _ := c.charge(t); len(of) > 0 {
			if gpu, ok := request.Get(amount.GPU); ok {
				held[place{t.job, t.node}] += int64(gpu)
			}
		}
	}
	c.measured = make([]measurement, len(c.queues)*c.r)
	for at, gpus := range held { //muster:anyorder sums
		m, ok := of[jobOnNode{c.jobs[at.job].spec.ID, c.nodes[at.node].name}]
		if !ok {
			continue
		}
		row := c.measured[int(c.jobs[at.job].queue)*c.r:]
		row[amount.GPU].add(m.within(gpus))
		if typed := c.nodes[at.node].typed; typed >= 0 {
			row[typed].add(m.within(gpus))
		}
	}
	for q := len(c.queues) - 1; q > 0; q-- { // children come after their parents
		up := int(c.queues[q].Parent)
		for d := range c.r {
			c.measured[up*c.r+d].add(c.measured[q*c.r+d])
		}
	}
}

func (m *measurement) add(o measurement) {
	m.known, m.busy, m.idle = m.known+o.known, m.busy+o.busy, m.idle+o.idle
}

// measuredOf is what is measured of a resource of a queue, nil if nothing can be.
func (c *captured) measuredOf(q quota.Q, d int) *Measured {
	if c.measured == nil || !amount.IsGPU(c.names[d]) {
		return nil
	}
	at := int(q)*c.r + d
	m, used := c.measured[at], int64(c.used[at])
	return &Measured{Busy: min(m.busy, used), Idle: min(m.idle, used), Unknown: max(0, used-m.known)}
}
