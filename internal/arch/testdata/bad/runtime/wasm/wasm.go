// Package wasm is wazero's door.
package wasm

import (
	_ "github.com/musterhq/muster/hostabi"
	_ "github.com/musterhq/muster/runtime/loop"  // want "must not import github.com/musterhq/muster/runtime/loop: an engine"
	_ "github.com/open-policy-agent/opa/v1/rego" // want "must not import github.com/open-policy-agent/opa/v1/rego"
	_ "github.com/tetratelabs/wazero"
)
