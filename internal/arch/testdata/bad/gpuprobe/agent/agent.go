// Package agent runs on nodes.
package agent

import (
	_ "github.com/cilium/ebpf"                  // want "must not import github.com/cilium/ebpf"
	_ "github.com/musterhq/muster/runtime/loop" // want "must not import github.com/musterhq/muster/runtime/loop: the probe"
)
