package e2e_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/musterhq/muster/deploy"
	"github.com/musterhq/muster/runtime/kube/kubetest"
)

// auditPolicy records each request of Muster's account, without bodies.
const auditPolicy = `
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted]
rules:
  - level: Metadata
    users: ["system:serviceaccount:` + deploy.Namespace + ":" + deploy.Account + `"]
  - level: None
`

// auditedWorld is a world in which Muster may never ask for what it has no right to.
func auditedWorld(t testing.TB, o kubetest.Options) *world {
	t.Helper()
	dir := t.TempDir()
	policy, log := filepath.Join(dir, "policy.yaml"), filepath.Join(dir, "audit.log")
	must(t, os.WriteFile(policy, []byte(auditPolicy), 0o600))
	o.Flags = append(o.Flags, "kube-apiserver=--audit-policy-file="+policy, "kube-apiserver=--audit-log-path="+log)
	w := newWorld(t, o)
	t.Cleanup(func() {
		for _, request := range slices.Sorted(maps.Keys(requests(t, log)[403])) {
			t.Errorf("Muster has no right to %s: give it in deploy/helm/muster/templates/rbac.yaml, or don't ask", request)
		}
	})
	w.audit = log
	return w
}

// requests reads an audit log: what was asked for, by the status of the answer.
func requests(t testing.TB, file string) map[int]map[string]int {
	t.Helper()
	out := map[int]map[string]int{}
	log, err := os.Open(file)
	if os.IsNotExist(err) {
		return out
	}
	must(t, err)
	defer func() { _ = log.Close() }()
	lines := bufio.NewScanner(log)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var entry struct {
			Verb           string
			ObjectRef      struct{ APIGroup, Resource, Subresource, Namespace string }
			ResponseStatus struct{ Code int }
		}
		must(t, json.Unmarshal(lines.Bytes(), &entry))
		o := entry.ObjectRef
		what := fmt.Sprintf("%s %s", entry.Verb, strings.Trim(o.APIGroup+"/"+o.Resource+"/"+o.Subresource, "/"))
		if out[entry.ResponseStatus.Code] == nil {
			out[entry.ResponseStatus.Code] = map[string]int{}
		}
		out[entry.ResponseStatus.Code][what]++
	}
	must(t, lines.Err())
	return out
}
