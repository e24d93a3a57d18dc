package simulate

import "github.com/musterhq/muster/gpuprobe/pattern"

// Pattern is what a pod does with its GPUs; package pattern has the grammar.
type Pattern = pattern.Pattern

// PatternError is a pattern, or a fault, that can't be read.
type PatternError = pattern.Error

// ParsePattern reads a pattern; *PatternError if it can't be read.
func ParsePattern(s string) (Pattern, error) { return pattern.Parse(s) }

// MustPattern is ParsePattern for patterns that are in the program.
func MustPattern(s string) Pattern { return pattern.Must(s) }
