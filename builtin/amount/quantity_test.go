package amount_test

import (
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/musterhq/muster/builtin/amount"
)

func TestQuantitiesAreReadAsYuniKornAndKubernetesWriteThem(t *testing.T) {
	for _, c := range []struct {
		resource, text string
		want           amount.Amount
	}{
		{"cpu", "2", 2000},
		{"cpu", "500m", 500},
		{"vcore", "3", 3000},
		{"vcore", "1500m", 1500},
		{"cpu", "4k", 4_000_000},
		{"memory", "1Gi", 1 << 30},
		{"memory", "64G", 64_000_000_000},
		{"memory", "5Ki", 5120},
		{"memory", "1Pi", 1 << 50},
		{"nvidia.com/gpu", "8", 8000},
		{"nvidia.com/gpu", "500m", 500},
		{"nvidia.com/gpu:H100", "2", 2000},
		{"amd.com/gpu", "1", 1000},
		{"pods", "110", 110},
		{"example.com/licence", "3K", 3000},
		{"memory", " 16 Gi ", 16 << 30},
		{"pods", "0", 0},
	} {
		t.Run(c.text+" "+c.resource, func(t *testing.T) {
			got, err := amount.Parse(c.resource, c.text)
			if err != nil || got != c.want {
				t.Errorf("Parse(%q, %q) = %d, %v, want %d", c.resource, c.text, got, err, c.want)
			}
		})
	}
}

func TestWhatIsNoQuantityIsRefusedWithTheReasonAndAHint(t *testing.T) {
	for _, c := range []struct {
		name, resource, text string
		problem, hint        string
	}{
		{"nothing at all", "cpu", "", "not a whole number", "write 500m"},
		{"only a suffix", "memory", "Gi", "not a whole number", "write 500m"},
		{"a fraction", "cpu", "1.5", "not a whole number", "write 500m"},
		{"an exponent", "pods", "1e3", "not a whole number", "write 500m"},
		{"words", "pods", "many", "not a whole number", "write 500m"},
		{"a plus sign", "pods", "+3", "not a whole number", "write 500m"},
		{"digits of another script", "pods", "٣", "not a whole number", "write 500m"},
		{"a negative number", "cpu", "-1", "negative", "leave the key out"},
		{"a negative number with a suffix", "memory", "-5Gi", "negative", "leave the key out"},
		{"milli of memory", "memory", "500m", "suffix m is for cpu and GPUs only", "suffixes are"},
		{"milli of pods", "pods", "1m", "suffix m is for cpu and GPUs only", "suffixes are"},
		{"an unknown suffix", "memory", "5MM", `unknown suffix "MM"`, "suffixes are"},
		{"two suffixes", "cpu", "5mk", `unknown suffix "mk"`, "suffixes are"},
		{"more digits than a number holds", "pods", "99999999999999999999", "overflow", "1125899906842624"},
		{"a number times its suffix that no number holds", "memory", "99999999999Ei", "overflow", "1125899906842624"},
		{"more than the largest amount", "pods", "1125899906842625", "overflow", "1125899906842624"},
		{"cores that overflow in milli", "cpu", "2E", "overflow", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := amount.Parse(c.resource, c.text)
			var q *amount.QuantityError
			if !errors.As(err, &q) {
				t.Fatalf("Parse(%q, %q) = %d, %v, want a QuantityError", c.resource, c.text, got, err)
			}
			if q.Text != c.text || !strings.Contains(q.Problem, c.problem) || !strings.Contains(q.Hint, c.hint) || q.Hint == "" {
				t.Errorf("problem %q, hint %q", q.Problem, q.Hint)
			}
			if !strings.Contains(err.Error(), c.problem) {
				t.Errorf("the error %q does not say what is wrong", err)
			}
		})
	}
}

func TestAmountsAreWrittenTheWayPeopleReadThem(t *testing.T) {
	for _, c := range []struct {
		resource string
		a        amount.Amount
		want     string
	}{
		{"cpu", 2000, "2"},
		{"cpu", 1500, "1500m"},
		{"nvidia.com/gpu", 8000, "8"},
		{"nvidia.com/gpu:H100", 250, "250m"},
		{"memory", 1 << 30, "1Gi"},
		{"memory", 3 << 29, "1536Mi"},
		{"memory", 1000, "1000"},
		{"memory", 0, "0"},
		{"pods", 110, "110"},
		{"pods", amount.Max, "unlimited"},
	} {
		if got := amount.Format(c.resource, c.a); got != c.want {
			t.Errorf("Format(%q, %d) = %q, want %q", c.resource, c.a, got, c.want)
		}
	}
}

func TestWhatIsWrittenReadsBackAsTheSameAmount(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		resource := rapid.SampledFrom([]string{"cpu", "vcore", "memory", "nvidia.com/gpu", "nvidia.com/gpu:A100", "pods", "x"}).Draw(t, "resource")
		a := amount.Amount(rapid.OneOf(
			rapid.Int64Range(0, int64(amount.Limit)),
			rapid.Map(rapid.Int64Range(0, 1<<20), func(v int64) int64 { return v << 30 }),
			rapid.Map(rapid.Int64Range(0, 1<<20), func(v int64) int64 { return v * 1000 }),
		).Draw(t, "amount"))
		text := amount.Format(resource, a)
		if back, err := amount.Parse(resource, text); err != nil || back != a {
			t.Fatalf("%d %s is written %q and read %d, %v", a, resource, text, back, err)
		}
	})
}

// FuzzParse: whatever the text, an amount in range that reads back, or one clear
// error; never both, never a panic.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"", "1", "500m", "64Gi", "-3", "1.5", "9999999999999999999E", " 7 k", "Ei", "0Ei", "1 000", "m", "\x00", "٣Gi"} {
		for _, r := range []string{"cpu", "memory", "nvidia.com/gpu:H100", ""} {
			f.Add(r, s)
		}
	}
	f.Fuzz(func(t *testing.T, resource, text string) {
		a, err := amount.Parse(resource, text)
		if err != nil {
			var q *amount.QuantityError
			if a != 0 || !errors.As(err, &q) || q.Problem == "" || q.Hint == "" {
				t.Fatalf("Parse(%q, %q) = %d, %#v", resource, text, a, err)
			}
			return
		}
		if a < 0 || a > amount.Limit {
			t.Fatalf("Parse(%q, %q) = %d, out of range", resource, text, a)
		}
		if back, err := amount.Parse(resource, amount.Format(resource, a)); err != nil || back != a {
			t.Fatalf("%q reads as %d, written as %q reads as %d, %v", text, a, amount.Format(resource, a), back, err)
		}
	})
}
