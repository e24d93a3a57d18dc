package trace

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	okNodes  = "node,gpus\nn0,4\n"
	okQueues = "queue,parent,guaranteed,max\nroot,,4,4\na,root,2,4\nb,root,2,4\n"
	okJobs   = "job,queue,submit_s,workers,gpus_per_worker,duration_s\nj0,a,0,1,1,10\n"
)

func TestBadInputIsReportedWithPlaceCodeAndNothingIsReturned(t *testing.T) {
	set := func(name, text string) map[string]string {
		f := map[string]string{"jobs.csv": okJobs, "nodes.csv": okNodes, "queues.csv": okQueues}
		f[name] = text
		return f
	}
	yaml := func(text string) map[string]string { return map[string]string{"trace.yaml": text} }
	for _, c := range []struct {
		name  string
		files map[string]string
		want  []string // file:line:col ... [code] of every problem, in order
	}{
		{"a row with missing columns", set("jobs.csv", okJobs+"j1,a,5\n"), []string{"jobs.csv:3:6 trace.columns"}},
		{"a negative submit time", set("jobs.csv", strings.Replace(okJobs, "j0,a,0", "j0,a,-7", 1)), []string{"jobs.csv:2:6 trace.negative"}},
		{"a number above its limit", set("jobs.csv", strings.Replace(okJobs, ",10\n", ",99999999999\n", 1)), []string{"jobs.csv:2:12 trace.overflow"}},
		{"a number beyond int64", set("nodes.csv", "node,gpus\nn0,99999999999999999999999\n"), []string{"nodes.csv:2:4 trace.overflow"}},
		{"no number at all", set("jobs.csv", strings.Replace(okJobs, ",10\n", ",NaN\n", 1)), []string{"jobs.csv:2:12 trace.number"}},
		{"exponents are refused, not misread", set("jobs.csv", strings.Replace(okJobs, ",10\n", ",1e3\n", 1)), []string{"jobs.csv:2:12 trace.number"}},
		{"one and a half devices", set("jobs.csv", strings.Replace(okJobs, ",1,1,10", ",1,1.5,10", 1)), []string{"jobs.csv:2:10 trace.value"}},
		{"a gang larger than the job", set("jobs.csv", "job,queue,submit_s,workers,min_workers,gpus_per_worker\nj0,a,0,2,3,1\n"), []string{"jobs.csv:2:10 trace.value"}},
		{"a job that asks for nothing", set("jobs.csv", "job,queue,submit_s\nj0,a,0\n"), []string{"jobs.csv:2:1 trace.empty"}},
		{"an unknown queue", set("jobs.csv", strings.Replace(okJobs, "j0,a", "j0,zzz", 1)), []string{"jobs.csv:2:4 trace.unknown-queue"}},
		{"a job in a queue with children", set("jobs.csv", strings.Replace(okJobs, "j0,a", "j0,root", 1)), []string{"jobs.csv:2:4 trace.not-leaf"}},
		{"a duplicate job", set("jobs.csv", okJobs+"j0,b,1,1,1,1\n"), []string{"jobs.csv:3:1 trace.duplicate"}},
		{"a duplicate node", set("nodes.csv", okNodes+"n0,4\n"), []string{"nodes.csv:3:1 trace.duplicate"}},
		{"a duplicate queue", set("queues.csv", okQueues+"a,root,1,1\n"), []string{"queues.csv:5:1 trace.duplicate"}},
		{"an unknown parent", set("queues.csv", okQueues+"c,x,1,1\n"), []string{"queues.csv:5:3 trace.unknown-queue"}},
		{"queues in a circle, told once", set("queues.csv", okQueues+"c,d,1,1\nd,e,1,1\ne,c,1,1\n"), []string{"queues.csv:5:3 trace.cycle"}},
		{"a queue that is its own parent", set("queues.csv", okQueues+"c,c,1,1\n"), []string{"queues.csv:5:3 trace.cycle"}},
		{"an unknown column", set("jobs.csv", "job,queue,submit_s,gpu_per_worker\nj0,a,0,1\n"), []string{"jobs.csv:1:20 trace.column", "jobs.csv:2:1 trace.empty"}},
		{"a missing column", set("nodes.csv", "node\nn0\n"), []string{"nodes.csv:1:1 trace.column"}},
		{"a broken quote", set("jobs.csv", okJobs+"\"j1,a,0,1,1,1\n"), []string{"jobs.csv:3:15 trace.syntax"}},
		{"an empty file", set("nodes.csv", ""), []string{"nodes.csv trace.empty"}},
		{
			"several problems are all told", set("jobs.csv", okJobs+"j0,zzz,-1,1,1,1\nj2,a\n"),
			[]string{"jobs.csv:3:8 trace.negative", "jobs.csv:3:4 trace.unknown-queue", "jobs.csv:3:1 trace.duplicate", "jobs.csv:4:4 trace.columns"},
		},
		{"two traces in one folder", map[string]string{"t1_jobs.csv": okJobs, "t2_jobs.csv": okJobs}, []string{" trace.format"}},
		{"a job list without a node list", map[string]string{"jobs.csv": okJobs}, []string{"jobs.csv trace.file"}},
		{"a file of no known format", map[string]string{"trace.csv": "a,b\n1,2\n"}, []string{"trace.csv:1:1 trace.format"}},
		{"YAML of another kind", yaml("muster: queues/v1\n"), []string{"trace.yaml:1:9 trace.format"}},
		{
			"YAML with an unknown key and a bad number", yaml("muster: trace/v1\nnodes:\n  - {node: n, gpus: x}\nextra: 1\n"),
			[]string{"trace.yaml:4:1 trace.column", "trace.yaml:3:21 trace.number"},
		},
		{"YAML with a list where a value belongs", yaml("muster: trace/v1\nnodes:\n  - node: [n]\n    gpus: 1\n"), []string{"trace.yaml:3:11 trace.syntax", "trace.yaml:3:11 trace.empty"}},
		{"YAML that nests for ever", yaml("muster: trace/v1\nnodes: " + strings.Repeat("[", 5000)), []string{"trace.yaml:2:1 trace.syntax"}},
		{"YAML with a count that would fill the memory", yaml("muster: trace/v1\nnodes:\n  - {node: n, gpus: 1, count: 99999999}\n"), []string{"trace.yaml:3:31 trace.overflow"}},
		{
			"YAML with patterns of use that are none", yaml("muster: trace/v1\nnodes:\n  - {node: n, gpus: 1}\njobs:\n  - job: a\n    queue: default\n    gpus_per_worker: 1\n    use: sleepy\n" +
				"  - {job: b, queue: default, gpus_per_worker: 1, use: \"busy, idle\"}\n"),
			[]string{"trace.yaml:8:10 trace.pattern", "trace.yaml:9:55 trace.pattern"},
		},
		{"a pattern in CSV that says nothing of the time after", set("jobs.csv", "job,queue,submit_s,gpus_per_worker,use\nj0,a,0,1,\"busy for 30s\"\n"), []string{"jobs.csv:2:10 trace.pattern"}},
		{"idle for something that is no duration", set("queues.csv", "queue,idle_after,idle_grace\na,30,never\n"), []string{"queues.csv:2:3 trace.duration", "queues.csv:2:6 trace.duration"}},
		{
			"YAML with preemption of another kind", yaml("muster: trace/v1\nqueues:\n  - name: a\n    preemption: {idleAfter: 0s, delay: 1s}\n  - name: b\n    preemption: fence\n"),
			[]string{"trace.yaml:4:33 trace.column", "trace.yaml:4:29 trace.duration", "trace.yaml:6:17 trace.syntax"},
		},
		{"SWF cut off in a row", map[string]string{"x.swf": "1 0 0 10 4 1 1 4 20 1 1 1 1 1 1 1 1 1\n2 5 0 10\n"}, []string{"x.swf:2:7 trace.columns"}},
		{"SWF with a negative submit", map[string]string{"x.swf": "1 -5 0 10 4 1 1 4 20 1 1 1 1 1 1 1 1 1\n"}, []string{"x.swf:1:3 trace.negative"}},
		{"SWF without jobs", map[string]string{"x.swf": "; MaxProcs: 8\n"}, []string{"x.swf trace.empty"}},
		{"muri with a job of no GPUs", map[string]string{"trace1.csv": "job,num_gpu,submit_s,iterations,duration_s\n0,0,1,1,1\n"}, []string{"trace1.csv:2:3 trace.value"}},
		{"philly with an overflowing job", map[string]string{"jobs.csv": "submit_s,duration_s,num_gpus,vc\n1,1,99999999,6214e9\n"}, []string{"jobs.csv:2:5 trace.overflow"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := files(t, c.files)
			tr, err := Load(dir, Options{})
			if tr != nil {
				t.Fatal("a trace came back")
			}
			var ps *Problems
			if !errors.As(err, &ps) {
				t.Fatalf("error is %v", err)
			}
			var got []string
			for _, p := range ps.List {
				place, _ := filepath.Rel(dir, p.File)
				if place == "." {
					place = ""
				}
				if p.Line > 0 {
					place += fmt.Sprintf(":%d:%d", p.Line, p.Col)
				}
				got = append(got, place+" "+p.Code)
			}
			if strings.Join(got, "\n") != strings.Join(c.want, "\n") {
				t.Errorf("got  %q\nwant %q\n%v", got, c.want, err)
			}
		})
	}
}

