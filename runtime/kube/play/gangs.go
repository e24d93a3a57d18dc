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

// queues of the cluster to play with: two teams that share what they don't use. Of team-a,
// which has more than it is owed, gangs that do nothing go first.
const queues = `
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
                  guaranteed: {nvidia.com/gpu: 400}
                  max: {nvidia.com/gpu: 700}
                preemption: {idleAfter: 2m, idleGrace: 20s}
              - name: team-b
                resources:
                  guaranteed: {nvidia.com/gpu: 300}
              - name: default
                resources:
                  max: {nvidia.com/gpu: 8}
`

// gang is a job whose pods start together or not at all.
type gang struct {
	queue, name string
	pods, gpus  int
	use         string // what its GPUs do, a pattern of `muster-probe simulate`
}

// idler falls asleep a minute after its start, and goes first when team-b wants what
// reclaimer asks for: more than is free, and less than it is owed.
var (
	idler     = gang{"team-a", "notebooks", 8, 8, "busy for 1m, idle"}
	reclaimer = gang{"team-b", "urgent", 24, 8, "train=0.9/1m"}
)

// jobs take most of the 800 GPUs; the last has to wait. The idler is the oldest of its
// team, so that nothing but its idleness makes it the first to go.
func jobs() []gang {
	all := []gang{idler}
	for i, use := range []string{"train=0.9/1m", "train=0.8/20s", "busy=0.7"} {
		for k := range 3 {
			all = append(all, gang{"team-a", fmt.Sprintf("train-%d", 3*i+k), 8, 8, use})
		}
	}
	return append(all, gang{"team-b", "finetune", 4, 4, "train=0.6/30s"}, gang{"team-b", "big", 128, 8, "busy"})
}

// workload is what runs from the start.
func workload() []byte {
	var b bytes.Buffer
	for _, ns := range []string{"team-a", "team-b"} {
		fmt.Fprintf(&b, "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: %s}\n", ns)
	}
	for _, g := range jobs() {
		g.write(&b)
	}
	b.WriteString(stowaway)
	return b.Bytes()
}

// reclaim is what is there to be started by hand.
func reclaim() []byte {
	var b bytes.Buffer
	reclaimer.write(&b)
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
`, g.queue, g.name, i, g.pods, g.gpus, g.use)
	}
}

// fill starts the gangs, and writes the one that is for later.
func (p play) fill(ctx context.Context) error {
	if err := os.WriteFile(p.file("reclaim.yaml"), reclaim(), 0o600); err != nil {
		return err
	}
	return p.apply(ctx, workload())
}

// tell says what there is to see.
func (p play) tell(to io.Writer) error {
	admin, err := filepath.Abs(p.file("admin.kubeconfig"))
	if err != nil {
		return err
	}
	fmt.Fprintf(to, `
Muster schedules on it, and probes that are played tell what its GPUs do. The page:
http://%s/

  export KUBECONFIG=%s
  bin/muster get queues
  bin/muster explain job team-b/yunikorn/big
  bin/muster get probes
  bin/muster doctor

In a minute %s/%s falls asleep. In three it is the one that has to go when team-b
wants what it is owed: 20 seconds after it was told, unless it wakes up.

  bin/muster get gpus --idle 1m
`, address, admin, idler.queue, idler.name)
	if _, err := exec.LookPath("kubectl"); err != nil {
		_, err = fmt.Fprintf(to, "  go run ./runtime/kube/play reclaim %s\n  bin/muster get evictions -o wide\n", p.dir)
		return err
	}
	_, err = fmt.Fprintf(to, `  kubectl create -f %s    # team-b wants it
  bin/muster get evictions -o wide
  kubectl annotate pods -n %s -l applicationId=%s --overwrite muster.dev/gpu-use=busy    # it wakes up
`, p.file("reclaim.yaml"), idler.queue, idler.name)
	return err
}
