// Package objects is what the controllers of Muster's own objects share: reading one
// ConfigMap as it changes, telling events within the bounds of the API, and writing the
// status of an object by the smallest patch.
package objects

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
)

// Recorder tells events; client-go's record.EventRecorder is one. It must not block.
type Recorder interface {
	Event(about runtime.Object, kind, reason, text string)
}

// NoEvents tells nothing.
type NoEvents struct{}

// Event does nothing.
func (NoEvents) Event(runtime.Object, string, string, string) {}

// MaxEvent is how long the text of an event may be (events.k8s.io note).
const MaxEvent = 1024

// Reference is what an event is about.
func Reference(kind schema.GroupVersionKind, o metav1.Object) *corev1.ObjectReference {
	version, name := kind.ToAPIVersionAndKind()
	return &corev1.ObjectReference{
		APIVersion: version, Kind: name, Namespace: o.GetNamespace(), Name: o.GetName(),
		UID: o.GetUID(), ResourceVersion: o.GetResourceVersion(),
	}
}

// Lines joins a headline and lines such that the text is at most most bytes: what does
// not fit is counted, not cut through.
func Lines(most int, headline string, lines []string) string {
	var b strings.Builder
	b.WriteString(Cut(most, headline))
	for i, line := range lines {
		rest := ""
		if left := len(lines) - i - 1; left > 0 {
			rest = fmt.Sprintf("\n… and %d more", left)
		}
		room := most - b.Len() - len(rest) - 1
		if len(line) > room && (i > 0 || room < 40) {
			if more := fmt.Sprintf("\n… and %d more", len(lines)-i); b.Len()+len(more) <= most {
				b.WriteString(more)
			}
			break
		}
		b.WriteString("\n" + Cut(room, line))
	}
	return b.String()
}

// Cut shortens a text to at most most bytes, and shows it.
func Cut(most int, text string) string {
	const dots = "…"
	if len(text) <= most {
		return text
	}
	end := max(most-len(dots), 0)
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + dots
}

// PatchStatus changes the status of an object of the cluster from one to another, by a
// merge patch that has only what differs. It writes nothing if nothing does.
func PatchStatus(ctx context.Context, c dynamic.ResourceInterface, name string, from, to any) (changed bool, err error) {
	before, err := tree(from)
	if err != nil {
		return false, err
	}
	after, err := tree(to)
	if err != nil {
		return false, err
	}
	diff := difference(before, after)
	if len(diff) == 0 {
		return false, nil
	}
	patch, err := json.Marshal(map[string]any{"status": diff})
	if err != nil {
		return false, err
	}
	_, err = c.Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{}, "status")
	return err == nil, err
}

func tree(v any) (out map[string]any, err error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return out, json.Unmarshal(text, &out)
}

// difference is the merge patch (RFC 7386) that makes b of a.
func difference(a, b map[string]any) map[string]any {
	out := map[string]any{}
	for k := range a {
		if _, ok := b[k]; !ok {
			out[k] = nil
		}
	}
	for k, now := range b {
		before, had := a[k]
		x, isObject := before.(map[string]any)
		y, staysObject := now.(map[string]any)
		switch {
		case had && isObject && staysObject:
			if d := difference(x, y); len(d) > 0 {
				out[k] = d
			}
		case !had || !equal(before, now):
			out[k] = now
		}
	}
	return out
}

func equal(a, b any) bool {
	x, errX := json.Marshal(a) // keys come sorted
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && string(x) == string(y)
}

// SetCondition puts a condition in place of the one of its type, and keeps the time of
// the last transition if the status is the same.
func SetCondition(list []metav1.Condition, c metav1.Condition) []metav1.Condition {
	c.Message = Cut(maxMessage, c.Message)
	for i, old := range list {
		if old.Type != c.Type {
			continue
		}
		if old.Status == c.Status {
			c.LastTransitionTime = old.LastTransitionTime
		}
		list[i] = c
		return list
	}
	return append(list, c)
}

// maxMessage is the bound of a condition's message in the API.
const maxMessage = 32768
