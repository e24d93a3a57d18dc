package order

import (
	"math/big"
	"math/rand"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/policies"
)

// drawTree draws a batch of up to three levels; amounts are milli, with parts of
// a GPU now and then.
func drawTree(t *rapid.T, maxQueues int) *policies.QueueBatch {
	n := 1 + rapid.IntRange(1, maxQueues).Draw(t, "queues")
	b := emptyBatch(n, amount.GPUName, "pods")
	b.Parent[0] = -1
	quantity := rapid.OneOf(rapid.Map(rapid.Int64Range(0, 60), func(v int64) int64 { return v * 1000 }), rapid.Int64Range(0, 60_000))
	for r := range b.R {
		b.Capacity[r] = quantity.Draw(t, "capacity")
	}
	parents := []int32{0}
	for i := 1; i < n; i++ {
		b.Parent[i] = rapid.SampledFrom(parents).Draw(t, "parent")
		if len(parents) < 4 {
			parents = append(parents, int32(i))
		}
		b.Weight[i] = rapid.SampledFrom([]int64{0, 0, 1, 2, 5}).Draw(t, "weight")
		for c := i * b.R; c < (i+1)*b.R; c++ {
			if rapid.Bool().Draw(t, "has guarantee") {
				b.Guaranteed[c] = quantity.Draw(t, "guaranteed") / 2
			}
			if rapid.Bool().Draw(t, "has max") {
				b.Max[c] = max(b.Guaranteed[c], quantity.Draw(t, "max"))
			}
		}
	}
	inner := make([]bool, n)
	for _, p := range b.Parent[1:] {
		inner[p] = true
	}
	for i := n - 1; i > 0; i-- {
		for r := range b.R {
			if !inner[i] {
				b.Demand[i*b.R+r] = quantity.Draw(t, "demand")
			}
			b.Demand[int(b.Parent[i])*b.R+r] += b.Demand[i*b.R+r]
		}
	}
	return b
}

// flat draws one level of queues below the root.
func flat(t *rapid.T, maxQueues int) *policies.QueueBatch {
	b := drawTree(t, maxQueues)
	for r := range b.R {
		b.Demand[r] = 0
		for i := 1; i < b.N; i++ {
			b.Parent[i] = 0
			b.Demand[r] += b.Demand[i*b.R+r]
		}
	}
	return b
}

func fairly(t *rapid.T, b *policies.QueueBatch) {
	if err := (&guaranteedFair{}).Entitle(t.Context(), b); err != nil {
		t.Fatal(err)
	}
}

// usableOf is what a queue and all below it can use: the test's own recursion.
func usableOf(b *policies.QueueBatch, row, r int) int64 {
	below, inner := int64(0), false
	for k := row + 1; k < b.N; k++ {
		if b.Parent[k] == int32(row) {
			inner = true
			below += usableOf(b, k, r)
		}
	}
	u := min(b.Demand[row*b.R+r], b.Max[row*b.R+r])
	if inner {
		u = min(u, below)
	}
	return u
}

func TestLawNobodyIsEntitledBeyondUseAndNothingIsWasted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := drawTree(t, 8)
		fairly(t, b)
		for row := range b.N {
			for r := range b.R {
				var sum, usable int64
				kids := 0
				for k := 1; k < b.N; k++ {
					if b.Parent[k] == int32(row) {
						kids++
						sum += b.Entitled[k*b.R+r]
						usable += usableOf(b, k, r)
					}
				}
				total := b.Entitled[row*b.R+r]
				if kids > 0 && sum != min(total, usable) {
					t.Fatalf("children of row %d share %d of %d, they can use %d", row, sum, total, usable)
				}
				if u := usableOf(b, row, r); row > 0 && (total > u || total < 0) {
					t.Fatalf("row %d is entitled to %d, can use %d", row, total, u)
				}
			}
		}
	})
}

func TestLawAGuaranteeThatFitsIsKept(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := flat(t, 6)
		for r := range b.R {
			for i := 1; i < b.N; i++ {
				b.Capacity[r] += max(0, b.Guaranteed[i*b.R+r])
			}
		}
		fairly(t, b)
		for c := b.R; c < b.N*b.R; c++ {
			if kept := min(b.Guaranteed[c], b.Demand[c], b.Max[c]); b.Entitled[c] < kept {
				t.Fatalf("row %d is entitled to %d, its guarantee holds %d", c/b.R, b.Entitled[c], kept)
			}
		}
	})
}

func TestLawAnIdleQueueChangesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := drawTree(t, 7)
		fairly(t, b)
		before := slices.Clone(b.Entitled)
		at := b.N
		b.Parent = append(b.Parent, rapid.SampledFrom(settledParents(b)).Draw(t, "parent of the idle queue"))
		b.N++
		b.Weight, b.Decayed = append(b.Weight, 3), append(b.Decayed, 0)
		b.Rank = append(b.Rank, -7)
		for range b.R {
			b.Guaranteed = append(b.Guaranteed, 5000)
			b.Max, b.Demand = append(b.Max, policies.NoMax), append(b.Demand, 0)
			b.Used, b.Entitled = append(b.Used, 0), append(b.Entitled, -7)
		}
		fairly(t, b)
		if got := b.Entitled[:at*b.R]; !slices.Equal(got, before) {
			t.Fatalf("entitled %v, without the idle queue %v", got, before)
		}
		if b.Entitled[at*b.R] != 0 {
			t.Fatal("the idle queue is entitled to something")
		}
	})
}

