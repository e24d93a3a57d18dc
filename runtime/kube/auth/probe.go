package auth

import (
	"context"
	"errors"
	"fmt"
	"slices"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/musterhq/muster/runtime/usage"
)

// ProbeAudience is what tokens of probes are for: one for the API server, stolen from a
// pod, is of no use here, and the other way round.
const ProbeAudience = "muster"

// nodeClaim is where a TokenReview names the node of the pod that a token was made for:
// the kubelet asks for tokens of its own pods only (Kubernetes 1.30, KEP-4193).
const nodeClaim = "authentication.kubernetes.io/node-name"

// Probes identifies nodes by the tokens of their probes.
type Probes struct {
	API kubernetes.Interface
	// Namespace and Account are the probes' ServiceAccount: any pod can have a token of
	// its own for any audience, and must not speak for its node with it.
	Namespace, Account string
}

var _ usage.Identify = Probes{}.Identify

// Identify says which node the probe runs on that a token was given to. Nothing is
// remembered: it is asked once a stream.
func (p Probes) Identify(ctx context.Context, token string) (node string, err error) {
	r, err := p.API.AuthenticationV1().TokenReviews().Create(ctx, &authenticationv1.TokenReview{
		Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: []string{ProbeAudience}},
	}, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("review of the token: %w", err)
	}
	return p.nodeOf(&r.Status)
}

func (p Probes) nodeOf(s *authenticationv1.TokenReviewStatus) (string, error) {
	account := fmt.Sprintf("system:serviceaccount:%s:%s", p.Namespace, p.Account)
	nodes := s.User.Extra[nodeClaim]
	switch {
	case !s.Authenticated:
		return "", nobody("the API server does not know it: %s", s.Error)
	case !slices.Contains(s.Audiences, ProbeAudience):
		return "", nobody("it is for %q, not for %s", s.Audiences, ProbeAudience)
	case s.User.Username != account:
		return "", nobody("it is of %s; probes have %s", s.User.Username, account)
	case len(nodes) != 1 || nodes[0] == "":
		return "", nobody("it is bound to no node: probes need tokens that the kubelet projects, and Kubernetes 1.30 or later")
	}
	return nodes[0], nil
}

func nobody(format string, args ...any) error {
	return errors.Join(usage.ErrNobody, fmt.Errorf(format, args...))
}
