package amount_test

import (
	"math"
	"math/big"
	"testing"

	"pgregory.net/rapid"

	"github.com/musterhq/muster/builtin/amount"
)

// any64 draws numbers from the edges as often as from the middle: that is where
// saturation can go wrong.
func any64() *rapid.Generator[int64] {
	return rapid.OneOf(
		rapid.Int64(),
		rapid.Int64Range(-3, 3),
		rapid.Int64Range(math.MaxInt64-3, math.MaxInt64),
		rapid.Int64Range(math.MinInt64, math.MinInt64+3),
		rapid.SampledFrom([]int64{1 << 31, 1 << 32, -1 << 32, 3037000499, 3037000500, -3037000500}),
	)
}

func big64(v int64) *big.Int { return big.NewInt(v) }

// clamp is saturation as the definition has it.
func clamp(v *big.Int) int64 {
	switch {
	case v.Cmp(big64(math.MaxInt64)) > 0:
		return math.MaxInt64
	case v.Cmp(big64(math.MinInt64)) < 0:
		return math.MinInt64
	default:
		return v.Int64()
	}
}

func TestSumDifferenceAndProductAreExactOrTheNearestThatCanBeSaid(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := any64().Draw(t, "a"), any64().Draw(t, "b")
		for _, c := range []struct {
			name string
			got  amount.Amount
			want *big.Int
		}{
			{"sum", amount.Amount(a).Add(amount.Amount(b)), new(big.Int).Add(big64(a), big64(b))},
			{"difference", amount.Amount(a).Sub(amount.Amount(b)), new(big.Int).Sub(big64(a), big64(b))},
			{"product", amount.Amount(a).Mul(b), new(big.Int).Mul(big64(a), big64(b))},
		} {
			if int64(c.got) != clamp(c.want) {
				t.Fatalf("%s of %d and %d is %d, want %d", c.name, a, b, c.got, clamp(c.want))
			}
		}
	})
}

func TestAdditionIsMonotoneEvenWhereItSaturates(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := any64().Draw(t, "a"), any64().Draw(t, "b"), any64().Draw(t, "c")
		low, high := amount.Amount(min(a, b)), amount.Amount(max(a, b))
		if low.Add(amount.Amount(c)) > high.Add(amount.Amount(c)) {
			t.Fatalf("%d+%d > %d+%d", low, c, high, c)
		}
	})
}

// quotient is floor(a·num/den), saturated.
func quotient(a, num, den int64) int64 {
	q := new(big.Int).Mul(big64(a), big64(num))
	return clamp(q.Div(q, big64(den)))
}

func TestScaleIsTheFloorOfTheExactQuotient(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, num, den := any64().Draw(t, "a"), any64().Draw(t, "num"), any64().Draw(t, "den")
		got, want := amount.Amount(a).Scale(amount.Amount(num), amount.Amount(den)), int64(0)
		if a > 0 && num > 0 && den > 0 {
			want = quotient(a, num, den)
		}
		if int64(got) != want {
			t.Fatalf("%d*%d/%d is %d, want %d", a, num, den, got, want)
		}
	})
}

func TestAShareIsTheExactRatioRoundedDown(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		part, whole := any64().Draw(t, "part"), any64().Draw(t, "whole")
		got, want := amount.ShareOf(amount.Amount(part), amount.Amount(whole)), int64(0)
		switch {
		case part > 0 && whole <= 0:
			want = math.MaxInt64
		case part > 0:
			want = quotient(part, 1<<32, whole)
		}
		if int64(got) != want {
			t.Fatalf("share of %d in %d is %d, want %d", part, whole, got, want)
		}
	})
}

func TestSharesThatPeopleCanCheckByHand(t *testing.T) {
	for _, c := range []struct {
		name        string
		part, whole amount.Amount
		want        amount.Share
	}{
		{"the whole is one", 7, 7, amount.One},
		{"a half", 1, 2, amount.One / 2},
		{"twice the whole", 10, 5, 2 * amount.One},
		{"a part of nothing is more than any share", 1, 0, math.MaxInt64},
		{"nothing of nothing is nothing", 0, 0, 0},
		{"a negative part is nothing", -5, 10, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := amount.ShareOf(c.part, c.whole); got != c.want {
				t.Errorf("ShareOf(%d, %d) = %d, want %d", c.part, c.whole, got, c.want)
			}
		})
	}
}

func TestEightThousandOfTheLargestAcceptedAmountsDoNotSaturate(t *testing.T) {
	var sum amount.Amount
	for range 8191 {
		sum = sum.Add(amount.Limit)
	}
	if sum == amount.Max || sum != amount.Limit.Mul(8191) {
		t.Errorf("8191 limits sum to %d", sum)
	}
}
