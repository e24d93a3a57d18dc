package main

import (
	"fmt"
	"strings"
)

// queues of the cluster to play with: two teams that share what they don't use.
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
              - name: team-b
                resources:
                  guaranteed: {nvidia.com/gpu: 300}
              - name: default
                resources:
                  max: {nvidia.com/gpu: 8}
`

// gangs are pods of a few jobs: some that run, one that has to wait.
func gangs() []byte {
	var b strings.Builder
	for _, ns := range []string{"team-a", "team-b"} {
		fmt.Fprintf(&b, "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: %s}\n", ns)
	}
	for i := range 4 {
		gang(&b, "team-a", fmt.Sprintf("train-%d", i), 8, 8)
	}
	gang(&b, "team-b", "finetune", 4, 4)
	gang(&b, "team-b", "big", 128, 8) // more than there is
	return []byte(b.String())
}

// gang writes the pods of one job, as YuniKorn's users do.
func gang(b *strings.Builder, queue, name string, pods, gpus int) {
	for i := range pods {
		fmt.Fprintf(b, `---
apiVersion: v1
kind: Pod
metadata:
  name: %[2]s-%[3]d
  namespace: %[1]s
  labels: {applicationId: %[2]s, queue: root.%[1]s}
  annotations:
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
`, queue, name, i, pods, gpus)
	}
}
