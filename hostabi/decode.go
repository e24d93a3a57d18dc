package hostabi

import "fmt"

// Batch is a decoded batch. Its bytes are views of what was decoded.
type Batch struct {
	Major, Minor uint16
	Kind         Kind
	Rows         int
	Resources    int
	Now          int64
	Seed, Cycle  uint64
	Params       []byte // 8-byte slots
	Columns      []BatchColumn
	Dicts        [][]string
	ErrorText    string
}

// BatchColumn is one column of a decoded batch.
type BatchColumn struct {
	ID       ColumnID
	Type     Type
	Flags    Flag
	Elements int
	Width    int
	Dict     int // 1 + index into Batch.Dicts, 0 for none
	Data     []byte
	Validity []byte // bitmap, one bit an element, nil if all are valid
}

// Column returns a column by its id.
func (b *Batch) Column(id ColumnID) (BatchColumn, bool) {
	for _, c := range b.Columns {
		if c.ID == id {
			return c, true
		}
	}
	return BatchColumn{}, false
}

// Known says whether element i of the column is known: its bit in the validity bitmap.
func (c BatchColumn) Known(i int) bool {
	return i>>3 >= len(c.Validity) || c.Validity[i>>3]>>(i&7)&1 != 0
}

// Text returns element i of a dict32 column as text; false if it points at none.
func (b *Batch) Text(c BatchColumn, i int) (string, bool) {
	if c.Type != Dict32 || c.Dict == 0 || i < 0 || i >= c.Elements {
		return "", false
	}
	texts, id := b.Dicts[c.Dict-1], le.Uint32(c.Data[4*i:])
	if uint64(id) >= uint64(len(texts)) {
		return "", false
	}
	return texts[id], true
}

// DecodeError says where a batch breaks the layout.
type DecodeError struct {
	Where   string // header, column 3 (job.priority), dictionary 0
	Problem string
}

func (e *DecodeError) Error() string { return "batch " + e.Where + ": " + e.Problem }

// Decode reads a batch. Every offset is checked before it is used, so any bytes may
// be given. Columns with an unknown id are kept, an unknown type is an error.
func Decode(buf []byte) (*Batch, error) {
	d := decoder{buf: buf}
	b := d.readHeader()
	if d.err != nil {
		return nil, d.err
	}
	n := int(le.Uint16(d.buf[offInputs:])) + int(le.Uint16(d.buf[offOutputs:]))
	first, stride := le.Uint32(d.buf[offDescs:]), le.Uint32(d.buf[offDescBytes:])
	if stride < DescriptorBytes {
		return nil, d.fail("header", "descriptors of %d bytes, want at least %d", stride, DescriptorBytes)
	}
	descs := d.part("descriptors", first, uint64(n)*uint64(stride), 1)
	if d.err != nil {
		return nil, d.err
	}
	d.dicts(b)
	for i := range n {
		if d.err != nil {
			return nil, d.err
		}
		b.Columns = append(b.Columns, d.column(i, descs[uint64(i)*uint64(stride):], len(b.Dicts)))
	}
	if d.err != nil {
		return nil, d.err
	}
	return b, nil
}

type decoder struct {
	buf    []byte
	header uint32 // its bytes: no part may lie in them
	rows   int
	res    int
	kind   Kind
	err    error
}

func (d *decoder) fail(where, format string, args ...any) error {
	if d.err == nil {
		d.err = &DecodeError{where, fmt.Sprintf(format, args...)}
	}
	return d.err
}

// part returns n bytes from an offset, or nil and an error.
func (d *decoder) part(where string, offset uint32, n uint64, align uint32) []byte {
	if d.err != nil || n == 0 {
		return nil
	}
	if offset%align != 0 {
		_ = d.fail(where, "offset %d is not a multiple of %d", offset, align)
		return nil
	}
	if offset < d.header || uint64(offset)+n > uint64(len(d.buf)) {
		_ = d.fail(where, "bytes %d to %d lie outside the batch of %d", offset, uint64(offset)+n, len(d.buf))
		return nil
	}
	return d.buf[offset : uint64(offset)+n : uint64(offset)+n]
}

func (d *decoder) readHeader() *Batch {
	if len(d.buf) < HeaderBytes {
		_ = d.fail("header", "%d bytes, want at least %d", len(d.buf), HeaderBytes)
		return nil
	}
	h := d.buf
	b := &Batch{
		Major: le.Uint16(h[offMajor:]), Minor: le.Uint16(h[offMinor:]), Kind: Kind(le.Uint32(h[offKind:])),
		Rows: int(le.Uint32(h[offRows:])), Resources: int(le.Uint32(h[offResources:])),
		Now: int64(le.Uint64(h[offNow:])), Seed: le.Uint64(h[offSeed:]), Cycle: le.Uint64(h[offCycle:]),
	}
	total := le.Uint32(h[offTotal:])
	switch {
	case le.Uint32(h[offMagic:]) != Magic:
		_ = d.fail("header", "magic is %#x, want %#x (MSTR)", le.Uint32(h[offMagic:]), Magic)
	case b.Major != Major:
		_ = d.fail("header", "ABI version %d, want %d", b.Major, Major)
	case le.Uint32(h[offHeader:]) < HeaderBytes:
		_ = d.fail("header", "header of %d bytes, want at least %d", le.Uint32(h[offHeader:]), HeaderBytes)
	case uint64(total) > uint64(len(h)) || total < le.Uint32(h[offHeader:]):
		_ = d.fail("header", "total of %d bytes, there are %d", total, len(h))
	}
	if d.err != nil {
		return nil
	}
	d.buf, d.header = h[:total], le.Uint32(h[offHeader:])
	d.kind, d.rows, d.res = b.Kind, b.Rows, b.Resources
	b.Params = d.part("params", le.Uint32(h[offParams:]), 8*uint64(le.Uint32(h[offParamCount:])), 8)
	room := d.part("error text", le.Uint32(h[offError:]), uint64(le.Uint32(h[offErrorCap:])), 1)
	b.ErrorText = string(room[:min(uint64(len(room)), uint64(le.Uint32(h[offErrorLen:])))])
	d.part("scratch", le.Uint32(h[offScratch:]), uint64(le.Uint32(h[offScratchLen:])), Align)
	return b
}

