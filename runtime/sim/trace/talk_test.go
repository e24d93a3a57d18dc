package trace

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/spec"
)

func TestTalk1IsTheSharedScenario(t *testing.T) {
	want := mustLoad(t, shared(t, "talk-scenarios/t1_jobs.csv"), Options{})
	got := Talk1()
	for _, d := range []string{cmp.Diff(want.Nodes, got.Nodes), cmp.Diff(want.Queues, got.Queues), cmp.Diff(want.Jobs, got.Jobs)} {
		if d != "" {
			t.Error(d)
		}
	}
}

func TestTalk2HasTheSharedScenariosClusterAndQueues(t *testing.T) {
	want := mustLoad(t, shared(t, "talk-scenarios/t2_jobs.csv.gz"), Options{})
	got := Talk2()
	if d := cmp.Diff(want.Nodes, got.Nodes) + cmp.Diff(want.Queues, got.Queues); d != "" {
		t.Error(d)
	}
	checkInvariants(t, got)
}

// Backlogged: even had the queue held its largest share without a break since
// it came, work of more than a whole pool would be left.
func TestEveryQueueOfTalk2IsBackloggedFromItsHourToTheEnd(t *testing.T) {
	tr := Talk2()
	largest := map[string]int64{"root.q1": 448, "root.q2": 228, "root.q3": 128, "root.q4": 89, "root.q5": 48}
	starts := map[string]spec.Time{"root.q1": 0, "root.q2": hour, "root.q3": 2 * hour, "root.q4": 3 * hour, "root.q5": 4 * hour}
	work := map[string]int64{} // GPU-seconds submitted so far
	next := spec.Time(0)
	for _, j := range tr.Jobs {
		for ; next <= j.Submit; next += 600 * spec.Second {
			for q, from := range starts {
				if next <= from {
					continue
				}
				if done := largest[q] * (next - from) / spec.Second; work[q] < done+512*300 {
					t.Fatalf("%s at %d s: %d GPU-s submitted, %d could be done", q, next/spec.Second, work[q], done)
				}
			}
		}
		if j.Submit < starts[j.Queue] {
			t.Fatalf("%s comes before its hour", j.ID)
		}
		work[j.Queue] += int64(j.MilliGPUs()/1000) * (j.Run / spec.Second)
	}
	if next < tr.End-hour/2 {
		t.Errorf("submissions stop at %d s", next/spec.Second)
	}
}

func TestTalk2HasTheMixOfGangsThatItsCommentStates(t *testing.T) {
	tr := Talk2()
	count := map[[2]int64]int{}
	for _, j := range tr.Jobs {
		a, _ := j.Tasks[0].Request.Get(amount.GPUName)
		count[[2]int64{j.Tasks[0].Size, int64(a / 1000)}]++
		if j.Run < 300*spec.Second || j.Run >= 19200*spec.Second {
			t.Fatalf("%s runs %d s", j.ID, j.Run/spec.Second)
		}
	}
	for size, percent := range map[[2]int64]int{{1, 1}: 40, {1, 2}: 20, {1, 4}: 16, {1, 8}: 19, {2, 8}: 5} {
		if got := 100 * count[size] / len(tr.Jobs); got < percent-3 || got > percent+3 {
			t.Errorf("%v: %d %%, stated %d", size, got, percent)
		}
	}
	if d := cmp.Diff(tr, Talk2()); d != "" {
		t.Errorf("two calls differ: %s", d)
	}
}

func TestThePromisesNameEveryQueueAndNeverMoreThanThePool(t *testing.T) {
	for _, c := range []struct {
		tr      *Trace
		promise []Interval
	}{{Talk1(), Talk1Promise()}, {Talk2(), Talk2Promise()}, {Use(), UsePromise()}} {
		at := c.tr.Start
		for _, iv := range c.promise {
			var sum amount.Amount
			for i, l := range c.tr.Leaves() {
				sum += iv.Used[i]
				if iv.Used[i] > l.Max {
					t.Errorf("%s promises %s more than its max", c.tr.Name, l.Path)
				}
			}
			if iv.From != at || sum > c.tr.MilliGPUs() || len(iv.Used) != len(c.tr.Leaves()) {
				t.Errorf("%s from %d: %v", c.tr.Name, iv.From, iv.Used)
			}
			at = iv.To
		}
		if at != c.tr.End {
			t.Errorf("%s promises up to %d of %d", c.tr.Name, at, c.tr.End)
		}
	}
}
