// Package cycle may import the whole core.
package cycle

import (
	_ "github.com/musterhq/muster/builtin/pack"
	_ "github.com/musterhq/muster/cmd/muster" // want "must not import github.com/musterhq/muster/cmd/muster: the core" "must not import github.com/musterhq/muster/cmd/muster: commands"
	_ "github.com/musterhq/muster/policies"
)
