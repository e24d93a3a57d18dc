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

// part returns the part of a column in a frame of every column of its kind.
func part(t testing.TB, f *hostabi.Frame, id hostabi.ColumnID) *hostabi.Part {
	t.Helper()
	for i := range f.Parts {
		if f.Parts[i].Column.ID == id {
			return &f.Parts[i]
		}
	}
	t.Fatalf("no column %s", id)
	return nil
}

func decoded(t testing.TB, buf []byte, id hostabi.ColumnID) (*hostabi.Batch, hostabi.BatchColumn) {
	t.Helper()
	b, err := hostabi.Decode(buf)
	if err != nil {
		t.Fatal(err)
	}
	c, ok := b.Column(id)
	if !ok {
		t.Fatalf("no column %s", id)
	}
	return b, c
}

func TestWhatIsNotKnownIsSaidInTheBitmapAndInTheElement(t *testing.T) {
	for rows := range 20 {
		use := make([]int64, rows)
		for i := range use {
			use[i] = int64(i%3) - 1
		}
		f := frame(hostabi.KindJobOrder, rows, 0, 1)
		p := part(t, f, hostabi.JobUse)
		p.Data, p.Valid = hostabi.Bytes(use), hostabi.Validity(nil, use)
		_, c := decoded(t, encode(t, f), hostabi.JobUse)
		if c.Flags&hostabi.FlagNullable == 0 || (c.Validity == nil) != (rows == 0) {
			t.Fatalf("%d rows: flags %b, bitmap %x", rows, c.Flags, c.Validity)
		}
		for i, v := range use {
			if c.Known(i) != (v >= 0) || int64(binary.LittleEndian.Uint64(c.Data[8*i:])) != v {
				t.Errorf("element %d of %d (%d): known %v", i, rows, v, c.Known(i))
			}
		}
	}
}

func TestAColumnThatIsKnownThroughoutHasNoBitmap(t *testing.T) {
	if v := hostabi.Validity(make([]byte, 9), []int64{0, 1, 1 << 62}); v != nil {
		t.Errorf("bitmap %x", v)
	}
	_, c := decoded(t, encode(t, frame(hostabi.KindVictimCosts, 3, 1, 1)), hostabi.VictimIdle)
	if c.Validity != nil || !c.Known(2) {
		t.Errorf("bitmap %x", c.Validity)
	}
}

func TestABitmapTakesItsMemoryFromTheCaller(t *testing.T) {
	column, dst := []int64{-1, 0, -1, 5, 0, 0, 0, 0, -1}, []byte{0xff, 0xff, 0xff}
	got := hostabi.Validity(dst, column)
	if !slices.Equal(got, []byte{0b11111010, 0}) || &got[0] != &dst[0] {
		t.Errorf("bitmap %b", got)
	}
}

// An input without values must not read as "idle" or as the first text.
func TestAColumnWithoutValuesIsNotKnownRatherThanZero(t *testing.T) {
	f := frame(hostabi.KindJobOrder, 9, 0, 1)
	for _, id := range []hostabi.ColumnID{hostabi.JobUse, hostabi.JobUserName, hostabi.JobWait} {
		part(t, f, id).Data = nil
	}
	buf := encode(t, f)
	for _, c := range []struct {
		id   hostabi.ColumnID
		want byte
	}{{hostabi.JobUse, 0xff}, {hostabi.JobUserName, 0xff}, {hostabi.JobWait, 0}} {
		b, got := decoded(t, buf, c.id)
		if got.Flags&hostabi.FlagAbsent == 0 || slices.ContainsFunc(got.Data, func(v byte) bool { return v != c.want }) {
			t.Errorf("%s: flags %b, data %x", c.id, got.Flags, got.Data)
		}
		if got.Type == hostabi.Dict32 {
			if text, ok := b.Text(got, 3); ok {
				t.Errorf("%s: text %q", c.id, text)
			}
			continue
		}
		if nullable := c.id == hostabi.JobUse; got.Known(8) == nullable {
			t.Errorf("%s: known %v", c.id, got.Known(8))
		}
	}
}

