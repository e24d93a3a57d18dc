package deploy

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
)

// podSpec is what the tests read of a pod template.
type podSpec struct {
	HostPID                      bool              `yaml:"hostPID"`
	HostNetwork                  bool              `yaml:"hostNetwork"`
	HostIPC                      bool              `yaml:"hostIPC"`
	ServiceAccountName           string            `yaml:"serviceAccountName"`
	AutomountServiceAccountToken *bool             `yaml:"automountServiceAccountToken"`
	RuntimeClassName             string            `yaml:"runtimeClassName"`
	NodeSelector                 map[string]string `yaml:"nodeSelector"`
	SecurityContext              struct {
		RunAsNonRoot   bool                  `yaml:"runAsNonRoot"`
		SeccompProfile struct{ Type string } `yaml:"seccompProfile"`
	} `yaml:"securityContext"`
	Containers []struct {
		Command, Args   []string
		SecurityContext struct {
			Privileged               bool
			AllowPrivilegeEscalation *bool `yaml:"allowPrivilegeEscalation"`
			ReadOnlyRootFilesystem   bool  `yaml:"readOnlyRootFilesystem"`
			Capabilities             struct{ Drop, Add []string }
		} `yaml:"securityContext"`
		VolumeMounts []struct {
			Name     string
			ReadOnly bool `yaml:"readOnly"`
		} `yaml:"volumeMounts"`
	}
	Volumes []struct {
		Name      string
		HostPath  *struct{ Path string } `yaml:"hostPath"`
		Projected *struct {
			Sources []struct {
				ServiceAccountToken struct {
					Audience string
				} `yaml:"serviceAccountToken"`
			}
		}
	}
}

// podsOf are the pod templates of a kind.
func podsOf(t *testing.T, text, kind string) (out []podSpec) {
	t.Helper()
	for doc := range strings.SplitSeq("\n"+text, "\n---\n") {
		var o struct {
			Kind string
			Spec struct{ Template struct{ Spec podSpec } }
		}
		if err := yaml.Unmarshal([]byte(doc), &o); err != nil {
			t.Fatalf("%v in\n%s", err, doc)
		}
		if o.Kind == kind {
			out = append(out, o.Spec.Template.Spec)
		}
	}
	return out
}

func probeOf(t *testing.T, set ...string) podSpec {
	t.Helper()
	all := podsOf(t, mustRender(t, set...), "DaemonSet")
	if len(all) != 1 || len(all[0].Containers) != 1 {
		t.Fatalf("%d probes", len(all))
	}
	return all[0]
}

func TestAProbeHasNoRightThatItDoesNotNeed(t *testing.T) {
	for mode, test := range map[string]struct {
		set  []string
		want []string // capabilities
	}{
		"full":                                  {nil, []string{"BPF", "PERFMON"}},
		"full, of old kernels":                  {[]string{"probe.sysPtrace=true"}, []string{"BPF", "PERFMON", "SYS_PTRACE"}},
		"nvml-only":                             {[]string{"probe.mode=nvml-only"}, nil},
		"nvml-only wants none, whatever is set": {[]string{"probe.mode=nvml-only", "probe.sysPtrace=true"}, nil},
	} {
		p := probeOf(t, test.set...)
		c := p.Containers[0]
		s := c.SecurityContext
		if !slices.Equal(s.Capabilities.Add, test.want) || !slices.Equal(s.Capabilities.Drop, []string{"ALL"}) {
			t.Errorf("%s: capabilities %+v, want %v", mode, s.Capabilities, test.want)
		}
		if s.Privileged || s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation || !s.ReadOnlyRootFilesystem {
			t.Errorf("%s: %+v", mode, s)
		}
		if !p.HostPID || p.HostNetwork || p.HostIPC || p.SecurityContext.SeccompProfile.Type != "RuntimeDefault" {
			t.Errorf("%s: %+v", mode, p)
		}
		for _, m := range c.VolumeMounts {
			if !m.ReadOnly {
				t.Errorf("%s: %s may be written", mode, m.Name)
			}
		}
		want := "--ebpf=" + map[bool]string{true: "false", false: "true"}[test.want == nil]
		if !slices.Contains(c.Args, want) {
			t.Errorf("%s: %v lacks %s", mode, c.Args, want)
		}
	}
}

