// Command x is a guest.
package main

import (
	_ "github.com/musterhq/muster/builtin/order" // want "must not import github.com/musterhq/muster/builtin/order: a guest"
	_ "github.com/musterhq/muster/sdk/go"
)

func main() {}
