// Package kwok writes the configuration of kwok, which plays the kubelets of a test
// cluster: what happens to a pod once it is bound, and how fast. The pace is a
// setting, as kwok's own (4 of each at a time) makes pods become Running more slowly
// than a scheduler binds them.
//
// A pod says by annotation how its life goes on, see stages.yaml. Without any it runs
// until it is deleted, or, if a Job owns it, completes at once.
package kwok

import (
	_ "embed"
	"fmt"
	"strconv"
	"strings"

	nodefast "sigs.k8s.io/kwok/kustomize/stage/node/fast"
	heartbeat "sigs.k8s.io/kwok/kustomize/stage/node/heartbeat-with-lease"
	podfast "sigs.k8s.io/kwok/kustomize/stage/pod/fast"
)

// Annotations that steer a pod's life.
const (
	// RunFor is how long the pod runs before it completes: "3s".
	RunFor = "muster.dev/run-for"
	// ExitCode is what its containers then return; "0" if absent. With another the
	// pod fails.
	ExitCode = "muster.dev/exit-code"
	// CheckpointFor is how long the pod stays, Terminating, after it was deleted
	// while it ran: "4s".
	CheckpointFor = "muster.dev/checkpoint-for"
)

// stages of our own replace kwok's pod-complete and pod-delete, which know nothing of
// the annotations.
//
//go:embed stages.yaml
var stages string

// finish is the status of a pod whose containers have ended.
//
//go:embed finish.tmpl
var finish string

// Config is how fast kwok plays.
type Config struct {
	// Pods, Nodes and Leases are how many of each are written at a time.
	Pods, Nodes, Leases int
	// Syncs is of how many nodes the pods are listed at a time when kwok begins to
	// play the nodes. Kwok fills in 1 only where it has no configuration file; with 0
	// it overlooks all pods that were bound before it started.
	Syncs int
}

// DefaultConfig was measured on two cores: more is not faster there.
var DefaultConfig = Config{Pods: 32, Nodes: 16, Leases: 8, Syncs: 4}

// YAML is the file for kwok's --config.
func (c Config) YAML() string {
	options := fmt.Sprintf(`apiVersion: config.kwok.x-k8s.io/v1alpha1
kind: KwokConfiguration
options:
  manageAllNodes: true
  cidr: 10.128.0.0/16
  enableDebuggingHandlers: false
  podPlayStageParallelism: %d
  nodePlayStageParallelism: %d
  nodeLeaseParallelism: %d
  podsOnNodeSyncParallelism: %d
  enablePodsOnNodeSyncListPager: true
`, c.Pods, c.Nodes, c.Leases, c.Syncs)
	return strings.Join([]string{
		options,
		nodefast.DefaultNodeInit, heartbeat.DefaultNodeHeartbeatWithLease,
		podfast.DefaultPodReady,
		strings.ReplaceAll(stages, "${finish}", strconv.Quote(finish)),
	}, "\n---\n")
}
