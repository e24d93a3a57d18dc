package auth_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/musterhq/muster/runtime/kube/auth"
	"github.com/musterhq/muster/runtime/kube/kubetest"
	"github.com/musterhq/muster/runtime/usage"
)

// TestTokensOfARealAPIServer are those that a kubelet would project into a probe, and
// others that look like them.
func TestTokensOfARealAPIServer(t *testing.T) {
	k := kubetest.Start(t, kubetest.Options{NoKwok: true})
	ctx, none := t.Context(), metav1.CreateOptions{}
	core := k.Client.CoreV1()
	_, err1 := core.Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "muster-system"}}, none)
	_, err2 := core.ServiceAccounts("muster-system").Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "muster-probe"}}, none)
	_, err3 := core.ServiceAccounts("muster-system").Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "other"}}, none)
	_, err4 := core.Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}, none)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		t.Fatal(err)
	}
	pod := func(account string) *authenticationv1.BoundObjectReference {
		p, err := core.Pods("muster-system").Create(ctx, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: "of-" + account},
			Spec: corev1.PodSpec{
				ServiceAccountName: account, NodeName: "n1", Containers: []corev1.Container{{Name: "c", Image: "i"}},
			},
		}, none)
		if err != nil {
			t.Fatal(err)
		}
		return &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: p.Name, UID: p.UID}
	}
	token := func(account string, to *authenticationv1.BoundObjectReference, audiences ...string) string {
		r, err := core.ServiceAccounts("muster-system").CreateToken(ctx, account, &authenticationv1.TokenRequest{
			Spec: authenticationv1.TokenRequestSpec{Audiences: audiences, BoundObjectRef: to},
		}, none)
		if err != nil {
			t.Fatal(err)
		}
		return r.Status.Token
	}
	probe := pod("muster-probe")
	good := token("muster-probe", probe, "muster")
	p := auth.Probes{API: k.Client, Namespace: "muster-system", Account: "muster-probe"}
	for name, bad := range map[string]string{
		"forged":                   good[:len(good)-8] + "AAAAAAAA",
		"for the API server":       token("muster-probe", probe),
		"of another pod":           token("other", pod("other"), "muster"),
		"of no node":               token("muster-probe", nil, "muster"),
		"something else by nature": strings.Repeat("x", 100),
	} {
		if node, err := p.Identify(ctx, bad); node != "" || !errors.Is(err, usage.ErrNobody) {
			t.Errorf("%s: it is %q's, %v", name, node, err)
		}
	}
	if node, err := p.Identify(ctx, good); node != "n1" || err != nil {
		t.Errorf("the probe's is %q's, %v", node, err)
	}
	// The API server forgets tokens of pods that are no more.
	if err := core.Pods("muster-system").Delete(ctx, probe.Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64)}); err != nil {
		t.Fatal(err)
	}
	kubetest.Eventually(t, func(context.Context) error {
		if _, err := p.Identify(ctx, good); !errors.Is(err, usage.ErrNobody) {
			return errors.New("the token of a pod that is gone is still good")
		}
		return nil
	})
}
