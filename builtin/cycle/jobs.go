package cycle

import (
	"fmt"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/keysort"
	"github.com/musterhq/muster/builtin/plan"
	"github.com/musterhq/muster/builtin/quota"
	"github.com/musterhq/muster/builtin/world"
	"github.com/musterhq/muster/policies"
)

// order asks each leaf's job-order policy for the keys of its pending jobs, one
// call a leaf, and sorts by them.
func (c *cycle) order() {
	for q := range c.w.Quota.Queues {
		if c.w.Quota.Queues[q].Leaf {
			c.orderLeaf(quota.Q(q))
		}
	}
	c.open()
}

func (c *cycle) orderLeaf(q quota.Q) {
	s := &c.queues[q]
	for _, j := range c.w.PendingIn(q) {
		switch {
		case j.Waiting == 0 || !gangRuns(j) && !j.Incomplete():
		case c.unjudged(j):
			if j.HoldsNothing() { // it has lost its places in this step
				c.wakeAt(c.now + 1)
			}
		case c.mayRun(j):
			s.jobs = append(s.jobs, j)
		}
	}
	size(&s.status, len(s.jobs))
	clear(s.status)
	name := c.w.Quota.Queues[q].JobOrder
	fifo := name == quota.DefaultJobOrder || len(s.jobs) < 2
	if len(s.jobs) == 0 || fifo && c.set.Named[name] == nil {
		return // (submit, id) is the order, and no policy of the user's to be asked
	}
	c.fillJobs(q, s.jobs)
	info := c.policyFor(policies.JobOrder, name).Info()
	c.texts.fill(&c.batch.job, s.jobs, c.w.JobCount(), &info)
	b := &c.batch.job
	c.ask(policies.JobOrder, name, b.N, func(p policies.Policy) error {
		b.NKeys, b.Order = 0, b.Order[:0]
		for k := range b.Keys {
			clear(b.Keys[k])
		}
		return p.ScoreJobs(c.ctx, b)
	})
	c.sortJobs(s)
}

// mayRun leaves out the jobs that admission refused, and those whose gang can't come
// together for want of pods, with the reason.
func (c *cycle) mayRun(j *world.Job) bool {
	if j.Refused != "" {
		c.refuse(j)
		return false
	}
	if lacks := j.LacksPods(); lacks > 0 {
		c.explain(j, &plan.Why{Code: plan.GangIncomplete, Text: fmt.Sprintf("%d tasks of its gang of %d have no pod yet", lacks, j.Min())})
		return false
	}
	return true
}

func (c *cycle) fillJobs(q quota.Q, jobs []*world.Job) {
	b := &c.batch.job
	n := len(jobs)
	b.Call, b.N, b.Queue = c.call(), n, c.w.Quota.Queues[q].Path
	for _, col := range []*[]uint32{&b.Job, &b.User, &b.Reason} {
		size(col, n)
	}
	for _, col := range []*[]int64{
		&b.Priority, &b.Submit, &b.Wait, &b.GPUs, &b.Dominant, &b.Min, &b.Size, &b.Running,
		&b.Attempts, &b.Duration, &b.Deadline, &b.Evicted, &b.UserShare, &b.Allocated, &b.Use,
	} {
		size(col, n)
	}
	for k := range b.Keys {
		size(&b.Keys[k], n)
	}
	size(&b.Order, n) // with room, as whoever fills it expects
	size(&b.Elastic, n)
	size(&b.Preemptible, n)
	size(&b.Serial, n)
	clear(b.Reason)
	c.batchUsers = c.batchUsers[:0]
	clear(c.userNumber)
	user := len(c.w.Quota.Path(q)) // the user's account follows the queues in a chain
	for i, j := range jobs {
		c.fillJob(b, i, j)
		b.UserShare[i] = int64(c.w.Quota.Dominant(c.w.Quota.Used(j.Chain[user])))
	}
}

