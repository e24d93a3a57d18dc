// Package usage is where nodes report what their GPUs really do: a gRPC server (Server)
// that takes streams of gpuprobe/wire, believes a node only about itself, keeps the last
// state of each (Table), and hands what matters to the scheduler (Sink).
//
// What is not known is unknown, never idle: a stream that breaks, or stays silent for
// three intervals, makes all that its node said unknown.
package usage

import (
	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/spec"
)

// Sink is the scheduler. Calls come from several goroutines, those of one node one after
// the other. It must not block, nor call the Server or the Table in turn.
type Sink interface {
	// Used says what pods do with their GPUs. A pod that was told of and is not told of
	// any more is told of once more, not Known.
	Used(node string, uses []PodUse)
	// Health lists all GPUs of a node, MIG instances not; called when any of it changed.
	// A node that is not heard of any more keeps its last health.
	Health(node string, gpus []GPUHealth)
}

// PodUse is what one pod does with all GPUs of its that are known.
type PodUse struct {
	// UID of the pod; "" of one that only the kubelet named: then Namespace and Name.
	UID, Namespace, Name string
	// Known is false if one of its GPUs can't be measured (any more): the rest is void.
	Known bool
	// GPUs is how many there are (MIG instances count as one each): a pod that asked for
	// more is not known as a whole.
	GPUs int
	Busy amount.Share // mean over them
	// Idle is for how long, at At, none of them had done anything; Watched for how long
	// every launch on any of them would have been seen.
	Idle, Watched spec.Duration
	At            spec.Time
	// Unassigned says that the kubelet gave it none of them: use without a request.
	Unassigned bool
}

// GPUHealth is the state of one GPU.
type GPUHealth struct {
	UUID  string
	Index int
	// Failed GPUs can't be used by anybody; Unresponsive ones get no new work.
	Failed, Unresponsive bool
	Reason               string // CamelCase: Xid79, GpuLost, DriverUnresponsive
	// Pods that use it or were given it.
	Pods []PodRef
}

// PodRef names a pod by UID, or by namespace and name where that is all that is known.
type PodRef struct{ UID, Namespace, Name string }
