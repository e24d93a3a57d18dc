package wasmbin_test

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/musterhq/muster/hostabi/wasmbin"
)

// tiny exports "f" as function 1 of type (i32) -> (i64), imports m.n, and has a
// memory of 1 to 2 pages, a start function and two custom sections.
var tiny = []byte("\x00asm\x01\x00\x00\x00" +
	"\x01\x09\x02\x60\x00\x00\x60\x01\x7f\x01\x7e" + // types
	"\x02\x07\x01\x01m\x01n\x00\x00" + // import
	"\x03\x02\x01\x01" + // function
	"\x05\x04\x01\x01\x01\x02" + // memory
	"\x07\x05\x01\x01f\x00\x01" + // export
	"\x08\x01\x00" + // start
	"\x0a\x06\x01\x04\x00\x42\x00\x0b" + // code
	"\x00\x05\x02hihe" +
	"\x00\x05\x04name")

func TestTheOutsideOfAModuleIsRead(t *testing.T) {
	m, err := wasmbin.Read(tiny)
	if err != nil {
		t.Fatal(err)
	}
	f, ok := m.Export("f")
	if !ok || f.Kind != wasmbin.Func || f.Type.String() != "(i32) -> (i64)" {
		t.Errorf("export f: %+v", f)
	}
	if len(m.Imports) != 1 || m.Imports[0].Module != "m" || m.Imports[0].Name != "n" || m.Imports[0].Type.String() != "() -> ()" {
		t.Errorf("imports: %+v", m.Imports)
	}
	if len(m.Memories) != 1 || m.Memories[0] != (wasmbin.Limits{Min: 1, Max: 2, HasMax: true}) {
		t.Errorf("memories: %+v", m.Memories)
	}
	if data, ok := m.Custom("hi"); !ok || string(data) != "he" {
		t.Errorf("custom section: %q", data)
	}
	if m.Start == 0 {
		t.Error("the start section was not seen")
	}
}

