package cluster

import (
	"context"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

// API is what a simulation asks of a cluster.
type API interface {
	Nodes(ctx context.Context) (*corev1.NodeList, error)
	// Pods are those that have a node.
	Pods() cache.ListerWatcher
	Token(ctx context.Context, account types.NamespacedName, r *authenticationv1.TokenRequest) (*authenticationv1.TokenRequest, error)
}

// Connect returns the API of a cluster. It knows the types that it needs and no others:
// client-go's set of all types would make the agent's binary, which this is a part of,
// twice as big, and with it what the agent takes of a node's memory.
func Connect(config *rest.Config) (API, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, authenticationv1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	c := rest.CopyConfig(config)
	c.APIPath, c.GroupVersion = "/api", &corev1.SchemeGroupVersion
	c.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	c.ContentType = runtime.ContentTypeProtobuf
	client, err := rest.RESTClientFor(c)
	if err != nil {
		return nil, err
	}
	return &core{client}, nil
}

// core is the API group of pods and nodes.
type core struct{ client rest.Interface }

func (c *core) Nodes(ctx context.Context) (*corev1.NodeList, error) {
	out := &corev1.NodeList{}
	return out, c.client.Get().Resource("nodes").Do(ctx).Into(out)
}

func (c *core) Pods() cache.ListerWatcher {
	return cache.NewListWatchFromClient(c.client, "pods", "", fields.OneTermNotEqualSelector("spec.nodeName", ""))
}

func (c *core) Token(ctx context.Context, account types.NamespacedName, r *authenticationv1.TokenRequest) (*authenticationv1.TokenRequest, error) {
	out := &authenticationv1.TokenRequest{}
	return out, c.client.Post().Namespace(account.Namespace).Resource("serviceaccounts").Name(account.Name).SubResource("token").Body(r).Do(ctx).Into(out)
}
