package gen

import (
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/musterhq/muster/policies"
)

// Amounts that generated batches are made of.
const (
	second = int64(1e9)
	hour   = 3600 * second
	gpu    = 1000    // milli-GPU
	whole  = 1 << 32 // a share of 1
	// Now is the time of every generated cycle: some years after the epoch, on a full
	// second.
	Now = 50 * 365 * 24 * hour
)

// Rand returns the source of chance for one case of a law: the same for the same
// seed, name and case, and unlike for any other.
func Rand(seed uint64, name string, i int) *rand.Rand {
	h := uint64(14695981039346656037) // FNV-1a
	for _, c := range []byte(name) {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return rand.New(rand.NewPCG(seed, h+uint64(i)*0x9e3779b97f4a7c15))
}

// Of makes a believable batch of one kind with n rows (a queue tree has at least its
// root), for a policy that says what texts and labels it reads.
func Of(k policies.Kind, r *rand.Rand, n int, in policies.Info) Batch {
	switch k {
	case policies.JobOrder:
		return Batch{Jobs: Jobs(r, n, in)}
	case policies.QueueShares:
		return Batch{Queues: Queues(r, n, 1+r.IntN(3))}
	default:
		return Batch{Victims: Victims(r, n, 1+r.IntN(3))}
	}
}

func call(r *rand.Rand) policies.Call {
	return policies.Call{Now: Now, Cycle: r.Uint64N(1e6), Seed: r.Uint64()}
}

// between draws a number from low to high, both included.
func between(r *rand.Rand, low, high int64) int64 { return low + r.Int64N(high-low+1) }

// pick draws one of some numbers.
func pick(r *rand.Rand, of ...int64) int64 { return of[r.IntN(len(of))] }

// Jobs makes n pending jobs of one leaf queue, sorted by (submit, id).
func Jobs(r *rand.Rand, n int, in policies.Info) *policies.JobBatch {
	b := &policies.JobBatch{Call: call(r), N: n, Queue: "root.research.vision"}
	users := max(1, min(n/4, 50))
	shares := make([]int64, users)
	for u := range shares {
		shares[u] = pick(r, 0, 0, whole/100) * between(r, 1, 20)
	}
	for range n {
		b.Submit = append(b.Submit, Now-pick(r, second, 60*second, hour)*between(r, 0, 100))
	}
	slices.Sort(b.Submit)
	for i := range n {
		appendJob(r, b, i, shares)
	}
	b.Strings = []string{b.Queue, "", "größe"}
	for u := range users {
		b.Strings = append(b.Strings, fmt.Sprintf("user-%d", u))
	}
	for _, u := range b.User {
		b.UserName = append(b.UserName, 3+u)
	}
	labelled(r, b, in.Labels)
	return b
}

func appendJob(r *rand.Rand, b *policies.JobBatch, i int, shares []int64) {
	u := r.IntN(len(shares))
	size := pick(r, 1, 1, 1, 2, 4, 8, 32)
	least := size
	if r.IntN(3) == 0 {
		least = between(r, 1, size)
	}
	b.Job = append(b.Job, uint32(i))
	b.User = append(b.User, uint32(u))
	b.UserShare = append(b.UserShare, shares[u])
	b.Priority = append(b.Priority, pick(r, 0, 0, 0, 5, 10, 100, -5))
	b.Wait = append(b.Wait, Now-b.Submit[i])
	b.Size, b.Min = append(b.Size, size), append(b.Min, least)
	running := int64(0)
	if least < size && r.IntN(3) == 0 {
		running = least
	}
	each := pick(r, 500, gpu, gpu, 2*gpu, 8*gpu)
	b.Running = append(b.Running, running)
	b.Allocated = append(b.Allocated, running*each)
	b.GPUs = append(b.GPUs, (size-running)*each)
	b.Dominant = append(b.Dominant, (size-running)*each*(whole/1_000_000))
	b.Attempts = append(b.Attempts, pick(r, 0, 0, 1, 7, 500))
	b.Duration = append(b.Duration, pick(r, policies.Unset, 600*second, hour, 24*hour))
	b.Deadline = append(b.Deadline, pick(r, policies.Unset, Now-hour, Now+hour, Now+30*hour))
	b.Elastic = append(b.Elastic, bit(least < size))
	b.Evicted = append(b.Evicted, pick(r, 0, 0, 0, 1, 3))
	b.Preemptible = append(b.Preemptible, bit(r.IntN(4) > 0))
	use := policies.Unset
	if running > 0 && r.IntN(2) == 0 {
		use = between(r, 0, 10) * (whole / 10)
	}
	b.Use = append(b.Use, use)
}

// labelled gives some jobs the labels that the policy reads; values are few, so that
// jobs share them.
func labelled(r *rand.Rand, b *policies.JobBatch, keys []string) {
	first := uint32(len(b.Strings))
	if len(keys) > 0 {
		b.Strings = append(b.Strings, "red", "green", "7")
	}
	for _, key := range keys {
		l := policies.LabelColumn{Key: key}
		for range b.N {
			v := policies.NoString
			if r.IntN(3) > 0 {
				v = first + r.Uint32N(3)
			}
			l.Value = append(l.Value, v)
		}
		b.Labels = append(b.Labels, l)
	}
}

func bit(yes bool) uint8 {
	if yes {
		return 1
	}
	return 0
}

// resources are those of generated pools, in the order in which they are added.
var resources = []string{"nvidia.com/gpu", "cpu", "memory", "pods"}

// Queues makes a tree of n queues (the root among them, so at least 1) over some
// resources, of which the first is GPUs.
func Queues(r *rand.Rand, n, res int) *policies.QueueBatch {
	n = max(1, n)
	b := &policies.QueueBatch{Call: call(r), N: n, R: min(res, len(resources)), HalfLife: 24 * hour}
	b.Resources = slices.Clone(resources[:b.R])
	for range b.R {
		b.Capacity = append(b.Capacity, between(r, 4, 64)*gpu)
	}
	parents := []int32{0}
	for i := range n {
		parent := int32(-1)
		if i > 0 {
			parent = parents[r.IntN(len(parents))]
			if len(parents) < 1+n/4 && r.IntN(3) == 0 {
				parents = append(parents, int32(i))
			}
		}
		b.Parent = append(b.Parent, parent)
		b.Weight = append(b.Weight, pick(r, 0, 0, 1, 2, 5))
		b.Priority = append(b.Priority, pick(r, 0, 0, 5, 10))
		b.Decayed = append(b.Decayed, pick(r, 0, 3_600_000, 86_400_000)*between(r, 0, 50))
		use := policies.Unset
		if r.IntN(2) == 0 {
			use = between(r, 0, 8) * gpu
		}
		b.Use = append(b.Use, use)
		for range b.R {
			appendQuota(r, b, n)
		}
	}
	Batch{Queues: b}.Repair()
	return b
}

// appendQuota adds the cells of one queue and resource. Guarantees of all queues fit
// the pool most of the time.
func appendQuota(r *rand.Rand, b *policies.QueueBatch, n int) {
	guaranteed, most := policies.Unset, policies.NoMax
	if r.IntN(2) == 0 {
		guaranteed = between(r, 0, max(1, 64/int64(n))) * gpu
	}
	if r.IntN(3) == 0 {
		most = max(guaranteed, between(r, 1, 40)*gpu)
	}
	demand := pick(r, 0, 1, 1, 1) * between(r, 0, 40) * gpu
	used := int64(0)
	if demand > 0 {
		used = between(r, 0, demand/gpu) * gpu
	}
	b.Guaranteed, b.Max = append(b.Guaranteed, guaranteed), append(b.Max, most)
	b.Demand, b.Used = append(b.Demand, demand), append(b.Used, used)
}

// Victims makes n candidates for eviction.
func Victims(r *rand.Rand, n, res int) *policies.VictimBatch {
	b := &policies.VictimBatch{Call: call(r), N: n, R: min(res, len(resources))}
	for i := range n {
		job := uint32(i)
		surplus := i > 0 && r.IntN(4) == 0
		if surplus {
			job = b.Job[i-1]
		}
		gpus := pick(r, 0, 500, gpu, 2*gpu, 8*gpu)
		since := pick(r, second, 60*second, hour) * between(r, 0, 30)
		b.Job, b.Gang = append(b.Job, job), append(b.Gang, job)
		b.Queue = append(b.Queue, r.Uint32N(5))
		b.Tasks = append(b.Tasks, pick(r, 1, 1, 1, 4, 8))
		b.GPUs = append(b.GPUs, gpus)
		b.Priority = append(b.Priority, pick(r, 0, 0, 5, 10, -5))
		b.Running = append(b.Running, since+pick(r, 0, 0, hour)*between(r, 0, 30))
		b.SinceCheckpoint = append(b.SinceCheckpoint, since)
		b.Lost = append(b.Lost, lost(since, gpus))
		b.RestartCost = append(b.RestartCost, pick(r, 0, 60_000, 600_000))
		b.Surplus, b.Leader = append(b.Surplus, bit(surplus)), append(b.Leader, bit(!surplus && r.IntN(8) == 0))
		b.Excess = append(b.Excess, pick(r, -4, 0, 1, 8, 30)*gpu)
		b.Evicted = append(b.Evicted, pick(r, 0, 0, 0, 1, 3))
		use, idle := policies.Unset, policies.Unset
		if gpus > 0 && r.IntN(2) == 0 {
			use, idle = measured(r)
		}
		b.Use, b.Idle = append(b.Use, use), append(b.Idle, idle)
		for range b.R {
			b.Freed = append(b.Freed, gpus)
		}
	}
	return b
}

// lost is the work in GPU-milliseconds that goes with some run time.
func lost(since, gpus int64) int64 { return since / 1_000_000 * gpus / 1000 }

func measured(r *rand.Rand) (use, idle int64) {
	if r.IntN(2) == 0 {
		return 0, second * between(r, 1, 7200)
	}
	return between(r, 1, 10) * (whole / 10), 0
}
