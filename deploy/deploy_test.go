package deploy

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the manifests anew")

const head = "# Made from the chart in deploy/helm/muster by: go generate ./deploy\n"

// files says which manifest holds the output of which templates.
var files = map[string][]string{
	"10-rbac.yaml":      {"serviceaccount", "rbac"},
	"20-queues.yaml":    {"queues"},
	"30-scheduler.yaml": {"deployment", "service", "pdb"},
	"40-probe.yaml":     {"probe-rbac", "probe"},
}

// copies are files that the chart needs and that are kept elsewhere: Helm takes none from
// outside of a chart.
func copies(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{"helm/muster/files/gpunode-own.yaml": "../gpuprobe/crd/admission.yaml"}
	alerts, err := filepath.Glob("alerts/*.rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range alerts {
		out[filepath.Join("helm/muster/files", f)] = f
	}
	return out
}

// same holds a file to what it should be, or writes it anew.
func same(t *testing.T, path, want string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(have), want); diff != "" {
		t.Errorf("%s is not what it is made from; run go generate ./deploy and look at it (-have +made):\n%s", path, diff)
	}
}

// helm runs the real helm of tools/helm. Its first build takes minutes.
func helm(t *testing.T, args ...string) (string, error) {
	t.Helper()
	home := t.TempDir()
	cmd := exec.Command("go", append([]string{"tool", "-modfile=../tools/helm/go.mod", "helm"}, args...)...)
	cmd.Env = append(os.Environ(), "HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home, "KUBECONFIG="+filepath.Join(home, "none"))
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("helm %s: %w: %s", strings.Join(args, " "), err, errs.Bytes())
	}
	return string(out), err
}

func render(t *testing.T, set ...string) (string, error) {
	t.Helper()
	args := []string{"template", Account, "helm/muster", "--namespace", Namespace}
	for _, s := range set {
		args = append(args, "--set", s)
	}
	return helm(t, args...)
}

