package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/spec"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const everything = `checksum: 0815
partitions:
  - name: default
    placement: binpack
    usageHalfLife: 168h
    useMaxAge: 90s
    usergroupresolver: {type: os}
    nodesortpolicy: {type: fair}
    placementrules:
      - name: tag
        value: namespace
        create: true
        filter: {type: allow, users: [alice, bob]}
        parent: {name: fixed, value: root.Tenants}
    queues:
      - name: root
        submitacl: "*"
        maxapplications: 100
        queues:
          - name: Tenants
            parent: true
            maxapplications: 50
            childtemplate:
              maxapplications: 5
              properties: {application.sort.policy: fair}
              resources: {max: {vcore: 4}}
          - name: research
            maxapplications: 50
            adminacl: "alice ops"
            weight: 3
            strictFIFO: true
            reserveAfter: never
            minRuntime: 10m
            policies: {fairness: guaranteed-fair, victims: youngest-first}
            preemption: {idleGrace: 20s}
            properties: {preemption.policy: fence, preemption.delay: 30s, preemption.idle.after: 30m, preemption.idle.grace: 10s, priority.offset: "5"}
            resources:
              guaranteed: {vcore: 500m, memory: 64Gi, nvidia.com/gpu:H100: 8}
              max: {vcore: 2, memory: 1Ti}
            limits:
              - limit: each user
                users: ["*"]
                maxapplications: 3
                maxresources: {nvidia.com/gpu: 4}
`

func TestEveryKeyLandsInItsField(t *testing.T) {
	file, problems := Parse("queues.yaml", []byte(everything))
	if err := problems.Err(); err != nil {
		t.Fatal(err)
	}
	want := Partition{
		Name: "default", Guarded: true, UserGroupResolver: "os", NodeSort: NodeSort{Type: "fair"},
		Preemption:  PartitionPreemption{Enabled: true},
		RawChecksum: file.Partitions[0].RawChecksum, // has a test of its own
		Tree: spec.Tree{
			Placement: "binpack", UsageHalfLife: 168 * 3600 * spec.Second, UseMaxAge: 90 * spec.Second,
			Rules: []spec.PlacementRule{{
				Name: "tag", Value: "namespace", Create: true,
				Filter: spec.RuleFilter{Type: "allow", Users: []string{"alice", "bob"}},
				Parent: &spec.PlacementRule{Name: "fixed", Value: "root.Tenants"},
			}},
			Root: &spec.Queue{
				Name: "root", Parent: true, SubmitACL: "*", MaxApps: 100,
				Children: []*spec.Queue{{
					Name: "tenants", Parent: true, MaxApps: 50,
					Template: &spec.Queue{
						MaxApps: 5, JobOrder: "fair", Max: spec.Resources{{Name: "cpu", Amount: 4000}},
						Properties: map[string]string{"application.sort.policy": "fair"},
					},
				}, researchQueue()},
			},
		},
	}
	if diff := cmp.Diff([]Partition{want}, file.Partitions, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func researchQueue() *spec.Queue {
	return &spec.Queue{
		Name: "research", MaxApps: 50, AdminACL: "alice ops", Weight: 3, StrictFIFO: true,
		ReserveAfter: -1, MinRuntime: int64(10 * time.Minute),
		Fairness: "guaranteed-fair", Victims: "youngest-first",
		Preemption: spec.PreemptionFence, PreemptionDelay: 30 * spec.Second,
		IdleAfter: 1800 * spec.Second, IdleGrace: 20 * spec.Second,
		Properties: map[string]string{
			"preemption.policy": "fence", "preemption.delay": "30s", "priority.offset": "5",
			"preemption.idle.after": "30m", "preemption.idle.grace": "10s",
		},
		Guaranteed: spec.Resources{{Name: "cpu", Amount: 500}, {Name: "memory", Amount: 64 << 30}, {Name: "nvidia.com/gpu:H100", Amount: 8000}},
		Max:        spec.Resources{{Name: "cpu", Amount: 2000}, {Name: "memory", Amount: 1 << 40}},
		Limits: []spec.Limit{{
			Name: "each user", Users: []string{"*"}, MaxApps: 3, Max: spec.Resources{{Name: amount.GPUName, Amount: 4000}},
		}},
	}
}

func TestTheChecksumLeavesOutItsOwnLine(t *testing.T) {
	sum := func(text string) string {
		file, problems := Parse("q", []byte(text))
		if err := problems.Err(); err != nil {
			t.Fatal(err)
		}
		return file.Partitions[0].RawChecksum
	}
	const body = "partitions:\n- queues: []\n"
	without := sum(body)
	if with := sum(body + "checksum: X\n"); with != without {
		t.Errorf("checksum line changes it: %s, %s", with, without)
	}
	if other := sum(body + "# changed\n"); other == without {
		t.Error("a change does not change it")
	}
	if len(without) != 64 || without != strings.ToUpper(without) {
		t.Errorf("not upper-case SHA-256: %s", without)
	}
}

func TestDefaultsOfYuniKornAreNotMadeUp(t *testing.T) {
	file, problems := Parse("q", []byte("partitions:\n- queues:\n  - name: root\n"))
	if len(problems) != 0 {
		t.Fatal(problems)
	}
	want := spec.Tree{Root: &spec.Queue{Name: "root", Parent: true}}
	if diff := cmp.Diff(want, file.Partitions[0].Tree); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

const fiveErrors = `partitions:
  - name: default
    queues:
      - name: root
        queues:
          - name: research
            maxApplications: 5
            resources:
              guaranteed: {vcore: 10}
              max: {vcore: 5}
          - name: Research
          - name: prod
            resources:
              guaranteed: {memory: 1.5Gi}
            limits:
              - limit: everyone
                maxapplications: 3
