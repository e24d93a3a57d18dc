package wasm_test

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"github.com/musterhq/muster/hostabi"
	"github.com/musterhq/muster/policies"
	"github.com/musterhq/muster/runtime/wasm"
	"github.com/musterhq/muster/runtime/wasm/wasmtest"
)

var le = binary.LittleEndian

// Fields of header and descriptor that these tests write (hostabi/abi.md, section 3).
const (
	atMinor, atHeader, atTotal, atInputs, atDescs, atStride = 6, 8, 12, 24, 28, 32
)

func columns(raw []byte) int {
	return int(le.Uint16(raw[atInputs:])) + int(le.Uint16(raw[atInputs+2:]))
}

// longer is a batch as a later minor version might write it: a longer header, longer
// descriptors that lie behind everything else.
func longer(raw []byte) []byte {
	out := slices.Clone(raw)
	at := len(out)
	for i := range columns(raw) {
		out = append(out, raw[hostabi.HeaderBytes+hostabi.DescriptorBytes*i:][:hostabi.DescriptorBytes]...)
		out = append(out, bytes.Repeat([]byte{0xee}, 32)...)
	}
	le.PutUint16(out[atMinor:], 99)
	le.PutUint32(out[atTotal:], uint32(len(out)))
	le.PutUint32(out[atDescs:], uint32(at))
	le.PutUint32(out[atStride:], 64)
	return out
}

// extended is a batch with one more column in front, of an id that nobody knows.
func extended(raw []byte) []byte {
	out := slices.Clone(raw)
	at := len(out)
	extra := make([]byte, hostabi.DescriptorBytes)
	le.PutUint32(extra, 0x017f)
	extra[4] = byte(hostabi.I64)
	le.PutUint16(extra[6:], 8)
	le.PutUint32(extra[8:], hostabi.HeaderBytes) // its element is somewhere in the batch
	le.PutUint32(extra[12:], 1)
	out = append(out, extra...)
	out = append(out, raw[hostabi.HeaderBytes:][:hostabi.DescriptorBytes*columns(raw)]...)
	for len(out)%hostabi.Align != 0 {
		out = append(out, 0)
	}
	le.PutUint32(out[atTotal:], uint32(len(out)))
	le.PutUint32(out[atDescs:], uint32(at))
	le.PutUint16(out[atInputs:], le.Uint16(out[atInputs:])+1)
	return out
}

// without is a batch in which a column goes by an id that nobody knows.
func without(raw []byte, id hostabi.ColumnID) []byte {
	out := slices.Clone(raw)
	for i := range columns(raw) {
		if d := out[hostabi.HeaderBytes+hostabi.DescriptorBytes*i:]; hostabi.ColumnID(le.Uint32(d)) == id {
			le.PutUint32(d, 0x017e)
		}
	}
	return out
}

func key0(t *testing.T, raw []byte) []byte {
	t.Helper()
	b, err := hostabi.Decode(raw)
	if err != nil {
		t.Fatal(err)
	}
	return data(t, b, hostabi.JobKey0)
}

func TestARawBatchGetsTheAnswerOfTheBatchThatItEncodes(t *testing.T) {
	m, b := library(t, "priority-fifo", trusted), jobsOf(100)
	raw, err := m.EncodeJobs(b)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.ScoreJobs(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	fuel := m.LastFuel()
	for name, batch := range map[string][]byte{
		"as it is": raw, "longer header and descriptors": longer(raw), "a column that nobody knows": extended(raw),
	} {
		m.Restart() // what Go's own scheduler does is part of the fuel
		a, err := m.CallRaw(t.Context(), batch)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if a.Status != 0 || a.Pages == 0 || len(a.Batch) != len(batch) || !slices.Equal(key0(t, a.Batch), hostabi.Bytes(b.Keys[0])) {
			t.Errorf("%s: status %d, %d pages, %d bytes of %d, or other keys", name, a.Status, a.Pages, len(a.Batch), len(batch))
		}
		if name == "as it is" && a.Fuel != fuel {
			t.Errorf("%d units, the same batch took %d", a.Fuel, fuel)
		}
	}
	least := library(t, "fair", trusted)
	if raw, err = least.EncodeJobs(jobsOf(100)); err != nil {
		t.Fatal(err)
	}
	if a, err := least.CallRaw(t.Context(), without(raw, hostabi.JobDominant)); err == nil {
		t.Errorf("without a column that it needs: status %d", a.Status)
	}
}

func TestAnOptionalColumnThatIsNotThereHarmsNobody(t *testing.T) {
	m := annotated(t, "priority-fifo", perRow, trusted)
	raw, err := m.EncodeJobs(jobsOf(20))
	if err != nil {
		t.Fatal(err)
	}
	whole, err := m.CallRaw(t.Context(), raw)
	if err != nil {
		t.Fatal(err)
	}
	less, err := m.CallRaw(t.Context(), without(raw, hostabi.JobElastic))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(key0(t, whole.Batch), key0(t, less.Batch)) {
		t.Error("other keys")
	}
}

func TestRawAnswersAreHeldToTheSameRules(t *testing.T) {
	for name, c := range map[string]struct {
		bin    []byte
		code   policies.Code
		detail string
	}{
		"infinite keys":        {wasmtest.Infinity(), policies.CodeBadOutput, "not a finite number"},
		"five keys":            {wasmtest.FiveKeys(), policies.CodeBadOutput, "key_count"},
		"a refusal":            {wasmtest.Status(hostabi.StatusBadInput, "no queue"), policies.CodeBadInput, "no queue"},
		"a header scrawled on": {wasmtest.HugeErrorText(), policies.CodeInternal, ""},
		"a loop":               {wasmtest.Loop(), policies.CodeOutOfFuel, ""},
		"a trap":               {wasmtest.Trap(), policies.CodeTrap, ""},
		"no arena":             {wasmtest.NoRoom(), policies.CodeMemory, ""},
	} {
		m := load(t, c.bin, trusted)
		raw, err := m.EncodeJobs(jobsOf(3))
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			_, err = m.CallRaw(t.Context(), raw)
			if policies.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.detail) {
				t.Errorf("%s: got %v, want %s", name, err, c.code)
			}
		}
	}
}

