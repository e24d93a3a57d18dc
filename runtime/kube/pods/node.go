package pods

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/spec"
)

// Everywhere is a label that Node puts on every node with one value, so that a term can
// mean the whole cluster: a ReadWriteOncePod claim has one user, wherever that runs.
const Everywhere = "cluster.muster.dev/all"

func condition(n *corev1.Node, t corev1.NodeConditionType) corev1.ConditionStatus {
	for i := range n.Status.Conditions {
		if n.Status.Conditions[i].Type == t {
			return n.Status.Conditions[i].Status
		}
	}
	return corev1.ConditionUnknown
}

// Node reads what a node offers. It takes new pods if no problem is fatal; otherwise it is
// Unschedulable, whatever pods tolerate, and the problems say why: cordoned, not-ready,
// leaving, gate, bad-quantity. (kube-scheduler lets pods that tolerate
// node.kubernetes.io/unschedulable onto a cordoned node; those are of DaemonSets.) Labels
// that no two nodes share are left out, as are taints that only ask to be avoided.
func Node(n *corev1.Node, o Options) (spec.Node, []Problem) {
	capacity, problems := offer(n)
	out := spec.Node{
		Name: n.Name, Capacity: capacity,
		Labels: classLabels(n, &o), Taints: hardTaints(n),
	}
	if gpus, _ := capacity.Get(amount.GPUName); gpus > 0 {
		out.GPUType = o.nodeGPUType(n.Labels)
	}
	problems = append(problems, closed(n, &o)...)
	out.Unschedulable = slices.ContainsFunc(problems, func(p Problem) bool { return p.Fatal })
	return out, problems
}

func classLabels(n *corev1.Node, o *Options) map[string]string {
	out := make(map[string]string, len(n.Labels)+1)
	for k, v := range n.Labels {
		if !o.perNode(k) {
			out[k] = v
		}
	}
	out[Everywhere] = ""
	return out
}

func hardTaints(n *corev1.Node) []spec.Taint {
	var out []spec.Taint
	for _, t := range n.Spec.Taints {
		if t.Effect != corev1.TaintEffectPreferNoSchedule {
			out = append(out, spec.Taint{Key: t.Key, Value: t.Value, Effect: string(t.Effect)})
		}
	}
	slices.SortFunc(out, func(a, b spec.Taint) int {
		return strings.Compare(a.Key+"\x00"+a.Effect+"\x00"+a.Value, b.Key+"\x00"+b.Effect+"\x00"+b.Value)
	})
	return slices.Compact(out)
}

// offer is what a node has for pods. Amounts that can't be are left out, and told in one
// problem.
func offer(n *corev1.Node) (spec.Resources, []Problem) {
	capacity, bad := resources(n.Status.Allocatable)
	if gpus, _ := capacity.Get(amount.GPUName); gpus%1000 != 0 || gpus > spec.MaxDevices*1000 {
		bad = append(bad, fmt.Sprintf("%s GPUs are not a whole number up to %d", amount.Format(amount.GPUName, gpus), spec.MaxDevices))
		capacity = slices.DeleteFunc(capacity, func(r spec.Resource) bool { return amount.IsGPU(r.Name) })
	}
	if bad == nil {
		return capacity, nil
	}
	return capacity, []Problem{{
		Code: "bad-quantity", Field: "status.allocatable", Fatal: true,
		Text: strings.Join(bad, "; "), Hint: "the node's kubelet or device plugin reports this; the node takes no pods until it is corrected",
	}}
}

// closed lists why a node takes no new pods.
func closed(n *corev1.Node, o *Options) []Problem {
	var out []Problem
	add := func(code, field, text string, wait bool) {
		out = append(out, Problem{Code: code, Field: field, Text: text, Fatal: true, Wait: wait})
	}
	if n.DeletionTimestamp != nil {
		add("leaving", "metadata.deletionTimestamp", "the node is being deleted", false)
	}
	if n.Spec.Unschedulable {
		add("cordoned", "spec.unschedulable", "the node is cordoned", false)
	}
	if s := condition(n, corev1.NodeReady); s != corev1.ConditionTrue {
		add("not-ready", "status.conditions", fmt.Sprintf("condition Ready is %s", s), true)
	}
	if condition(n, corev1.NodeNetworkUnavailable) == corev1.ConditionTrue {
		add("not-ready", "status.conditions", "condition NetworkUnavailable is True", true)
	}
	for i := range o.Gates {
		if m := o.Gates[i].missing(n); m != "" {
			add("gate", "status", m, true)
		}
	}
	return out
}