`

func TestProblemsPrintWithPlaceExcerptAndHint(t *testing.T) {
	file, problems := Parse("queues.yaml", []byte(fiveErrors))
	if file != nil {
		t.Error("a file with errors is handed out")
	}
	want, err := os.ReadFile(filepath.Join("testdata", "five-errors.txt"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), problems.Error()+"\n"); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	var asErr Problems
	if !errors.As(problems.Err(), &asErr) || len(asErr) != 5 {
		t.Errorf("Err() = %v", problems.Err())
	}
	if e, w := problems.Count(); e != 5 || w != 0 {
		t.Errorf("Count() = %d, %d", e, w)
	}
}

func TestProblemsTravelAsJSON(t *testing.T) {
	_, problems := Parse("queues.yaml", []byte(fiveErrors))
	text, err := json.Marshal(problems)
	if err != nil {
		t.Fatal(err)
	}
	var back Problems
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(problems, back); diff != "" {
		t.Errorf("-sent +received:\n%s", diff)
	}
	var fields []map[string]any
	if err := json.Unmarshal(text, &fields); err != nil {
		t.Fatal(err)
	}
	for _, k := range []string{"file", "line", "col", "code", "severity", "message", "hint", "source"} {
		if _, ok := fields[0][k]; !ok {
			t.Errorf("no field %q in %s", k, text)
		}
	}
}

func TestWarningsAloneAreNoError(t *testing.T) {
	file, problems := Parse("q", []byte("partitions:\n- queues:\n  - name: root\n    properties: {colour: blue}\n"))
	if file == nil || problems.Err() != nil || len(problems) != 1 {
		t.Errorf("file %v, problems %v", file, problems)
	}
}

func TestTheCaretStandsUnderTheColumn(t *testing.T) {
	long := strings.Repeat("x", 300)
	for _, c := range []struct {
		name, source, line, caret string
		col                       int
	}{
		{"at the start", "abc", "abc", "^", 1},
		{"behind the end", "abc", "abc", "   ^", 9},
		{"behind characters of several bytes", "äöü!", "äöü!", "   ^", 4},
		{"behind tabs, which stay tabs", "\ta\tb", "\ta\tb", "\t \t^", 4},
		{"in a long line, of which a part is shown", long, long[:excerptWidth], strings.Repeat(" ", 60) + "^", 151},
	} {
		t.Run(c.name, func(t *testing.T) {
			line, caret := excerpt(c.source, c.col)
			if line != c.line || caret != c.caret {
				t.Errorf("got\n%q\n%q", line, caret)
			}
		})
	}
}

func TestColumnsCountCharactersNotBytes(t *testing.T) {
	_, problems := Parse("q", []byte("partitions:\n- {näme: 1, queues: []}\n"))
	if len(problems) != 1 || problems[0].Line != 2 || problems[0].Col != 4 {
		t.Errorf("%v", problems)
	}
	_, problems = Parse("q", []byte("partitions:\n- {name: \"ä:ö\", a:b: 1, queues: []}\n"))
	if len(problems) != 2 || problems[1].Col != 17 || !strings.Contains(problems[1].Message, `"a:b"`) { // the first is about the partition
		t.Errorf("%v", problems)
	}
}

func TestAByteOrderMarkAndWindowsLinesAreRead(t *testing.T) {
	text := "\ufeff" + strings.ReplaceAll(everything, "\n", "\r\n")
	plain, _ := Parse("q", []byte(everything))
	file, problems := Parse("q", []byte(text))
	if err := problems.Err(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(plain.Partitions[0].Tree, file.Partitions[0].Tree); diff != "" {
		t.Errorf("-unix +windows:\n%s", diff)
	}
}

// manyQueues is a configuration of n leaves below ten parents.
func manyQueues(n int) []byte {
	var b strings.Builder
	b.WriteString("partitions:\n- name: default\n  queues:\n  - name: root\n    queues:\n")
	for i := range n {
		if i%max(n/10, 1) == 0 {
			fmt.Fprintf(&b, "    - name: p%d\n      resources:\n        max: {memory: 100Ti}\n      queues:\n", i)
		}
		fmt.Fprintf(&b, "      - name: q%d\n        resources:\n          guaranteed: {vcore: 10, memory: 5Gi}\n"+
			"          max:\n            vcore: 20\n            nvidia.com/gpu: 8\n"+
			"        properties:\n          application.sort.policy: fair\n", i)
	}
	return []byte(b.String())
}

func BenchmarkParse1000Queues(b *testing.B) {
	text := manyQueues(1000)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, problems := Parse("queues.yaml", text); problems.Err() != nil {
			b.Fatal(problems)
		}
	}
}

func BenchmarkRender1000Queues(b *testing.B) {
	file, problems := Parse("queues.yaml", manyQueues(1000))
	if err := problems.Err(); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		Render(&file.Partitions[0].Tree)
	}
}

func TestReclaimOfTheIdleIsSwitchedOffByNeverAndAZeroGraceIsNone(t *testing.T) {
	file, problems := Parse("q", []byte(`
partitions:
- name: default
  queues:
  - name: root
    properties: {preemption.idle.after: 30m}
    queues:
    - {name: a, preemption: {idleAfter: never}}
    - {name: b, properties: {preemption.idle.after: never, preemption.idle.grace: 0s}}
    - {name: c, properties: {preemption.idle.after: soon}}
`))
	if err := problems.Err(); err != nil {
		t.Fatal(err)
	}
	var got []spec.Duration
	root := file.Partitions[0].Tree.Root
	for _, q := range append([]*spec.Queue{root}, root.Children...) {
		got = append(got, q.IdleAfter, q.IdleGrace)
	}
	if diff := cmp.Diff([]spec.Duration{1800 * spec.Second, 0, -1, 0, -1, 0, 0, 0}, got); diff != "" {
		t.Error(diff)
	}
	if len(problems) != 2 || problems[0].Code != CodeBadProperty || problems[1].Code != CodeBadProperty {
		t.Errorf("problems %v", problems)
	}
}
