package simulate

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/musterhq/muster/gpuprobe/pattern"
)

// Fault is something that goes wrong at a node:
//
//	fault = what [ "gpu" INDEX ] "at" DURATION [ "for" DURATION ]
//	what  = "hang"              the driver does not answer for the GPU
//	      | "gpu-lost"          the GPU falls off the bus
//	      | "xid=" NUMBER       the driver tells of an XID of the GPU
//	      | "driver-gone"       NVML is away
//	      | "podresources-gone" the kubelet does not answer
//	      | "ebpf-gone"         launches can't be seen
//	      | "lie=" NODE         it reports as another node
//	      | "garbage"           it reports what can't be
//
// Times are since the start of the node. Without "for" it never ends.
type Fault struct {
	Kind string
	Arg  string // of xid and lie
	GPU  int
	At   time.Duration
	For  time.Duration // 0 is for ever
}

var faultKinds = []string{"hang", "gpu-lost", "xid", "driver-gone", "podresources-gone", "ebpf-gone", "lie", "garbage"}

// ParseFault reads a fault; *PatternError if it can't be read.
func ParseFault(s string) (Fault, error) {
	wrong := func(why string) (Fault, error) {
		return Fault{}, &PatternError{Text: s, Why: why, Hint: `faults look like "hang gpu 3 at 30s for 1m", "xid=79 gpu 0 at 1m", "lie=other at 5s"`}
	}
	words := strings.Fields(s)
	if len(words)%2 == 0 {
		return wrong("it is not a kind of fault and pairs of words")
	}
	var f Fault
	var given bool
	f.Kind, f.Arg, given = strings.Cut(words[0], "=")
	switch needs := f.Kind == "xid" || f.Kind == "lie"; {
	case !slices.Contains(faultKinds, f.Kind):
		return wrong("there is no such fault; there are " + strings.Join(faultKinds, ", "))
	case needs != (given && f.Arg != ""):
		return wrong(fmt.Sprintf("%s: only xid and lie have a value, and need it", f.Kind))
	}
	if _, err := strconv.ParseUint(f.Arg, 10, 16); f.Kind == "xid" && err != nil {
		return wrong("an XID is a number")
	}
	at := false
	for pair := range slices.Chunk(words[1:], 2) {
		var err error
		switch pair[0] {
		case "gpu":
			f.GPU, err = strconv.Atoi(pair[1])
			if err != nil || f.GPU < 0 || f.GPU >= maxGPUs {
				return wrong("a GPU is a number from 0")
			}
		case "at":
			at = true
			f.At, err = pattern.ParseDuration(pair[1])
		case "for":
			f.For, err = pattern.ParseDuration(pair[1])
		default:
			return wrong("after the kind come gpu, at and for")
		}
		if err != nil {
			return Fault{}, err
		}
	}
	if !at {
		return wrong("it does not say when")
	}
	return f, nil
}

// on says whether a fault is there at a time.
func (f *Fault) on(t time.Duration) bool {
	return t >= f.At && (f.For == 0 || t < f.At+f.For)
}
