package scheduler

import (
	"context"
	"log/slog"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"
)

// eventSink tells events about queues and policies, unless another replica leads: that
// one tells them.
type eventSink struct {
	broadcaster record.EventBroadcaster
	recorder    record.EventRecorder
	client      kubernetes.Interface
	log         *slog.Logger
	quiet       func() bool
}

func newEventSink(client kubernetes.Interface, log *slog.Logger) *eventSink {
	b := record.NewBroadcaster()
	return &eventSink{
		broadcaster: b, recorder: b.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "muster"}), client: client, log: log,
		quiet: func() bool { return false },
	}
}

// Event tells one event.
func (e *eventSink) Event(about runtime.Object, kind, reason, text string) {
	if e.quiet() {
		return
	}
	level := slog.LevelInfo
	if kind == corev1.EventTypeWarning {
		level = slog.LevelWarn
	}
	with := []any{"event", reason}
	if r, ok := about.(*corev1.ObjectReference); ok {
		with = append(with, "kind", r.Kind, "name", r.Name)
	}
	e.log.Log(context.Background(), level, text, with...)
	e.recorder.Event(about, kind, reason, text)
}

// run writes events until ctx ends.
func (e *eventSink) run(ctx context.Context) error {
	e.broadcaster.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: e.client.CoreV1().Events("")})
	<-ctx.Done()
	e.broadcaster.Shutdown()
	return ctx.Err()
}
