package suite

import (
	"context"
	"crypto/sha512"
	"testing"

	"github.com/musterhq/muster/policies"
)

// misjudging is a host that gets one of the guests wrong.
type misjudging struct{ about string }

func (m misjudging) Load(ctx context.Context, name string, bin []byte) (policies.Policy, error) {
	if name != m.about {
		return WasmHost().Load(ctx, name, bin)
	}
	return &costs{info: policies.Info{Name: name, Kinds: policies.VictimCosts}, cost: func(*policies.VictimBatch, int) int64 { return 0 }}, nil
}

// stopping is a host whose calls can't be interrupted: it hashes, in assembly, before
// each call.
type stopping struct{}

var ballast = make([]byte, 64<<20)

func (stopping) Load(ctx context.Context, name string, bin []byte) (policies.Policy, error) {
	p, err := WasmHost().Load(ctx, name, bin)
	if err != nil || name != "host/delays-nobody" {
		return p, err
	}
	return holdup{p}, nil
}

type holdup struct{ policies.Policy }

func (h holdup) ScoreJobs(ctx context.Context, b *policies.JobBatch) error {
	for range 2 {
		sha512.Sum512(ballast)
	}
	return h.Policy.ScoreJobs(ctx, b)
}

// badHosts get one guest wrong each. The slow law of the ticker is tried on one only.
func badHosts() []bad {
	var quick []string
	for _, g := range guests() {
		quick = append(quick, g.law)
	}
	out := []bad{{law: "host/delays-nobody", subject: Subject{Host: stopping{}}, laws: []string{"host/delays-nobody"}}}
	for _, g := range guests() {
		out = append(out, bad{law: g.law, subject: Subject{Host: misjudging{g.law}}, laws: quick})
	}
	return out
}

func TestTheHostKeepsItsPromises(t *testing.T) {
	doc, err := Check(t.Context(), Subject{Host: WasmHost()}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if doc.Result != "success" {
		t.Error(doc.Text())
	}
}