// The host's folders that a probe sees are those that it needs, and not the root.
func TestAProbeSeesTheKubeletsSocketNamesOfPodsAndTheDriver(t *testing.T) {
	for logs, names := range map[string][]string{"true": {"/var/log/pods"}, "false": nil} {
		want := slices.Concat([]string{"/data/kubelet/pod-resources"}, names, []string{"/run/nvidia/driver", "/opt/nvidia"})
		testWhatAProbeSees(t, probeOf(t, "probe.kubeletRoot=/data/kubelet", "probe.driverRoots={/run/nvidia/driver,/opt/nvidia}", "probe.podLogs="+logs), want)
	}
}

func testWhatAProbeSees(t *testing.T, p podSpec, want []string) {
	t.Helper()
	var paths, audiences []string
	for _, v := range p.Volumes {
		if v.HostPath != nil {
			paths = append(paths, v.HostPath.Path)
		}
		if v.Projected != nil {
			audiences = append(audiences, v.Projected.Sources[0].ServiceAccountToken.Audience)
		}
	}
	if !slices.Equal(paths, want) {
		t.Errorf("it sees %v, want %v", paths, want)
	}
	if !slices.Equal(audiences, []string{"muster"}) {
		t.Errorf("tokens for %v", audiences)
	}
	if p.NodeSelector["nvidia.com/gpu.present"] != "true" {
		t.Errorf("it runs on %v", p.NodeSelector)
	}
}

func TestAProbeWithoutObjectsHasNoRightInTheAPI(t *testing.T) {
	text := mustRender(t, "probe.gpuNodes=false")
	p := podsOf(t, text, "DaemonSet")[0]
	if p.AutomountServiceAccountToken == nil || *p.AutomountServiceAccountToken {
		t.Error("it has a token for the API server")
	}
	for _, o := range objects(t, text) {
		if o.Kind == "ClusterRole" && o.Metadata.Name == "muster-probe" || o.Kind == "ValidatingAdmissionPolicy" {
			t.Errorf("%s %s is of no use", o.Kind, o.Metadata.Name)
		}
	}
	for _, o := range objects(t, mustRender(t)) {
		if o.Kind != "ClusterRole" || o.Metadata.Name != "muster-probe" {
			continue
		}
		for _, r := range o.Rules {
			if !slices.Equal(r.APIGroups, []string{"muster.dev"}) || slices.ContainsFunc(r.Resources, func(s string) bool { return !strings.HasPrefix(s, "gpunodes") }) ||
				slices.ContainsFunc(r.Verbs, func(s string) bool { return !slices.Contains([]string{"get", "create", "patch"}, s) }) {
				t.Errorf("a probe may %+v", r)
			}
		}
	}
}

