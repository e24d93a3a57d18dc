// Package deploy holds how Muster is installed: the Helm chart in helm/muster is the
// source, and the plain manifests are what it renders with its default values, for those
// who don't use Helm. The tests of runtime/kube run under the rights of RBAC, so what a
// cluster grants is what was tested.
package deploy

import (
	"embed"
	"io/fs"
	"path"
)

// Names of the plain manifests. The account has the rights of rbac.yaml.
const (
	Namespace = "muster-system"
	Account   = "muster"
	// QueuesConfigMap, in Namespace, holds queues.yaml.
	QueuesConfigMap = "muster-queues"
)

//go:generate go test . -run ^TestThePlainManifestsAreWhatTheChartRenders$ -update

//go:embed manifests/*.yaml
var manifests embed.FS

// RBAC returns the namespace, the service account and its rights, as YAML documents.
func RBAC() []byte {
	return append(append(file("00-namespace.yaml"), "---\n"...), file("10-rbac.yaml")...)
}

// Manifests returns all plain manifests as YAML documents, in the order in which they
// can be applied.
func Manifests() []byte {
	var all []byte
	names, _ := fs.Glob(manifests, "manifests/*.yaml") // in the order of names
	for _, name := range names {
		all = append(append(all, "---\n"...), file(path.Base(name))...)
	}
	return all
}

// file returns a manifest; a name that isn't there is found by the first test.
func file(name string) []byte {
	text, err := manifests.ReadFile(path.Join("manifests", name))
	if err != nil {
		panic(err)
	}
	return text
}
