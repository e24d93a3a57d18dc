package muster

import (
	"encoding/binary"
	"errors"
	"strings"
	"testing"
)

// wire builds a batch of two jobs as the host would: two input columns, a key, its
// count, and one that this SDK does not know.
func wire() []byte {
	le := binary.LittleEndian
	b := make([]byte, 1024)
	le.PutUint32(b[0:], magic)
	le.PutUint16(b[4:], 1)
	le.PutUint32(b[8:], 128)
	le.PutUint32(b[12:], 1024)
	le.PutUint32(b[16:], 1)
	le.PutUint32(b[20:], 2)
	le.PutUint16(b[24:], 3)
	le.PutUint16(b[26:], 2)
	le.PutUint32(b[28:], 128)
	le.PutUint32(b[32:], 32)
	le.PutUint64(b[40:], 99)
	le.PutUint32(b[80:], 768)
	le.PutUint32(b[84:], 64)
	le.PutUint32(b[92:], 832)
	le.PutUint32(b[96:], 1)
	columns := []struct {
		id, offset, n uint32
		typ, size     byte
	}{
		{0x0101, 512, 1, 4, 4}, {0x0104, 576, 2, 1, 8}, {0x017f, 576, 2, 1, 8}, {0x0181, 640, 2, 1, 8}, {0x0185, 704, 1, 3, 4},
	}
	for i, c := range columns {
		d := b[128+32*i:]
		le.PutUint32(d, c.id)
		d[4], d[6] = c.typ, c.size
		le.PutUint32(d[8:], c.offset)
		le.PutUint32(d[12:], c.n)
	}
	le.PutUint64(b[576:], 5)
	le.PutUint64(b[584:], 7)
	le.PutUint32(b[704:], 1)
	le.PutUint32(b[832:], 1)
	le.PutUint32(b[836:], 896)
	le.PutUint32(b[840:], 960)
	le.PutUint32(b[844:], 6)
	le.PutUint32(b[900:], 6)
	copy(b[960:], "root.a")
	return b
}

func TestAPolicySeesTheBatchAndItsAnswerIsInTheBatch(t *testing.T) {
	b := wire()
	HandleJobs(func(j *Jobs) error {
		if j.N != 2 || j.Now != 99 || j.Queue != "root.a" || len(j.Priority) != 2 || j.Submit != nil {
			t.Errorf("batch %+v", j)
		}
		copy(j.Key0, j.Priority)
		j.SetKeys(1)
		return nil
	})
	if status := ServeJobs(b); status != 0 {
		t.Fatalf("status %d", status)
	}
	if got := binary.LittleEndian.Uint64(b[648:]); got != 7 {
		t.Errorf("key of row 1 is %d", got)
	}
}

func TestEachErrorHasItsStatusAndItsText(t *testing.T) {
	for _, c := range []struct {
		err    error
		status uint32
		text   string
	}{
		{ErrAbstain, 1, "abstain"},
		{ErrBadInput, 2, "bad input"},
		{errors.New("no idea"), 4, "no idea"},
		{errors.New(strings.Repeat("x", 100)), 4, strings.Repeat("x", 64)},
	} {
		b := wire()
		HandleJobs(func(*Jobs) error { return c.err })
		if status := ServeJobs(b); status != c.status {
			t.Errorf("%v: status %d, want %d", c.err, status, c.status)
		}
		n := binary.LittleEndian.Uint32(b[88:])
		if got := string(b[768 : 768+n]); got != c.text {
			t.Errorf("%v: text %q", c.err, got)
		}
	}
}

func TestAPanicOfThePolicyIsAnInternalFault(t *testing.T) {
	b := wire()
	HandleJobs(func(j *Jobs) error { j.Wait[3]++; return nil })
	if status := ServeJobs(b); status != 4 {
		t.Errorf("status %d", status)
	}
	if !strings.Contains(string(b[768:832]), "index out of range") {
		t.Errorf("text %q", b[768:832])
	}
}

func TestBytesThatAreNoBatchAreBadInput(t *testing.T) {
	HandleJobs(func(*Jobs) error { return nil })
	for name, spoil := range map[string]func(b []byte) []byte{
		"too short":                  func(b []byte) []byte { return b[:100] },
		"cut off":                    func(b []byte) []byte { return b[:900] },
		"no magic":                   func(b []byte) []byte { b[0]++; return b },
		"another version":            func(b []byte) []byte { b[4]++; return b },
		"another kind":               func(b []byte) []byte { b[16]++; return b },
		"descriptors out of bounds":  func(b []byte) []byte { b[31] = 0x40; return b },
		"a column outside of bounds": func(b []byte) []byte { b[128+11] = 0x40; return b },
	} {
		if status := ServeJobs(spoil(wire())); status != 2 {
			t.Errorf("%s: status %d", name, status)
		}
	}
}

func TestACallAllocatesNothing(t *testing.T) {
	b := wire()
	HandleJobs(func(j *Jobs) error { copy(j.Key0, j.Priority); return nil })
	if n := testing.AllocsPerRun(10, func() { ServeJobs(b) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestGrowReusesMemoryAndGivesZeros(t *testing.T) {
	s := Grow([]int64(nil), 3)
	s[0] = 9
	g := Grow(s, 2)
	if len(g) != 2 || g[0] != 0 || &g[0] != &s[0] {
		t.Errorf("%v", g)
	}
	if len(Grow(g, 99)) != 99 {
		t.Error("it did not grow")
	}
}
