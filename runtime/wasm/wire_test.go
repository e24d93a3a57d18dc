package wasm_test

import (
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/musterhq/muster/hostabi"
	"github.com/musterhq/muster/policies"
	"github.com/musterhq/muster/runtime/wasm"
	"github.com/musterhq/muster/runtime/wasm/wasmtest"
)

const fullMetadata = `{
	"name": "aging", "version": "2.1", "abi": {"major": 1, "minMinor": 1},
	"columns": {"required": ["job.priority", "job.label:team"], "optional": ["job.use", "job.queue", "job.user_name", "job.mood", "job.label:zone"]},
	"params": [
		{"name": "aging", "type": "f64", "default": 0.5, "min": 0, "max": 10},
		{"name": "floor", "type": "duration", "default": "5m"},
		{"name": "team", "type": "string", "default": "core"},
		{"name": "strict", "type": "bool", "default": true},
		{"name": "top", "type": "i64", "default": -3}
	],
	"laws": ["row-independent"], "reasons": ["", "old"]}`

// labelled is a batch of three jobs with a dictionary of its own.
func labelled() *policies.JobBatch {
	return &policies.JobBatch{
		N: 3, Queue: "root.a", Priority: []int64{1, 2, 3}, Use: []int64{7, policies.Unset, 9}, Submit: []int64{1, 2, 3},
		Strings: []string{"ann", "core", "infra"}, UserName: []uint32{0, 0, policies.NoString},
		Labels: []policies.LabelColumn{{Key: "team", Value: []uint32{1, policies.NoString, 2}}, {Key: "zone", Value: []uint32{2, 2, 2}}},
	}
}

