package view_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/musterhq/muster/runtime/serve/servetest"
	"github.com/musterhq/muster/runtime/serve/view"
)

func TestAQueueThatARuleCreatedSaysSoWithThoseOnTheWayToIt(t *testing.T) {
	for _, c := range []struct {
		name   string
		leaves []view.Created
		want   []string // queues that are marked
	}{
		{"none", nil, nil},
		{"a leaf", []view.Created{{Path: "root.research.llm", Below: "root.research"}}, []string{"root.research.llm"}},
		{
			"two leaves and the parent between them and what is configured",
			[]view.Created{{Path: "root.research.llm", Below: "root"}, {Path: "root.research.vision", Below: "root"}},
			[]string{"root.research", "root.research.llm", "root.research.vision"},
		},
		{"names in whatever case", []view.Created{{Path: "ROOT.Batch", Below: "Root"}}, []string{"root.batch"}},
		{"one that is gone by now", []view.Created{{Path: "root.gone", Below: "root"}}, nil},
		{"one that is not below what it is said to be", []view.Created{{Path: "root.batch", Below: "root.research"}}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := servetest.Busy(t, view.Options{Created: func() []view.Created { return c.leaves }, Stays: int64(90 * time.Second)}).Snapshot()
			var got []string
			for _, q := range s.Queues {
				switch {
				case q.Created && q.StaysMS == 90_000 && q.Origin() == "rule, goes after 1m30s empty":
					got = append(got, q.Path)
				case q.Created || q.StaysMS != 0 || q.Origin() != "config":
					t.Errorf("%s is half marked: %v, %d ms, %q", q.Path, q.Created, q.StaysMS, q.Origin())
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("marked are %v, want %v", got, c.want)
			}
		})
	}
}

func TestWhoAsksAboutACreatedQueueIsToldWhenItGoes(t *testing.T) {
	created := func() []view.Created { return []view.Created{{Path: "root.batch", Below: "root"}} }
	s := servetest.Busy(t, view.Options{Created: created, Stays: int64(10 * time.Second)}).Snapshot()
	const says = "a placement rule created it, and it goes when no job has been in it for 10s"
	if e, _ := s.ExplainQueue("root.batch"); !strings.Contains(e.Summary, says) {
		t.Errorf("of the created queue: %s", e.Summary)
	}
	if e, _ := s.ExplainQueue("root.serving"); strings.Contains(e.Summary, "rule") {
		t.Errorf("of a configured queue: %s", e.Summary)
	}
}
