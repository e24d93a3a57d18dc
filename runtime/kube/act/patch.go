package act

import (
	"context"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const (
	conditionMax = 4096 // bytes of a condition's message
	noteMax      = 1024 // of an event's note, by the API
)

// patchStatus merges status into the pod's. The UID makes sure that it is the same pod:
// another one answers with a conflict.
func (a *Actor) patchStatus(ctx context.Context, turn func() *ticket, pod Pod, status map[string]any) error {
	return a.patch(ctx, turn, pod, types.StrategicMergePatchType, map[string]any{
		"metadata": map[string]any{"uid": pod.UID}, "status": status,
	}, "status")
}

// patchAnnotations sets the pod's annotations, and removes those that are nil.
func (a *Actor) patchAnnotations(ctx context.Context, turn func() *ticket, pod Pod, annotations map[string]any) error {
	return a.patch(ctx, turn, pod, types.MergePatchType, map[string]any{
		"metadata": map[string]any{"uid": pod.UID, "annotations": annotations},
	})
}

func (a *Actor) patch(ctx context.Context, turn func() *ticket, pod Pod, how types.PatchType, body map[string]any, subresource ...string) error {
	data := []byte(marshal(body))
	return a.call(ctx, turn(), func(ctx context.Context) error {
		_, err := a.api.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, how, data, metav1.PatchOptions{}, subresource...)
		return err
	})
}

func (a *Actor) when(ns int64) metav1.Time { return metav1.NewTime(time.Unix(0, ns)) }

// cut shortens text to max bytes, at a character.
func cut(text string, max int) string {
	if len(text) <= max {
		return text
	}
	end := max - len("…")
	for end > 0 && text[end]&0xC0 == 0x80 {
		end--
	}
	return text[:end] + "…"
}
