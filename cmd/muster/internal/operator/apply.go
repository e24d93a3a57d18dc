package operator

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/util/retry"

	api "github.com/musterhq/muster/runtime/kube/api/v1alpha1"
	"github.com/musterhq/muster/runtime/reload/source"
	"github.com/musterhq/muster/runtime/reload/trust"
	"github.com/musterhq/muster/runtime/reload/wanted"
)

// maxConfigMap is how many bytes a ConfigMap holds, with room for its own fields.
const maxConfigMap = 1<<20 - 4<<10

// ConfigMaps of ours have this label, and say in the annotation whose they are.
const managedBy, manager, ofPolicy = "app.kubernetes.io/managed-by", "muster-policy-load", "muster.dev/policy"

// Put has a cluster load a policy: it writes the Policy object of its name, and before that
// a ConfigMap if that is where it comes from. Each content has a ConfigMap of its own: the
// object changes at once to the new one and to what is said of it. What the object says
// that a load does not (kinds, limits, labels) stays. It returns the object as it was, nil
// if there was none, and as it is.
func (c *Cluster) Put(ctx context.Context, s wanted.Spec, a *source.Artifact) (before, after *api.Policy, err error) {
	if problems := validation.IsDNS1123Subdomain(s.Name); len(problems) > 0 {
		return nil, nil, errorf("--name NAME of lower case letters, digits, - and ., which queues and Kubernetes both take", "%q can't be the name of a Policy object", s.Name)
	}
	from, data, err := c.sourceOf(s, a)
	if err != nil {
		return nil, nil, err
	}
	if data != nil {
		if err := c.keep(ctx, from.ConfigMap.Name, s.Name, data); err != nil {
			return nil, nil, err
		}
	}
	err = retry.RetryOnConflict(retry.DefaultRetry, func() error {
		before, after, err = c.write(ctx, s, from)
		return err
	})
	if err == nil {
		c.tidy(ctx, before, after)
	}
	return before, after, apiError(err, s.Name)
}

// sourceOf is where the cluster finds a policy, and what is to be put there.
func (c *Cluster) sourceOf(s wanted.Spec, a *source.Artifact) (from api.PolicySource, data map[string][]byte, err error) {
	switch s.Source.Kind {
	case wanted.FromOCI:
		from.OCI = &api.OCISource{Reference: s.Source.At, PlainHTTP: s.Source.PlainHTTP}
		return from, nil, nil
	case wanted.FromLayout:
		return from, nil, errorf("`muster policy push` it to a registry and load oci:HOST/REPOSITORY:TAG, or load the module itself", "a layout is a folder of this machine, which the cluster can't read")
	}
	key := ""
	switch {
	case a.Module != nil:
		key = s.Name + ".wasm.gz"
		packed, err := pack(a.Module)
		if err != nil {
			return from, nil, err
		}
		data = map[string][]byte{key: packed}
	case a.Bundle != nil:
		key = s.Name + ".tar.gz"
		data = map[string][]byte{key: a.Bundle}
	default:
		if data, err = flat(a.Files); err != nil {
			return from, nil, err
		}
	}
	if key != "" && len(a.Signatures) > 0 {
		text, err := trust.EncodeFile(a.Signed, a.Signatures)
		if err != nil {
			return from, nil, err
		}
		data[strings.TrimSuffix(key, ".gz")+trust.Extension] = text
	}
	size, sum := 0, sha256.New()
	for _, k := range slices.Sorted(maps.Keys(data)) {
		size += len(k) + len(data[k])
		fmt.Fprintf(sum, "%d %s %d ", len(k), k, len(data[k]))
		sum.Write(data[k])
	}
	if size > maxConfigMap {
		return from, nil, errorf("`muster policy push` it to a registry and load oci:HOST/REPOSITORY:TAG", "packed it has %d KiB, and a ConfigMap holds 1,024", size>>10)
	}
	from.ConfigMap = &api.ConfigMapSource{Name: fmt.Sprintf("policy-%s-%x", s.Name, sum.Sum(nil)[:4]), Key: key}
	return from, data, nil
}

func pack(module []byte) ([]byte, error) {
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	_, err = z.Write(module)
	err = errors.Join(err, z.Close())
	return b.Bytes(), err
}

// flat are the files of a folder of rules as the keys of a ConfigMap, which know no folders.
func flat(files map[string][]byte) (map[string][]byte, error) {
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if problems := validation.IsConfigMapKey(name); len(problems) > 0 {
			return nil, errorf("make a bundle of the rules (`tar -czf rules.tar.gz -C DIR .`) and load that", "%s can't be a key of a ConfigMap", name)
		}
	}
	return maps.Clone(files), nil
}

