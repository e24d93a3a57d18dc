package conformance

import (
	"context"
	"fmt"
	"hash/fnv"

	"github.com/musterhq/muster/builtin/cycle"
	"github.com/musterhq/muster/builtin/spec"
)

// rulesOf are rules for scripts: what they say of a job depends on their version and on
// its name only. They refuse some jobs, move some to another queue, raise or narrow some,
// and protect some from eviction.
type rulesOf int

func (r rulesOf) Digest() string { return fmt.Sprint("rules ", int(r)) }

func (r rulesOf) number(j *spec.Job) uint32 {
	h := fnv.New32a()
	_, _ = fmt.Fprint(h, int(r), j.ID)
	return h.Sum32()
}

func (r rulesOf) Judge(_ context.Context, jobs []*spec.Job) []cycle.Verdict {
	out := make([]cycle.Verdict, len(jobs))
	for i, j := range jobs {
		v, n := &out[i], r.number(j)
		switch n % 8 {
		case 0:
			v.Refused = "not today"
		case 1:
			queue := []string{"root.a", "root.b", "root.c.x"}[n/8%3]
			v.Queue = &queue
		case 2:
			priority := int64(n / 8 % 4)
			v.Priority = &priority
		case 3:
			v.GPUTypes = []string{"H100"}
		case 4:
			v.NodeLabels = map[string][]string{"zone": {"1"}}
		}
	}
	return out
}

func (r rulesOf) Protected(_ context.Context, units []cycle.Candidate) []string {
	out := make([]string, len(units))
	for i := range units {
		if r.number(units[i].Job)/64%4 == 0 {
			out[i] = "it is dear"
		}
	}
	return out
}
