package testcluster

import (
	"context"
	"fmt"
	"os"

	"github.com/musterhq/muster/runtime/kube/testcluster/process"
)

// Environment of a component that follows a process: see Follow.
const (
	envDir    = "MUSTER_CLUSTER_DIR"
	envParent = "MUSTER_CLUSTER_PARENT"
)

// followEnv tells a component whom to follow.
func (c *Cluster) followEnv() []string {
	if c.Parent.PID == 0 {
		return nil
	}
	return []string{
		envDir + "=" + c.Dir,
		fmt.Sprintf("%s=%d %d", envParent, c.Parent.PID, c.Parent.Start),
	}
}

// Follow makes this process, a component, end the whole cluster when the process is
// gone that the cluster was made for: a test that was killed cleans nothing up. Every
// component does so, as any of them may be stopped or paused; if all of them are
// paused, they stay until one is resumed.
func Follow(ctx context.Context) error {
	dir, parent := os.Getenv(envDir), os.Getenv(envParent)
	if dir == "" || parent == "" {
		return nil
	}
	var id process.ID
	if _, err := fmt.Sscan(parent, &id.PID, &id.Start); err != nil {
		return &Error{Code: CodeOption, Where: "$" + envParent, Problem: "is not a pid and a time of start", Err: err}
	}
	go process.Follow(ctx, id, func() { (&Cluster{Dir: dir}).abandon(ctx) })
	return nil
}

// abandon ends everything, this process last, and removes the state. It takes no lock,
// as who holds it may be paused, too. What goes wrong is left: nobody listens.
func (c *Cluster) abandon(ctx context.Context) {
	me := os.Getpid()
	_ = c.each(components, func(id process.ID) error {
		if id.PID == me {
			return nil
		}
		return id.Kill(ctx)
	})
	_ = c.clear()
	_ = os.Remove(c.Dir)
	os.Exit(1)
}
