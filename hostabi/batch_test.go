package hostabi_test

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/musterhq/muster/hostabi"
)

// frame returns a frame of every column of a kind, filled with random bytes.
func frame(k hostabi.Kind, rows, resources int, seed uint64) *hostabi.Frame {
	r := rand.New(rand.NewPCG(seed, 1))
	f := &hostabi.Frame{
		Kind: k, Rows: rows, Resources: resources, Now: 7, Seed: 8, Cycle: 9,
		Params: []uint64{1, 1 << 63}, Strings: []string{"root.a", "", "größe"},
	}
	columns := hostabi.Columns(k)
	for i := range columns {
		c := &columns[i]
		n := map[hostabi.Shape]int{
			hostabi.ShapeRow: rows, hostabi.ShapeMatrix: rows * resources, hostabi.ShapeResource: resources, hostabi.ShapeBatch: 1,
		}[c.Shape] * c.Type.Size()
		p := hostabi.Part{Column: c, Data: make([]byte, n)}
		for j := range p.Data {
			p.Data[j] = byte(r.Uint32())
		}
		if i == 1 {
			p.Data = nil
		}
		f.Parts = append(f.Parts, p)
	}
	return f
}

func encode(t testing.TB, f *hostabi.Frame) []byte {
	t.Helper()
	size, err := f.Layout()
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, size)
	for i := range buf {
		buf[i] = 0xa5 // what an earlier batch left behind
	}
	if err := f.Encode(buf); err != nil {
		t.Fatal(err)
	}
	return buf
}

func TestWhatIsEncodedIsDecoded(t *testing.T) {
	for _, k := range hostabi.Kinds() {
		for _, size := range [][2]int{{0, 0}, {1, 1}, {7, 3}, {8, 8}, {100, 5}} {
			f := frame(k, size[0], size[1], 1)
			buf := encode(t, f)
			b, err := hostabi.Decode(buf)
			if err != nil {
				t.Fatalf("%s %v: %v", k, size, err)
			}
			if b.Kind != k || b.Rows != size[0] || b.Resources != size[1] || b.Now != 7 || b.Seed != 8 || b.Cycle != 9 {
				t.Errorf("%s %v: header %+v", k, size, b)
			}
			if !slices.Equal(b.Params, hostabi.Bytes(f.Params)) || !slices.Equal(b.Dicts[0], f.Strings) {
				t.Errorf("%s %v: params %x, strings %q", k, size, b.Params, b.Dicts)
			}
			for i, p := range f.Parts {
				c, ok := b.Column(p.Column.ID)
				if !ok {
					t.Fatalf("%s: no column %s", k, p.Column.Name)
				}
				if absent := c.Flags&hostabi.FlagAbsent != 0; absent != (i == 1) {
					t.Errorf("%s: %s absent is %v", k, p.Column.Name, absent)
				}
				if want := p.Data; i != 1 && !slices.Equal(c.Data, want) {
					t.Errorf("%s: %s is %x, want %x", k, p.Column.Name, c.Data, want)
				}
				if !slices.Equal(f.Output(buf, i), c.Data) && len(c.Data) > 0 {
					t.Errorf("%s: Output of %s is not where the descriptor says", k, p.Column.Name)
				}
			}
		}
	}
}

func TestEqualFramesGiveEqualBytesWhateverWasThereBefore(t *testing.T) {
	for _, k := range hostabi.Kinds() {
		f := frame(k, 13, 3, 2)
		a := encode(t, f)
		b := make([]byte, len(a))
		if err := f.Encode(b); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(a, b) {
			t.Errorf("%s: bytes of the buffer show through", k)
		}
	}
}

func TestEveryPartIsAligned(t *testing.T) {
	buf := encode(t, frame(hostabi.KindQueueShares, 5, 3, 3))
	n := int(binary.LittleEndian.Uint16(buf[24:])) + int(binary.LittleEndian.Uint16(buf[26:]))
	for i := range n {
		if off := binary.LittleEndian.Uint32(buf[128+32*i+8:]); off%64 != 0 {
			t.Errorf("column %d is at %d", i, off)
		}
	}
	if len(buf)%64 != 0 {
		t.Errorf("the batch has %d bytes", len(buf))
	}
}

