package testcluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/musterhq/muster/runtime/kube/testcluster/process"
)

// marker is the file that makes a folder a cluster's state. A folder without it is
// never written to or removed.
const marker = "cluster.json"

// Cluster is a control plane with its state in a folder, up or not.
type Cluster struct {
	// Dir is absolute.
	Dir     string     `json:"-"`
	Options Options    `json:"options"`
	Parent  process.ID `json:"parent"` // zero if there is none
	// Ports by name; a component keeps its ports when it is started again.
	Ports map[string]int `json:"ports"`
}

// Open finds the cluster whose state is in a folder.
func Open(dir string) (*Cluster, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(filepath.Join(dir, marker))
	if errors.Is(err, os.ErrNotExist) {
		return nil, &Error{Code: CodeNone, Where: dir, Problem: "has no cluster", Hint: "muster-cluster up --dir " + dir}
	}
	if err != nil {
		return nil, err
	}
	c := &Cluster{Dir: dir}
	if err := json.Unmarshal(text, c); err != nil {
		return nil, &Error{Code: CodeNone, Where: c.path(marker), Problem: "is damaged", Hint: "remove the folder", Err: err}
	}
	return c, nil
}

// path is a file of the state.
func (c *Cluster) path(parts ...string) string {
	return filepath.Join(append([]string{c.Dir}, parts...)...)
}

// Kubeconfig is the file by which a user (AdminUser or a component) gets in.
func (c *Cluster) Kubeconfig(user string) string { return c.path(user + ".kubeconfig") }

// Log is the file with what a component says.
func (c *Cluster) Log(component string) string { return c.path("logs", component+".log") }

func (c *Cluster) pidFile(component string) string { return c.path("run", component+".pid") }

// save writes cluster.json.
func (c *Cluster) save() error {
	text, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(c.path(marker), append(text, '\n'), 0o600)
}

// process returns who runs as a component; it may be gone. The zero ID, which is
// always gone, stands for nobody.
func (c *Cluster) process(component string) process.ID {
	id, err := process.Load(c.pidFile(component))
	if err != nil {
		return process.ID{}
	}
	return id
}

// claim makes the folder of a new cluster ready: an absent or empty one, or one with a
// cluster that is no longer up, whose state is removed.
func claim(dir string) (*Cluster, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	old, err := Open(dir)
	var e *Error
	switch {
	case err == nil && old.up():
		return nil, &Error{Code: CodeRunning, Where: dir, Problem: "a cluster is up", Hint: "end it by: muster-cluster down --dir " + dir}
	case err == nil:
		err = old.clear()
	case errors.As(err, &e) && e.Code == CodeNone:
		err = nil
	}
	if err != nil {
		return nil, err
	}
	if entries, _ := os.ReadDir(dir); len(entries) > 0 {
		return nil, &Error{Code: CodeFolder, Where: dir, Problem: "holds other files", Hint: "name a folder that is empty or does not exist"}
	}
	c := &Cluster{Dir: dir}
	for _, sub := range []string{"", "run", "logs", "pki", "etcd"} {
		if err := os.MkdirAll(c.path(sub), 0o700); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// up says whether any of the components is there, paused ones included.
func (c *Cluster) up() bool {
	for _, k := range components {
		if c.process(k.name).State() != process.Gone {
			return true
		}
	}
	return false
}

// clear deletes the state and leaves the folder, which may be locked.
func (c *Cluster) clear() error {
	entries, err := os.ReadDir(c.Dir)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(entries, func(e os.DirEntry) bool { return e.Name() == marker }) {
		return &Error{Code: CodeFolder, Where: c.Dir, Problem: "is not the state of a cluster, so it is not removed"}
	}
	for _, e := range entries {
		if e.Name() != marker {
			err = errors.Join(err, os.RemoveAll(c.path(e.Name())))
		}
	}
	if err != nil {
		return err // with the marker still there, so that it can be tried again
	}
	return os.Remove(c.path(marker))
}

// lock makes sure that one command at a time changes a cluster. The lock is on the
// folder, which may be removed by who held it before: then there is no cluster.
func lock(ctx context.Context, dir string) (unlock func(), err error) {
	f, err := os.Open(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, &Error{Code: CodeNone, Where: dir, Problem: "has no cluster", Hint: "muster-cluster up --dir " + dir}
	}
	if err != nil {
		return nil, err
	}
	err = wait.PollUntilContextCancel(ctx, 20*time.Millisecond, true, func(context.Context) (bool, error) {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if errors.Is(err, syscall.EWOULDBLOCK) || errors.Is(err, syscall.EINTR) {
			return false, nil
		}
		return err == nil, err
	})
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("waiting for another muster-cluster on %s: %w", dir, err)
	}
	return func() { _ = f.Close() }, nil
}

// tail is the end of a component's log, for error messages.
func (c *Cluster) tail(component string, lines int) string {
	text, err := os.ReadFile(c.Log(component))
	if err != nil {
		return ""
	}
	all := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
