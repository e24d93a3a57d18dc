// Package policies is the contract of the fixture.
package policies

import (
	_ "context"

	_ "github.com/musterhq/muster/builtin/amount" // want "must not import github.com/musterhq/muster/builtin/amount: the contract"
	_ "github.com/musterhq/muster/hostabi"        // want "must not import github.com/musterhq/muster/hostabi: the contract"
)
