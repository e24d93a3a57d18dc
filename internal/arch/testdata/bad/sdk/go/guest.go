// Package muster is the guest side.
package muster

import (
	_ "github.com/musterhq/muster/hostabi"
	_ "github.com/musterhq/muster/policies" // want "must not import github.com/musterhq/muster/policies: a guest"
)