func TestATruncatedGzipNamesTheLastGoodLine(t *testing.T) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	for i := range 20000 {
		fmt.Fprintf(z, "job%d,%d\n", i, i*i*7919%100003)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "jobs.csv.gz")
	if err := os.WriteFile(path, b.Bytes()[:b.Len()/2], 0o644); err != nil {
		t.Fatal(err)
	}
	tr, err := Load(path, Options{})
	var ps *Problems
	if tr != nil || !errors.As(err, &ps) || ps.Total != 1 || ps.List[0].Code != CodeTruncated || ps.List[0].Line < 100 {
		t.Errorf("%v", err)
	}
}

func TestOnlyTwentyProblemsAreToldAndTheRestCounted(t *testing.T) {
	var b strings.Builder
	b.WriteString(okJobs)
	for i := range 50 {
		fmt.Fprintf(&b, "k%d,a,-1,1,1,1\n", i)
	}
	_, err := Load(files(t, map[string]string{"jobs.csv": b.String(), "nodes.csv": okNodes, "queues.csv": okQueues}), Options{})
	var ps *Problems
	if !errors.As(err, &ps) || len(ps.List) != MaxProblems || ps.Total != 50 {
		t.Fatalf("%v", err)
	}
	if !strings.HasSuffix(err.Error(), "and 30 more problems") {
		t.Error(err)
	}
}

func TestAnOptionThatMakesNoSenseIsRefused(t *testing.T) {
	for _, o := range []Options{{Format: "xml"}, {Nodes: -1}, {Nodes: maxCount + 1}} {
		if tr, err := Load(t.TempDir(), o); err == nil || tr != nil {
			t.Errorf("%+v was taken", o)
		}
	}
	if _, err := Load(filepath.Join(t.TempDir(), "absent"), Options{}); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Error(err)
	}
}
