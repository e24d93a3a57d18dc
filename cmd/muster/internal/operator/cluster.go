package operator

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	api "github.com/musterhq/muster/runtime/kube/api/v1alpha1"
	"github.com/musterhq/muster/runtime/kube/objects/policy"
	"github.com/musterhq/muster/runtime/reload"
)

// Cluster has the policies of a scheduler on Kubernetes: Policy objects, and the
// ConfigMaps that modules lie in. It is nothing that kubectl could not do.
type Cluster struct {
	Objects   dynamic.Interface
	Core      kubernetes.Interface
	Namespace string        // of the scheduler, and so of ConfigMaps
	Every     time.Duration // how often an answer is looked for; 0 is 100 ms
}

// Connect makes the clients of a cluster.
func Connect(config *rest.Config, namespace string) (*Cluster, error) {
	objects, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	core, err := kubernetes.NewForConfig(config)
	return &Cluster{Objects: objects, Core: core, Namespace: namespace}, err
}

// apiError says what is wrong with the cluster, or with who asks it. An empty name is of
// all objects.
func apiError(err error, name string) error {
	var told apierrors.APIStatus
	switch {
	case err == nil, errors.Is(err, context.Canceled):
		return err
	case apierrors.IsNotFound(err) && errors.As(err, &told) && name != "" && told.Status().Details != nil && told.Status().Details.Name == name:
		return errorf("`muster policy status --cluster` lists them", "there is no Policy object %q in the cluster", name)
	case apierrors.IsNotFound(err):
		return errorf("install them with the chart, or by `kubectl apply --server-side -f deploy/crds`", "the cluster does not know Policy objects")
	case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err):
		return errorf("who may get, list, create, update and patch policies.muster.dev may do this, beside configmaps for `load`", "the cluster refuses it: %s", err)
	case apierrors.IsInvalid(err):
		return errorf("`kubectl explain policies.muster.dev.spec` tells what is allowed", "the cluster refuses it: %s", err)
	}
	return errorf("is the API server up, and --kubeconfig the right one?", "the cluster can't be asked: %s", err)
}

// List lists all Policy objects, by name.
func (c *Cluster) List(ctx context.Context) ([]api.Policy, error) {
	l, err := c.Objects.Resource(api.Policies).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, apiError(err, "")
	}
	out := make([]api.Policy, len(l.Items))
	for i := range l.Items {
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(l.Items[i].Object, &out[i]); err != nil {
			return nil, fmt.Errorf("the Policy object %s: %w", l.Items[i].GetName(), err)
		}
	}
	slices.SortFunc(out, func(a, b api.Policy) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

// Get reads one Policy object.
func (c *Cluster) Get(ctx context.Context, name string) (*api.Policy, error) {
	u, err := c.Objects.Resource(api.Policies).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, apiError(err, name)
	}
	p := &api.Policy{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, p); err != nil {
		return nil, fmt.Errorf("the Policy object %s: %w", name, err)
	}
	return p, nil
}

// Slot is the name by which queues find what a Policy object loads.
func Slot(p *api.Policy) string { return cmp.Or(string(p.Spec.Beside), p.Name) }

// Decides is the version that decides for the queues that name a Policy.
func Decides(p *api.Policy) api.PolicyVersion {
	s := &p.Status
	if s.Active != nil {
		return *s.Active
	}
	return api.PolicyVersion{Name: cmp.Or(s.PolicyName, p.Name), Version: s.Version, Digest: s.Digest}
}

// object finds the Policy object that an operation on what queues call name is asked of:
// the one of the name, or for a promotion the shadow beside it.
func (c *Cluster) object(ctx context.Context, op, name string) (*api.Policy, error) {
	if op != reload.OpPromote {
		return c.Get(ctx, name)
	}
	all, err := c.List(ctx)
	if err != nil {
		return nil, err
	}
	for i := range all {
		if p := &all[i]; p.Status.State == "Shadow" && (Slot(p) == name || p.Name == name) {
			return p, nil
		}
	}
	return nil, errorf("`muster policy load --shadow` loads one; `muster policy status --cluster` lists what there is", "there is no shadow beside %s", name)
}

