// Package alerts holds alert rules for Prometheus: GPUs that are allocated and do
// nothing, that are broken, that nobody measures, or that somebody uses without a request.
package alerts

import _ "embed"

// Rules is a rule file of Prometheus, as `promtool check rules` takes it, and as the spec
// of a PrometheusRule.
//
//go:embed muster.rules.yaml
var Rules []byte