// keep makes a ConfigMap of ours. One that is there has what it should: its name says so.
func (c *Cluster) keep(ctx context.Context, name, policy string, data map[string][]byte) error {
	all := c.Core.CoreV1().ConfigMaps(c.Namespace)
	yes := true
	_, err := all.Create(ctx, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: c.Namespace, Name: name, Labels: map[string]string{managedBy: manager}, Annotations: map[string]string{ofPolicy: policy}},
		BinaryData: data, Immutable: &yes,
	}, metav1.CreateOptions{})
	switch {
	case apierrors.IsAlreadyExists(err):
		there, err := all.Get(ctx, name, metav1.GetOptions{})
		if err == nil && there.Labels[managedBy] != manager {
			return errorf("remove it, or load under another --name", "the ConfigMap %s/%s is somebody else's: it has no label %s=%s", c.Namespace, name, managedBy, manager)
		}
		return apiError(err, name)
	case apierrors.IsNotFound(err):
		return errorf("--namespace names that of the scheduler", "there is no namespace %s", c.Namespace)
	}
	return apiError(err, name)
}

// tidy removes the ConfigMaps that earlier loads of a policy have made, but the last one,
// and has the others go with their Policy object. What it can't do is left: it takes room
// and nothing else.
func (c *Cluster) tidy(ctx context.Context, before, after *api.Policy) {
	all := c.Core.CoreV1().ConfigMaps(c.Namespace)
	list, err := all.List(ctx, metav1.ListOptions{LabelSelector: managedBy + "=" + manager})
	if err != nil {
		return
	}
	named := func(p *api.Policy, name string) bool {
		return p != nil && p.Spec.Source.ConfigMap != nil && p.Spec.Source.ConfigMap.Name == name
	}
	for i := range list.Items {
		switch m := &list.Items[i]; {
		case m.Annotations[ofPolicy] != after.Name:
		case !named(before, m.Name) && !named(after, m.Name):
			_ = all.Delete(ctx, m.Name, metav1.DeleteOptions{}) // see above
		case len(m.OwnerReferences) != 1 || m.OwnerReferences[0].UID != after.UID:
			m.OwnerReferences = []metav1.OwnerReference{{APIVersion: api.GroupVersion.String(), Kind: api.PolicyKind.Kind, Name: after.Name, UID: after.UID}}
			_, _ = all.Update(ctx, m, metav1.UpdateOptions{}) // see above
		}
	}
}

// write makes or changes the object itself.
func (c *Cluster) write(ctx context.Context, s wanted.Spec, from api.PolicySource) (before, after *api.Policy, err error) {
	objects := c.Objects.Resource(api.Policies)
	next := &api.Policy{ObjectMeta: metav1.ObjectMeta{Name: s.Name}}
	u, err := objects.Get(ctx, s.Name, metav1.GetOptions{})
	switch {
	case err == nil:
		before = &api.Policy{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, before); err != nil {
			return nil, nil, err
		}
		next = before.DeepCopy()
	case !apierrors.IsNotFound(err):
		return nil, nil, err
	}
	if err := fill(&next.Spec, s, from); err != nil {
		return nil, nil, err
	}
	next.SetGroupVersionKind(api.PolicyKind)
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(next)
	if err != nil {
		return nil, nil, err
	}
	if u = (&unstructured.Unstructured{Object: fields}); before == nil {
		u, err = objects.Create(ctx, u, metav1.CreateOptions{})
	} else {
		u, err = objects.Update(ctx, u, metav1.UpdateOptions{})
	}
	if err != nil {
		return nil, nil, err
	}
	after = &api.Policy{}
	return before, after, runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, after)
}

// fill writes into an object's spec what a load says.
func fill(p *api.PolicySpec, s wanted.Spec, from api.PolicySource) error {
	p.Source, p.Digest, p.SignedBy, p.Mode, p.Beside = from, s.Digest, s.SignedBy, cmp.Or(s.Mode, wanted.Active), api.PolicyName(s.Beside)
	if p.Signatures > int32(len(p.SignedBy)) {
		p.Signatures = 0
	}
	p.ShadowFor = ""
	if s.ShadowFor > 0 {
		p.ShadowFor = api.Duration(s.ShadowFor.String())
	}
	p.Params = nil
	for name, v := range s.Params {
		raw, err := json.Marshal(v)
		if err != nil {
			return fmt.Errorf("param %s: %w", name, err)
		}
		if p.Params == nil {
			p.Params = map[string]apiextensionsv1.JSON{}
		}
		p.Params[name] = apiextensionsv1.JSON{Raw: raw}
	}
	return nil
}

// AwaitLoad waits until the scheduler has taken the policy of that digest as an object
// asks for it since Put, or has refused it.
func (c *Cluster) AwaitLoad(ctx context.Context, before, p *api.Policy, digest string, wait time.Duration) (*api.Policy, error) {
	was := ""
	if before != nil && before.Generation == p.Generation { // only the ConfigMap changed
		was = fingerprint(before)
	}
	var last *api.Policy
	out, err := c.await(ctx, p.Name, wait, func(now *api.Policy) bool {
		last = now
		s := &now.Status
		if s.ObservedGeneration < p.Generation || strings.Contains(s.Message, onItsWay) {
			return false
		}
		return s.State == "Refused" && fingerprint(now) != was || s.Digest == digest && s.State != "Refused"
	})
	if err != nil {
		return nil, err
	}
	if out == nil {
		if err := refused(last); err != nil {
			return nil, err
		}
		return nil, errorf("does one lead there, and without --policies, with which it follows that file instead? `muster doctor` looks", "no scheduler of the cluster has taken it within %s", wait)
	}
	return out, refused(out)
}
