package kube

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

// Whoever comes to lead often does so because the API server was away, and asks it first
// of all what the last leader had begun.
func TestComingToLeadOutlivesAServerThatHasTooMuchToDo(t *testing.T) {
	for what, resource := range map[string]string{"pods": "pods", "records": "configmaps"} {
		t.Run(what, func(t *testing.T) {
			r := newRig(t, "partitions: [{name: default, queues: [{name: root, queues: [{name: a}]}]}]", Options{})
			client, ok := r.s.o.Client.(*fake.Clientset)
			if !ok {
				t.Fatal("no fake client")
			}
			var asked atomic.Int32
			client.PrependReactor("list", resource, func(clienttesting.Action) (bool, runtime.Object, error) {
				if asked.Add(1) <= 3 {
					return true, nil, apierrors.NewTooManyRequests("slow down", 1)
				}
				return false, nil, nil
			})
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			r.s.o.Leading = func(context.Context, Leader) error { cancel(); return nil }
			go func() { done <- r.s.lead(ctx) }()
			if err := <-done; err != nil {
				t.Errorf("it ended by: %v", err)
			}
			if n := asked.Load(); n != 4 {
				t.Errorf("it asked %d times, want 4", n)
			}
		})
	}
}

func TestTheEndOfLeadingWhileNobodyAnswersIsNoError(t *testing.T) {
	r := newRig(t, "partitions: [{name: default, queues: [{name: root, queues: [{name: a}]}]}]", Options{})
	client, ok := r.s.o.Client.(*fake.Clientset)
	if !ok {
		t.Fatal("no fake client")
	}
	ctx, cancel := context.WithCancel(t.Context())
	client.PrependReactor("list", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
		cancel()
		return true, nil, errors.New("connection refused")
	})
	if err := r.s.lead(ctx); err != nil {
		t.Errorf("it ended by: %v", err)
	}
}

func TestComingToLeadEndsWhereItMayNotAsk(t *testing.T) {
	r := newRig(t, "partitions: [{name: default, queues: [{name: root, queues: [{name: a}]}]}]", Options{})
	client, ok := r.s.o.Client.(*fake.Clientset)
	if !ok {
		t.Fatal("no fake client")
	}
	client.PrependReactor("list", "configmaps", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "configmaps"}, "", errors.New("no such right"))
	})
	if err := r.s.lead(t.Context()); !apierrors.IsForbidden(err) {
		t.Errorf("it ended by: %v", err)
	}
}
