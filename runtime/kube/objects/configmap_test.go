package objects

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

// Rights are given late, and API servers come back: what was wrong then must not be said of
// a ConfigMap for ever that is simply not there.
func TestWhatWasWrongWithAWatchIsNotSaidAnyMoreWhenItWorks(t *testing.T) {
	client := fake.NewClientset()
	var allowed atomic.Bool
	client.PrependWatchReactor("configmaps", func(clienttesting.Action) (bool, watch.Interface, error) {
		if allowed.Load() {
			return false, nil, nil
		}
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "configmaps"}, "q", errors.New("no such right"))
	})
	c, err := NewConfigMap(client, "muster", "q", func() {})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); c.Run(ctx) }()
	defer func() { cancel(); <-done }()
	eventually(t, "that it may not be read", func() bool { _, err := c.Get(); return apierrors.IsForbidden(err) && c.Failed() })
	allowed.Store(true)
	eventually(t, "that there is none", func() bool { m, err := c.Get(); return m == nil && err == nil && !c.Failed() })
}

// eventually polls, generously.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("not in time: %s", what)
}
