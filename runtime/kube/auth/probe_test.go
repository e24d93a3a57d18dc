package auth

import (
	"errors"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/musterhq/muster/runtime/usage"
)

func TestOnlyAProbeSpeaksForItsNode(t *testing.T) {
	const account = "system:serviceaccount:muster-system:muster-probe"
	yes := func(user string, audiences []string, nodes ...string) authenticationv1.TokenReviewStatus {
		return authenticationv1.TokenReviewStatus{Authenticated: true, Audiences: audiences, User: authenticationv1.UserInfo{
			Username: user, Extra: map[string]authenticationv1.ExtraValue{"authentication.kubernetes.io/node-name": nodes},
		}}
	}
	ours := []string{"muster"}
	for name, test := range map[string]struct {
		status authenticationv1.TokenReviewStatus
		err    error
		node   string
		nobody string // what is told
	}{
		"the API server is away":          {err: errors.New("no route")},
		"a token that it does not know":   {status: authenticationv1.TokenReviewStatus{Error: "expired"}, nobody: "expired"},
		"a token for the API server":      {status: yes(account, []string{"https://kubernetes.default.svc"}, "n1"), nobody: "not for muster"},
		"an API server without audiences": {status: yes(account, nil, "n1"), nobody: "not for muster"},
		"another account's on that node":  {status: yes("system:serviceaccount:team:default", ours, "n1"), nobody: "of system:serviceaccount:team:default"},
		"the same name elsewhere":         {status: yes("system:serviceaccount:team:muster-probe", ours, "n1"), nobody: "probes have " + account},
		"a person":                        {status: yes("ann", ours, "n1"), nobody: "of ann"},
		"one made by hand":                {status: yes(account, ours), nobody: "bound to no node"},
		"one of two nodes":                {status: yes(account, ours, "n1", "n2"), nobody: "bound to no node"},
		"one of a node without a name":    {status: yes(account, ours, ""), nobody: "bound to no node"},
		"a probe":                         {status: yes(account, ours, "n1"), node: "n1"},
	} {
		t.Run(name, func(t *testing.T) {
			api := &fake.Clientset{}
			asked := 0
			api.AddReactor("create", "tokenreviews", func(act clienttesting.Action) (bool, runtime.Object, error) {
				asked++
				r := act.(clienttesting.CreateAction).GetObject().(*authenticationv1.TokenReview)
				if r.Spec.Token != "token" || len(r.Spec.Audiences) != 1 || r.Spec.Audiences[0] != "muster" {
					t.Errorf("asked %+v", r.Spec)
				}
				r.Status = test.status
				return true, r, test.err
			})
			node, err := Probes{API: api, Namespace: "muster-system", Account: "muster-probe"}.Identify(t.Context(), "token")
			if node != test.node || asked != 1 {
				t.Errorf("it is %q, asked %d times", node, asked)
			}
			switch is := errors.Is(err, usage.ErrNobody); {
			case test.nobody != "" && (!is || !strings.Contains(err.Error(), test.nobody)):
				t.Errorf("%v, want nobody: %s", err, test.nobody)
			case test.err != nil && (is || !errors.Is(err, test.err)):
				t.Errorf("%v: an API server that is away knows nothing about the token", err)
			case test.node != "" && err != nil:
				t.Error(err)
			}
		})
	}
}
