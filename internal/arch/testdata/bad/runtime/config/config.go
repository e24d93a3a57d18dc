// Package config reads a file into a value.
package config

import (
	_ "runtime/debug" // the standard library's runtime is not ours

	_ "github.com/musterhq/muster/runtime/clock" // want "must not import github.com/musterhq/muster/runtime/clock"
)
