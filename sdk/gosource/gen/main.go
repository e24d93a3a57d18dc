// Command gen writes the Go SDK into go.txt. Run it by `go generate ./sdk/gosource`.
package main

import (
	"fmt"
	"os"

	"github.com/musterhq/muster/sdk/gosource"
)

func main() {
	packed, err := gosource.Pack(os.DirFS("../go"))
	if err == nil {
		err = os.WriteFile("go.txt", packed, 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}
