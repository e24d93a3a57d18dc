// Package hostabi is the wire of the fixture.
package hostabi

import (
	_ "encoding/binary"

	_ "github.com/goccy/go-yaml"             // want "must not import github.com/goccy/go-yaml"
	_ "github.com/musterhq/muster/hostabi/x" // its own sub-package is fine
)
