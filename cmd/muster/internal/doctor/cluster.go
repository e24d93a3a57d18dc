package doctor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/musterhq/muster/deploy"
)

// Installation says how Muster was installed.
type Installation struct {
	Namespace, Account, Lease string
	// Queues is where the queues are, as the scheduler's --queues has it; "" is what its pods say.
	Queues string
}

// Clock compares the API server's clock with ours.
func Clock(ctx context.Context, config *rest.Config, now func() time.Time) (Check, error) {
	c, err := rest.HTTPClientFor(config)
	if err != nil {
		return Check{}, err
	}
	defer c.CloseIdleConnections()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(config.Host, "/")+"/version", nil)
	if err != nil {
		return Check{}, err
	}
	before := now()
	answer, err := c.Do(r)
	if err != nil {
		if ctx.Err() != nil {
			return Check{}, ctx.Err()
		}
		return fail("cluster", "is the API server up, and the kubeconfig the right one? --kubeconfig names another", "the API server does not answer: %v", err), nil
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, 1<<16)) // only its time counts
	if err := answer.Body.Close(); err != nil {
		return Check{}, err
	}
	told, _ := http.ParseTime(answer.Header.Get("Date")) // zero if it does not tell
	return clock("cluster", "the API server", told, before, now()), nil
}

// Cluster asks an API server whether it has what Muster needs.
func Cluster(ctx context.Context, api kubernetes.Interface, in Installation, now func() time.Time) ([]Check, error) {
	checks := []Check{crds(api), lease(ctx, api, in, now), queues(ctx, api, in), images(ctx, api, in)}
	rights, err := rights(ctx, api, in)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return append(checks, rights), err
}

const (
	ourGroup = "muster.dev/v1alpha1"
	chart    = "install them from the chart, or `kubectl apply -f deploy/crds`"
)

// crds looks for our own kinds. The scheduler runs without them: queues can be a
// ConfigMap, policies a file.
func crds(api kubernetes.Interface) Check {
	there, err := api.Discovery().ServerResourcesForGroupVersion(ourGroup)
	if err != nil && !apierrors.IsNotFound(err) {
		return skip("crds", "may you read /apis?", "the kinds of %s can't be listed: %v", ourGroup, err)
	}
	missing := []string{"gpunodes", "policies", "queues"}
	if there != nil {
		have := map[string]bool{}
		for _, r := range there.APIResources {
			have[r.Name] = true
		}
		var gone []string
		for _, name := range missing {
			if !have[name] {
				gone = append(gone, name)
			}
		}
		missing = gone
	}
	if len(missing) > 0 {
		return warn("crds", chart, "the cluster has no %s of %s", strings.Join(missing, ", "), ourGroup)
	}
	return ok("crds", "queues, policies and gpunodes are there")
}

// lease looks at who leads, as the API server knows it.
func lease(ctx context.Context, api kubernetes.Interface, in Installation, now func() time.Time) Check {
	l, err := api.CoordinationV1().Leases(in.Namespace).Get(ctx, in.Lease, metav1.GetOptions{})
	name := in.Namespace + "/" + in.Lease
	switch {
	case apierrors.IsNotFound(err):
		return fail("lease", "is the scheduler installed elsewhere? --namespace and --lease-name say where; with --leader-elect=false there is none", "there is no lease %s: no scheduler leads", name)
	case err != nil:
		return skip("lease", "may you get leases there?", "the lease %s can't be read: %v", name, err)
	}
	if l.Spec.HolderIdentity == nil || *l.Spec.HolderIdentity == "" || l.Spec.RenewTime == nil || l.Spec.LeaseDurationSeconds == nil {
		return fail("lease", "look at the scheduler's pods", "nobody holds the lease %s", name)
	}
	if age := now().Sub(l.Spec.RenewTime.Time); age > time.Duration(*l.Spec.LeaseDurationSeconds)*time.Second {
		return fail("lease", "look at the scheduler's pods", "%s holds the lease %s, and has not renewed it for %s", *l.Spec.HolderIdentity, name, age.Round(time.Second))
	}
	return ok("lease", "%s holds the lease %s", *l.Spec.HolderIdentity, name)
}

// right is one thing that the scheduler's account must be allowed.
type right struct{ group, resource, sub, verb, namespace string }

func (r right) String() string {
	name := r.resource
	if r.sub != "" {
		name += "/" + r.sub
	}
	if r.group != "" {
		name += "." + r.group
	}
	return r.verb + " " + name
}

// needed are the rights of the manifests, with which the tests on a real API server run.
func needed(namespace string) ([]right, error) {
	var out []right
	d := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(deploy.RBAC()), 4096)
	for {
		var role rbacv1.ClusterRole // a Role has the same fields that count here
		if err := d.Decode(&role); errors.Is(err, io.EOF) {
			return out, nil
		} else if err != nil {
			return nil, fmt.Errorf("the manifests of the rights: %w", err)
		}
		in := map[string]string{"ClusterRole": "", "Role": namespace}
		where, counts := in[role.Kind]
		if !counts || role.Name != deploy.Account {
			continue
		}
		for _, rule := range role.Rules {
			out = append(out, rightsOf(rule, where)...)
		}
	}
}

func rightsOf(rule rbacv1.PolicyRule, namespace string) (out []right) {
	for _, group := range rule.APIGroups {
		for _, resource := range rule.Resources {
			resource, sub, _ := strings.Cut(resource, "/")
			for _, verb := range rule.Verbs {
				out = append(out, right{group, resource, sub, verb, namespace})
			}
		}
	}
	return out
}

// optional are rights that an installation may be without on purpose.
var optional = map[string]string{
	"delete pods": "preemption.respectBudgets leaves it out",
}

// rights asks whether the scheduler's account may do what it has to.
func rights(ctx context.Context, api kubernetes.Interface, in Installation) (Check, error) {
	list, err := needed(in.Namespace)
	if err != nil {
		return Check{}, err
	}
	account := "system:serviceaccount:" + in.Namespace + ":" + in.Account
	var missing []string
	for _, r := range list {
		review, err := api.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
			User: account, Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + in.Namespace, "system:authenticated"},
			ResourceAttributes: &authorizationv1.ResourceAttributes{Group: r.group, Resource: r.resource, Subresource: r.sub, Verb: r.verb, Namespace: r.namespace},
		}}, metav1.CreateOptions{})
		if err != nil {
			return skip("rights", "it needs the right to create subjectaccessreviews, as cluster admins have it", "what %s may do can't be asked: %v", account, err), nil
		}
		if _, may := optional[r.String()]; !review.Status.Allowed && !may {
			missing = append(missing, r.String())
		}
	}
	if len(missing) > 0 {
		return fail("rights", "apply the chart's RBAC anew; --namespace and --account name another account", "%s may not %s", account, some(missing)).with(missing), nil
	}
	return ok("rights", "%s may do all %d things that it has to", account, len(list)), nil
}
