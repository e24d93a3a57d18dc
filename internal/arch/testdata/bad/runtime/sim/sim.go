// Package sim stands beside kube.
package sim

import (
	_ "github.com/musterhq/muster/runtime/kube" // want "must not import github.com/musterhq/muster/runtime/kube"
	_ "github.com/spf13/cobra"                  // want "must not import github.com/spf13/cobra"
	_ "gonum.org/v1/plot"                       // want "must not import gonum.org/v1/plot"
)
