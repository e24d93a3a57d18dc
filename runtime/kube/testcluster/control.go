package testcluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"syscall"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/musterhq/muster/runtime/kube/testcluster/process"
)

// Down ends the cluster in a folder and removes its state. With keep it lets the
// components finish their work and leaves the state, to be read or started again.
func Down(ctx context.Context, dir string, keep bool) error {
	return change(ctx, dir, func(c *Cluster) error {
		if keep {
			return c.stop(ctx, components)
		}
		if err := c.killAll(ctx); err != nil {
			return err
		}
		if err := c.clear(); err != nil {
			return err
		}
		_ = os.Remove(c.Dir) // it may have been somebody's to begin with
		return nil
	})
}

// Start starts components that are not running; all if none is named.
func Start(ctx context.Context, dir string, names ...string) error {
	return changeSome(ctx, dir, names, func(c *Cluster, list []component) error {
		list = slices.DeleteFunc(list, func(k component) bool { return c.process(k.name).State() != process.Gone })
		first, last := list, []component(nil)
		if n := len(list); n > 0 && list[n-1].name == Kwok {
			first, last = list[:n-1], list[n-1:]
		}
		if err := c.start(ctx, first); err != nil || len(last) == 0 {
			return err
		}
		if c.Options.LeaseSeconds > 0 {
			if err := c.dropLeases(ctx); err != nil {
				return err
			}
		}
		return c.start(ctx, last)
	})
}

// Stop ends components and keeps their ports and data; all if none is named.
func Stop(ctx context.Context, dir string, names ...string) error {
	return changeSome(ctx, dir, names, func(c *Cluster, list []component) error {
		return c.stop(ctx, list)
	})
}

// Kill ends components as a crash would, without a last word; all if none is named.
func Kill(ctx context.Context, dir string, names ...string) error {
	return changeSome(ctx, dir, names, func(c *Cluster, list []component) error {
		return c.each(list, func(id process.ID) error { return id.Kill(ctx) })
	})
}

// Pause freezes components, which keep their connections: a machine that swaps, a
// disk that hangs.
func Pause(ctx context.Context, dir string, names ...string) error {
	return signal(ctx, dir, names, syscall.SIGSTOP)
}

// Resume lets paused components go on.
func Resume(ctx context.Context, dir string, names ...string) error {
	return signal(ctx, dir, names, syscall.SIGCONT)
}

func signal(ctx context.Context, dir string, names []string, s syscall.Signal) error {
	return changeSome(ctx, dir, names, func(c *Cluster, list []component) error {
		for _, k := range list {
			if err := c.process(k.name).Signal(s); err != nil {
				return &Error{Code: CodeComponent, Where: k.name, Problem: "is not running", Hint: "muster-cluster start --dir " + c.Dir + " " + k.name, Err: err}
			}
		}
		return nil
	})
}

// change opens a cluster while nobody else changes it.
func change(ctx context.Context, dir string, do func(*Cluster) error) error {
	unlock, err := lock(ctx, dir)
	if err != nil {
		return err
	}
	defer unlock()
	c, err := Open(dir)
	if err != nil {
		return err
	}
	return do(c)
}

func changeSome(ctx context.Context, dir string, names []string, do func(*Cluster, []component) error) error {
	return change(ctx, dir, func(c *Cluster) error {
		list, err := c.choose(names)
		if err != nil {
			return err
		}
		return do(c, list)
	})
}

// stop lets components finish, those first that depend on the others.
func (c *Cluster) stop(ctx context.Context, list []component) error {
	for _, k := range slices.Backward(list) {
		if err := c.process(k.name).End(ctx, k.grace); err != nil {
			return fmt.Errorf("%s: %w", k.name, err)
		}
	}
	return nil
}

// killAll ends everything at once.
func (c *Cluster) killAll(ctx context.Context) error {
	return c.each(components, func(id process.ID) error { return id.Kill(ctx) })
}

// each does something to the processes of components, all at a time.
func (c *Cluster) each(list []component, do func(process.ID) error) error {
	errs := make([]error, len(list))
	var group sync.WaitGroup
	for i, k := range list {
		group.Go(func() { errs[i] = do(c.process(k.name)) })
	}
	group.Wait()
	return errors.Join(errs...)
}

// dropLeases deletes the nodes' leases before kwok starts: each start has a new
// identity, which would wait for the leases of the old one to run out before it plays
// anything.
func (c *Cluster) dropLeases(ctx context.Context) error {
	client, err := c.Client()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err = client.CoordinationV1().Leases(corev1.NamespaceNodeLease).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("deleting the nodes' leases for a new kwok: %w", err)
	}
	return nil
}
