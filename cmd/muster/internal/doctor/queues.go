package doctor

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/musterhq/muster/deploy"
	"github.com/musterhq/muster/runtime/config"
	"github.com/musterhq/muster/runtime/kube/objects/queue"
)

// queuesKey is where a ConfigMap has the text.
const queuesKey = "queues.yaml"

// queues looks at the ConfigMap of the queues: is it there, does its text hold, and did the
// scheduler take it? A scheduler goes on with the queues before, and says so in an event that
// the cluster keeps for an hour only; so the text is judged too.
func queues(ctx context.Context, api kubernetes.Interface, in Installation) Check {
	at, err := placeOfQueues(ctx, api, in)
	if err != nil {
		return skip("queues", "--queues configmap:NAMESPACE/NAME says where they are", "where the queues are can't be asked: %v", err)
	}
	kind, name, _ := strings.Cut(at, ":")
	switch {
	case at == "crd":
		return skip("queues", "`kubectl get queues.muster.dev` tells how each stands", "the queues are Queue objects")
	case kind != "configmap":
		return skip("queues", "the scheduler's log tells of errors; `muster check config` finds them", "the queues are in a file of the scheduler (%s)", at)
	}
	namespace, name, ok := strings.Cut(name, "/")
	if !ok {
		namespace, name = in.Namespace, namespace
	}
	told, err := newestEvent(ctx, api, namespace, name)
	if ctx.Err() != nil {
		return skip("queues", "try again", "%v", err)
	}
	m, err := api.CoreV1().ConfigMaps(namespace).Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		text := "; the scheduler goes on with those that were good last, if it has any"
		if told != nil && told.Type == corev1.EventTypeWarning {
			text = ": " + told.Reason + ": " + told.Message
		}
		return warn("queues", "create it, with the text below the key "+queuesKey, "there is no ConfigMap %s/%s, in which the queues should be%s", namespace, name, text)
	case err != nil:
		return skip("queues", "may you get ConfigMaps there?", "the ConfigMap %s/%s can't be read: %v", namespace, name, err)
	}
	return judged(m, told)
}

// goOn is what a scheduler does without good queues.
const goOn = ", so the scheduler goes on with those that were good last"

// judged says how a ConfigMap of queues stands. told is the last that the scheduler has said of
// it, nil if that is not known any more.
func judged(m *corev1.ConfigMap, told *corev1.Event) Check {
	at := m.Namespace + "/" + m.Name
	mend := "`kubectl get configmap -n " + m.Namespace + " " + m.Name + " -o yaml > queues-now.yaml`, and `muster check config queues-now.yaml` shows each place"
	if told != nil && told.Type == corev1.EventTypeWarning {
		lines := strings.Split(strings.TrimSpace(told.Message), "\n")
		if told.Reason == queue.QueuesRefused {
			mend = "let the jobs in its way end, or put their queues back; it is tried again"
		}
		return warn("queues", mend, "the queues in ConfigMap %s do not hold since %s: %s: %s",
			at, timeOf(told).UTC().Format(time.RFC3339), told.Reason, strings.Join(lines[:min(2, len(lines))], " ")).with(lines)
	}
	text, there := m.Data[queuesKey]
	if !there {
		if len(m.BinaryData) > 0 { // packed perhaps: the scheduler is the one to say
			return ok("queues", "the scheduler tells nothing bad of ConfigMap %s", at)
		}
		return warn("queues", "put the text below the key "+queuesKey, "the ConfigMap %s has no key %s"+goOn, at, queuesKey)
	}
	f, _, problems := config.ParseOrDefault(queuesKey, []byte(text))
	errs, warnings := problems.Count()
	switch {
	case errs > 0:
		first := problems[slices.IndexFunc(problems, func(p config.Problem) bool { return p.Severity == config.Error })]
		return warn("queues", mend, "the queues in ConfigMap %s have %d errors"+goOn+": %s:%d:%d: %s [%s]", at, errs, first.File, first.Line, first.Col, first.Message, first.Code).with(linesOf(problems))
	case !slices.ContainsFunc(f.Partitions, func(p config.Partition) bool { return p.Name == "default" }):
		return warn("queues", "call the partition default: all nodes of a cluster are in it", "the queues in ConfigMap %s have no partition default"+goOn, at)
	case warnings > 0:
		return warn("queues", mend, "the queues in ConfigMap %s hold, but %d of their settings have no effect: %s:%d:%d: %s [%s]",
			at, warnings, problems[0].File, problems[0].Line, problems[0].Col, problems[0].Message, problems[0].Code).with(linesOf(problems))
	}
	return ok("queues", "the queues in ConfigMap %s have no errors, and the scheduler tells of none", at)
}

func linesOf(ps config.Problems) (out []string) {
	for _, p := range ps {
		p.Source = ""
		out = append(out, p.Error())
	}
	return out
}

// placeOfQueues is where queues are: as the caller says, else as a pod of the scheduler was told.
func placeOfQueues(ctx context.Context, api kubernetes.Interface, in Installation) (string, error) {
	if in.Queues != "" {
		return in.Queues, nil
	}
	pods, err := api.CoreV1().Pods(in.Namespace).List(ctx, metav1.ListOptions{LabelSelector: ourPods})
	if err != nil {
		return "", err
	}
	for i := range pods.Items {
		p := &pods.Items[i]
		if p.Labels[component] != "scheduler" {
			continue
		}
		for _, c := range p.Spec.Containers {
			if at := flagOf(slices.Concat(c.Command, c.Args), "--queues"); at != "" {
				return at, nil
			}
		}
	}
	return "configmap:" + deploy.QueuesConfigMap, nil
}

// flagOf is the value of a flag, "" if it is not given.
func flagOf(args []string, name string) string {
	for i, a := range args {
		if v, ok := strings.CutPrefix(a, name+"="); ok {
			return v
		}
		if a == name && i+1 < len(args) {
			return args[i+1]
		}
	}
	return ""
}

// newestEvent is the last that the scheduler has said of a ConfigMap, nil if it said nothing, or
// that has been forgotten.
func newestEvent(ctx context.Context, api kubernetes.Interface, namespace, name string) (*corev1.Event, error) {
	list, err := api.CoreV1().Events(namespace).List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.kind=ConfigMap,involvedObject.name=" + name})
	if err != nil {
		return nil, err
	}
	ours := []string{queue.InvalidQueues, queue.MissingQueues, queue.QueuesRefused, queue.QueuesApplied}
	var out []*corev1.Event
	for i := range list.Items {
		e := &list.Items[i]
		if e.InvolvedObject.Kind == "ConfigMap" && e.InvolvedObject.Name == name && slices.Contains(ours, e.Reason) {
			out = append(out, e)
		}
	}
	if len(out) == 0 {
		return nil, nil
	}
	return slices.MaxFunc(out, func(a, b *corev1.Event) int { return timeOf(a).Compare(timeOf(b)) }), nil
}

// timeOf is when an event was told last.
func timeOf(e *corev1.Event) time.Time {
	return cmp.Or(e.LastTimestamp.Time, e.EventTime.Time, e.CreationTimestamp.Time)
}
