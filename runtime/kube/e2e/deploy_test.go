package e2e_test

import (
	"testing"

	"github.com/musterhq/muster/deploy"
	"github.com/musterhq/muster/deploy/crds"
	"github.com/musterhq/muster/runtime/kube/kubetest"
)

// TestAnAPIServerTakesAllManifests without a complaint, by a dry run and then for real.
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
}
