// Package loop knows no adapter.
package loop

import (
	_ "runtime"

	_ "github.com/musterhq/muster/gpuprobe/agent" // want "must not import github.com/musterhq/muster/gpuprobe/agent"
	_ "github.com/musterhq/muster/gpuprobe/wire"
	_ "github.com/musterhq/muster/runtime/sim" // want "must not import github.com/musterhq/muster/runtime/sim"
	_ "k8s.io/client-go/kubernetes"            // want "must not import k8s.io/client-go/kubernetes"
)
