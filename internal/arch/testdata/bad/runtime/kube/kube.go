// Package kube is client-go's door.
package kube

import (
	_ "github.com/musterhq/muster/runtime/serve" // want "must not import github.com/musterhq/muster/runtime/serve"
	_ "k8s.io/client-go/kubernetes"
)
