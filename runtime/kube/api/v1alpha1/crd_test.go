package v1alpha1

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	v1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	crdvalidation "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"sigs.k8s.io/yaml"

	"github.com/musterhq/muster/deploy/crds"
)

// crd is what the API server makes of a CRD, by the API server's own packages.
type crd struct {
	definition *apiextensions.CustomResourceDefinition
	structural *schema.Structural
	schema     validation.SchemaValidator
	rules      *cel.Validator
}

func load(t *testing.T, file string) *crd {
	t.Helper()
	text, err := crds.Files.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var outer v1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(text, &outer); err != nil {
		t.Fatal(err)
	}
	v1.SetDefaults_CustomResourceDefinition(&outer)
	v1.SetDefaults_CustomResourceDefinitionSpec(&outer.Spec)
	outer.Status.StoredVersions = []string{GroupVersion.Version} // as the server sets it
	c := &crd{definition: &apiextensions.CustomResourceDefinition{}}
	if err := v1.Convert_v1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(&outer, c.definition, nil); err != nil {
		t.Fatal(err)
	}
	props, err := apiextensions.GetSchemaForVersion(c.definition, GroupVersion.Version)
	if err != nil {
		t.Fatal(err)
	}
	if c.structural, err = schema.NewStructural(props.OpenAPIV3Schema); err != nil {
		t.Fatal(err)
	}
	if c.schema, _, err = validation.NewSchemaValidator(props.OpenAPIV3Schema); err != nil {
		t.Fatal(err)
	}
	c.rules = cel.NewValidator(c.structural, true, math.MaxInt64)
	return c
}

// admit returns everything that the API server would say against an object that
// replaces old, which may be "".
func (c *crd) admit(t *testing.T, object, old string) string {
	t.Helper()
	now, before := c.read(t, object), map[string]any(nil)
	if old != "" {
		before = c.read(t, old)
	}
	errs := validation.ValidateCustomResource(nil, now, c.schema)
	errs = append(errs, listtype.ValidateListSetsAndMaps(nil, c.structural, now)...)
	ruled, _ := c.rules.Validate(context.Background(), nil, c.structural, now, orNil(before), math.MaxInt64)
	var out strings.Builder
	for _, e := range append(errs, ruled...) {
		fmt.Fprintf(&out, "%s: %s\n", e.Field, e.Detail)
	}
	return out.String()
}

func orNil(m map[string]any) any {
	if m == nil {
		return nil
	}
	return m
}

func (c *crd) read(t *testing.T, text string) map[string]any {
	t.Helper()
	var out map[string]any
	raw, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(&out); err != nil {
		t.Fatal(err)
	}
	out = numbers(out).(map[string]any)
	if unknown := pruning.PruneWithOptions(out, c.structural, true, schema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true}); len(unknown) > 0 {
		t.Errorf("the schema has no %v", unknown)
	}
	defaulting.Default(out, c.structural)
	return out
}

// numbers turns what JSON reads into the types of unstructured objects.
func numbers(v any) any {
	switch v := v.(type) {
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
		f, _ := v.Float64() // it was read as a number
		return f
	case map[string]any:
		for k, e := range v {
			v[k] = numbers(e)
		}
	case []any:
		for i, e := range v {
			v[i] = numbers(e)
		}
	}
	return v
}

func TestTheAPIServerTakesTheCRDs(t *testing.T) {
	for _, file := range []string{"muster.dev_queues.yaml", "muster.dev_policies.yaml", "muster.dev_gpunodes.yaml"} {
		t.Run(file, func(t *testing.T) {
			errs := crdvalidation.ValidateCustomResourceDefinition(context.Background(), load(t, file).definition)
			for _, e := range errs {
				t.Error(e)
			}
		})
	}
}

func queue(name, spec string) string {
	return "apiVersion: muster.dev/v1alpha1\nkind: Queue\nmetadata: {name: " + name + "}\nspec: " + spec + "\n"
}

