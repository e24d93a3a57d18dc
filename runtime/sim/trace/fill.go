package trace

import (
	"fmt"
	"math/bits"
	"slices"

	"github.com/musterhq/muster/builtin/amount"
)

// Rand is splitmix64 (Steele, Lea, Flood, OOPSLA 2014): small, and the same
// sequence on every machine and Go version for ever.
type Rand struct{ state uint64 }

// NewRand returns a generator that starts from a seed.
func NewRand(seed uint64) *Rand { return &Rand{seed} }

// Uint64 returns the next number.
func (r *Rand) Uint64() uint64 {
	r.state += 0x9e3779b97f4a7c15
	z := r.state
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// Below returns a number in [0, n), 0 for n = 0. The bias of the multiplication
// is under n/2^64.
func (r *Rand) Below(n uint64) uint64 {
	hi, _ := bits.Mul64(r.Uint64(), n)
	return hi
}

// Shuffle puts the jobs into a random order.
func (r *Rand) Shuffle(jobs []Job) {
	for i := len(jobs) - 1; i > 0; i-- {
		k := int(r.Below(uint64(i + 1)))
		jobs[i], jobs[k] = jobs[k], jobs[i]
	}
}

// Fill returns the static fill of the FGD experiment (Weng et al., USENIX ATC
// 2023): the jobs in random order, all at once, none of which ends; then random
// jobs are added again until the next one would bring the request above
// permille/1000 of the GPUs (or random ones are removed, if it is above).
// Copies are named after their original: "pod+1". The published seeds are 42 to
// 51 at 1300; the numbers drawn differ from the paper's, the distribution does
// not.
func (t *Trace) Fill(permille int64, seed uint64) *Trace {
	out := *t
	out.Static = true
	out.Jobs = slices.Clone(t.Jobs)
	rng := NewRand(seed)
	rng.Shuffle(out.Jobs)
	limit := t.MilliGPUs().Scale(amount.Amount(permille), 1000)
	var total amount.Amount
	for i := range out.Jobs {
		j := &out.Jobs[i]
		j.Submit, j.Run, j.Deadline = 0, 0, 0
		total = total.Add(j.MilliGPUs())
	}
	if total > limit {
		out.Jobs = deflate(out.Jobs, total, limit, rng)
	} else {
		out.Jobs = inflate(out.Jobs, total, limit, rng)
	}
	out.Notes = append(slices.Clone(t.Notes), fmt.Sprintf("static fill to %d permille of the GPUs, seed %d", permille, seed))
	return &out
}

func inflate(jobs []Job, total, limit amount.Amount, rng *Rand) []Job {
	if total == 0 { // only jobs without GPUs: never enough
		return jobs
	}
	originals := len(jobs)
	copies := make([]int, originals)
	for {
		k := int(rng.Below(uint64(originals)))
		j := jobs[k]
		total = total.Add(j.MilliGPUs())
		if total > limit {
			return jobs
		}
		copies[k]++
		j.ID = fmt.Sprintf("%s+%d", j.ID, copies[k])
		jobs = append(jobs, j)
	}
}

func deflate(jobs []Job, total, limit amount.Amount, rng *Rand) []Job {
	for total > limit {
		k := int(rng.Below(uint64(len(jobs))))
		total = total.Sub(jobs[k].MilliGPUs())
		jobs = slices.Delete(jobs, k, k+1)
	}
	return jobs
}
