package crd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	api "github.com/musterhq/muster/runtime/kube/api/v1alpha1"
)

// Errors that say more than the API server's.
var (
	errNoObject = errors.New("there is no GPUNode of this node, and it may not be created")
	errNoCRD    = errors.New("the CRD gpunodes.muster.dev is not installed")
)

// read reads the object, and creates it if it is missing. What the API server has in its
// memory is fresh enough, and a write answers with what is true; but the first time it must
// be what the probe before this one has written last.
func (w *Writer) read(ctx context.Context, now int64) error {
	var o metav1.GetOptions
	if w.found {
		o.ResourceVersion = "0"
	}
	u, err := w.client.Get(ctx, w.o.Node, o)
	if apierrors.IsNotFound(err) {
		w.have = nil
		u, err = w.create(ctx, err)
	}
	if err != nil {
		return err
	}
	w.polled = now
	return w.take(u)
}

// create makes the object. That there is nothing to make it of is how a missing CRD
// shows: a missing object and a missing kind are the same to a reader.
func (w *Writer) create(ctx context.Context, missing error) (*unstructured.Unstructured, error) {
	if !w.o.Create {
		return nil, fmt.Errorf("%w: %w", errNoObject, missing)
	}
	n := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{}}}
	n.SetGroupVersionKind(api.GPUNodeKind)
	n.SetName(w.o.Node)
	if w.o.NodeUID != "" {
		n.SetOwnerReferences([]metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: w.o.Node, UID: w.o.NodeUID}})
	}
	u, err := w.client.Create(ctx, n, metav1.CreateOptions{FieldManager: manager})
	switch {
	case apierrors.IsAlreadyExists(err): // the API server's memory was behind
		return w.client.Get(ctx, w.o.Node, metav1.GetOptions{})
	case apierrors.IsNotFound(err):
		return nil, fmt.Errorf("%w: %w", errNoCRD, err)
	}
	return u, err
}

// manager is the name under which the probe's fields are.
const manager = "muster-probe"

// write puts the whole status in place of the one that is there. All of it is the
// probe's, so there is nothing to be merged, and nobody to be in conflict with.
func (w *Writer) write(ctx context.Context, now int64) error {
	w.written = now
	status := w.next()
	patch, err := json.Marshal([]any{map[string]any{"op": "add", "path": "/status", "value": status}})
	if err != nil {
		return err
	}
	u, err := w.client.Patch(ctx, w.o.Node, types.JSONPatchType, patch, metav1.PatchOptions{FieldManager: manager}, "status")
	if apierrors.IsNotFound(err) { // it was deleted: the next step writes the new one
		w.written = longAgo
		return w.read(ctx, now)
	}
	if err != nil {
		return err
	}
	w.polled = now
	if err := w.take(u); err != nil {
		return err
	}
	w.base = status
	return nil
}

// take reads an object of the API server. A status that can't be read, as it is of a probe
// of another version, is as good as none: this one writes its own.
func (w *Writer) take(u *unstructured.Unstructured) error {
	n := &api.GPUNode{}
	unreadable := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, n)
	if unreadable != nil {
		n = &api.GPUNode{}
		rest := maps.Clone(u.Object)
		delete(rest, "status")
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(rest, n); err != nil {
			return fmt.Errorf("the GPUNode can't be read: %w", err)
		}
	}
	w.learn(n, unreadable)
	return nil
}

// pauses are how long to wait after a failure.
type pauses struct{ least, longest time.Duration }

// judge says what an error means.
func judge(err error) (State, pauses) {
	soon, late := pauses{longest: longest}, pauses{longest: hopeless}
	var netErr net.Error
	var urlErr *url.Error
	down := func(reason, detail string, p pauses) (State, pauses) {
		return State{Reason: reason, Detail: cut(detail, maxMessage)}, p
	}
	switch {
	case err == nil:
		return State{Up: true}, pauses{}
	case errors.Is(err, errNoCRD):
		return down("NoCRD", err.Error()+"; install deploy/crds", late)
	case errors.Is(err, errNoObject):
		return down("NoObject", err.Error()+"; create it, or let the probe do so", late)
	case apierrors.IsForbidden(err):
		return down("Forbidden", err.Error()+"; the probe's account needs get and create of gpunodes and patch of gpunodes/status, with a token of its own node", late)
	case apierrors.IsUnauthorized(err):
		return down("Unauthorized", err.Error()+"; is the token mounted, and is it this cluster's?", soon)
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err), apierrors.IsUnsupportedMediaType(err):
		return down("Refused", err.Error()+"; is the CRD older than the probe? Install deploy/crds", late)
	case apierrors.IsConflict(err):
		return down("Conflict", err.Error(), soon)
	case apierrors.IsTooManyRequests(err):
		after, _ := apierrors.SuggestsClientDelay(err)
		return down("Throttled", err.Error(), pauses{least: time.Duration(min(after, 60)) * time.Second, longest: longest})
	case errors.Is(err, context.DeadlineExceeded), apierrors.IsTimeout(err), apierrors.IsServerTimeout(err), errors.As(err, &netErr) && netErr.Timeout():
		return down("Timeout", err.Error(), soon)
	case errors.As(err, &urlErr), errors.As(err, &netErr), httpStatus(err) >= http.StatusInternalServerError:
		return down("Unreachable", err.Error(), soon)
	}
	return down("Failed", err.Error(), soon)
}

// httpStatus is that of an error of the API server, 0 if it is none.
func httpStatus(err error) int32 {
	var s apierrors.APIStatus
	if errors.As(err, &s) {
		return s.Status().Code
	}
	return 0
}
