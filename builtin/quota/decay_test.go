package quota

import (
	"fmt"
	"math"
	"math/big"
	"testing"

	"pgregory.net/rapid"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/spec"
)

const hour = 3600 * spec.Second

func decaying(half spec.Duration) *Tree {
	return New(amount.NewTable(), spec.Tree{
		Root:          &spec.Queue{Name: "root", Children: []*spec.Queue{{Name: "a"}, {Name: "b"}}},
		UsageHalfLife: half,
	})
}

// use holds GPUs, in milli, in the first leaf from now on.
func (t *Tree) use(milli int64) {
	a, _ := t.Lookup("root.a")
	t.Charge(t.ChainFor(a, &spec.Job{User: "u"}), amount.List{{Dim: amount.GPU, Amount: amount.Amount(milli)}}, 1)
}

func (t *Tree) decayed(now spec.Time) []int64 {
	out := make([]int64, len(t.Queues))
	t.Decayed(now, out)
	return out
}

// exact is the decayed usage in milli-GPU × ns by floats of 300 bits.
func exact(start *big.Float, milli int64, dt, half spec.Duration) *big.Float {
	f := new(big.Float).SetPrec(300)
	x := new(big.Float).SetPrec(300).Quo(big.NewFloat(float64(dt)).SetPrec(300), big.NewFloat(float64(half)).SetPrec(300))
	left := twoToMinus(x)
	gone := new(big.Float).SetPrec(300).Sub(big.NewFloat(1).SetPrec(300), left)
	rate := new(big.Float).SetPrec(300).Mul(big.NewFloat(float64(milli)).SetPrec(300), big.NewFloat(float64(half)).SetPrec(300))
	rate.Quo(rate, bigLn2()).Mul(rate, gone)
	return f.Mul(start, left).Add(f, rate)
}

// twoToMinus is 2^-x: e^(-x ln 2) by its series, halved and squared back.
func twoToMinus(x *big.Float) *big.Float {
	z := new(big.Float).SetPrec(300).Mul(x, bigLn2())
	shift := 0
	for z.Cmp(big.NewFloat(0.01)) > 0 {
		z.Quo(z, big.NewFloat(2))
		shift++
	}
	sum, term := big.NewFloat(1).SetPrec(300), big.NewFloat(1).SetPrec(300)
	for k := 1; k < 60; k++ {
		term.Mul(term, z).Quo(term, big.NewFloat(float64(-k)))
		sum.Add(sum, term)
	}
	for range shift {
		sum.Mul(sum, sum)
	}
	return sum
}

// bigLn2 is Σ 1/(k·2^k).
func bigLn2() *big.Float {
	sum, power := new(big.Float).SetPrec(300), big.NewFloat(1).SetPrec(300)
	for k := 1; k < 320; k++ {
		power.Quo(power, big.NewFloat(2))
		sum.Add(sum, new(big.Float).SetPrec(300).Quo(power, big.NewFloat(float64(k))))
	}
	return sum
}

func (a wide) float() *big.Float {
	f := new(big.Float).SetPrec(300).SetUint64(a.hi)
	return f.SetMantExp(f, 64).Add(f, new(big.Float).SetPrec(300).SetUint64(a.lo))
}

// apart is |a-b| as a part of b, and absolutely.
func apart(a, b *big.Float) (relative, absolute float64) {
	d := new(big.Float).Sub(a, b)
	absolute, _ = d.Abs(d).Float64()
	size, _ := b.Float64()
	if size == 0 {
		return absolute, absolute
	}
	return absolute / size, absolute
}

func TestLn2IsTheLogarithmOfTwo(t *testing.T) {
	scaled := new(big.Float).SetMantExp(bigLn2(), 64)
	want, _ := scaled.Add(scaled, big.NewFloat(0.5)).Uint64() // to the nearest
	if want != ln2 {
		t.Errorf("ln 2 is %#x, want %#x", uint64(ln2), want)
	}
}

func TestAnHourOfEightGPUsCountsHalfAfterAHalfLife(t *testing.T) {
	tree := decaying(24 * hour)
	tree.use(8000)
	tree.Advance(hour)
	after := tree.decayed(hour)[1]
	if full := int64(8 * 3600_000); after >= full || after < full*98/100 {
		t.Fatalf("an hour of 8 GPUs counts %d, want a little less than %d", after, full)
	}
	tree.use(-8000)
	for i, want := range []int64{after, after / 2, after / 4, after / 8} {
		if got := tree.decayed(hour + int64(i)*24*hour)[1]; got != want && got != want+1 {
			t.Errorf("after %d half-lives %d is left, want %d", i, got, want)
		}
	}
	if b := tree.decayed(hour)[2]; b != 0 {
		t.Errorf("the other queue has used nothing, not %d", b)
	}
	if root := tree.decayed(hour)[0]; root != after {
		t.Errorf("the root has used what is below it, %d, not %d", after, root)
	}
}

