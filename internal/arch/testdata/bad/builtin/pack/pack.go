// Package pack imports up and out.
package pack

import (
	_ "slices"

	_ "github.com/musterhq/muster/builtin/amount"
	_ "github.com/musterhq/muster/builtin/cycle"  // want "must not import github.com/musterhq/muster/builtin/cycle"
	_ "github.com/musterhq/muster/runtime/ledger" // want "must not import github.com/musterhq/muster/runtime/ledger: the core is pure"
	_ "github.com/tetratelabs/wazero"             // want "must not import github.com/tetratelabs/wazero: the core" "must not import github.com/tetratelabs/wazero: a heavy"
)
