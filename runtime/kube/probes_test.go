package kube

import (
	"context"
	"errors"
	"fmt"
	"testing"
)

// listed are probes that note what they are asked.
type listed chan string

func (l listed) Watch(node string, owners []string) { l <- fmt.Sprint("watch ", node, owners) }
func (l listed) Forget(node string)                 { l <- "forget " + node }

func TestWhatIsAskedOfProbesComesInOneAndTheLastCounts(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	heard := make(listed)
	a := newAsker(heard)
	a.await("n1", []string{"x"}) // nobody is kept waiting, whoever listens
	a.await("n1", []string{"y"})
	a.gone("n2")
	done := make(chan error)
	go func() { done <- a.run(ctx) }()
	for _, want := range []string{"forget n2", "watch n1[y]"} {
		if got := <-heard; got != want {
			t.Errorf("asked %q, want %q", got, want)
		}
	}
	a.await("n3", nil)
	if got := <-heard; got != "watch n3[]" {
		t.Errorf("asked %q", got)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestWithoutProbesNothingIsAsked(t *testing.T) {
	a := newAsker(nil)
	a.await("n1", []string{"x"})
	a.gone("n1")
	if len(a.watch)+len(a.forget) > 0 {
		t.Errorf("kept %v, %v", a.watch, a.forget)
	}
}
