// Command muster stands on top.
package main

import (
	_ "github.com/musterhq/muster/conformance"
	_ "github.com/spf13/cobra"
	_ "k8s.io/client-go/kubernetes"
)

func main() {}