func TestEncodingAllocatesNothing(t *testing.T) {
	f := frame(hostabi.KindJobOrder, 100, 0, 4)
	buf := encode(t, f)
	if n := testing.AllocsPerRun(20, func() {
		if _, err := f.Layout(); err != nil {
			t.Fatal(err)
		}
		if err := f.Encode(buf); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestAFrameThatCannotBeLaidOutIsRefused(t *testing.T) {
	for name, spoil := range map[string]func(*hostabi.Frame){
		"negative rows":            func(f *hostabi.Frame) { f.Rows = -1 },
		"more than a batch holds":  func(f *hostabi.Frame) { f.Rows = 1 << 28; blank(f) },
		"too many resources":       func(f *hostabi.Frame) { f.Resources = 1 << 16; blank(f) },
		"a column that is cut off": func(f *hostabi.Frame) { f.Parts[2].Data = f.Parts[2].Data[:3] },
	} {
		f := frame(hostabi.KindJobOrder, 4, 2, 5)
		spoil(f)
		_, err := f.Layout()
		var le *hostabi.LayoutError
		if !errors.As(err, &le) {
			t.Errorf("%s: got %v, want a *LayoutError", name, err)
		}
	}
}

func blank(f *hostabi.Frame) {
	for i := range f.Parts {
		f.Parts[i].Data = nil
	}
}

// Each case breaks one field of a good batch.
func TestDecodeNamesWhatIsWrong(t *testing.T) {
	good := encode(t, frame(hostabi.KindQueueShares, 3, 2, 6))
	put32 := func(at int, v uint32) func([]byte) []byte {
		return func(b []byte) []byte { binary.LittleEndian.PutUint32(b[at:], v); return b }
	}
	column := 128 + 32*3 // queue.depth
	for _, c := range []struct {
		name  string
		spoil func([]byte) []byte
		want  string
	}{
		{"a header that is cut off", func(b []byte) []byte { return b[:127] }, "header"},
		{"a batch that is cut off", func(b []byte) []byte { return b[:len(b)-64] }, "header: total"},
		{"another magic", put32(0, 1), "magic"},
		{"another version", put32(4, 2), "version 2"},
		{"a header that is too short", put32(8, 64), "header of 64"},
		{"descriptors that are too short", put32(32, 16), "descriptors of 16"},
		{"descriptors outside of the batch", put32(28, 1<<31), "descriptors"},
		{"params outside of the batch", put32(64, 0xffffffc0), "params"},
		{"params beyond all bounds", put32(68, 0xffffffff), "params"},
		{"an error area outside of the batch", put32(84, 0xffffffff), "error text"},
		{"a dictionary table outside of the batch", put32(92, 0xfffffff0), "dictionary table"},
		{"too many dictionaries", put32(96, 1<<20), "dictionaries"},
		{"a column outside of the batch", put32(column+8, 0xffffffc0), "queue.depth"},
		{"a column at an odd place", put32(column+8, 129), "queue.depth"},
		{"a column of the wrong length", put32(column+12, 2), "queue.depth"},
		{"a column of the wrong type", func(b []byte) []byte { b[column+4] = byte(hostabi.F64); return b }, "queue.depth"},
		{"a column of an unknown type", func(b []byte) []byte { b[column+4] = 99; return b }, "unknown type"},
		{"a column in the wrong direction", func(b []byte) []byte { b[column+5] |= byte(hostabi.FlagOutput); return b }, "direction"},
		{"elements of the wrong size", func(b []byte) []byte { b[column+6] = 4; return b }, "elements of 4"},
		{"a validity bitmap outside of the batch", put32(column+16, 0xffffffc0), "validity"},
		{"a dictionary that is not there", put32(column+20, 2), "dictionary 2"},
	} {
		_, err := hostabi.Decode(c.spoil(slices.Clone(good)))
		var de *hostabi.DecodeError
		if !errors.As(err, &de) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want a *DecodeError about %q", c.name, err, c.want)
		}
	}
}

func TestLongerHeadersAndDescriptorsOfLaterVersionsAreRead(t *testing.T) {
	good := encode(t, frame(hostabi.KindVictimCosts, 3, 2, 7))
	n := int(binary.LittleEndian.Uint16(good[24:])) + int(binary.LittleEndian.Uint16(good[26:]))
	longer := slices.Clone(good)
	at := len(longer)
	for i := range n {
		longer = append(longer, good[128+32*i:128+32*(i+1)]...)
		longer = append(longer, make([]byte, 32)...)
	}
	binary.LittleEndian.PutUint32(longer[8:], 192) // the header of a later minor version
	binary.LittleEndian.PutUint32(longer[12:], uint32(len(longer)))
	binary.LittleEndian.PutUint32(longer[28:], uint32(at))
	binary.LittleEndian.PutUint32(longer[32:], 64)
	a, err := hostabi.Decode(good)
	if err != nil {
		t.Fatal(err)
	}
	b, err := hostabi.Decode(longer)
	if err != nil {
		t.Fatal(err)
	}
	for i := range a.Columns {
		if a.Columns[i].ID != b.Columns[i].ID || !slices.Equal(a.Columns[i].Data, b.Columns[i].Data) {
			t.Errorf("column %d differs", i)
		}
	}
}

// FuzzDecode: no bytes panic, and what is accepted stays within its own bounds.
func FuzzDecode(f *testing.F) {
	for _, k := range hostabi.Kinds() {
		fr := frame(k, 3, 2, 8)
		fr.Parts = fr.Parts[len(fr.Parts)-2:] // small seeds: the fuzzer's minimising is slow with large ones
		f.Add(encode(f, fr))
	}
	f.Fuzz(func(t *testing.T, buf []byte) {
		b, err := hostabi.Decode(buf)
		if err != nil {
			var de *hostabi.DecodeError
			if !errors.As(err, &de) {
				t.Fatalf("error of type %T", err)
			}
			return
		}
		for _, c := range b.Columns {
			if len(c.Data) != c.Elements*c.Type.Size() {
				t.Fatalf("%s has %d bytes for %d elements of %s", c.ID, len(c.Data), c.Elements, c.Type)
			}
			if c.Validity != nil && len(c.Validity) != (c.Elements+7)/8 {
				t.Fatalf("%s has a bitmap of %d bytes for %d elements", c.ID, len(c.Validity), c.Elements)
			}
			if c.Elements > 0 {
				_ = c.Known(c.Elements - 1)
				_, _ = b.Text(c, c.Elements-1) // neither may panic, whatever the elements say
			}
		}
	})
}

// FuzzRoundTrip: whatever the sizes and the strings, decoding gives back what was
// encoded.
func FuzzRoundTrip(f *testing.F) {
	f.Add(uint8(1), uint8(3), uint8(2), "root.a", uint64(1))
	f.Add(uint8(2), uint8(0), uint8(0), "", uint64(2))
	f.Fuzz(func(t *testing.T, kind, rows, resources uint8, text string, seed uint64) {
		fr := frame(hostabi.Kind(kind%3+1), int(rows), int(resources%16), seed)
		fr.Strings = strings.SplitAfter(text, ".")
		buf := encode(t, fr)
		b, err := hostabi.Decode(buf)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(b.Dicts[0], fr.Strings) {
			t.Fatalf("strings %q, want %q", b.Dicts[0], fr.Strings)
		}
		for i, p := range fr.Parts {
			if p.Data != nil && !slices.Equal(b.Columns[i].Data, p.Data) {
				t.Fatalf("%s differs", p.Column.Name)
			}
		}
	})
}
