// Package spec is what the outside says.
package spec

import (
	_ "github.com/musterhq/muster/builtin/amount"
	_ "github.com/musterhq/muster/builtin/world" // want "must not import github.com/musterhq/muster/builtin/world: spec"
)