// Ask asks the scheduler of a cluster for one operation on what queues call name, and
// waits for its answer: the Policy object before and after it.
func (c *Cluster) Ask(ctx context.Context, op, name string, wait time.Duration) (before, after *api.Policy, err error) {
	before, err = c.object(ctx, op, name)
	if err != nil {
		return nil, nil, err
	}
	if known := before.Status.ObservedGeneration == before.Generation; op == reload.OpRollback && known && before.Status.Standby == nil {
		return nil, nil, errorf("`muster policy status "+name+" --cluster` shows what there is", "there is no version of %s to go back to", name)
	}
	token := strings.ToLower(rand.Text())
	if err := policy.Ask(ctx, c.Objects, op, before.Name, token); err != nil {
		return nil, nil, apiError(err, before.Name)
	}
	noted := time.Time{}
	answered := func(p *api.Policy) bool {
		if p.Status.Requests[op] != token {
			return false
		}
		if noted.IsZero() {
			noted = time.Now()
		}
		return done(op, before, p, time.Since(noted))
	}
	after, err = c.await(ctx, before.Name, wait, answered)
	switch {
	case err != nil:
		return nil, nil, err
	case after == nil && noted.IsZero():
		return nil, nil, errorf("does one lead there, and without --policies, with which it follows that file instead? `muster doctor` looks", "no scheduler of the cluster has answered within %s", wait)
	case after == nil:
		return nil, nil, errorf("`muster policy status "+name+" --cluster` shows how far it is", "the scheduler has it, and it was not done within %s", wait)
	}
	return before, after, refused(after)
}

// What the status of an object says in words only.
const (
	onItsWay    = "on its way"
	lastRefused = "the last request was refused: "
)

// settles is how long after a request was noted its answer is surely in the status, also
// where that is the answer that was there before.
const settles = 2 * time.Second

// done says whether an object's status tells what came of a request that was noted so long
// ago: whenever it has changed, and in time if nothing was to change.
func done(op string, before, now *api.Policy, since time.Duration) bool {
	if strings.Contains(now.Status.Message, onItsWay) {
		return false
	}
	if fingerprint(before) != fingerprint(now) {
		return true
	}
	return since >= settles && (op == reload.OpReload || strings.Contains(now.Status.Message, lastRefused))
}

func fingerprint(p *api.Policy) string {
	d := Decides(p)
	text := fmt.Sprint(p.Status.State, d.Name, d.Version, d.Digest)
	if p.Status.Since != nil {
		text += p.Status.Since.String()
	}
	if _, why, ok := strings.Cut(p.Status.Message, lastRefused); ok {
		text += why
	}
	return text
}

// refused is why what was asked for was not done, nil if it was.
func refused(p *api.Policy) error {
	if _, why, ok := strings.Cut(p.Status.Message, lastRefused); ok {
		return errorf("`muster policy status "+p.Name+" --cluster` shows what there is", "the scheduler refused it: %s", why)
	}
	if p.Status.State == "Refused" {
		return errorf("`muster policy status "+p.Name+" --cluster` shows what decides instead", "the scheduler refused it: %s (%s)", p.Status.Message, p.Status.Code)
	}
	return nil
}

// await reads an object until ok; nil if that did not come in time.
func (c *Cluster) await(ctx context.Context, name string, wait time.Duration, ok func(*api.Policy) bool) (*api.Policy, error) {
	end := time.NewTimer(wait)
	defer end.Stop()
	tick := time.NewTicker(cmp.Or(c.Every, 100*time.Millisecond))
	defer tick.Stop()
	for {
		p, err := c.Get(ctx, name)
		if err != nil {
			return nil, err
		}
		if ok(p) {
			return p, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-end.C:
			return nil, nil
		case <-tick.C:
		}
	}
}