func policy(spec string) string {
	return "apiVersion: muster.dev/v1alpha1\nkind: Policy\nmetadata: {name: order}\nspec: " + spec + "\n"
}

func TestAQueueThatCannotBeIsRefusedWithWhatToDo(t *testing.T) {
	c := load(t, "muster.dev_queues.yaml")
	for _, tt := range []struct{ name, object, old, want string }{
		{"guaranteed above max, as texts", queue("a", `{guaranteed: {memory: 2Gi}, max: {memory: 1500Mi}}`), "", "spec.max: max is below guaranteed for a resource: raise max or lower guaranteed"},
		{"guaranteed above max, as numbers", queue("a", `{guaranteed: {nvidia.com/gpu: 9}, max: {nvidia.com/gpu: 8}}`), "", "spec.max: max is below guaranteed"},
		{"guaranteed above max, mixed", queue("a", `{guaranteed: {cpu: 2}, max: {cpu: 1999m}}`), "", "spec.max: max is below guaranteed"},
		{"the same in a template", queue("a", `{template: {guaranteed: {cpu: 2}, max: {cpu: 1}}}`), "", "spec.template.max: max is below guaranteed"},
		{"a negative number", queue("a", `{max: {cpu: -1}}`), "", "an amount can't be negative; write 0 to forbid the resource"},
		{"a negative text", queue("a", `{guaranteed: {cpu: "-100m"}}`), "", "an amount can't be negative"},
		{"no quantity", queue("a", `{max: {memory: 64 gigs}}`), "", "spec.max.memory"},
		{"a negative limit", queue("a", `{limits: [{users: ["*"], max: {cpu: -1}}]}`), "", "spec.limits[0].max[cpu]: an amount can't be negative"},
		{"a limit of nobody", queue("a", `{limits: [{maxApplications: 1}]}`), "", "spec.limits[0]: a limit names users or groups: users: ['*']"},
		{"a limit of nothing", queue("a", `{limits: [{users: [a]}]}`), "", "a limit without max and maxApplications limits nothing"},
		{"negative counts", queue("a", `{maxApplications: -1, weight: -1}`), "", "spec.weight: spec.weight in body should be greater than or equal to 0"},
		{"no duration", queue("a", `{minRuntime: 5 minutes, reserveAfter: always, preemption: {delay: "-3s"}}`), "", "spec.minRuntime: must be a duration: write 90s, 5m or 1h30m"},
		{"neither a duration nor never", queue("a", `{reserveAfter: always}`), "", "spec.reserveAfter: must be a duration or never"},
		{"a negative duration", queue("a", `{preemption: {delay: "-3s"}}`), "", "spec.preemption.delay: must be a duration"},
		{"idle sometime", queue("a", `{preemption: {idleAfter: sometime}}`), "", "spec.preemption.idleAfter: must be a duration or never"},
		{"another preemption policy", queue("a", `{preemption: {policy: off}}`), "", `supported values: "default", "fence", "disabled"`},
		{"not the name of a policy", queue("a", `{policies: {jobOrder: "my policy"}}`), "", "spec.policies.jobOrder: the name of a policy has letters"},
		{"its own parent", queue("a", `{parent: a}`), "", "a queue can't be its own parent"},
		{"a name with a dot", queue("a.b", `{}`), "", "set spec.name"},
		{"a name that is none", queue("a.b", `{name: "a b"}`), "", "spec.name: the name of a queue has 1 to 64 letters"},
		{"a root with a parent", queue("root", `{parent: a}`), "", "the queue named root is the root"},
		{"a root with resources", queue("root", `{max: {cpu: 1}}`), "", "the root has what the nodes have"},
		{"pool settings elsewhere", queue("a", `{pool: {placement: spread}}`), "", "spec.pool holds for all queues"},
		{"a queue that moves", queue("a", `{parent: c}`), queue("a", `{parent: b}`), "spec.parent: a queue can't be moved"},
		{"a queue that moves from the root", queue("a", `{parent: c}`), queue("a", `{}`), "spec.parent: a queue can't be moved"},
		{"a queue that is renamed", queue("a", `{name: c}`), queue("a", `{name: b}`), "spec.name: a queue can't be renamed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := c.admit(t, tt.object, tt.old); !strings.Contains(got, tt.want) {
				t.Errorf("said:\n%s\nwant %q", got, tt.want)
			}
		})
	}
}