func TestABitmapThatDoesNotFitIsRefused(t *testing.T) {
	for name, spoil := range map[string]func(*hostabi.Frame){
		"of a column that is not nullable": func(f *hostabi.Frame) { part(t, f, hostabi.JobWait).Valid = []byte{1} },
		"too short":                        func(f *hostabi.Frame) { part(t, f, hostabi.JobUse).Valid = []byte{1} },
		"too long":                         func(f *hostabi.Frame) { part(t, f, hostabi.JobUse).Valid = []byte{1, 2, 3} },
	} {
		f := frame(hostabi.KindJobOrder, 9, 0, 1)
		spoil(f)
		_, err := f.Layout()
		var le *hostabi.LayoutError
		if !errors.As(err, &le) || !strings.Contains(err.Error(), "validity bitmap") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDecodeRefusesBitmapsThatBreakTheLayout(t *testing.T) {
	f := frame(hostabi.KindVictimCosts, 3, 1, 6)
	part(t, f, hostabi.VictimUse).Valid = []byte{0b101}
	good := encode(t, f)
	at := 0
	for i := range f.Parts {
		if f.Parts[i].Column.ID == hostabi.VictimUse {
			at = 128 + 32*i
		}
	}
	for _, c := range []struct {
		name  string
		spoil func(b []byte)
		want  string
	}{
		{"bits after the last element", func(b []byte) { b[binary.LittleEndian.Uint32(b[at+16:])] |= 8 }, "bits after element 2"},
		{"a bitmap of a column that is not nullable", func(b []byte) { b[at+5] &^= 1 }, "not nullable"},
		{"nullable, but the schema says no", func(b []byte) { b[at-32*8+5] |= 1 }, "nullable differs"},
		{"a column of another kind", func(b []byte) { b[at+1] = 1; b[at] = 0x14 }, "a column of job_order"},
		{"elements inside of the header", func(b []byte) { binary.LittleEndian.PutUint32(b[at+8:], 64) }, "outside the batch"},
		{"a label in a batch of victims", func(b []byte) { binary.LittleEndian.PutUint32(b[at:], 0x01000000) }, "a column of job_order"},
	} {
		b := slices.Clone(good)
		c.spoil(b)
		if _, err := hostabi.Decode(b); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
}

func TestEachLabelOfTheMetadataIsAColumnOfTexts(t *testing.T) {
	md, err := hostabi.ParseMetadata([]byte(`{"columns":{
		"required":["job.wait","job.label:team"],"optional":["job.label:example.com/tier"]}}`))
	if err != nil {
		t.Fatal(err)
	}
	columns := md.LabelColumns()
	if len(columns) != 2 || columns[0].Name != "job.label:team" || columns[1].ID != 0x01000001 {
		t.Fatalf("columns %+v", columns)
	}
	if key, ok := columns[1].LabelKey(); !ok || key != "example.com/tier" {
		t.Errorf("key %q", key)
	}
	f := frame(hostabi.KindJobOrder, 3, 0, 1)
	f.Parts = append(f.Parts,
		hostabi.Part{Column: &columns[0], Data: hostabi.Bytes([]uint32{2, hostabi.NoText, 0})},
		hostabi.Part{Column: &columns[1]})
	buf := encode(t, f)
	b, team := decoded(t, buf, hostabi.LabelBase)
	for i, want := range []string{"größe", "", "root.a"} {
		if text, ok := b.Text(team, i); text != want || ok != (i != 1) {
			t.Errorf("row %d: %q, %v", i, text, ok)
		}
	}
	_, tier := decoded(t, buf, hostabi.LabelBase+1)
	if _, ok := b.Text(tier, 0); ok || tier.Flags&hostabi.FlagAbsent == 0 {
		t.Error("a label without values has a text")
	}
}

func TestSpareBitsOfABitmapAreSentAsZeros(t *testing.T) {
	f := frame(hostabi.KindVictimCosts, 3, 1, 6)
	part(t, f, hostabi.VictimUse).Valid = []byte{0xff}
	if _, c := decoded(t, encode(t, f), hostabi.VictimUse); !slices.Equal(c.Validity, []byte{0b111}) {
		t.Errorf("bitmap %b", c.Validity)
	}
}

// An id after the last label is a column of a later version: kept, and not judged.
func TestIdsAfterTheLastLabelAreNoLabels(t *testing.T) {
	last, next := hostabi.LabelBase+hostabi.MaxLabels-1, hostabi.LabelBase+hostabi.MaxLabels
	if last.String() != "job.label 63" || next.String() != "0x1000040" {
		t.Errorf("%s %s", last, next)
	}
}

// FuzzNulls: whatever is known of a column, the same is known after decoding.
func FuzzNulls(f *testing.F) {
	f.Add(uint8(9), uint64(1))
	f.Fuzz(func(t *testing.T, rows uint8, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 2))
		idle := make([]int64, rows)
		for i := range idle {
			if idle[i] = -1; r.IntN(4) > 0 {
				idle[i] = r.Int64()
			}
		}
		fr := frame(hostabi.KindVictimCosts, int(rows), 2, seed)
		p := part(t, fr, hostabi.VictimIdle)
		p.Data, p.Valid = hostabi.Bytes(idle), hostabi.Validity(nil, idle)
		_, c := decoded(t, encode(t, fr), hostabi.VictimIdle)
		for i, v := range idle {
			if c.Known(i) != (v != -1) {
				t.Fatalf("element %d is %d, known %v", i, v, c.Known(i))
			}
		}
	})
}
