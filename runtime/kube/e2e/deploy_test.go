package e2e_test

import (
	"os"
	"regexp"
	"testing"

	"github.com/musterhq/muster/deploy"
	"github.com/musterhq/muster/deploy/crds"
	"github.com/musterhq/muster/runtime/kube/kubetest"
)

// TestAnAPIServerTakesAllManifests without a complaint, by a dry run and then for real,
// and the objects of the guide.
func TestAnAPIServerTakesAllManifests(t *testing.T) {
	w := newWorld(t, kubetest.Options{NoKwok: true})
	w.namespace(deploy.Namespace) // a dry run makes none, and the others need it
	w.apply(deploy.Manifests(), "All")
	w.apply(deploy.Manifests())
	files, err := crds.Files.ReadDir(".")
	must(t, err)
	for _, f := range files {
		text, err := crds.Files.ReadFile(f.Name())
		must(t, err)
		w.apply(text, "All")
		w.define(text)
	}
	for _, object := range guide(t) {
		w.apply(object, "All")
	}
}

// guide returns the objects in docs/kubernetes.md.
func guide(t *testing.T) (objects [][]byte) {
	t.Helper()
	text, err := os.ReadFile("../../../docs/kubernetes.md")
	must(t, err)
	for _, b := range regexp.MustCompile("(?ms)^```yaml\n(.*?)^```$").FindAllSubmatch(text, -1) {
		objects = append(objects, b[1])
	}
	if len(objects) < 3 {
		t.Fatalf("the guide has %d objects", len(objects))
	}
	return objects
}
