package score

import "github.com/musterhq/muster/builtin/spec"

// MaxPoints is the most points that a Series has.
const MaxPoints = 2000

// Series is the run over time, for plots: point k is the time-weighted mean
// over [StartS + k StepS, StartS + (k+1) StepS), in GPUs.
type Series struct {
	StartS   float64       `json:"start_s"`
	StepS    float64       `json:"step_s"`
	Capacity []float64     `json:"capacity_gpus"`
	Queues   []QueueSeries `json:"queues"`
	// WaitQuantilesS has the waits' percentiles 0 to 100, nearest rank.
	WaitQuantilesS []float64 `json:"wait_quantiles_s"`
}

// QueueSeries is one queue's part of a Series, in GPUs.
type QueueSeries struct {
	Name       string    `json:"name"`
	Used       []float64 `json:"used_gpus"`
	Demand     []float64 `json:"demand_gpus"`
	Guaranteed []float64 `json:"guaranteed_gpus"`
	Ideal      []float64 `json:"ideal_gpus"`
	// Busy is what really computed; nil where nothing was measured.
	Busy []float64 `json:"busy_gpus,omitempty"`
}

// Values per queue in a bucket, and the two that stand before them.
const (
	colUsed = iota
	colDemand
	colGuaranteed
	colIdeal
	colBusy
	perQueue
)

// sampler averages into buckets of equal width. When they run out, it joins
// them two by two: memory is bounded and the end need not be known.
type sampler struct {
	queues  int
	start   spec.Time
	width   spec.Duration
	begun   bool
	buckets [][]float64 // ns covered, capacity integral, then perQueue integrals a queue
}

func newSampler(queues int) *sampler {
	return &sampler{queues: queues, width: spec.Second}
}

func (s *sampler) add(from, to spec.Time, queues []QueueSample, ideal []float64, capacity float64) {
	if !s.begun {
		s.begun, s.start = true, from
	}
	for (to-s.start-1)/s.width >= MaxPoints {
		s.halve()
	}
	for from < to {
		k := int((from - s.start) / s.width)
		for len(s.buckets) <= k {
			s.buckets = append(s.buckets, make([]float64, 2+perQueue*s.queues))
		}
		end := min(to, s.start+spec.Time(k+1)*s.width)
		b, dt := s.buckets[k], float64(end-from)
		b[0] += dt
		b[1] += capacity * dt
		for i := range queues {
			c := b[2+perQueue*i:]
			c[colUsed] += float64(queues[i].Used) * dt
			c[colDemand] += float64(queues[i].Demand) * dt
			c[colGuaranteed] += float64(queues[i].Guaranteed) * dt
			c[colIdeal] += ideal[i] * dt
			c[colBusy] += float64(queues[i].Busy) * dt
		}
		from = end
	}
}

func (s *sampler) halve() {
	s.width *= 2
	half := s.buckets[:0]
	for k := 0; k < len(s.buckets); k += 2 {
		b := s.buckets[k]
		if k+1 < len(s.buckets) {
			for i, v := range s.buckets[k+1] {
				b[i] += v
			}
		}
		half = append(half, b)
	}
	s.buckets = half
}

// result divides the integrals by the time covered, into GPUs.
func (s *sampler) result(names []string, measured bool) *Series {
	out := &Series{StartS: seconds(s.start), StepS: seconds(s.width)}
	mean := func(col int) []float64 {
		v := make([]float64, len(s.buckets))
		for k, b := range s.buckets {
			v[k] = ratio(b[col], b[0]*1000)
		}
		return v
	}
	out.Capacity = mean(1)
	for i, name := range names {
		at := 2 + perQueue*i
		q := QueueSeries{
			Name: name, Used: mean(at + colUsed), Demand: mean(at + colDemand),
			Guaranteed: mean(at + colGuaranteed), Ideal: mean(at + colIdeal),
		}
		if measured {
			q.Busy = mean(at + colBusy)
		}
		out.Queues = append(out.Queues, q)
	}
	return out
}

// Series returns the run over time. Call it after Finish.
func (r *Recorder) Series() *Series {
	s := r.series.result(r.o.Queues, r.o.Measured)
	waits := r.perJob("").waits
	for p := range 101 {
		s.WaitQuantilesS = append(s.WaitQuantilesS, Percentile(waits, float64(p)))
	}
	return s
}
