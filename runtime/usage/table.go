package usage

import (
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/gpuprobe/wire"
)

// Node is the last state of one node's probe, as Table.Snapshot has it. It may be kept,
// and must not be changed.
type Node struct {
	Name, Boot string
	// Connected says that there is a stream, Stale that nothing of the rest counts any
	// more: it is as it was at At.
	Connected, Stale bool
	At               spec.Time // of the last report
	Sources          []*wire.Source
	GPUs             []*wire.Gpu // by index, then UUID; ages are as of At
	Uses             []*wire.Use // by GPU, then owner; ages and idle times are as of At
}
