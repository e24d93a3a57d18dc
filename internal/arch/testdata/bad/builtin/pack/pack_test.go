package pack

import (
	_ "github.com/google/go-cmp/cmp"  // tests of the core may use test libraries
	_ "github.com/tetratelabs/wazero" // want "must not import github.com/tetratelabs/wazero: a heavy"
)