func TestEveryPrefixIsRefusedOrEndsBetweenSections(t *testing.T) {
	for n := range tiny {
		_, err := wasmbin.Read(tiny[:n])
		var we *wasmbin.Error
		if err == nil {
			continue // between two sections
		}
		if !errors.As(err, &we) || we.Offset > n {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

func TestWhatIsNoModuleIsRefusedWithItsByte(t *testing.T) {
	head := string(tiny[:8])
	for _, c := range []struct {
		name, bin string
		offset    int
		truncated bool
	}{
		{"nothing", "", 0, true},
		{"a text", "hello world", 0, false},
		{"another version", "\x00asm\x02\x00\x00\x00", 4, false},
		{"an unknown section", head + "\x63\x00", 8, false},
		{"a section that is cut off", head + "\x01\x10\x00", 10, true},
		{"a vector longer than its section", head + "\x01\x01\x7f", 10, false},
		{"a number without end", head + "\x01\xff\xff\xff\xff\xff\x01", 9, false},
		{"bytes after a vector", head + "\x01\x02\x00\x00", 11, false},
		{"a type that is no function", head + "\x01\x02\x01\x5f", 11, false},
		{"an import of a type that is not there", head + "\x02\x05\x01\x00\x00\x00\x07", 11, false},
		{"an export of a function that is not there", head + "\x07\x05\x01\x01f\x00\x07", 11, false},
		{"a name that is not UTF-8", head + "\x00\x02\x01\xff", 10, false},
	} {
		_, err := wasmbin.Read([]byte(c.bin))
		var we *wasmbin.Error
		if !errors.As(err, &we) {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if we.Offset != c.offset || we.Truncated != c.truncated {
			t.Errorf("%s: byte %d, truncated %v (%s), want byte %d, %v", c.name, we.Offset, we.Truncated, we.Problem, c.offset, c.truncated)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add(tiny)
	f.Add(tiny[:30])
	f.Fuzz(func(t *testing.T, bin []byte) {
		m, err := wasmbin.Read(bin)
		if err != nil {
			var we *wasmbin.Error
			if !errors.As(err, &we) || we.Offset > len(bin) {
				t.Fatalf("%T: %v", err, err)
			}
			return
		}
		if m == nil {
			t.Fatal("neither a module nor an error")
		}
	})
}

func TestSectionsAreSplitInTheirOrderOnly(t *testing.T) {
	secs, err := wasmbin.Sections(tiny)
	if err != nil || len(secs) != 9 || secs[0].ID != wasmbin.SecType || secs[8].End != len(tiny) {
		t.Fatalf("%+v, %v", secs, err)
	}
	out := wasmbin.AppendHead(nil)
	for _, s := range secs {
		out = wasmbin.AppendSection(out, s.ID, tiny[s.Body:s.End])
	}
	if !bytes.Equal(out, tiny) {
		t.Errorf("written again:\n% x\nwas\n% x", out, tiny)
	}
	for name, more := range map[string]string{"twice": "\x08\x01\x00\x08\x01\x00", "backwards": "\x08\x01\x00\x07\x01\x00"} {
		if _, err := wasmbin.Sections([]byte(string(tiny[:8]) + more)); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}

func TestACustomSectionIsReplacedWhereItStandsAndAllElseStays(t *testing.T) {
	out, err := wasmbin.SetCustom(tiny, "hi", []byte("there"))
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Replace(string(tiny), "\x00\x05\x02hihe", "\x00\x08\x02hithere", 1)
	if string(out) != want {
		t.Errorf("%q, want %q", out, want)
	}
	if out, err = wasmbin.SetCustom(out, "new", nil); err != nil || string(out) != want+"\x00\x04\x03new" {
		t.Errorf("%q, %v", out, err)
	}
	if out, err = wasmbin.SetCustom([]byte(want+"\x00\x03\x02hi"), "hi", []byte("he")); err != nil || !bytes.Equal(out, tiny) {
		t.Errorf("a second one of the name: %q, %v", out, err)
	}
	if _, err := wasmbin.SetCustom(tiny[:20], "hi", nil); err == nil {
		t.Error("half a module was taken")
	}
}

func TestNumbersComeBackAndTooLongOnesDoNot(t *testing.T) {
	for _, v := range []int64{0, 1, -1, 63, 64, -64, -65, 1 << 31, -1 << 31, -1<<31 - 1, math.MaxInt64, math.MinInt64} {
		b := wasmbin.AppendS(nil, v)
		r := wasmbin.NewReader(b, 0, len(b))
		if got := r.Int(64); got != v || r.More() || !r.Ok() {
			t.Errorf("%d came back as %d, %v", v, got, r.Err())
		}
		r = wasmbin.NewReader(b, 0, len(b))
		if r.Int(32); r.Ok() != (int64(int32(v)) == v) {
			t.Errorf("%d as 32 bits: %v", v, r.Err())
		}
	}
	long := []byte{0x80, 0x80, 0x80, 0x80, 0x80, 0x00}
	if r := wasmbin.NewReader(long, 0, len(long)); r.Int(32) != 0 || r.Ok() {
		t.Error("six bytes were taken for 32 bits")
	}
}

func TestEveryInstructionIsReadToItsEnd(t *testing.T) {
	for _, c := range []struct {
		code  string
		op    wasmbin.Op
		index uint32
	}{
		{"\x00", wasmbin.OpUnreachable, 0},
		{"\x02\x40", wasmbin.OpBlock, 0},
		{"\x0e\x02\x01\x02\x83\x01", wasmbin.OpBrTable, 0},
		{"\x10\x80\x02", wasmbin.OpCall, 256},
		{"\x11\x07\x00", wasmbin.OpCallIndirect, 7},
		{"\x1c\x01\x7f", wasmbin.OpSelectTyped, 0},
		{"\x28\x02\xff\xff\xff\xff\x0f", 0x28, 0},
		{"\x41\x80\x80\x80\x80\x78", wasmbin.OpI32Const, 0},
		{"\x44" + "12345678", 0x44, 0},
		{"\xd0\x70", wasmbin.OpRefNull, 0},
		{"\xfc\x0a\x00\x00", wasmbin.OpMemoryCopy, 0},
		{"\xfc\x8b\x00\x00", wasmbin.OpMemoryFill, 0}, // the number behind the prefix may be long
		{"\xfc\x08\x05\x00", wasmbin.OpMemoryInit, 5},
		{"\xfd\x0c" + "0123456789abcdef", 0xfd0c, 0},
		{"\xfd\x54\x00\x00\x0f", 0xfd54, 0},
		{"\xfd\xff\x01", 0xfdff, 0},
	} {
		r := wasmbin.NewReader([]byte(c.code), 0, len(c.code))
		if i := r.Instr(); i.Op != c.op || i.Index != c.index || i.End != len(c.code) || r.Err() != nil {
			t.Errorf("%q: %+v, %v", c.code, i, r.Err())
		}
		for n := range len(c.code) {
			if r := wasmbin.NewReader([]byte(c.code), 0, n); r.Instr().Op == c.op && r.Ok() && c.code[:n] != "\xfc" {
				t.Errorf("%q is whole after %d bytes", c.code, n)
			}
		}
	}
	for _, code := range []string{"\x06\x40", "\x12\x00", "\xfc\x12", "\xfd\x9a\x01", "\xfd\x80\x02\x00", "\xfe\x00", "\xfc\xff\xff\x03"} {
		if r := wasmbin.NewReader([]byte(code), 0, len(code)); r.Instr().End < 0 || r.Ok() {
			t.Errorf("%q is known", code)
		}
	}
}
