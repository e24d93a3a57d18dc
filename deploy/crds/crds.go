// Package crds has the CRDs of Muster's own objects, generated from
// runtime/kube/api/v1alpha1, for whoever installs or tests them.
package crds

import "embed"

// Files are the CRDs, one a file.
//
//go:embed *.yaml
var Files embed.FS
