package cli

import (
	"slices"
	"testing"
)

func FuzzParseRun(f *testing.F) {
	for _, text := range []string{"a=", "a=job-order:fifo,queues:pooled", "=x", "a=b:c", "a=job-order:bin/x.wasm,,", "ü=placement:spread", "a"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := parseRun(text)
		if err != nil {
			if r != nil {
				t.Fatal("half a run came with an error")
			}
			return
		}
		if r.name == "" || !slices.Contains([]string{"shared", "pooled", "partitioned"}, r.queues) {
			t.Fatalf("%q was taken as %+v", text, r)
		}
	})
}

func TestParseRunReadsEveryKey(t *testing.T) {
	r, err := parseRun("x=job-order:a,fairness:b,victims:c.wasm,placement:d,admission:e/f,queues:partitioned")
	if err != nil {
		t.Fatal(err)
	}
	n := r.names
	if r.name != "x" || n.JobOrder != "a" || n.Fairness != "b" || n.Victims != "c.wasm" || n.Placement != "d" || n.Admission != "e/f" || r.queues != "partitioned" {
		t.Fatalf("%+v", r)
	}
}
