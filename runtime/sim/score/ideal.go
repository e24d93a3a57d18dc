package score

import (
	"cmp"
	"slices"
)

// Claim is a queue's claim on a pool, all in one unit. Weight 0 is the
// guarantee, or 1 where there is none.
type Claim struct{ Guaranteed, Max, Demand, Weight float64 }

// Ideal is the fair share of each claim: first everybody's min(demand,
// guaranteed) — in proportion to the guarantees if that alone is more than the
// pool — then the rest to whoever wants more, up to min(demand, max), in
// proportion to the weights. Both are exact weighted max-min fillings
// (Bertsekas and Gallager, Data Networks, 6.5.2).
func Ideal(capacity float64, claims []Claim) []float64 {
	n := len(claims)
	need, weight, out := make([]float64, n), make([]float64, n), make([]float64, n)
	for i, c := range claims {
		need[i] = max(0, min(c.Demand, c.Guaranteed, c.Max))
		weight[i] = c.Guaranteed
	}
	left := capacity - fill(capacity, need, weight, out)
	rest := make([]float64, n)
	for i, c := range claims {
		need[i] = max(0, min(c.Demand, c.Max)-out[i])
		weight[i] = c.Weight
		if weight[i] <= 0 {
			weight[i] = c.Guaranteed
		}
		if weight[i] <= 0 {
			weight[i] = 1
		}
	}
	fill(left, need, weight, rest)
	for i := range out {
		out[i] += rest[i]
	}
	return out
}

// fill gives each min(need, weight x level) into out and returns the sum; the
// level is the highest for which the total suffices.
func fill(total float64, need, weight, out []float64) float64 {
	order := make([]int, 0, len(need))
	var weights float64
	for i := range need {
		out[i] = 0
		if need[i] > 0 && weight[i] > 0 {
			order = append(order, i)
			weights += weight[i]
		}
	}
	// Who is satisfied at the lowest level is served first.
	slices.SortFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(need[a]*weight[b], need[b]*weight[a]), cmp.Compare(a, b))
	})
	left := max(0, total)
	for _, i := range order {
		out[i] = min(need[i], left*weight[i]/weights)
		left -= out[i]
		weights -= weight[i]
	}
	return total - left
}

// Jain is Jain's index of fairness (DEC-TR-301, 1984): (sum x)^2 / (n sum x^2),
// 1 when all are equal, 1/n when one has all. Of nothing it is 1.
func Jain(x []float64) float64 {
	var sum, squares float64
	for _, v := range x {
		sum += v
		squares += v * v
	}
	if squares == 0 {
		return 1
	}
	return sum * sum / (float64(len(x)) * squares)
}

// jainOfShares is Jain's index over used/ideal of the queues that should have
// something. It is 0, not 1, when none of them has anything.
func jainOfShares(queues []QueueSample, ideal []float64) float64 {
	x := make([]float64, 0, len(queues))
	var sum float64
	for i := range queues {
		if ideal[i] > 0 {
			v := float64(queues[i].Used) / ideal[i]
			sum += v
			x = append(x, v)
		}
	}
	if len(x) > 0 && sum == 0 {
		return 0
	}
	return Jain(x)
}

// Percentile is the nearest-rank percentile: the value at position
// ceil(p/100 x n), counted from 1, of the sorted values; 0 of no values. It is
// always one of the values.
func Percentile(sorted []float64, p float64) float64 {
	n := len(sorted)
	if n == 0 {
		return 0
	}
	rank := int(p / 100 * float64(n))
	if float64(rank) < p/100*float64(n) {
		rank++
	}
	return sorted[min(max(rank, 1), n)-1]
}

// Mean of values, 0 of none.
func Mean(v []float64) float64 {
	var sum float64
	for _, x := range v {
		sum += x
	}
	return ratio(sum, float64(len(v)))
}

// ratio is a/b, and 0 where there is nothing to divide by.
func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}
