package suite

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/musterhq/muster/builtin/order"
	"github.com/musterhq/muster/conformance/suite/mbatch"
	"github.com/musterhq/muster/conformance/suite/report"
	"github.com/musterhq/muster/policies"
	"github.com/musterhq/muster/runtime/wasm"
	"github.com/musterhq/muster/runtime/wasm/wasmtest"
)

func check(t *testing.T, s Subject, opt Options) *Report {
	t.Helper()
	doc, err := Check(t.Context(), s, opt)
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// contrarian runs the least important job first: it breaks order/monotone-priority.
func contrarian() Subject {
	return byRow("contrarian", nil, func(b *policies.JobBatch, row int) int64 { return b.Priority[row] })
}

func TestTheSameSeedGivesTheSameReport(t *testing.T) {
	for name, s := range map[string]Subject{
		"a bad policy in Go": contrarian(),
		"a module":           {Module: wasmtest.Good(), Name: "good"},
	} {
		var texts [2][]byte
		var failures [2][]report.Failure
		for i := range texts {
			doc := check(t, s, Options{Seed: 5})
			doc.Measured.Time, failures[i] = nil, doc.Failures
			var err error
			if texts[i], err = doc.YAML(); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(texts[0], texts[1]) {
			t.Errorf("%s: two reports\n%s\n%s", name, texts[0], texts[1])
		}
		if !slices.EqualFunc(failures[0], failures[1], func(a, b report.Failure) bool {
			return a.Law == b.Law && bytes.Equal(a.Batch, b.Batch) && bytes.Equal(a.With, b.With)
		}) {
			t.Errorf("%s: the failures differ", name)
		}
	}
}

func TestAFailureComesWithTheLeastBatchThatReplaysIt(t *testing.T) {
	doc := check(t, contrarian(), Options{Laws: []string{"order/monotone-priority"}})
	if len(doc.Failures) != 1 || doc.Result != report.Failed {
		t.Fatalf("%+v", doc.Failures)
	}
	f := doc.Failures[0]
	one, err := mbatch.Decode(f.Batch)
	if err != nil {
		t.Fatal(err)
	}
	two, err := mbatch.Decode(f.With)
	if err != nil {
		t.Fatal(err)
	}
	if one.N() != 2 {
		t.Errorf("%d rows; two are enough", one.N())
	}
	p := contrarian().New()
	x, y := ask(t.Context(), p, one, 0).places(2), ask(t.Context(), p, two, 0).places(2)
	moved := slices.IndexFunc([]int{0, 1}, func(i int) bool { return two.Jobs.Priority[i] > one.Jobs.Priority[i] })
	if moved < 0 || y[moved] <= x[moved] {
		t.Errorf("places %v and %v, priorities %v and %v", x, y, one.Jobs.Priority, two.Jobs.Priority)
	}
}

func TestABuiltInPolicyKeepsEveryLawThatMustHold(t *testing.T) {
	for _, name := range order.Names(policies.JobOrder | policies.QueueShares | policies.VictimCosts) {
		doc := check(t, Subject{New: newBuiltin(name)}, Options{Profiles: []Profile{JobOrder, Fairness, Victims, Strict}})
		if doc.Result == report.Failed {
			t.Error(doc.Text())
		}
	}
}

func TestSmokePassesWhatIsGoodAndNamesWhatIsNot(t *testing.T) {
	good, err := wasm.Load(t.Context(), wasmtest.Good(), wasm.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = good.Close() }()
	began := time.Now()
	if err := Smoke(t.Context(), good, 1); err != nil {
		t.Error(err)
	}
	t.Logf("smoke check of a module: %v", time.Since(began))
	for _, name := range order.Names(policies.JobOrder | policies.QueueShares | policies.VictimCosts) {
		p, _ := order.Builtin(name)
		if err := Smoke(t.Context(), p, 1); err != nil {
			t.Error(err)
		}
	}
	var se *SmokeError
	err = Smoke(t.Context(), ordering("panicking", nil, func(*policies.JobBatch, []int64) error { panic("no") }).New(), 1)
	if !errors.As(err, &se) || se.Law != "totality/every-row" || !strings.Contains(se.What, "panic: no") {
		t.Errorf("got %v", err)
	}
}

func TestSmokeRefusesEveryHandWrittenModuleThatCanHarm(t *testing.T) {
	for law, s := range map[string]Subject{
		"purity/other-address":    guestOf("other-address", ""),
		"totality/longer-strides": guestOf("longer-strides", ""),
		"bounds/inputs-untouched": guestOf("inputs-untouched", ""),
	} {
		m, err := wasm.Load(t.Context(), s.Module, wasm.Options{})
		if err != nil {
			t.Fatal(err)
		}
		var se *SmokeError
		if err := Smoke(t.Context(), m, 1); !errors.As(err, &se) || se.Law != law || se.Batch == nil {
			t.Errorf("%s: got %v", law, err)
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestWhatIsAskedForHasToExist(t *testing.T) {
	for name, c := range map[string]struct {
		s    Subject
		opt  Options
		want string
	}{
		"nothing":    {Subject{}, Options{}, "exactly one"},
		"two things": {Subject{Wasm: "x", New: newBuiltin("fifo")}, Options{}, "exactly one"},
		"no file":    {Subject{Wasm: "nowhere.wasm"}, Options{}, "nowhere.wasm"},
		"no profile": {Subject{New: newBuiltin("fifo")}, Options{Profiles: []Profile{"corr"}}, `no profile "corr"`},
		"no law":     {Subject{New: newBuiltin("fifo")}, Options{Laws: []string{"a/b"}}, `no law "a/b"`},
	} {
		if _, err := Check(t.Context(), c.s, c.opt); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestACheckEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	_, err := Check(ctx, Subject{New: newBuiltin("fifo")}, Options{Progress: func(string) { cancel() }})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// The page can be looked at in out/, if MUSTER_PAGE names a folder.
func TestTheReportOfAModuleSaysWhatItMeasured(t *testing.T) {
	doc := check(t, Subject{Module: wasmtest.Good(), Name: "good"}, Options{})
	m := doc.Measured
	if m.Bytes == 0 || m.PeakPages == 0 || len(m.Fuel) != 3 || m.Fuel[0].Base <= 0 || m.Time == nil {
		t.Errorf("%+v", m)
	}
	src, err := doc.YAML()
	if err != nil {
		t.Fatal(err)
	}
	again, err := report.Read(src)
	if err != nil {
		t.Fatal(err)
	}
	if Describe(again); again.Laws[0].Statement != doc.Laws[0].Statement || again.Laws[0].Statement == "" {
		t.Errorf("read back, %s says %q", again.Laws[0].ID, again.Laws[0].Statement)
	}
	if dir := os.Getenv("MUSTER_PAGE"); dir != "" {
		if _, err := doc.Write(filepath.Join(dir, "good")); err != nil {
			t.Error(err)
		}
	}
}

func newBuiltin(name string) func() policies.Policy {
	return func() policies.Policy {
		p, ok := order.Builtin(name)
		if !ok {
			panic(name)
		}
		return p
	}
}
