package sdktest

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/musterhq/muster/hostabi"
	"github.com/musterhq/muster/policies"
	"github.com/musterhq/muster/runtime/wasm"
)

var le = binary.LittleEndian

// Fields of header and descriptor that these tests write (hostabi/abi.md, section 3).
const (
	atMinor, atHeader, atTotal, atInputs, atOutputs, atDescs, atStride = 6, 8, 12, 24, 26, 28, 32
)

func encode(t *testing.T, m *wasm.Module, b *policies.JobBatch) []byte {
	t.Helper()
	raw, err := m.EncodeJobs(b)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// descriptors returns a copy of each column descriptor of a batch.
func descriptors(raw []byte) [][]byte {
	var out [][]byte
	for i := range int(le.Uint16(raw[atInputs:])) + int(le.Uint16(raw[atOutputs:])) {
		d := raw[int(le.Uint32(raw[atDescs:]))+i*int(le.Uint32(raw[atStride:])):]
		out = append(out, slices.Clone(d[:hostabi.DescriptorBytes]))
	}
	return out
}

// described is a batch with other descriptors, of stride bytes each with rubbish behind
// what this version knows, and a header that is as much longer.
func described(raw []byte, inputs int, descs [][]byte, stride int) []byte {
	out := slices.Clone(raw)
	at := len(out)
	for _, d := range descs {
		out = append(append(out, d...), bytes.Repeat([]byte{0xee}, stride-len(d))...)
	}
	for len(out)%hostabi.Align != 0 {
		out = append(out, 0)
	}
	le.PutUint16(out[atMinor:], 99)
	le.PutUint32(out[atHeader:], uint32(hostabi.HeaderBytes+stride-hostabi.DescriptorBytes))
	le.PutUint32(out[atTotal:], uint32(len(out)))
	le.PutUint16(out[atInputs:], uint16(inputs))
	le.PutUint32(out[atDescs:], uint32(at))
	le.PutUint32(out[atStride:], uint32(stride))
	return out
}

// keys are the bytes of the first key, for a batch that was answered.
func keys(t *testing.T, m *wasm.Module, raw []byte) []byte {
	t.Helper()
	a, err := m.CallRaw(t.Context(), raw)
	if err != nil {
		t.Fatal(err)
	}
	b, err := hostabi.Decode(a.Batch)
	if err != nil {
		t.Fatal(err)
	}
	c, ok := b.Column(hostabi.JobKey0)
	if !ok {
		t.Fatal("there is no key")
	}
	return c.Data
}

func TestEachLanguageReadsBatchesOfLaterVersions(t *testing.T) {
	each(t, func(t *testing.T, _ string, m *wasm.Module) {
		raw := encode(t, m, jobs(50))
		want, descs, inputs := keys(t, m, raw), descriptors(raw), int(le.Uint16(raw[atInputs:]))
		if got := keys(t, m, described(raw, inputs, descs, 64)); !slices.Equal(got, want) {
			t.Error("other keys where header and descriptors are longer")
		}
		unknown, label := slices.Clone(descs[0]), slices.Clone(descs[0])
		le.PutUint32(unknown, 0x017f)
		le.PutUint32(unknown[12:], 3) // of another shape than any that there is
		le.PutUint32(label, uint32(hostabi.LabelBase))
		label[4], label[6] = byte(hostabi.Dict32), 4
		more := append([][]byte{unknown, label}, descs...)
		if got := keys(t, m, described(raw, inputs+2, more, 48)); !slices.Equal(got, want) {
			t.Error("other keys where there are columns that nobody knows")
		}
		slices.Reverse(descs)
		if got := keys(t, m, described(raw, inputs, descs, 32)); !slices.Equal(got, want) {
			t.Error("other keys where columns come in another order")
		}
	})
}

// without is a batch that a host has made which does not know a column.
func without(raw []byte, id hostabi.ColumnID) []byte {
	var kept [][]byte
	for _, d := range descriptors(raw) {
		if hostabi.ColumnID(le.Uint32(d)) != id {
			kept = append(kept, d)
		}
	}
	return described(raw, int(le.Uint16(raw[atInputs:]))-1, kept, hostabi.DescriptorBytes)
}

func TestEachLanguageDoesWithoutAnOptionalColumn(t *testing.T) {
	each(t, func(t *testing.T, language string, m *wasm.Module) {
		if !slices.Contains(m.Metadata().Columns.Optional, "job.duration") {
			t.Skipf("aged-sjf in %s requires job.duration", language)
		}
		b := jobs(50)
		for i := range b.Duration {
			b.Duration[i] = policies.Unset
		}
		want := keys(t, m, encode(t, m, b))
		if got := keys(t, m, without(encode(t, m, jobs(50)), hostabi.JobDuration)); !slices.Equal(got, want) {
			t.Error("a column that is not there is not read as unknown")
		}
	})
}

func TestEachLanguageRefusesWithoutAColumnThatItNeedsAndGoesOn(t *testing.T) {
	each(t, func(t *testing.T, _ string, m *wasm.Module) {
		raw := encode(t, m, jobs(50))
		want := keys(t, m, raw)
		a, err := m.CallRaw(t.Context(), without(raw, hostabi.JobWait))
		if code := policies.CodeOf(err); code != policies.CodeBadInput && code != policies.CodeInternal {
			t.Errorf("status %d, %v", a.Status, err)
		}
		if got := keys(t, m, raw); !slices.Equal(got, want) {
			t.Error("other keys than before")
		}
	})
}

// Whatever stands in header and descriptors, a guest answers by a status, and the next
// batch gets its answer.
func TestEachLanguageAnswersBytesThatAreNoBatchByAStatus(t *testing.T) {
	each(t, func(t *testing.T, language string, m *wasm.Module) {
		raw := encode(t, m, jobs(9))
		want := keys(t, m, raw)
		descs, r := int(le.Uint32(raw[atDescs:])), rand.New(rand.NewPCG(7, 7))
		end := descs + len(descriptors(raw))*hostabi.DescriptorBytes
		refused := 0
		for range 400 {
			bad := slices.Clone(raw)
			at := r.IntN(end/4) * 4
			if at == 16 || at == 20 { // the host reads kind and rows from here
				continue
			}
			le.PutUint32(bad[at:], r.Uint32()>>r.IntN(32))
			_, err := m.CallRaw(t.Context(), bad)
			switch policies.CodeOf(err) {
			case policies.CodeTrap, policies.CodeOutOfFuel, policies.CodeWatchdog, policies.CodeMemory:
				t.Fatalf("word %d of the batch is %#x: %v", at/4, le.Uint32(bad[at:]), err)
			case policies.CodeBadInput:
				refused++
			}
		}
		if refused < 40 {
			t.Errorf("only %d of 400 were refused", refused)
		}
		if got := keys(t, m, raw); !slices.Equal(got, want) {
			t.Error("other keys than before")
		}
		t.Logf("%s refused %d", language, refused)
	})
}
