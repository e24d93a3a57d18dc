package wasmbin_test

import (
	"errors"
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
