package policy

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	api "github.com/musterhq/muster/runtime/kube/api/v1alpha1"
	"github.com/musterhq/muster/runtime/kube/objects"
	"github.com/musterhq/muster/runtime/reload/reason"
	"github.com/musterhq/muster/runtime/reload/trust"
	"github.com/musterhq/muster/runtime/reload/wanted"
)

// follower follows the ConfigMap of a source.
type follower struct {
	*objects.ConfigMap
	cancel context.CancelFunc
	done   sync.WaitGroup
}

func (f *follower) stop() {
	f.cancel()
	f.done.Wait()
}

// follow follows the ConfigMaps that the objects name, and no others.
func (c *Controller) follow(ctx context.Context, now []*api.Policy) {
	named := map[string]bool{}
	for _, p := range now {
		if s := c.sourceOf(p); s.Kind == wanted.FromConfigMap {
			named[configMapOf(s)] = true
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, f := range c.maps {
		if !named[name] {
			f.cancel()
			delete(c.maps, name)
		}
	}
	for name := range named {
		if c.maps[name] != nil {
			continue
		}
		namespace, short, _ := strings.Cut(name, "/")
		m, err := objects.NewConfigMap(c.o.Core, namespace, short, c.wake)
		if err != nil {
			c.o.Failed(err)
			continue
		}
		ctx, cancel := context.WithCancel(ctx)
		f := &follower{ConfigMap: m, cancel: cancel}
		f.done.Go(func() { f.Run(ctx) })
		c.loads.Go(f.done.Wait) // Run ends after it
		c.maps[name] = f
	}
}

// configMapOf is NAMESPACE/NAME of a source.
func configMapOf(s wanted.Source) string {
	parts := strings.SplitN(s.At, "/", 3)
	return parts[0] + "/" + parts[1]
}

func (c *Controller) follower(name string) *follower {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.maps[name]
}

// contentOf is a digest of what a source's ConfigMap holds, "" if there is none or the
// source is something else. known is false while it was not read yet.
func (c *Controller) contentOf(s wanted.Source) (digest string, known bool) {
	if s.Kind != wanted.FromConfigMap {
		return "", true
	}
	f := c.follower(configMapOf(s))
	if f == nil {
		return "", false
	}
	m, err := f.Get()
	if m == nil {
		return "", err == nil || f.Failed()
	}
	var text []byte
	keys := keysOf(m)
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		text = fmt.Appendf(text, "%d %s %s\n", len(k), k, trust.Digest(keys[k]))
	}
	return trust.Digest(text), true
}

// configMap is how sources read a ConfigMap: as it is followed.
func (c *Controller) configMap(_ context.Context, namespace, name string) (map[string][]byte, error) {
	where := "configmap:" + namespace + "/" + name
	f := c.follower(namespace + "/" + name)
	if f == nil {
		return nil, &reason.Error{Code: reason.Unreadable, Where: where, Problem: "it is not followed", Again: true}
	}
	m, err := f.Get()
	switch {
	case apierrors.IsForbidden(err):
		return nil, &reason.Error{Code: reason.Unauthorized, Where: where, Problem: "Muster may not read it", Hint: "let its service account get, list and watch this ConfigMap, or keep it in Muster's own namespace", Again: true, Err: err}
	case err != nil:
		return nil, &reason.Error{Code: reason.Unreachable, Where: where, Problem: err.Error(), Again: true, Err: err}
	case m == nil:
		return nil, &reason.Error{Code: reason.NotFound, Where: where, Problem: "there is no such ConfigMap", Hint: "it is taken as soon as it comes", Again: true}
	}
	return keysOf(m), nil
}

func keysOf(m *corev1.ConfigMap) map[string][]byte {
	out := make(map[string][]byte, len(m.Data)+len(m.BinaryData))
	for k, v := range m.Data {
		out[k] = []byte(v)
	}
	maps.Copy(out, m.BinaryData)
	return out
}
