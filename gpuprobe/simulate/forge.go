package simulate

import (
	"strings"
	"time"

	"github.com/musterhq/muster/gpuprobe/wire"
)

// Live is a node as push.State: each report is of the time at which it is asked for, so
// nothing needs to be made ready for it before.
type Live struct{ *Node }

// Report is what the node says at a time, true or not.
func (l Live) Report(now time.Time) *wire.NodeReport {
	r := l.State(now).Report(now)
	for _, f := range l.o.Faults {
		if !f.on(now.Sub(l.o.Start)) {
			continue
		}
		switch f.Kind {
		case "lie":
			r.Node = f.Arg
		case "garbage":
			garbage(r, int(now.Unix()))
		}
	}
	return r
}

// garbage spoils a report in one of several ways.
func garbage(r *wire.NodeReport, k int) {
	much := uint32(4_000_000_000)
	switch k % 4 {
	case 0:
		r.Uses = append(r.Uses, &wire.Use{Owner: "garbage", Gpu: "GPU-garbage", Busy: &much})
	case 1:
		r.Gpus = append(r.Gpus, &wire.Gpu{Uuid: strings.Repeat("x", 10_000)})
	case 2:
		twice := &wire.Gpu{Uuid: "GPU-twice"}
		r.Gpus = append(r.Gpus, twice, twice)
	default:
		r.Uses = append(r.Uses, &wire.Use{})
	}
}
