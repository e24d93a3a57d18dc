// Package groupstest has pods and group objects as KubeRay, Spark, Volcano, Kueue and
// others write them: hand-written manifests of each dialect, and a maker of RayClusters
// of any size that is held to them by test.
//
// All manifests name their job "sample" and stand in namespace team-a.
package groupstest

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"path"
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/musterhq/muster/runtime/kube/groups"
)

//go:embed testdata/*.yaml
var manifests embed.FS

// Fixture is one manifest: pods in the order of the file, and the objects beside them.
type Fixture struct {
	Pods    []*corev1.Pod
	Objects []*unstructured.Unstructured // PodGroups and Workloads
}

// Names lists the manifests, sorted.
func Names() []string {
	entries, err := manifests.ReadDir("testdata")
	if err != nil {
		panic(err) // the folder is embedded
	}
	var out []string
	for _, e := range entries {
		out = append(out, strings.TrimSuffix(e.Name(), ".yaml"))
	}
	return out
}

// Load reads a manifest by its name without .yaml.
func Load(name string) (Fixture, error) {
	text, err := manifests.ReadFile(path.Join("testdata", name+".yaml"))
	if err != nil {
		return Fixture{}, err
	}
	return Parse(text)
}

// uid is what the manifests have for UIDs.
var uid = regexp.MustCompile(`00000000-0000-4000-8000-(\d{12})`)

// Copy reads a manifest with its job, and all that is named after it, renamed, and moved
// to a namespace. Copies have UIDs of their own, the same for the same names.
func Copy(name, job, namespace string) (Fixture, error) {
	text, err := manifests.ReadFile(path.Join("testdata", name+".yaml"))
	if err != nil {
		return Fixture{}, err
	}
	h := fnv.New32a()
	fmt.Fprintf(h, "%s/%s", namespace, job)
	text = uid.ReplaceAll(text, fmt.Appendf(nil, "%08x-0000-4000-8000-$1", h.Sum32()))
	text = bytes.ReplaceAll(text, []byte("namespace: team-a"), []byte("namespace: "+namespace))
	return Parse(bytes.ReplaceAll(text, []byte("sample"), []byte(job)))
}

// Parse reads YAML documents of pods and group objects.
func Parse(text []byte) (Fixture, error) {
	var f Fixture
	d := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096)
	for {
		o := map[string]any{}
		err := d.Decode(&o)
		switch {
		case errors.Is(err, io.EOF):
			return f, nil
		case err != nil:
			return f, err
		case len(o) == 0:
			continue
		}
		if err := f.add(&unstructured.Unstructured{Object: o}); err != nil {
			return f, err
		}
	}
}

func (f *Fixture) add(u *unstructured.Unstructured) error {
	if u.GetKind() != "Pod" {
		f.Objects = append(f.Objects, u)
		return nil
	}
	pod := &corev1.Pod{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(u.Object, pod, true); err != nil {
		return fmt.Errorf("pod %s: %w", u.GetName(), err)
	}
	f.Pods = append(f.Pods, pod)
	return nil
}

// Classes are the priority classes that manifests name.
func Classes() []*groups.PriorityClass {
	return []*groups.PriorityClass{{Name: "batch", Value: 10}, {Name: "build", Value: 100}, {Name: "high", Value: 1000}}
}

// Table has the fixture's group objects and the priority classes, as groups.Read wants them.
func (f Fixture) Table() *groups.Table {
	t := &groups.Table{}
	for _, c := range Classes() {
		t.PutClass(c)
	}
	for _, o := range f.Objects {
		if o.GetKind() == "Workload" {
			t.PutWorkload(o)
		} else if g := groups.FromObject(o); g != nil {
			t.Put(g)
		}
	}
	return t
}
