package usage_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/musterhq/muster/gpuprobe/push"
	"github.com/musterhq/muster/gpuprobe/simulate"
)

// fleetEnv has the fleetConfig of a process that is to be the nodes of a load test.
const fleetEnv = "MUSTER_TEST_FLEET"

// fleetConfig is what the nodes of a load test are.
type fleetConfig struct {
	Address  string
	Nodes    int
	Interval time.Duration
	Jitter   time.Duration
	// Cycle is how often on each node one pod falls asleep and wakes up.
	Cycle time.Duration
}

const podsPerNode = 4

func nodeName(i int) string { return fmt.Sprintf("n%05d", i) }

func podUID(node, pod int) string { return fmt.Sprintf("%s-p%d", nodeName(node), pod) }

// podGPUs of each pod on a node of 8: one stays free.
var podGPUs = [podsPerNode][]int{{0, 1}, {2, 3}, {4, 5}, {6}}

// make returns the nodes: on each pod 0 sleeps and wakes up, the others train, work and
// sleep.
func (c fleetConfig) make(now time.Time) ([]*simulate.Node, error) {
	var nodes []*simulate.Node
	for i := range c.Nodes {
		// spread over a cycle, and as if it had been there for long
		begin := now.Add(-c.Cycle * time.Duration(100*c.Nodes+i) / time.Duration(c.Nodes))
		n, err := simulate.NewNode(simulate.NodeOptions{Name: nodeName(i), Start: begin})
		if err != nil {
			return nil, err
		}
		half := (c.Cycle / 2).String()
		for k, pattern := range []string{"busy for " + half + ", idle for " + half + ", repeat", "train=0.9/2s", "busy=0.7", "idle"} {
			p, err := simulate.ParsePattern(pattern)
			if err != nil {
				return nil, err
			}
			pod := simulate.Pod{UID: podUID(i, k), Namespace: "load", Name: podUID(i, k), GPUs: podGPUs[k], Pattern: p, Start: begin}
			if err := n.Run(pod); err != nil {
				return nil, err
			}
		}
		nodes = append(nodes, n)
	}
	return nodes, nil
}

// fleetProcess is the nodes, until its input ends. For each edge it writes a line: the pod
// and the time at which it woke up, Unix ns.
func fleetProcess(config string) int {
	if err := playFleet(config, os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func playFleet(config string, in io.Reader, out io.Writer) error {
	var c fleetConfig
	if err := json.Unmarshal([]byte(config), &c); err != nil {
		return err
	}
	nodes, err := c.make(time.Now())
	if err != nil {
		return err
	}
	lines := bufio.NewWriter(out)
	f, err := simulate.NewFleet(nodes, simulate.FleetOptions{
		Push: func(n *simulate.Node) push.Options {
			return push.Options{
				Addresses: []string{c.Address}, Token: func() (string, error) { return n.Name(), nil },
				Interval: c.Interval, Jitter: c.Jitter,
			}
		},
		Edge: func(n *simulate.Node, at time.Time) { fmt.Fprintln(lines, n.Name()+"-p0", at.UnixNano()) },
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, in) // its end is the sign
		cancel()
	}()
	_ = f.Run(ctx) // the context's
	return lines.Flush()
}

// fleet is the other process.
type fleet struct {
	t     testing.TB
	cmd   *exec.Cmd
	stdin io.Closer
	out   sync.WaitGroup
	edges map[string][]int64 // Unix ns of the wake-ups of each pod; complete after stop
}

func startFleet(t testing.TB, c fleetConfig) *fleet {
	t.Helper()
	text, err := json.Marshal(c)
	must(t, err)
	f := &fleet{t: t, edges: map[string][]int64{}}
	f.cmd = exec.Command(os.Args[0], "-test.run=^$")
	f.cmd.Env = append(os.Environ(), fleetEnv+"="+string(text))
	f.cmd.Stderr = os.Stderr
	f.stdin, err = f.cmd.StdinPipe()
	must(t, err)
	out, err := f.cmd.StdoutPipe()
	must(t, err)
	must(t, f.cmd.Start())
	f.out.Go(func() {
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			var at int64
			pod, text, _ := strings.Cut(lines.Text(), " ")
			if _, err := fmt.Sscan(text, &at); err == nil {
				f.edges[pod] = append(f.edges[pod], at)
			}
		}
	})
	t.Cleanup(f.stop)
	return f
}

// stop ends the process; it may be called again.
func (f *fleet) stop() {
	if f.stdin == nil {
		return
	}
	must(f.t, f.stdin.Close())
	f.stdin = nil
	f.out.Wait()
	must(f.t, f.cmd.Wait())
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