// everything uses every key of a Queue.
const everything = `{
	parent: research, name: llm, dynamicChildren: true, submitACL: "alice,bob dev", adminACL: "*",
	guaranteed: {cpu: 64, memory: 256Gi, nvidia.com/gpu: 8, "nvidia.com/gpu:H100": 4}, max: {cpu: 64, memory: 1Ti, nvidia.com/gpu: "16"},
	maxApplications: 10, weight: 2, policies: {jobOrder: order, fairness: drf, victims: youngest-first},
	strictFIFO: true, reserveAfter: never, minRuntime: 5m, preemption: {policy: fence, delay: 1h30m, idleAfter: 30m, idleGrace: 20s},
	properties: {priority.offset: "3"},
	limits: [{name: each, users: ["*"], max: {nvidia.com/gpu: 4}}, {groups: [dev], maxApplications: 2}],
	template: {max: {nvidia.com/gpu: 2}, minRuntime: 1m}}`

func TestAQueueWithEverythingIsTakenAndReadsBack(t *testing.T) {
	c := load(t, "muster.dev_queues.yaml")
	for _, object := range []string{
		queue("research.llm", everything),
		queue("root", `{submitACL: "*", pool: {placement: binpack, usageHalfLife: 24h, useMaxAge: 1m, placementRules: [{name: user, create: true, filter: {type: allow, users: [a]}, parents: [{name: fixed, value: root.users}]}]}}`),
		queue("plain", "{}"),
	} {
		if said := c.admit(t, object, object); said != "" {
			t.Errorf("%s\nis refused:\n%s", object, said)
		}
	}
	var q Queue
	if err := yaml.UnmarshalStrict([]byte(queue("research.llm", everything)), &q); err != nil {
		t.Fatal(err)
	}
	again, err := yaml.Marshal(&q)
	if err != nil {
		t.Fatal(err)
	}
	if said := c.admit(t, string(again), ""); said != "" {
		t.Errorf("what Go writes is refused:\n%s\n%s", said, again)
	}
	if got := q.Spec.Guaranteed["cpu"].String(); got != "64" {
		t.Errorf("cpu is %s", got)
	}
}

