package pack

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

// sigmoidScore is the score as the FGD paper's simulator computes it, in floats.
func sigmoidScore(gain float64) int32 {
	return int32(100 / (1 + math.Exp(-gain/1e9)))
}

func TestTheScoreIsTheTruncatedSigmoidOfTheGain(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		gain := rapid.OneOf(
			rapid.Int64Range(-8e9, 8e9), rapid.Int64Range(-1e6, 1e6),
			rapid.Int64Range(-30e9, 30e9), // beyond, floats round the sigmoid up to 1
		).Draw(t, "gain")
		got, want := gainScore(gain), sigmoidScore(float64(gain))
		if got != want && got != sigmoidScore(float64(gain-1)) && got != sigmoidScore(float64(gain+1)) {
			t.Fatalf("gain %d scores %d, the sigmoid %d", gain, got, want)
		}
	})
}

func TestTheScoreRisesByOneAtEachStepAndNowhereElse(t *testing.T) {
	for i, step := range gainSteps {
		if got := gainScore(step); got != int32(i+1) {
			t.Errorf("at step %d the score is %d", i+1, got)
		}
		if got := gainScore(step - 1); got != int32(i) {
			t.Errorf("just below step %d the score is %d", i+1, got)
		}
		exact := 1e9 * math.Log(float64(i+1)/float64(99-i))
		if math.Abs(exact-float64(step)) > 1 {
			t.Errorf("step %d stands at %d, the inverse of the sigmoid is %.1f", i+1, step, exact)
		}
	}
	if gainScore(0) != 50 || gainScore(math.MinInt64) != 0 || gainScore(math.MaxInt64) != 99 {
		t.Errorf("no gain %d, the worst %d, the best %d", gainScore(0), gainScore(math.MinInt64), gainScore(math.MaxInt64))
	}
}

func TestMoreGainNeverScoresLess(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.Int64().Draw(t, "a"), rapid.Int64().Draw(t, "b")
		if gainScore(min(a, b)) > gainScore(max(a, b)) {
			t.Fatalf("%d and %d", a, b)
		}
	})
}
