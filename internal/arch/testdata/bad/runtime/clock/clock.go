// Package clock is under everything.
package clock

import (
	_ "time"

	_ "github.com/musterhq/muster/builtin/spec" // want "must not import github.com/musterhq/muster/builtin/spec: everything"
)
