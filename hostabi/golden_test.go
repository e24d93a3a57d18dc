package hostabi_test

import (
	"bytes"
	"encoding/binary"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/musterhq/muster/hostabi"
)

// The batches in testdata are read by the tests of the SDKs too, so that both sides of
// the wire are held to the same bytes. v1.0.mbatch was written by version 1.0.
var update = flag.Bool("update", false, "write testdata and the example of abi.md anew")

// example is the batch that abi.md shows.
func example(t testing.TB) (*hostabi.Frame, []byte) {
	t.Helper()
	md, err := hostabi.ParseMetadata([]byte(`{"columns":{"required":["job.priority","job.use","job.label:team"]},"params":[
		{"name":"aging","type":"f64","default":1.5},{"name":"favoured","type":"string","default":"gold"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	use := []int64{1 << 31, -1, 0}
	data := map[hostabi.ColumnID][]byte{
		hostabi.JobPriority: hostabi.Bytes([]int64{5, -1, 7}),
		hostabi.JobUse:      hostabi.Bytes(use),
		hostabi.LabelBase:   hostabi.Bytes([]uint32{1, hostabi.NoText, 0}),
		hostabi.JobKeyCount: hostabi.Bytes([]uint32{1}),
	}
	f := &hostabi.Frame{Kind: hostabi.KindJobOrder, Rows: 3, Now: 1000, Seed: 42, Cycle: 7, Strings: []string{"gold", "silver"}}
	for _, p := range md.Params {
		f.Params = append(f.Params, hostabi.Slot(p.Default, func(string) uint32 { return 0 }))
	}
	for _, c := range slices.Concat(hostabi.Columns(hostabi.KindJobOrder), md.LabelColumns()) {
		if !md.Wants(c) {
			continue
		}
		f.Parts = append(f.Parts, hostabi.Part{Column: &c, Data: data[c.ID]})
		if c.Nullable {
			f.Parts[len(f.Parts)-1].Valid = hostabi.Validity(nil, use)
		}
	}
	return f, encode(t, f)
}

// later is a batch as a later minor version might write it: a longer header, longer
// descriptors with bytes in them, and an unknown column in front of the others.
func later(t testing.TB, batch []byte) []byte {
	t.Helper()
	const header, stride = 192, 48
	le := binary.LittleEndian
	inputs, outputs := le.Uint16(batch[24:]), le.Uint16(batch[26:])
	n := int(inputs) + int(outputs)
	grow := uint32(header - 128 + 64 + (stride*(n+1)+63)&^63 - (32*n+63)&^63) // the parts move by this
	out := make([]byte, len(batch)+int(grow))
	copy(out, batch[:128])
	le.PutUint16(out[6:], 9) // version 1.9
	le.PutUint32(out[8:], header)
	le.PutUint32(out[12:], uint32(len(out)))
	le.PutUint16(out[24:], inputs+1)
	le.PutUint32(out[28:], header)
	le.PutUint32(out[32:], stride)
	move := func(b []byte) {
		if v := le.Uint32(b); v != 0 {
			le.PutUint32(b, v+grow)
		}
	}
	for _, offset := range []int{64, 72, 80, 92} {
		move(out[offset:])
	}
	copy(out[128:header], bytes.Repeat([]byte{0xee}, header-128))
	parts := (128 + 32*n + 63) &^ 63
	copy(out[parts+int(grow):], batch[parts:])
	for i := range n + 1 {
		d := out[header+stride*i:]
		copy(d[32:stride], bytes.Repeat([]byte{0xdd}, stride-32))
		if i == 0 { // an input that this version does not know, in the gap that grow left
			le.PutUint32(d, 0x017f)
			d[4], d[6] = byte(hostabi.U8), 1
			le.PutUint32(d[8:], uint32(parts)+grow-64)
			le.PutUint32(d[12:], 3)
			le.PutUint16(d[24:], 1)
			continue
		}
		copy(d, batch[128+32*(i-1):128+32*i])
		move(d[8:])
		move(d[16:])
	}
	if dict := le.Uint32(out[92:]); dict != 0 {
		move(out[dict+4:])
		move(out[dict+8:])
	}
	return out
}

func TestTheBatchesThatSDKsAreTestedWithAreCurrent(t *testing.T) {
	_, batch := example(t)
	for name, want := range map[string][]byte{"example.mbatch": batch, "later.mbatch": later(t, batch)} {
		path := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(path, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not what the encoder writes (%v): go test ./hostabi -run Current -update", path, err)
		}
	}
}

func TestABatchOfALaterVersionIsReadLikeTheSameOfThisOne(t *testing.T) {
	_, batch := example(t)
	now, err := hostabi.Decode(batch)
	if err != nil {
		t.Fatal(err)
	}
	b, err := hostabi.Decode(later(t, batch))
	if err != nil {
		t.Fatal(err)
	}
	if b.Minor != 9 || b.Columns[0].ID != 0x017f || len(b.Columns) != len(now.Columns)+1 || !slices.Equal(b.Params, now.Params) || !slices.Equal(b.Dicts[0], now.Dicts[0]) {
		t.Errorf("%+v", b)
	}
	for i, c := range now.Columns {
		if l := b.Columns[i+1]; l.ID != c.ID || !slices.Equal(l.Data, c.Data) || !slices.Equal(l.Validity, c.Validity) {
			t.Errorf("%s differs: %+v", c.ID, l)
		}
	}
}

func TestABatchOfVersion10IsStillRead(t *testing.T) {
	raw, err := os.ReadFile("testdata/v1.0.mbatch")
	if err != nil {
		t.Fatal(err)
	}
	b, err := hostabi.Decode(raw)
	if err != nil {
		t.Fatal(err)
	}
	c, ok := b.Column(hostabi.JobPriority)
	if b.Minor != 0 || !ok || !slices.Equal(c.Data, hostabi.Bytes([]int64{5, -1, 7})) || len(b.Params) != 0 || b.Dicts[0][0] != "root.research" {
		t.Errorf("%+v", b)
	}
}

// The marks around the example in abi.md.
const (
	exampleBegin = "<!-- example: written by go test ./hostabi -run Current -update -->\n```\n"
	exampleEnd   = "```\n<!-- end of example -->"
)

func TestTheExampleInTheABIIsCurrent(t *testing.T) {
	text, err := os.ReadFile("abi.md")
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), exampleBegin)
	shown, after, ok2 := strings.Cut(rest, exampleEnd)
	if !ok || !ok2 {
		t.Fatal("abi.md has no example")
	}
	f, batch := example(t)
	want := dump(t, f, batch)
	if *update {
		if err := os.WriteFile("abi.md", []byte(before+exampleBegin+want+exampleEnd+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if shown != want {
		t.Error("the example is not what the encoder writes: go test ./hostabi -run Current -update")
	}
}

func TestTheMetadataInTheABIAreGood(t *testing.T) {
	text, err := os.ReadFile("abi.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "```json\n")
	shown, _, ok := strings.Cut(rest, "```")
	md, err := hostabi.ParseMetadata([]byte(shown))
	if !ok || err != nil || len(md.Params) != 3 || md.Params[0].Max != 100.0 {
		t.Errorf("%v %+v", err, md)
	}
}

// dump shows a batch, lines of zeros left out, with the name of each part before it.
func dump(t testing.TB, f *hostabi.Frame, batch []byte) string {
	t.Helper()
	le := binary.LittleEndian
	names := map[int]string{
		0: "header", int(le.Uint32(batch[64:])): "params", int(le.Uint32(batch[80:])): "error text, 256 bytes",
		int(le.Uint32(batch[92:])): "dictionary table",
	}
	dict := batch[le.Uint32(batch[92:]):]
	names[int(le.Uint32(dict[4:]))], names[int(le.Uint32(dict[8:]))] = "dictionary offsets", "dictionary bytes"
	for i := range f.Parts {
		at := 128 + 32*i
		names[at] = fmt.Sprintf("descriptor of %s", f.Parts[i].Column.Name)
		names[int(le.Uint32(batch[at+8:]))] = f.Parts[i].Column.Name
		if v := le.Uint32(batch[at+16:]); v != 0 {
			names[int(v)] = "validity bitmap of " + f.Parts[i].Column.Name
		}
	}
	var out strings.Builder
	for at := 0; at < len(batch); at += 16 {
		if name, ok := names[at]; ok {
			fmt.Fprintf(&out, "%s\n", name)
		}
		line := batch[at : at+16]
		if slices.ContainsFunc(line, func(b byte) bool { return b != 0 }) {
			fmt.Fprintf(&out, "  %04x  % x  % x\n", at, line[:8], line[8:])
		}
	}
	return out.String()
}
