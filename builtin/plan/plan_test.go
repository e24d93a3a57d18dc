package plan_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/plan"
	"github.com/musterhq/muster/builtin/spec"
)

var update = flag.Bool("update", false, "write the golden files anew")

// rich is a plan with some of everything.
func rich() *plan.Plan {
	s := spec.Second
	return &plan.Plan{
		Cycle: 7, Now: 100 * s, Wake: 400 * s,
		Policies: []plan.PolicyUse{
			{Kind: "job_order", Name: "fifo", Digest: "builtin", Calls: 2, Rows: 5},
			{Kind: "victim_costs", Name: "mine", Version: "1.2", Digest: "sha256:00", Calls: 1, Rows: 3, Fallbacks: 1, Failure: "trap: unreachable", Fallback: "least-lost-work"},
		},
		Evictions: []plan.Eviction{
			{Job: "batch", Queue: "root.b", Tasks: []int32{0, 1, 2}, Whole: true, For: "heir", Rule: plan.RuleReclaim, Deadline: 100 * s, Cost: 12, LostMS: 3000, Policy: "mine@1.2 sha256:00", Candidates: 9, Alternatives: 20, GPUs: 3000},
			{Job: "elastic", Queue: "root.b", Tasks: []int32{4, 6}, For: "heir", Rule: plan.RuleStraddle, Notify: true, Deadline: 130 * s, GPUs: 2000},
			{Job: "idler", Queue: "root.b", Tasks: []int32{0}, Whole: true, For: "heir", Rule: plan.RuleReclaim, Notify: true, Deadline: 110 * s, GPUs: 1000, Idle: 1800 * s},
		},
		Ends:   []plan.End{{Job: "old", Tasks: []int32{0}, Saved: true}, {Job: "older", Tasks: []int32{1}}},
		Stays:  []plan.Stay{{Job: "woken", Tasks: []int32{0, 1}, For: "heir", Reason: plan.StayWoke}},
		Claims: []plan.Claim{{Job: "heir", Task: 0, Node: "n1", Devices: 0b1111, Unit: 1, Until: 430 * s}, {Job: "heir", Task: 1, Node: "n2", Devices: 1, Unit: 1, Until: 430 * s}},
		Binds: []plan.Bind{
			{Job: "gang", Task: 0, Node: "n3", Devices: 1, Unit: 2},
			{Job: "gang", Task: 1, Node: "n3", Devices: 2, Unit: 2},
			{Job: "gang", Group: 1, Task: 2, Node: "n4", Unit: 2, Borrowed: true},
			{Job: "single", Task: 0, Node: "n3", Devices: 1 << 63, Unit: 3, Nominated: true},
		},
		Reserved: []plan.Reservation{{Node: "n5", Job: "huge", Until: 400 * s}, {Node: "n6", Job: "done"}},
		Pending: []plan.Pending{
			{Job: "heir", Queue: "root.a", Why: &plan.Why{Code: plan.WaitingForVictims, Text: "5 tasks of 2 jobs are leaving"}},
			{Job: "more", Queue: "root.b", Why: &plan.Why{Code: plan.QueueMax, Queue: "root.b", Resource: amount.GPUName, Used: 8000, Max: 8000, Need: 1500}},
		},
		Events: []plan.Event{{Code: plan.EventReserved, Job: "huge", Text: "1 nodes are kept for huge"}, {Code: plan.EventDegraded, Text: "the pool is too small"}},
	}
}

// golden compares with a file of testdata.
func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", file)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s: got\n%s\nwant\n%s", file, got, want)
	}
}

func TestThePlanReadsALineForEachDecision(t *testing.T) {
	var b bytes.Buffer
	rich().Text(&b)
	golden(t, "plan.txt", b.Bytes())
	if first := rich().First(); first != strings.SplitN(b.String(), "\n", 2)[0] {
		t.Errorf("the first line is %q", first)
	}
}

func TestTheBytesOfAPlanAreAContract(t *testing.T) {
	var b bytes.Buffer
	if err := json.Indent(&b, rich().JSON(), "", "  "); err != nil {
		t.Fatal(err)
	}
	b.WriteByte('\n')
	golden(t, "plan.json", b.Bytes())
}

func TestAPlanReadsBackFromItsBytes(t *testing.T) {
	var back plan.Plan
	if err := json.Unmarshal(rich().JSON(), &back); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(&back, rich()) {
		t.Errorf("read back as\n%s", back.JSON())
	}
}

func TestEqualPlansHaveEqualBytesAndAnyDifferenceShows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(label string) *plan.Plan {
			p := &plan.Plan{Cycle: uint64(rapid.IntRange(0, 2).Draw(t, label))}
			for range rapid.IntRange(0, 2).Draw(t, "binds") {
				p.Binds = append(p.Binds, plan.Bind{Job: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "job"), Devices: uint64(rapid.IntRange(0, 1).Draw(t, "dev"))})
			}
			return p
		}
		a, b := draw("one"), draw("other")
		if bytes.Equal(a.JSON(), b.JSON()) != reflect.DeepEqual(a, b) {
			t.Fatalf("%s and %s", a.JSON(), b.JSON())
		}
	})
}

