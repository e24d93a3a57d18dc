package kube

import (
	"context"
	"errors"
	"testing"

	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/runtime/ledger"
)

func tree(leaves ...string) spec.Tree {
	root := &spec.Queue{Name: "root"}
	for _, l := range leaves {
		root.Children = append(root.Children, &spec.Queue{Name: l})
	}
	return spec.Tree{Root: root}
}

// leading is a scheduler whose loop takes turns only when it is asked to.
func leading(t *testing.T) *Scheduler {
	t.Helper()
	return newRig(t, "partitions: [{queues: [{name: a}]}]", Options{}).leads().s
}

func TestQueuesThatComeWhenTheLoopHasEndedHoldNobodyUp(t *testing.T) {
	s := leading(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	next := tree("a", "b")
	if err := s.apply(ctx, &next); !errors.Is(err, context.Canceled) {
		t.Errorf("apply: %v", err)
	}
	if s.configured == &next {
		t.Error("a tree that nobody took in is said to hold")
	}
}

func TestATreeThatTheLedgerRefusesDoesNotHold(t *testing.T) {
	s := leading(t)
	s.loop.Post(ledger.JobSubmitted{Job: &spec.Job{ID: "j", Queue: "root.a", Tasks: []spec.TaskGroup{{Name: "t", Min: 1, Size: 1}}}})
	next := tree("b")
	done := make(chan error, 1)
	go func() { done <- s.apply(t.Context(), &next) }()
	for s.loop.Turn(t.Context()); ; s.loop.Turn(t.Context()) {
		select {
		case err := <-done:
			if err == nil || s.configured == &next {
				t.Errorf("apply: %v", err)
			}
			return
		default:
		}
	}
}