func TestSteadyUsageComesToRestAtItsMean(t *testing.T) {
	tree := decaying(hour)
	tree.use(1000)
	got := float64(tree.decayed(400 * hour)[1])
	if want := 3600_000 / math.Ln2; math.Abs(got-want) > 1 {
		t.Errorf("one GPU for ever counts %g GPU-ms, want %g", got, want)
	}
}

func TestLookingChangesNothingAndTimeDoesNotGoBack(t *testing.T) {
	tree := decaying(hour)
	tree.use(4000)
	tree.Advance(hour)
	before := fmt.Sprint(tree.decayed(hour), tree.decayed(5*hour))
	tree.Advance(hour / 2)
	if after := fmt.Sprint(tree.decayed(hour), tree.decayed(5*hour)); after != before {
		t.Errorf("%s became %s", before, after)
	}
}

// One span against floats of 300 bits: within 2^-60 of the value and one unit.
func TestLawOneSpanIsExactToItsBound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		half := rapid.Int64Range(1, 365*24*hour).Draw(t, "half-life")
		dt := rapid.OneOf(rapid.Int64Range(1, 1000), rapid.Int64Range(1, half), rapid.Int64Range(1, 400*24*hour)).Draw(t, "span")
		milli := rapid.SampledFrom([]int64{0, 1, 1000, 64_000, 800_000_000}).Draw(t, "milli-GPU")
		tree := decaying(half)
		tree.past[1] = wide{rapid.Uint64Range(0, 1<<20).Draw(t, "before, high"), rapid.Uint64().Draw(t, "before, low")}
		want := exact(tree.past[1].float(), milli, dt, half)
		tree.use(milli)
		tree.Advance(dt)
		spans := float64(min(forgotten, dt/half) + 1)
		if rel, abs := apart(tree.past[1].float(), want); rel > spans*0x1p-60 && abs > spans {
			t.Errorf("off by 2^%.1f of the value, %g units", math.Log2(rel), abs)
		}
	})
}

// Many spans are as good as one, within as many bounds as there are spans.
func TestLawManySpansGiveWhatOneDoes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		half := rapid.Int64Range(1000, 30*24*hour).Draw(t, "half-life")
		steps := rapid.IntRange(2, 400).Draw(t, "steps")
		longest := rapid.SampledFrom([]int64{10, 1e6, hour, 10 * 24 * hour}).Draw(t, "longest")
		one, many := decaying(half), decaying(half)
		one.use(24_000)
		many.use(24_000)
		now, spans := int64(0), float64(0)
		for range steps {
			dt := rapid.Int64Range(1, longest).Draw(t, "dt")
			now += dt
			spans += float64(min(forgotten, dt/half) + 1)
			many.Advance(now)
		}
		one.Advance(now)
		spans += float64(min(forgotten, now/half) + 1)
		if rel, abs := apart(many.past[1].float(), one.past[1].float()); rel > spans*0x1p-60 && abs > spans {
			t.Errorf("%d steps are off by 2^%.1f of the value, %g units", steps, math.Log2(rel), abs)
		}
	})
}

func TestANewTreeInheritsTheHistoryOfItsQueues(t *testing.T) {
	old := decaying(hour)
	old.use(1000)
	old.Advance(hour)
	tree := New(old.Res, spec.Tree{Root: &spec.Queue{Name: "root", Children: []*spec.Queue{{Name: "a"}, {Name: "c"}}}, UsageHalfLife: 2 * hour})
	tree.Inherit(old)
	was, is := old.decayed(hour), tree.decayed(hour)
	if is[0] != was[0] || is[1] != was[1] || is[2] != 0 {
		t.Errorf("%v became %v", was, is)
	}
}

func TestNoValueIsTooLarge(t *testing.T) {
	tree := decaying(1<<62 - 1)
	tree.use(int64(amount.Limit))
	tree.Advance(1<<63 - 1)
	if got := tree.decayed(1<<63 - 1)[1]; got != 1<<63-1 {
		t.Errorf("got %d, want the largest number there is", got)
	}
}

func BenchmarkAdvance(b *testing.B) {
	tree := decaying(7 * 24 * hour)
	tree.use(8000)
	out := make([]int64, len(tree.Queues))
	b.ReportAllocs()
	now := int64(0)
	for b.Loop() {
		now += 1e6
		tree.Advance(now)
		tree.Decayed(now+5, out)
	}
}