func TestOnlyAPlanThatAsksForSomethingIsNotEmpty(t *testing.T) {
	for name, p := range map[string]plan.Plan{
		"a start":       {Binds: []plan.Bind{{}}},
		"a claim":       {Claims: []plan.Claim{{}}},
		"an eviction":   {Evictions: []plan.Eviction{{}}},
		"an end":        {Ends: []plan.End{{}}},
		"a stay":        {Stays: []plan.Stay{{}}},
		"a reservation": {Reserved: []plan.Reservation{{}}},
	} {
		if p.Empty() {
			t.Errorf("%s is something to do", name)
		}
	}
	told := plan.Plan{Cycle: 3, Now: 4, Wake: 5, Pending: []plan.Pending{{Why: &plan.Why{}}}, Events: []plan.Event{{}}, Policies: []plan.PolicyUse{{}}}
	if !told.Empty() {
		t.Error("what is only told is nothing to do")
	}
	if got := (&plan.Plan{}).First(); got != "" {
		t.Errorf("a plan that decides nothing begins with %q", got)
	}
}

func TestEveryReasonIsASentenceWithItsNumbers(t *testing.T) {
	full := plan.Why{Queue: "root.ml", Resource: amount.GPUName, Used: 6000, Max: 8000, Need: 2500}
	nodes := plan.Why{Nodes: 12, Excluded: []plan.Excluded{{By: "cordoned", Nodes: 2}, {By: "short of GPUs", Nodes: 10}}, Best: "n7", Lacks: "2 nvidia.com/gpu"}
	with := func(y plan.Why, change func(*plan.Why)) plan.Why {
		change(&y)
		return y
	}
	for code, c := range map[plan.Code]struct {
		why  plan.Why
		want string
	}{
		plan.QueueMax:         {full, "queue-max: root.ml uses 6 of 8 nvidia.com/gpu, needs 2500m more"},
		plan.GangExceedsMax:   {with(full, func(y *plan.Why) { y.Need = 9000 }), "gang-exceeds-max: root.ml uses 6 of 8 nvidia.com/gpu, needs 9 more"},
		plan.UserLimit:        {with(full, func(y *plan.Why) { y.Who = "ann" }), "user-limit: ann in root.ml uses 6 of 8 nvidia.com/gpu, needs 2500m more"},
		plan.GroupLimit:       {with(full, func(y *plan.Why) { y.Who = "vision" }), "group-limit: vision in root.ml uses 6 of 8 nvidia.com/gpu, needs 2500m more"},
		plan.OutsideGuarantee: {full, "outside-guarantee: root.ml uses 6 of 8 nvidia.com/gpu, needs 2500m more"},
		plan.TypedMax: {
			with(full, func(y *plan.Why) { y.Resource = amount.TypedGPU("H100") }),
			"gpu-type-max: root.ml uses 6 of 8 nvidia.com/gpu:H100, needs 2500m more",
		},
		plan.MaxApps: {plan.Why{Queue: "root.ml", Used: 3, Max: 3, Need: 1}, "max-applications: root.ml runs 3 of 3 jobs"},
		plan.NoRoom:  {nodes, "no-room: 12 nodes looked at, 2 cordoned, 10 short of GPUs (closest: n7 lacks 2 nvidia.com/gpu)"},
		plan.GangNoRoom: {
			with(nodes, func(y *plan.Why) { y.Placed, y.Of = 3, 8 }),
			"gang-no-room: 3 of 8 tasks fit, 12 nodes looked at, 2 cordoned, 10 short of GPUs (closest: n7 lacks 2 nvidia.com/gpu)",
		},
		plan.GangExceedsPool:    {with(nodes, func(y *plan.Why) { y.Best = "" }), "gang-exceeds-pool: 12 nodes looked at, 2 cordoned, 10 short of GPUs"},
		plan.AdmissionRefused:   {plan.Why{Text: "no GPUs on Fridays"}, "admission-refused: no GPUs on Fridays"},
		plan.BehindBlocked:      {plan.Why{Text: "behind j1 in a strict queue"}, "behind-blocked: behind j1 in a strict queue"},
		plan.WaitingForVictims:  {plan.Why{Text: "2 tasks of 1 jobs are leaving"}, "waiting-for-victims: 2 tasks of 1 jobs are leaving"},
		plan.WaitingReservation: {plan.Why{}, "nodes-reserved"},
		plan.NotConsidered:      {plan.Why{Text: "the run ended before"}, "not-considered: the run ended before"},
	} {
		c.why.Code = code
		if got := c.why.Sentence(); got != c.want {
			t.Errorf("%s: %q, want %q", code, got, c.want)
		}
	}
	refused := with(full, func(y *plan.Why) { y.Code, y.Preemption = plan.QueueMax, "no legal victim" })
	if got := refused.Sentence(); !strings.HasSuffix(got, "needs 2500m more; preemption: no legal victim") {
		t.Errorf("why nobody was evicted is missing: %q", got)
	}
}
