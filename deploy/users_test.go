package deploy

import (
	"strings"
	"testing"
)

func TestTheChartProtectsUsersOnlyWhereItIsTold(t *testing.T) {
	if strings.Contains(mustRender(t), "own-user") {
		t.Error("it does so by default")
	}
	text := templates(mustRender(t, "users.protect=true", "users.trusted={system:serviceaccount:ray:operator}"))["own-user"]
	for _, want := range []string{
		"name: muster-own-user\n", "policyName: muster-own-user\n",
		`request.userInfo.username in ["system:kube-controller-manager","system:serviceaccount:ray:operator"]`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the policy lacks %q:\n%s", want, text)
		}
	}
	if _, err := render(t, "users.trusted=ray"); err == nil {
		t.Error("a name is taken for a list of names")
	}
}