func (d *decoder) column(i int, desc []byte, dicts int) BatchColumn {
	c := BatchColumn{
		ID: ColumnID(le.Uint32(desc[descID:])), Type: Type(desc[descType]), Flags: Flag(desc[descFlags]),
		Elements: int(le.Uint32(desc[descElements:])), Width: int(le.Uint16(desc[descWidth:])),
		Dict: int(le.Uint32(desc[descDict:])),
	}
	where := fmt.Sprintf("column %d (%s)", i, c.ID)
	size := c.Type.Size()
	switch {
	case size == 0:
		_ = d.fail(where, "unknown type %d", desc[descType])
	case int(le.Uint16(desc[descElemSize:])) != size:
		_ = d.fail(where, "elements of %d bytes, %s has %d", le.Uint16(desc[descElemSize:]), c.Type, size)
	case c.Dict > dicts:
		_ = d.fail(where, "dictionary %d of %d", c.Dict, dicts)
	}
	c.Data = d.part(where, le.Uint32(desc[descOffset:]), uint64(c.Elements)*uint64(size), Align)
	if v := le.Uint32(desc[descValidity:]); v != 0 {
		c.Validity = d.validity(where, v, c)
	}
	d.checkSchema(where, c)
	return c
}

func (d *decoder) validity(where string, offset uint32, c BatchColumn) []byte {
	if c.Flags&FlagNullable == 0 {
		_ = d.fail(where, "a validity bitmap, but the column is not nullable")
	}
	bits := d.part(where+" validity", offset, bitmapBytes(uint64(c.Elements)), Align)
	if spare := c.Elements % 8; spare != 0 && bits != nil && bits[len(bits)-1]>>spare != 0 {
		_ = d.fail(where+" validity", "bits after element %d", c.Elements-1)
	}
	return bits
}

// checkSchema holds a column that this version knows to what the schema says of it.
func (d *decoder) checkSchema(where string, c BatchColumn) {
	known, ok := ColumnByID(c.ID)
	if label := labelColumn(c.ID, ""); label != nil {
		known, ok = *label, true
	}
	if !ok || d.err != nil {
		return
	}
	switch {
	case known.Kind != d.kind:
		_ = d.fail(where, "a column of %s in a batch of %s", known.Kind, d.kind)
	case known.Type != c.Type:
		_ = d.fail(where, "type is %s, the schema says %s", c.Type, known.Type)
	case known.Output != (c.Flags&FlagOutput != 0):
		_ = d.fail(where, "direction differs from the schema")
	case known.Nullable != (c.Flags&FlagNullable != 0):
		_ = d.fail(where, "nullable differs from the schema")
	case known.Shape.elements(d.rows, d.res) != uint64(c.Elements):
		_ = d.fail(where, "%d elements for %d rows and %d resources", c.Elements, d.rows, d.res)
	}
}

// maxDicts keeps a batch whose dictionaries share their bytes from growing when it is
// decoded. This version writes one.
const maxDicts = 16

func (d *decoder) dicts(b *Batch) {
	n := le.Uint32(d.buf[offDictCount:])
	if n > maxDicts {
		_ = d.fail("header", "%d dictionaries, at most %d", n, maxDicts)
		return
	}
	table := d.part("dictionary table", le.Uint32(d.buf[offDict:]), dictEntryBytes*uint64(n), 8)
	for i := 0; d.err == nil && i < int(n); i++ {
		b.Dicts = append(b.Dicts, d.dict(fmt.Sprintf("dictionary %d", i), table[dictEntryBytes*i:]))
	}
}

func (d *decoder) dict(where string, entry []byte) []string {
	count := uint64(le.Uint32(entry))
	offsets := d.part(where+" offsets", le.Uint32(entry[4:]), 4*(count+1), 4)
	text := d.part(where+" bytes", le.Uint32(entry[8:]), uint64(le.Uint32(entry[12:])), 1)
	if d.err != nil {
		return nil
	}
	out := make([]string, 0, count)
	for i := range count {
		from, to := le.Uint32(offsets[4*i:]), le.Uint32(offsets[4*i+4:])
		if from > to || uint64(to) > uint64(len(text)) {
			_ = d.fail(where, "string %d is bytes %d to %d of %d", i, from, to, len(text))
			return nil
		}
		out = append(out, string(text[from:to]))
	}
	return out
}

func (id ColumnID) String() string {
	if c, ok := ColumnByID(id); ok {
		return c.Name
	}
	if labelColumn(id, "") != nil {
		return fmt.Sprintf("job.label %d", id-LabelBase)
	}
	return fmt.Sprintf("%#x", uint32(id))
}
