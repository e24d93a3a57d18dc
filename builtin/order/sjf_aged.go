package order

import (
	"context"

	"github.com/musterhq/muster/policies"
)

// sjfAged runs short jobs first, and counts a job as shorter the longer it has waited,
// so that none waits for ever:
//
//	key = duration - aging × wait
//
// in float64, ascending, the product and the difference each rounded by itself. With
// aging 0.5, a job that has waited two hours counts as one hour shorter. A job that
// declares no run time counts as unknown_duration.
//
// Aging is the classic cure of the starvation that shortest job first brings
// (Silberschatz, Galvin and Gagne, Operating System Concepts, 5.3); in the form of a
// ratio it is Brinch Hansen's highest response ratio next.
type sjfAged struct {
	about
	aging   float64
	unknown int64
}

func newSJFAged(a about) policies.Policy {
	return &sjfAged{a, param[float64](&a, "aging"), param[int64](&a, "unknown_duration")}
}

func (s *sjfAged) ScoreJobs(_ context.Context, b *policies.JobBatch) error {
	keys, wait := b.Keys[0][:b.N], b.Wait[:b.N]
	for i, d := range b.Duration[:b.N] {
		if d < 0 {
			d = s.unknown
		}
		// The conversion of the product forbids fusing it with the subtraction.
		keys[i] = orderFloat(float64(d) - float64(s.aging*float64(wait[i])))
	}
	b.NKeys = 1
	return nil
}