func TestBytesThatAreNoBatchAreRefusedOrLeftToTheGuest(t *testing.T) {
	m := library(t, "priority-fifo", trusted)
	if _, err := m.CallRaw(t.Context(), make([]byte, 100)); err == nil {
		t.Error("100 bytes were sent")
	}
	raw, err := m.EncodeJobs(jobsOf(3))
	if err != nil {
		t.Fatal(err)
	}
	other := slices.Clone(raw)
	other[16] = byte(hostabi.KindVictimCosts)
	if _, err := m.CallRaw(t.Context(), other); err != policies.ErrNotImplemented { //nolint:errorlint // the contract is this value
		t.Errorf("a kind that it does not decide: %v", err)
	}
	other[16] = 77
	if _, err := m.CallRaw(t.Context(), other); err == nil {
		t.Error("a kind that nobody knows")
	}
	scrawled := slices.Clone(raw)
	scrawled[0] = 'X'
	if a, err := m.CallRaw(t.Context(), scrawled); policies.CodeOf(err) != policies.CodeBadInput {
		t.Errorf("another magic: status %d, %v", a.Status, err)
	}
}

func TestAnAnswerDoesNotDependOnWhereTheBatchLies(t *testing.T) {
	m := library(t, "fair", trusted)
	want := jobsOf(300)
	if err := m.ScoreJobs(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	for range 70 { // once around all places in the arena
		if err := m.MoveArena(t.Context()); err != nil {
			t.Fatal(err)
		}
		got := jobsOf(300)
		if err := m.ScoreJobs(t.Context(), got); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got.Keys[0], want.Keys[0]) {
			t.Fatal("other keys")
		}
	}
}

func TestTheInterpreterGivesTheSameBitsAndTheSameFuel(t *testing.T) {
	slow := trusted
	slow.Interpreter = true
	machine, interpreter := library(t, "fair", trusted), library(t, "fair", slow)
	for _, n := range []int{0, 1, 300} {
		a, b := jobsOf(n), jobsOf(n)
		if err := machine.ScoreJobs(t.Context(), a); err != nil {
			t.Fatal(err)
		}
		if err := interpreter.ScoreJobs(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(a.Keys[0], b.Keys[0]) || machine.LastFuel() != interpreter.LastFuel() {
			t.Errorf("%d rows: %d and %d units, or other keys", n, machine.LastFuel(), interpreter.LastFuel())
		}
	}
}

func TestInspectRunsNothingAndSaysEverything(t *testing.T) {
	in, err := wasm.Inspect("file", wasmtest.GoodWithMetadata(fullMetadata))
	if err != nil {
		t.Fatal(err)
	}
	if in.Name != "aging" || !in.HasMetadata || in.Metadata.Version != "2.1" || in.ABIMajor != 1 || in.Size == 0 || in.Pages == 0 {
		t.Errorf("%+v", in)
	}
	if in.Kinds != policies.JobOrder|policies.QueueShares|policies.VictimCosts || !strings.HasPrefix(in.Digest, "sha256:") {
		t.Errorf("kinds %v, digest %s", in.Kinds, in.Digest)
	}
	if !slices.Contains(in.Exports, wasm.Symbol{Name: "muster_reserve", Kind: "function", Type: "(i32) -> (i32)"}) {
		t.Errorf("exports %v", in.Exports)
	}
	chatty, err := wasm.Inspect("file", wasmtest.Chatty())
	if err != nil || !slices.Contains(chatty.Imports, wasm.Symbol{Name: "muster_v1.log", Kind: "function", Type: "(i32 i32 i32) -> ()"}) {
		t.Errorf("imports %v, error %v", chatty.Imports, err)
	}
	if _, err := wasm.Inspect("file", wasmtest.MissingMarker()); err == nil {
		t.Error("a module without the marker")
	}
}