func decodeJobs(t *testing.T, m *wasm.Module, b *policies.JobBatch) *hostabi.Batch {
	t.Helper()
	raw, err := m.EncodeJobs(b)
	if err != nil {
		t.Fatal(err)
	}
	d, err := hostabi.Decode(raw)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func words(raw []byte) []uint64 {
	var out []uint64
	for i := 0; i < len(raw); i += 8 {
		out = append(out, binary.LittleEndian.Uint64(raw[i:]))
	}
	return out
}

func ids(raw []byte) []uint32 {
	out := make([]uint32, len(raw)/4)
	hostabi.Read(out, raw)
	return out
}

func data(t *testing.T, b *hostabi.Batch, id hostabi.ColumnID) []byte {
	t.Helper()
	c, ok := b.Column(id)
	if !ok {
		t.Fatalf("no column %s", id)
	}
	return c.Data
}

func TestOneDictionaryHoldsEachTextOnceForColumnsQueueAndParams(t *testing.T) {
	m := load(t, wasmtest.GoodWithMetadata(fullMetadata), trusted)
	b := decodeJobs(t, m, labelled())
	if len(b.Dicts) != 1 || !slices.Equal(b.Dicts[0], []string{"ann", "core", "infra", "root.a"}) {
		t.Fatalf("dictionaries %q", b.Dicts)
	}
	if got := ids(data(t, b, hostabi.JobQueue)); got[0] != 3 {
		t.Errorf("the queue is text %d", got[0])
	}
	if got := ids(data(t, b, hostabi.JobUserName)); !slices.Equal(got, []uint32{0, 0, hostabi.NoText}) {
		t.Errorf("user names %v", got)
	}
	team, zone := ids(data(t, b, hostabi.LabelBase)), ids(data(t, b, hostabi.LabelBase+1))
	if !slices.Equal(team, []uint32{1, hostabi.NoText, 2}) || !slices.Equal(zone, []uint32{2, 2, 2}) {
		t.Errorf("team %v, zone %v", team, zone)
	}
	want := []uint64{math.Float64bits(0.5), 300e9, 1, 1, math.MaxUint64 - 2}
	if got := words(b.Params); !slices.Equal(got, want) {
		t.Errorf("params %v, want %v", got, want)
	}
}

func TestAParamThatIsATextOfNoJobIsATextOfItsOwn(t *testing.T) {
	m := load(t, wasmtest.GoodWithMetadata(fullMetadata), trusted)
	if err := m.Configure(map[string]any{"team": "nobody"}); err != nil {
		t.Fatal(err)
	}
	b := decodeJobs(t, m, labelled())
	if got := words(b.Params)[2]; b.Dicts[0][got] != "nobody" {
		t.Errorf("the param is text %d of %q", got, b.Dicts[0])
	}
}

func TestANullIsMinusOneAndAZeroInTheBitmap(t *testing.T) {
	m := load(t, wasmtest.GoodWithMetadata(fullMetadata), trusted)
	b := decodeJobs(t, m, labelled())
	use, _ := b.Column(hostabi.JobUse)
	if got := words(use.Data); got[1] != math.MaxUint64 || got[2] != 9 {
		t.Errorf("elements %v", got)
	}
	if len(use.Validity) != 1 || use.Validity[0] != 0b101 {
		t.Errorf("bitmap %b", use.Validity)
	}
	known := labelled()
	known.Use[1] = 0
	if use, _ := decodeJobs(t, m, known).Column(hostabi.JobUse); use.Validity != nil {
		t.Errorf("a bitmap %b where all is known", use.Validity)
	}
}

func TestALabelThatTheCallerHasNotFilledIsOnNoJob(t *testing.T) {
	m := load(t, wasmtest.GoodWithMetadata(fullMetadata), trusted)
	b := labelled()
	b.Labels = b.Labels[1:] // zone stands where team should
	got := decodeJobs(t, m, b)
	for _, id := range []hostabi.ColumnID{hostabi.LabelBase, hostabi.LabelBase + 1} {
		if v := ids(data(t, got, id)); !slices.Equal(v, []uint32{hostabi.NoText, hostabi.NoText, hostabi.NoText}) {
			t.Errorf("%s: %v", id, v)
		}
	}
}

func TestInfoSaysWhatTheMetadataSay(t *testing.T) {
	m := load(t, wasmtest.GoodWithMetadata(fullMetadata), wasm.Options{Name: "file", Params: map[string]any{"top": 7, "floor": "1m"}})
	info := m.Info()
	want := policies.Info{
		Name: "aging", Version: "2.1", Digest: info.Digest, Kinds: policies.JobOrder | policies.QueueShares | policies.VictimCosts,
		Reasons: []string{"", "old"}, Columns: []string{"job.priority", "job.use", "job.queue", "job.user_name"},
		Labels: []string{"team", "zone"}, Laws: []string{policies.LawRowIndependent}, Params: info.Params,
	}
	if d := cmp.Diff(want, info); d != "" {
		t.Error(d)
	}
	var values []any
	for _, p := range info.Params {
		values = append(values, p.Value)
	}
	if d := cmp.Diff([]any{0.5, int64(60e9), "core", true, int64(7)}, values); d != "" {
		t.Error(d)
	}
	if plain := load(t, wasmtest.Good(), trusted).Info(); plain.Columns != nil || plain.Labels != nil || plain.Params != nil {
		t.Errorf("a module without metadata: %+v", plain)
	}
}

func TestASettingThatIsNotOneIsRefusedAndTheOldOnesStay(t *testing.T) {
	bin := wasmtest.GoodWithMetadata(fullMetadata)
	_, err := wasm.Load(t.Context(), bin, wasm.Options{Name: "p", Params: map[string]any{"aging": 11}})
	var le *wasm.LoadError
	var pe *policies.ParamError
	if !errors.As(err, &le) || le.Code != wasm.BadParams || le.Where != "params.aging" || le.Hint == "" || !errors.As(err, &pe) {
		t.Errorf("load: %v", err)
	}
	m := load(t, bin, wasm.Options{Params: map[string]any{"aging": 2}})
	if err := m.Configure(map[string]any{"ageing": 3}); !errors.As(err, &pe) || pe.Param != "ageing" {
		t.Errorf("configure: %v", err)
	}
	if got := m.Info().Params[0].Value; got != 2.0 {
		t.Errorf("aging is %v after a refusal", got)
	}
	if err := m.Configure(map[string]any{"aging": 3}); err != nil || m.Info().Params[0].Value != 3.0 {
		t.Errorf("aging is %v, error %v", m.Info().Params[0].Value, err)
	}
	if got := words(decodeJobs(t, m, labelled()).Params)[0]; got != math.Float64bits(3) {
		t.Errorf("the guest would see %v", math.Float64frombits(got))
	}
}

func TestQueuesAndVictimsHaveTheSettingsToo(t *testing.T) {
	m := load(t, wasmtest.GoodWithMetadata(`{"params":[{"name":"s","type":"string","default":"cpu"},{"name":"i","type":"i64","default":4}]}`), trusted)
	q := queuesOf(3)
	q.Use = []int64{1, -1, 2}
	raw, err := m.EncodeQueues(q)
	if err != nil {
		t.Fatal(err)
	}
	b, err := hostabi.Decode(raw)
	if err != nil {
		t.Fatal(err)
	}
	if got := words(b.Params); !slices.Equal(got, []uint64{0, 4}) || !slices.Equal(b.Dicts[0], q.Resources) {
		t.Errorf("params %v, texts %q: cpu is the first resource", got, b.Dicts)
	}
	if use, _ := b.Column(hostabi.QueueUse); len(use.Validity) != 1 || use.Validity[0] != 0b101 {
		t.Errorf("bitmap %b", use.Validity)
	}
	if raw, err = m.EncodeVictims(victimsOf(2)); err != nil {
		t.Fatal(err)
	}
	if b, err = hostabi.Decode(raw); err != nil || words(b.Params)[1] != 4 || b.Dicts[0][words(b.Params)[0]] != "cpu" {
		t.Errorf("victims: params %v, texts %q, error %v", words(b.Params), b.Dicts, err)
	}
}
