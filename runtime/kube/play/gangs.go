package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// story is what a cluster is filled with, to the measure of its GPUs: two teams that share
// what they don't use. Team-a has more than it is owed, and one of its gangs does nothing.
type story struct {
	places int // for pods with eight GPUs
	// idler falls asleep a minute after its start. It takes longest to start again, so that
	// nothing but its idleness makes it the first to go.
	idler gang
	// others take most of the rest; the last of them has to wait.
	others []gang
	// reclaimer is for later: it wants more than is free, and less than its team is owed.
	reclaimer gang
}

// gang is a job whose pods start together or not at all.
type gang struct {
	queue, name string
	pods, gpus  int
	use         string // what its GPUs do, a pattern of `muster-probe simulate`
	restart     string // how long it takes to start again
}

// fewest places for which there is a story.
const fewest = 10

// storyOf a cluster with places for so many pods with eight GPUs: team-a takes eight
// tenths of it, in gangs of a twelfth.
func storyOf(places int) story {
	s := story{places: places}
	if places < fewest {
		return s
	}
	each := (8*places + 50) / 100
	gangs := 8 * places / 10 / each
	s.idler = gang{"team-a", "notebooks", each, 8, "busy for 1m, idle", "1m"}
	uses := []string{"train=0.9/1m", "train=0.8/20s", "busy=0.7"}
	for i := range gangs - 1 {
		s.others = append(s.others, gang{"team-a", fmt.Sprintf("train-%d", i), each, 8, uses[i/3%len(uses)], "10s"})
	}
	tune := gang{"team-b", "finetune", 4, 4, "train=0.6/30s", "10s"} // two places
	s.others = append(s.others, tune, gang{"team-b", "big", places + 28*places/100, 8, "busy", "10s"})
	s.reclaimer = gang{"team-b", "urgent", places - gangs*each - 2 + max(1, 3*each/4), 8, "train=0.9/1m", "10s"}
	return s
}

// Of all GPUs, in thousandths.
const (
	owedA, mostA = 500, 875
	owedB        = 375
)

// part of all GPUs.
func (s story) part(thousandths int) int { return s.places * 8 * thousandths / 1000 }

// queues of the story.
func (s story) queues() []byte {
	return fmt.Appendf(nil, `
apiVersion: v1
kind: ConfigMap
metadata: {name: muster-queues, namespace: muster-system}
data:
  queues.yaml: |
    partitions:
      - name: default
        queues:
          - name: root
            queues:
              - name: team-a
                resources:
                  guaranteed: {nvidia.com/gpu: %d}
                  max: {nvidia.com/gpu: %d}
                preemption: {idleAfter: 2m, idleGrace: 20s}
              - name: team-b
                resources:
                  guaranteed: {nvidia.com/gpu: %d}
              - name: default
                resources:
                  max: {nvidia.com/gpu: 8}
`, s.part(owedA), max(1, s.part(mostA)), s.part(owedB))
}

// workload is what runs from the start.
func (s story) workload() []byte {
	var b bytes.Buffer
	for _, ns := range []string{"team-a", "team-b"} {
		fmt.Fprintf(&b, "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: %s}\n", ns)
	}
	if s.places < fewest {
		return b.Bytes()
	}
	for _, g := range append([]gang{s.idler}, s.others...) {
		g.write(&b)
	}
	b.WriteString(stowaway)
	return b.Bytes()
}

// reclaim is what is there to be started by hand.
func (s story) reclaim() []byte {
	var b bytes.Buffer
	s.reclaimer.write(&b)
	return b.Bytes()
}

// stowaway uses a GPU that it did not ask for, where the idler is not: it would keep its
// GPU busy.
const stowaway = `---
apiVersion: v1
kind: Pod
metadata:
  name: stowaway
  namespace: team-b
  labels: {applicationId: stowaway, queue: root.team-b}
  annotations: {muster.dev/gpu-use: busy=0.2}
spec:
  schedulerName: yunikorn
  nodeSelector: {nvidia.com/gpu.product: H100}
  containers:
    - name: main
      image: notebook
      resources:
        requests: {cpu: "1", memory: 4Gi}
`

// write writes the pods, as YuniKorn's users do.
func (g gang) write(b *bytes.Buffer) {
	for i := range g.pods {
		fmt.Fprintf(b, `---
apiVersion: v1
kind: Pod
metadata:
  name: %[2]s-%[3]d
  namespace: %[1]s
  labels: {applicationId: %[2]s, queue: root.%[1]s}
  annotations:
    muster.dev/gpu-use: %[6]s
    muster.dev/restart-cost: %[7]s
    yunikorn.apache.org/task-group-name: workers
    yunikorn.apache.org/task-groups: '[{"name":"workers","minMember":%[4]d,"minResource":{"cpu":"4","memory":"16Gi","nvidia.com/gpu":"%[5]d"}}]'
spec:
  schedulerName: yunikorn
  containers:
    - name: main
      image: train
      resources:
        requests: {cpu: "4", memory: 16Gi, nvidia.com/gpu: "%[5]d"}
        limits: {nvidia.com/gpu: "%[5]d"}
`, g.queue, g.name, i, g.pods, g.gpus, g.use, g.restart)
	}
}

// fill starts the gangs, and writes the one that is for later.
func (p play) fill(ctx context.Context, s story) error {
	if s.places >= fewest {
		if err := os.WriteFile(p.file("reclaim.yaml"), s.reclaim(), 0o600); err != nil {
			return err
		}
	}
	return p.apply(ctx, s.workload())
}

// tell says what there is to see.
func (p play) tell(to io.Writer, s story) error {
	admin, err := filepath.Abs(p.file("admin.kubeconfig"))
	if err != nil {
		return err
	}
	fmt.Fprintf(to, `
Muster schedules on it, and probes that are played tell what its GPUs do. The page:
http://%s/

  export KUBECONFIG=%s
  bin/muster get queues
  bin/muster get probes
  bin/muster doctor

The scheduler may be killed: what it knows is in the API. This starts another one:

  kill -9 $(cat %s); go run ./runtime/kube/play start %s
`, address, admin, p.scheduler().pid(), p.dir)
	if s.places < fewest {
		_, err = fmt.Fprintf(to, "\nNo jobs were started: they are for %d nodes of 8 GPUs or more.\n", fewest)
		return err
	}
	fmt.Fprintf(to, `
Jobs run and wait. In a minute %[1]s/%[2]s falls asleep. In three it is the one that has
to go when team-b wants what it is owed: 20 seconds after it was told, unless it wakes up.

  bin/muster get jobs
  bin/muster explain job team-b/yunikorn/big
  bin/muster get gpus --idle 1m
`, s.idler.queue, s.idler.name)
	if _, err := exec.LookPath("kubectl"); err != nil {
		_, err = fmt.Fprintf(to, "  go run ./runtime/kube/play reclaim %s\n  bin/muster get evictions -o wide\n", p.dir)
		return err
	}
	_, err = fmt.Fprintf(to, `  kubectl create -f %s    # team-b wants it
  bin/muster get evictions -o wide
  kubectl annotate pods -n %s -l applicationId=%s --overwrite muster.dev/gpu-use=busy    # it wakes up
`, p.file("reclaim.yaml"), s.idler.queue, s.idler.name)
	return err
}