func TestAPolicyThatCannotBeIsRefusedWithWhatToDo(t *testing.T) {
	c := load(t, "muster.dev_policies.yaml")
	for _, tt := range []struct{ name, object, want string }{
		{"no source", policy(`{source: {}}`), "spec.source: a policy has exactly one source"},
		{"two sources", policy(`{source: {file: a.wasm, folder: b}}`), "spec.source: a policy has exactly one source"},
		{"no spec", "apiVersion: muster.dev/v1alpha1\nkind: Policy\nmetadata: {name: order}\n", "spec: "},
		{"half a digest", policy(`{source: {file: a.wasm}, digest: "sha256:12"}`), "spec.digest: a digest is sha256: and 64 hexadecimal digits"},
		{"an artifact without a tag", policy(`{source: {oci: {reference: registry.internal/order}}}`), "spec.source.oci.reference: write REGISTRY/REPOSITORY:TAG"},
		{"a layout without a tag", policy(`{source: {layout: bundles}}`), "spec.source.layout: write FOLDER:TAG"},
		{"another mode", policy(`{source: {file: a.wasm}, mode: maybe}`), `supported values: "active", "shadow"`},
		{"beside without a shadow", policy(`{source: {file: a.wasm}, beside: fifo}`), "spec.beside: beside is for shadows"},
		{"rules as a shadow", policy(`{source: {inline: {rego: "package x"}}, mode: shadow}`), "spec.mode: rules can't run as a shadow"},
		{"another kind", policy(`{source: {file: a.wasm}, kinds: [nodes]}`), `supported values: "job_order", "queue_shares", "victim_costs"`},
		{"more signatures than signers", policy(`{source: {file: a.wasm}, signedBy: [a], signatures: 2}`), "spec.signatures: more signatures than signers"},
		{"little memory", policy(`{source: {file: a.wasm}, limits: {memory: 1Ki}}`), "spec.limits.memory: memory is from 64Ki to 4Gi"},
		{"much memory, as a number", policy(`{source: {file: a.wasm}, limits: {memory: 8589934592}}`), "spec.limits.memory: memory is from 64Ki to 4Gi"},
		{"no fuel", policy(`{source: {file: a.wasm}, limits: {fuelBase: 0}}`), "spec.limits.fuelBase"},
		{"no timeout", policy(`{source: {file: a.wasm}, limits: {timeout: soon}}`), "spec.limits.timeout: must be a duration"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := c.admit(t, tt.object, ""); !strings.Contains(got, tt.want) {
				t.Errorf("said:\n%s\nwant %q", got, tt.want)
			}
		})
	}
}

func TestEveryKindOfPolicyIsTaken(t *testing.T) {
	c := load(t, "muster.dev_policies.yaml")
	for _, spec := range []string{
		`{source: {configMap: {namespace: team, name: order, key: order.wasm}}, params: {patience: 3, unknown: 2h, strict: true, ratio: 0.5}}`,
		`{source: {oci: {reference: "registry.internal:5000/policies/order:1.4"}}, signedBy: [a, b], signatures: 2, kinds: [job_order]}`,
		`{source: {oci: {reference: "registry.internal/order@sha256:75d3fe553d6ff2c2c0aa3e2cc0900fde0aefbc73a63d00a8dbc6cf08f2dd7862"}}, digest: "sha256:75d3fe553d6ff2c2c0aa3e2cc0900fde0aefbc73a63d00a8dbc6cf08f2dd7862"}`,
		`{source: {inline: {rego: "package muster.admission"}}}`,
		`{source: {file: a.wasm}, mode: shadow, beside: fifo, shadowFor: 30m, limits: {memory: 32Mi, fuelBase: 2000000, fuelPerRow: 8000, timeout: 100ms}}`,
		`{source: {layout: "bundles/order:1.4"}}`,
	} {
		if said := c.admit(t, policy(spec), ""); said != "" {
			t.Errorf("%s\nis refused:\n%s", spec, said)
		}
	}
}

// TestTheGeneratedFilesAreOfTheseTypes generates anew into a scratch folder.
func TestTheGeneratedFilesAreOfTheseTypes(t *testing.T) {
	if testing.Short() {
		t.Skip("builds controller-gen")
	}
	dir := t.TempDir()
	args := []string{
		"tool", "-modfile=../../../../tools/go.mod", "controller-gen", "object", "crd:maxDescLen=400",
		"paths=.", "output:crd:dir=" + dir, "output:object:dir=" + dir,
	}
	if out, err := exec.CommandContext(t.Context(), "go", args...).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for file, committed := range map[string]string{
		"zz_generated.deepcopy.go": "zz_generated.deepcopy.go",
		"muster.dev_queues.yaml":   "../../../../deploy/crds/muster.dev_queues.yaml",
		"muster.dev_policies.yaml": "../../../../deploy/crds/muster.dev_policies.yaml",
		"muster.dev_gpunodes.yaml": "../../../../deploy/crds/muster.dev_gpunodes.yaml",
	} {
		want, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(committed); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not what the types say (%v); run go generate ./runtime/kube/api/...", committed, err)
		}
	}
}
