package e2e_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/musterhq/muster/runtime/kube/e2e/load"
	"github.com/musterhq/muster/runtime/kube/kubetest"
)

// developers may make what they like in the namespace team.
const developers = `
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: developer, namespace: team}
rules:
  - {apiGroups: ["", apps, batch], resources: ["*"], verbs: ["*"]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: developer, namespace: team}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: developer}
subjects:
  - {kind: ServiceAccount, name: dev, namespace: team}
  - {kind: ServiceAccount, name: operator, namespace: team}
`

// TestNobodyWritesAnotherUserThanThemselves holds the policy own-user of the chart to an
// API server.
func TestNobodyWritesAnotherUserThanThemselves(t *testing.T) {
	t.Parallel() // it waits most of the time
	w := newWorld(t, kubetest.Options{NoKwok: true})
	policy, err := os.ReadFile("../../../deploy/helm/muster/files/own-user.yaml")
	must(t, err)
	w.namespace("team")
	w.apply([]byte(developers))
	w.apply([]byte(strings.Replace(string(policy), `["system:kube-controller-manager"]`, `["system:serviceaccount:team:operator"]`, 1)))
	dev, err := kubernetes.NewForConfig(w.ConfigFor("team/dev"))
	must(t, err)
	operator, err := kubernetes.NewForConfig(w.ConfigFor("team/operator"))
	must(t, err)

	const me = "system:serviceaccount:team:dev"
	n := 0
	pod := func(info string) *corev1.Pod {
		n++
		p := load.Shape{Namespace: "team", CPU: "1"}.Pod(fmt.Sprintf("pod-%d", n))
		if info != "" {
			p.Annotations = map[string]string{"yunikorn.apache.org/user.info": info}
		}
		return p
	}
	create := func(c kubernetes.Interface, p *corev1.Pod) error {
		_, err := c.CoreV1().Pods("team").Create(t.Context(), p, metav1.CreateOptions{})
		return err
	}
	kubetest.Eventually(t, func(context.Context) error { // the API server hears of the policy after a while
		if err := create(dev, pod(`{"user":"ada"}`)); !apierrors.IsForbidden(err) {
			return fmt.Errorf("another user is taken: %w", err)
		}
		return nil
	})
	for _, c := range []struct {
		info    string
		allowed bool
	}{
		{"", true},
		{`{"user":"` + me + `"}`, true},
		{`{"user":"` + me + `","groups":[]}`, true},
		{`{"user":"` + me + `","groups":["system:authenticated"]}`, true},
		{`{"user": "` + me + `", "groups": ["system:authenticated", "system:serviceaccounts:team"]}`, true},
		{`{"user":"` + me + `","groups":["system:masters"]}`, false},
		{`{"user":"` + me + `","groups":["system:authenticated","ml"]}`, false},
		{`{"user":"` + me + `","user":"ada"}`, false},
		{`{"user":"` + me + `","groups":["system:authenticated"],"user":"ada"}`, false},
		{`{"user":"` + me + `","groups":["system:authenticated"],"x":["system:authenticated"]}`, false},
		{`{"User":"ada"}`, false},
		{` {"user":"ada"}`, false},
		{`{"groups":["system:authenticated"]}`, false},
		{`ada`, false},
	} {
		if err := create(dev, pod(c.info)); (err == nil) != c.allowed || err != nil && !apierrors.IsForbidden(err) {
			t.Errorf("%s: allowed is to be %v, got %v", c.info, c.allowed, err)
		}
	}
	must(t, create(operator, pod(`{"user":"ada"}`)))
	must(t, create(w.Client, pod(`{"user":"ada","groups":["ml"]}`)))

	labelled := pod("")
	labelled.Labels = map[string]string{"yunikorn.apache.org/username": "ada"}
	if err := create(dev, labelled); !apierrors.IsForbidden(err) {
		t.Errorf("the label of another user: %v", err)
	}
	template := corev1.PodTemplateSpec{ObjectMeta: pod(`{"user":"ada"}`).ObjectMeta, Spec: pod("").Spec}
	template.Labels = map[string]string{"app": "x"}
	template.Spec.RestartPolicy = corev1.RestartPolicyNever
	job := batchv1.JobSpec{Template: template}
	_, err = dev.BatchV1().Jobs("team").Create(t.Context(), &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "x"}, Spec: job}, metav1.CreateOptions{})
	if !apierrors.IsForbidden(err) {
		t.Errorf("a Job of another user: %v", err)
	}
	_, err = dev.BatchV1().CronJobs("team").Create(t.Context(), &batchv1.CronJob{ObjectMeta: metav1.ObjectMeta{Name: "x"}, Spec: batchv1.CronJobSpec{
		Schedule: "0 0 * * *", JobTemplate: batchv1.JobTemplateSpec{Spec: job},
	}}, metav1.CreateOptions{})
	if !apierrors.IsForbidden(err) {
		t.Errorf("a CronJob of another user: %v", err)
	}
	template.Spec.RestartPolicy = corev1.RestartPolicyAlways
	_, err = dev.AppsV1().Deployments("team").Create(t.Context(), &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "x"}, Spec: appsv1.DeploymentSpec{
		Selector: &metav1.LabelSelector{MatchLabels: template.Labels}, Template: template,
	}}, metav1.CreateOptions{})
	if !apierrors.IsForbidden(err) {
		t.Errorf("a Deployment of another user: %v", err)
	}
	admins, err := w.Client.AppsV1().Deployments("team").Create(t.Context(), &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "y"}, Spec: appsv1.DeploymentSpec{
		Selector: &metav1.LabelSelector{MatchLabels: template.Labels}, Template: template,
	}}, metav1.CreateOptions{})
	must(t, err)
	admins.Spec.Template.Labels["more"] = "x"
	if admins, err = dev.AppsV1().Deployments("team").Update(t.Context(), admins, metav1.UpdateOptions{}); err != nil {
		t.Errorf("a change that leaves the user as it is: %v", err)
		return
	}
	admins.Spec.Template.Annotations["yunikorn.apache.org/user.info"] = `{"user":"bob"}`
	if _, err = dev.AppsV1().Deployments("team").Update(t.Context(), admins, metav1.UpdateOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("a change of the user: %v", err)
	}
}