func mustRender(t *testing.T, set ...string) string {
	t.Helper()
	out, err := render(t, set...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// helmOnly are the labels that say that Helm looks after an object.
var helmOnly = regexp.MustCompile(`(?m)^ *(app.kubernetes.io/managed-by|helm.sh/chart): .*\n`)

// templates splits what helm prints by the template that each document is from.
func templates(rendered string) map[string]string {
	out := map[string]string{}
	for doc := range strings.SplitSeq("\n"+rendered, "\n---\n# Source: muster/templates/") {
		source, text, ok := strings.Cut(doc, ".yaml\n")
		if ok {
			out[source] += "---\n" + strings.TrimSpace(helmOnly.ReplaceAllString(text, "")) + "\n"
		}
	}
	return out
}

func TestThePlainManifestsAreWhatTheChartRenders(t *testing.T) {
	for to, from := range copies(t) {
		text, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		same(t, to, string(text))
	}
	parts := templates(mustRender(t))
	for file, sources := range files {
		text := head
		for _, s := range sources {
			text += parts[s]
			delete(parts, s)
		}
		same(t, filepath.Join("manifests", file), text)
	}
	for source := range parts {
		t.Errorf("the chart renders %s.yaml, but no manifest takes it", source)
	}
}

func TestTheChartRefusesValuesThatMakeNoSense(t *testing.T) {
	for set, want := range map[string]string{
		"replicas=0":                         "/replicas",
		"schedulerNames={default-scheduler}": "/schedulerNames/0",
		"schedulerNames={}":                  "/schedulerNames",
		"schedulerNames={a,a}":               "/schedulerNames",
		"queues.source=file":                 "/queues/source",
		"imageTag=x":                         "imageTag",
		"leaderElection.leaseDuration=15":    "/leaderElection/leaseDuration",
		"service.port=0":                     "/service/port",
		"extraArgs={bind-qps}":               "/extraArgs/0",
		"queues.created.most=0":              "/queues/created/most",
		"queues.created.idle=10":             "/queues/created/idle",
		"probe.streamAge=never":              "/probe/streamAge",
		"probe.mode=ebpf":                    "/probe/mode",
		"probe.driverRoots={run/nvidia}":     "/probe/driverRoots/0",
		"probe.metricsPort=0":                "/probe/metricsPort",
		"probe.privileged=true":              "privileged",
		"probe.seccompProfile.type=None":     "/probe/seccompProfile/type",
	} {
		if _, err := render(t, set); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("--set %s: got %v, want an error about %s", set, err, want)
		}
	}
}

// object is what the tests read of a manifest.
type object struct {
	Kind     string
	Metadata struct{ Name, Namespace string }
	Rules    []struct {
		APIGroups     []string `yaml:"apiGroups"`
		Resources     []string
		ResourceNames []string `yaml:"resourceNames"`
		Verbs         []string
	}
	Spec struct {
		Replicas int
		Template struct {
			Spec struct {
				Containers []struct{ Args []string }
			}
		}
	}
}

func objects(t *testing.T, text string) []object {
	t.Helper()
	var out []object
	for doc := range strings.SplitSeq("\n"+text, "\n---\n") {
		var o object
		if err := yaml.Unmarshal([]byte(doc), &o); err != nil {
			t.Fatalf("%v in\n%s", err, doc)
		}
		if o.Kind != "" {
			out = append(out, o)
		}
	}
	return out
}

// grants says whether a set of objects gives a right, by whatever role.
func grants(all []object, group, resource, verb string) bool {
	for _, o := range all {
		for _, r := range o.Rules {
			if slices.Contains(r.APIGroups, group) && slices.Contains(r.Resources, resource) && slices.Contains(r.Verbs, verb) {
				return true
			}
		}
	}
	return false
}

func TestWhatValuesChange(t *testing.T) {
	args := func(all []object) string {
		for _, o := range all {
			if o.Kind == "Deployment" {
				return strings.Join(o.Spec.Template.Spec.Containers[0].Args, " ")
			}
		}
		return ""
	}
	kinds := func(all []object, kind string) (n int) {
		for _, o := range all {
			if o.Kind == kind {
				n++
			}
		}
		return n
	}
	for name, c := range map[string]struct {
		set  []string
		want func(all []object) bool
	}{
		"who respects budgets in any case may delete no pod": {[]string{"preemption.respectBudgets=true"}, func(all []object) bool {
			return !grants(all, "", "pods", "delete") && strings.Contains(args(all), "--respect-budgets")
		}},
		"a guarantee comes before a budget unless somebody says otherwise": {nil, func(all []object) bool {
			return grants(all, "", "pods", "delete") && !strings.Contains(args(all), "--respect-budgets")
		}},
		"a certificate is mounted and served with": {[]string{"tls.secretName=cert"}, func(all []object) bool {
			return strings.Contains(args(all), "--tls-cert=/etc/muster/tls/tls.crt --tls-key=/etc/muster/tls/tls.key")
		}},
		"the aliases reach the flag": {[]string{"schedulerNames={muster,yunikorn}"}, func(all []object) bool {
			return strings.Contains(args(all), "--scheduler-names=muster,yunikorn")
		}},
		"queues of another namespace may be read, and nothing else there": {
			[]string{"queues.configMap.namespace=yunikorn", "queues.configMap.name=yunikorn-configs", "queues.configMap.create=false"},
			func(all []object) bool {
				for _, o := range all {
					if o.Kind == "Role" && o.Metadata.Namespace == "yunikorn" {
						return len(o.Rules) == 1 && slices.Equal(o.Rules[0].ResourceNames, []string{"yunikorn-configs"}) &&
							kinds(all, "ConfigMap") == 0 && strings.Contains(args(all), "--queues=configmap:yunikorn/yunikorn-configs")
					}
				}
				return false
			},
		},
		"queues as objects need no ConfigMap": {[]string{"queues.source=crd"}, func(all []object) bool {
			return kinds(all, "ConfigMap") == 0 && strings.Contains(args(all), "--queues=crd")
		}},
		"bounds of what rules create": {[]string{"queues.created.most=2000000", "queues.created.idle=1h"}, func(all []object) bool {
			return strings.Contains(args(all), "--max-created-queues=2000000 --created-queue-idle=1h ")
		}},
		"the age of a probe's stream": {[]string{"probe.streamAge=0s"}, func(all []object) bool {
			return strings.Contains(args(all), " --probe-stream-age=0s ")
		}},
		"a monitor is made when asked for": {[]string{"metrics.serviceMonitor.enabled=true"}, func(all []object) bool {
			return kinds(all, "ServiceMonitor") == 1
		}},
		"rights can be managed elsewhere": {[]string{"rbac.create=false"}, func(all []object) bool {
			return kinds(all, "ClusterRole")+kinds(all, "Role")+kinds(all, "RoleBinding")+kinds(all, "ClusterRoleBinding") == 0
		}},
		"more flags come last": {[]string{"extraArgs={--bind-qps=5}"}, func(all []object) bool {
			return strings.HasSuffix(args(all), "--bind-qps=5")
		}},
	} {
		out := mustRender(t, c.set...)
		if !c.want(objects(t, out)) {
			t.Errorf("%s: it does not hold in\n%s", name, out)
		}
	}
}

func TestNoRightIsGivenForEverything(t *testing.T) {
	for _, o := range objects(t, string(Manifests())) {
		for _, r := range o.Rules {
			if slices.Contains(slices.Concat(r.APIGroups, r.Resources, r.Verbs), "*") {
				t.Errorf("%s %s has a star: %v", o.Kind, o.Metadata.Name, r)
			}
		}
	}
	for _, right := range [][3]string{{"", "secrets", "get"}, {"", "pods", "create"}, {"", "pods", "update"}, {"", "nodes", "patch"}, {"", "pods/exec", "create"}} {
		if grants(objects(t, string(RBAC())), right[0], right[1], right[2]) {
			t.Errorf("a scheduler needs no right to %s %s", right[2], right[1])
		}
	}
}

func TestTheChartIsInOrder(t *testing.T) {
	if out, err := helm(t, "lint", "helm/muster", "--strict"); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	// helm template leaves the notes out, a dry run on the client prints them.
	out, err := helm(t, "install", Account, "helm/muster", "--namespace", Namespace, "--dry-run=client", "--set", "schedulerNames={muster,yunikorn}")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out, "make sure that yunikorn itself no longer runs") {
		t.Errorf("the notes do not warn of two schedulers of one name:\n%s", out)
	}
}