// settledParents lists the queues to which a child can be added without changing
// their own configuration: the root, and inner queues that do not take the
// guarantees of their children for their own.
func settledParents(b *policies.QueueBatch) []int32 {
	rows := []int32{0}
	for row := int32(1); row < int32(b.N); row++ {
		own := slices.Min(b.Guaranteed[int(row)*b.R:int(row+1)*b.R]) >= 0
		if own && slices.Contains(b.Parent, row) {
			rows = append(rows, row)
		}
	}
	return rows
}

func TestLawMoreWeightIsNeverLess(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := flat(t, 5)
		i := rapid.IntRange(1, b.N-1).Draw(t, "row")
		b.Weight[i] = rapid.Int64Range(1, 9).Draw(t, "light")
		fairly(t, b)
		light := slices.Clone(b.Entitled)
		b.Weight[i] += rapid.Int64Range(1, 9).Draw(t, "more")
		fairly(t, b)
		for r := range b.R {
			if b.Entitled[i*b.R+r] < light[i*b.R+r] {
				t.Fatalf("with more weight row %d has %d instead of %d", i, b.Entitled[i*b.R+r], light[i*b.R+r])
			}
		}
	})
}

func TestLawOfEqualQueuesTheEarlierRowHasAtMostOneUnitMore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := flat(t, 6)
		for i := 2; i < b.N; i++ {
			b.Weight[i] = b.Weight[1]
			for r := range b.R {
				b.Guaranteed[i*b.R+r], b.Max[i*b.R+r], b.Demand[i*b.R+r] = b.Guaranteed[b.R+r], b.Max[b.R+r], b.Demand[b.R+r]
			}
		}
		fairly(t, b)
		for i := 2; i < b.N; i++ {
			for r := range b.R {
				more := b.Entitled[(i-1)*b.R+r] - b.Entitled[i*b.R+r]
				if unit := int64(shareUnit(b.Resources[r])); more < 0 || more > unit {
					t.Fatalf("row %d has %d more than row %d", i-1, more, i)
				}
			}
		}
	})
}

// A GPU is shared as 1000 milli in one piece, so a table of GPUs and the same
// table of things that are counted agree but for the factor.
func TestLawWholeGPUsAreSharedLikeCounts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := drawTree(t, 8)
		for i := range b.N * b.R {
			if b.Guaranteed[i] >= 0 {
				b.Guaranteed[i] /= 1000
			}
			if b.Max[i] != policies.NoMax {
				b.Max[i] /= 1000
			}
			b.Demand[i] /= 1000
		}
		for c := range b.N { // resource 0 becomes resource 1 in milli
			b.Guaranteed[2*c], b.Max[2*c], b.Demand[2*c] = b.Guaranteed[2*c+1], b.Max[2*c+1], b.Demand[2*c+1]*1000
			if b.Guaranteed[2*c] >= 0 {
				b.Guaranteed[2*c] *= 1000
			}
			if b.Max[2*c] != policies.NoMax {
				b.Max[2*c] *= 1000
			}
		}
		b.Capacity[1] /= 1000
		b.Capacity[0] = b.Capacity[1] * 1000
		fairly(t, b)
		for c := range b.N {
			if b.Entitled[2*c] != 1000*b.Entitled[2*c+1] {
				t.Fatalf("row %d: %d milli-GPUs, %d counts", c, b.Entitled[2*c], b.Entitled[2*c+1])
			}
		}
	})
}

// exactLevel pours total into the claims in rounds, in exact fractions: all that
// is left goes by weight to those who are not full; who overflows gives back.
func exactLevel(total int64, claims []claim) []*big.Rat {
	got := make([]*big.Rat, len(claims))
	for i := range got {
		got[i] = new(big.Rat)
	}
	left := new(big.Rat).SetInt64(total)
	for left.Sign() > 0 {
		weights := int64(0)
		for i, c := range claims {
			if got[i].Cmp(new(big.Rat).SetInt64(int64(c.need))) < 0 {
				weights += int64(c.weight)
			}
		}
		if weights == 0 {
			break
		}
		round := new(big.Rat).Set(left)
		for i, c := range claims {
			need := new(big.Rat).SetInt64(int64(c.need))
			if got[i].Cmp(need) >= 0 {
				continue
			}
			part := new(big.Rat).Mul(round, big.NewRat(int64(c.weight), weights))
			part.Add(part, got[i])
			if part.Cmp(need) > 0 {
				part = need
			}
			left.Sub(left, new(big.Rat).Sub(part, got[i]))
			got[i] = part
		}
	}
	return got
}