func (c *cycle) fillJob(b *policies.JobBatch, i int, j *world.Job) {
	s := j.Spec
	b.Job[i], b.User[i] = uint32(i), c.batchUser(j.User)
	b.Priority[i], b.Submit[i], b.Wait[i] = s.Priority, s.Submit, c.now-s.Submit
	b.Running[i], b.Attempts[i], b.Evicted[i] = int64(j.Placed), j.Attempts, j.Evicted
	b.Duration[i], b.Deadline[i] = unsetIfZero(s.Duration), unsetIfZero(s.Deadline)
	b.Min[i], b.Size[i], b.Elastic[i] = int64(j.Min()), int64(len(j.Tasks)), 0
	if b.Min[i] < b.Size[i] {
		b.Elastic[i] = 1
	}
	b.Preemptible[i], b.Serial[i] = 1, j.Serial
	if s.NonPreemptible {
		b.Preemptible[i] = 0
	}
	b.Use[i] = policies.Unset
	if j.Placed > 0 && c.w.Measured {
		use := c.w.UseOfJob(j, c.now)
		if busy, _, ok := use.Mean(); ok {
			b.Use[i] = int64(busy)
		}
	}
	c.fillAmounts(b, i, j)
}

// fillAmounts fills what the job asks for and what it holds.
func (c *cycle) fillAmounts(b *policies.JobBatch, i int, j *world.Job) {
	var gpus, allocated amount.Amount
	var dominant amount.Share
	for k := range j.Groups {
		g := &j.Groups[k]
		n := int64(g.Wanted())
		allocated = allocated.Add(c.w.Shapes[g.Shape].GPU.Mul(int64(g.Placed)))
		for _, e := range c.w.Shapes[g.Shape].Request {
			if e.Dim == amount.GPU {
				gpus = gpus.Add(e.Amount.Mul(n))
			}
			if capacity := c.w.Quota.Capacity()[e.Dim]; capacity > 0 {
				dominant = max(dominant, amount.ShareOf(e.Amount.Mul(n), capacity))
			}
		}
	}
	b.GPUs[i], b.Dominant[i], b.Allocated[i] = int64(gpus), int64(dominant), int64(allocated)
}

// batchUser numbers the users of a batch in order of their first rows, so that a
// policy can't see in which order users were first heard of.
func (c *cycle) batchUser(user int32) uint32 {
	for int(user) >= len(c.userNumber) {
		c.userNumber = append(c.userNumber, 0)
	}
	if c.userNumber[user] == 0 {
		c.batchUsers = append(c.batchUsers, user)
		c.userNumber[user] = uint32(len(c.batchUsers))
	}
	return c.userNumber[user] - 1
}

func unsetIfZero(v int64) int64 {
	if v == 0 {
		return policies.Unset
	}
	return v
}

// sortJobs brings the jobs of a leaf into the order of the keys; rows came in
// (submit, id), and that stays the order among equals.
func (c *cycle) sortJobs(s *queueState) {
	b := &c.batch.job
	if size(&c.rows, len(s.jobs)); !c.takeOrder(b.Order) {
		for i := range c.rows {
			c.rows[i] = int32(i)
		}
		keysort.Sort(c.rows, b.Keys[:min(max(0, b.NKeys), policies.MaxKeys)], &c.sorting)
	}
	c.unsorted = append(c.unsorted[:0], s.jobs...)
	for i, r := range c.rows {
		s.jobs[i] = c.unsorted[r]
	}
	clear(c.unsorted)
}

// takeOrder takes over the order that a policy has kept, if it has each row once: a
// job must never come twice, whoever is wrong.
func (c *cycle) takeOrder(order []int32) bool {
	if len(order) != len(c.rows) {
		return false
	}
	size(&c.had, len(order))
	clear(c.had)
	for i, r := range order {
		if r < 0 || int(r) >= len(c.had) || c.had[r] {
			return false
		}
		c.rows[i], c.had[r] = r, true
	}
	return true
}