func TestSchedulerAndProbeMeet(t *testing.T) {
	text := mustRender(t, "serviceAccount.name=other", "probe.serviceAccount.name=eyes", "tls.secretName=cert", "probe.evictFromFailedGPUs=false", "probe.runtimeClassName=nvidia")
	p, s := podsOf(t, text, "DaemonSet")[0], podsOf(t, text, "Deployment")[0]
	if p.ServiceAccountName != "eyes" || s.ServiceAccountName != "other" || p.RuntimeClassName != "nvidia" {
		t.Errorf("accounts %s, %s, runtime %s", p.ServiceAccountName, s.ServiceAccountName, p.RuntimeClassName)
	}
	for _, want := range []string{"--probe-listen=:9071", "--probe-account=muster-system/eyes", "--evict-from-failed-gpus=false"} {
		if !slices.Contains(s.Containers[0].Args, want) {
			t.Errorf("the scheduler lacks %s", want)
		}
	}
	for _, want := range []string{"run", "--scheduler=muster-probes.muster-system.svc:9071", "--tls-ca=/etc/muster/tls/ca.crt", "--tls-server-name=muster.muster-system.svc"} {
		if !slices.Contains(p.Containers[0].Args, want) {
			t.Errorf("the probe lacks %s", want)
		}
	}
	if !strings.Contains(text, "request.userInfo.username == 'system:serviceaccount:muster-system:eyes'") {
		t.Error("the admission policy is about another account")
	}
	if !slices.Contains(probeOf(t, "probe.duty=10m").Containers[0].Args, "--duty=10m") {
		t.Error("the probe does not look for hangs")
	}
	if slices.Contains(probeOf(t).Containers[0].Args, "--tls-ca=/etc/muster/tls/ca.crt") {
		t.Error("without a certificate there is no CA")
	}
}

func TestWithoutProbesNothingOfThemIsThere(t *testing.T) {
	text := mustRender(t, "probe.enabled=false")
	if n := len(podsOf(t, text, "DaemonSet")); n > 0 || strings.Contains(text, "probe-listen") || strings.Contains(text, "9071") || strings.Contains(text, "gpunode-own") {
		t.Errorf("%d probes in\n%s", n, text)
	}
}

func TestWhatIsOptionalComesWhenAskedFor(t *testing.T) {
	count := func(kind string, set ...string) (n int) {
		for _, o := range objects(t, mustRender(t, set...)) {
			if o.Kind == kind {
				n++
			}
		}
		return n
	}
	for kind, set := range map[string]string{
		"PodMonitor": "probe.podMonitor.enabled=true", "NetworkPolicy": "probe.networkPolicy.enabled=true", "PrometheusRule": "alerts.enabled=true",
	} {
		if before, after := count(kind), count(kind, set); before != 0 || after != 1 {
			t.Errorf("%s: %d, and %d when asked for", kind, before, after)
		}
	}
}

// Helm and Prometheus both write {{ }}: what the rules say must come through as it is.
func TestTheChartHasTheAlertRulesAsTheyAre(t *testing.T) {
	type rules struct {
		Groups []struct {
			Name  string
			Rules []map[string]any
		}
	}
	var want, got rules
	text, err := os.ReadFile("alerts/muster.rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, &want); err != nil || len(want.Groups) == 0 {
		t.Fatalf("%v, %d groups", err, len(want.Groups))
	}
	for doc := range strings.SplitSeq(mustRender(t, "alerts.enabled=true"), "\n---\n") {
		var o struct {
			Kind string
			Spec rules
		}
		if err := yaml.Unmarshal([]byte(doc), &o); err != nil {
			t.Fatal(err)
		}
		if o.Kind == "PrometheusRule" {
			got = o.Spec
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +rendered):\n%s", diff)
	}
}

// The namespace lets the probe in, which needs more; the scheduler must not use that.
func TestTheSchedulerKeepsToTheRestrictedStandard(t *testing.T) {
	s := podsOf(t, string(Manifests()), "Deployment")[0]
	c := s.Containers[0].SecurityContext
	if s.HostPID || s.HostNetwork || s.HostIPC || !s.SecurityContext.RunAsNonRoot || s.SecurityContext.SeccompProfile.Type != "RuntimeDefault" ||
		c.Privileged || c.AllowPrivilegeEscalation == nil || *c.AllowPrivilegeEscalation || !slices.Equal(c.Capabilities.Drop, []string{"ALL"}) || len(c.Capabilities.Add) > 0 {
		t.Errorf("%+v", s)
	}
	for _, v := range s.Volumes {
		if v.HostPath != nil {
			t.Errorf("it sees %s of the host", v.HostPath.Path)
		}
	}
}