// distance is the sum of the differences between an answer and the exact shares.
func distance(got []int64, exact []*big.Rat) *big.Rat {
	sum := new(big.Rat)
	for i, g := range got {
		d := new(big.Rat).Sub(new(big.Rat).SetInt64(g), exact[i])
		sum.Add(sum, d.Abs(d))
	}
	return sum
}

// closest tries every way to hand out total in whole units.
func closest(total int64, claims []claim, exact []*big.Rat, so []int64) *big.Rat {
	if len(so) == len(claims) {
		if total != 0 {
			return nil
		}
		return distance(so, exact)
	}
	var best *big.Rat
	for v := int64(0); v <= min(total, int64(claims[len(so)].need)); v++ {
		d := closest(total-v, claims, exact, append(so, v))
		if d != nil && (best == nil || d.Cmp(best) < 0) {
			best = d
		}
	}
	return best
}

func drawClaims(t *rapid.T, most int, need int64) ([]claim, int64) {
	claims := make([]claim, rapid.IntRange(1, most).Draw(t, "claims"))
	sum := int64(0)
	for i := range claims {
		c := claim{row: int32(i)}
		c.need = amount.Amount(rapid.Int64Range(1, need).Draw(t, "need"))
		c.weight = amount.Amount(rapid.Int64Range(1, 7).Draw(t, "weight"))
		claims[i] = c
		sum += int64(c.need)
	}
	return claims, sum
}

func TestTwinNoWayToShareWholeUnitsIsCloserToExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		claims, sum := drawClaims(t, 4, 9)
		total := rapid.Int64Range(0, 12).Draw(t, "total")
		exact := exactLevel(total, claims)
		best := closest(min(total, sum), claims, exact, nil)
		work := slices.Clone(claims)
		fill(amount.Amount(total), 1, work)
		got := make([]int64, len(claims))
		for _, c := range work {
			got[c.row] = int64(c.got)
		}
		if d := distance(got, exact); d.Cmp(best) != 0 {
			t.Fatalf("fill gives %v, %s from exact %v; %s is possible", got, d, exact, best)
		}
	})
}

// fillTwin is the documented rounding, word for word, in exact fractions.
func fillTwin(total, unit int64, claims []claim) []int64 {
	exact := exactLevel(total, claims)
	got := make([]int64, len(claims))
	rest := make([]*big.Rat, len(claims))
	left := total
	for i, x := range exact {
		whole := new(big.Int).Quo(x.Num(), x.Denom()).Int64()
		if got[i] = whole - whole%unit; x.Cmp(new(big.Rat).SetInt64(int64(claims[i].need))) == 0 {
			got[i] = int64(claims[i].need)
		}
		rest[i] = new(big.Rat).Sub(x, new(big.Rat).SetInt64(got[i]))
		left -= got[i]
	}
	order := make([]int, len(claims))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return rest[b].Cmp(rest[a]) })
	for _, i := range order {
		piece := min(unit, int64(claims[i].need)-got[i], left)
		got[i] += piece
		left -= piece
	}
	return got
}

func TestTwinFillRoundsAsDocumented(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		claims, sum := drawClaims(t, 8, 9000)
		total := rapid.Int64Range(0, sum+1000).Draw(t, "total")
		unit := rapid.SampledFrom([]int64{1, 10, 1000}).Draw(t, "unit")
		want := fillTwin(total, unit, claims)
		fill(amount.Amount(total), amount.Amount(unit), claims)
		for _, c := range claims {
			if int64(c.got) != want[c.row] {
				t.Fatalf("claim %d gets %d, the twin says %v", c.row, c.got, want)
			}
		}
	})
}

func BenchmarkQueueShares(b *testing.B) {
	for _, name := range Names(policies.QueueShares) {
		for _, n := range []int{10, 100, 1000} {
			b.Run(name+"/"+sizeName(n), func(b *testing.B) {
				batch := benchTree(n)
				p, _ := Builtin(name)
				b.ReportAllocs()
				for b.Loop() {
					if err := p.Entitle(b.Context(), batch); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// benchTree has n queues in three levels with 8 resources, all busy.
func benchTree(n int) *policies.QueueBatch {
	rnd := rand.New(rand.NewSource(1))
	b := emptyBatch(n, amount.CPUName, amount.MemoryName, amount.GPUName, amount.PodsName,
		amount.TypedGPU("A100"), amount.TypedGPU("H100"), amount.TypedGPU("L4"), amount.TypedGPU("T4"))
	b.Parent[0] = -1
	fanout := max(3, n/30)
	for i := 1; i < n; i++ {
		if i > fanout {
			b.Parent[i] = int32(1 + rnd.Intn(fanout))
		}
	}
	for r := range b.R {
		b.Capacity[r] = int64(n) * 8000
	}
	for i := n - 1; i > 0; i-- {
		for r := range b.R {
			c := i*b.R + r
			if i > fanout {
				b.Guaranteed[c] = rnd.Int63n(8) * 1000
				b.Demand[c] = rnd.Int63n(30) * 1000
			}
			b.Demand[int(b.Parent[i])*b.R+r] += b.Demand[c]
		}
	}
	return b
}
