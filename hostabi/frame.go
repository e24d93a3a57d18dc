package hostabi

import "fmt"

// Frame is a batch to be written. Fill the exported fields, call Layout, then
// Encode. It is meant to be kept and filled again: neither call allocates.
type Frame struct {
	Kind        Kind
	Rows        int
	Resources   int // R: elements of a row of a matrix
	Now         int64
	Seed, Cycle uint64
	Params      []uint64 // typed 8-byte slots in the order of the metadata
	Strings     []string // the dictionary
	Parts       []Part

	params, dict, dictOffsets, dictBytes, errText, total uint64
}

// Part is one column of a Frame.
type Part struct {
	Column *Column
	// Data is the wire form of the column. Nil sends an input marked absent: as zeros,
	// or, where the column has a value for "not known" (nullable and dict32 columns),
	// with every element not known. An output starts as Data, or as zeros.
	Data []byte
	// Valid is the validity bitmap of a nullable column, bit i%8 of byte i/8 for
	// element i; nil if all are valid. Bits after the last element are sent as 0.
	Valid []byte

	offset, bytes uint64
	validity      uint64 // 0 if there is no bitmap
	elements      uint64
}

// unknown says whether the part is sent with no element known.
func (p *Part) unknown() bool { return p.Data == nil && !p.Column.Output && p.Column.hasUnknown() }

// LayoutError says why a frame cannot be laid out: a fault of the host.
type LayoutError struct {
	Column  string // empty if it is not about one column
	Problem string
}

func (e *LayoutError) Error() string {
	if e.Column == "" {
		return "batch: " + e.Problem
	}
	return "batch column " + e.Column + ": " + e.Problem
}

// Layout gives every part its place and returns the size of the batch in bytes.
func (f *Frame) Layout() (int, error) {
	if f.Rows < 0 || f.Resources < 0 || f.Rows > MaxBatchBytes || f.Resources > 1<<16-1 {
		return 0, &LayoutError{"", fmt.Sprintf("%d rows of %d resources do not fit", f.Rows, f.Resources)}
	}
	at := aligned(HeaderBytes + DescriptorBytes*uint64(len(f.Parts)))
	place := func(n uint64) (offset uint64) {
		offset = at
		at = aligned(at + n)
		return offset
	}
	f.params = place(8 * uint64(len(f.Params)))
	f.layoutDict(place)
	for i := range f.Parts {
		if err := f.Parts[i].layout(f, place); err != nil {
			return 0, err
		}
	}
	f.errText = place(ErrorBytes)
	f.total = at
	if f.total > MaxBatchBytes {
		return 0, &LayoutError{"", fmt.Sprintf("%d bytes, the limit is %d", f.total, MaxBatchBytes)}
	}
	return int(f.total), nil
}

func (p *Part) layout(f *Frame, place func(uint64) uint64) error {
	c := p.Column
	p.elements = c.Shape.elements(f.Rows, f.Resources)
	p.bytes, p.validity = p.elements*uint64(c.Type.Size()), 0
	if p.Data != nil && uint64(len(p.Data)) != p.bytes {
		return &LayoutError{c.Name, fmt.Sprintf("%d bytes, want %d for %d rows and %d resources",
			len(p.Data), p.bytes, f.Rows, f.Resources)}
	}
	p.offset = place(p.bytes)
	switch {
	case p.Valid == nil && !(c.Nullable && p.unknown()):
		return nil
	case !c.Nullable:
		return &LayoutError{c.Name, "a validity bitmap, but the column is not nullable"}
	case p.Data != nil && uint64(len(p.Valid)) != bitmapBytes(p.elements):
		return &LayoutError{c.Name, fmt.Sprintf("a validity bitmap of %d bytes, want %d for %d elements",
			len(p.Valid), bitmapBytes(p.elements), p.elements)}
	}
	if p.elements > 0 {
		p.validity = place(bitmapBytes(p.elements))
	}
	return nil
}

func (f *Frame) layoutDict(place func(uint64) uint64) {
	f.dict, f.dictOffsets, f.dictBytes = 0, 0, 0
	if len(f.Strings) == 0 {
		return
	}
	var n uint64
	for _, s := range f.Strings {
		n += uint64(len(s))
	}
	f.dict = place(dictEntryBytes)
	f.dictOffsets = place(4 * uint64(len(f.Strings)+1))
	f.dictBytes = place(n)
}

// Encode writes the batch that Layout has laid out into dst, every byte of it, so
// that equal frames give equal bytes and nothing of an earlier batch shows.
func (f *Frame) Encode(dst []byte) error {
	if uint64(len(dst)) < f.total || f.total == 0 {
		return &LayoutError{"", fmt.Sprintf("%d bytes of room for %d", len(dst), f.total)}
	}
	dst = dst[:f.total]
	clear(dst[:aligned(HeaderBytes+DescriptorBytes*uint64(len(f.Parts)))])
	f.encodeHeader(dst)
	for i := range f.Parts {
		f.Parts[i].describe(dst[HeaderBytes+DescriptorBytes*i:], f)
	}
	f.encodeParams(dst)
	f.encodeDict(dst)
	for i := range f.Parts {
		f.Parts[i].encode(dst)
	}
	clear(dst[f.errText:])
	return nil
}

func (p *Part) encode(dst []byte) {
	end := p.offset + p.bytes
	n := uint64(copy(dst[p.offset:end], p.Data))
	if p.unknown() {
		for i := range dst[p.offset:end] {
			dst[p.offset+uint64(i)] = 0xff // -1, or NoText
		}
		n = p.bytes
	}
	clear(dst[p.offset+n : aligned(end)])
	if p.validity == 0 {
		return
	}
	end = p.validity + bitmapBytes(p.elements)
	n = 0
	if p.Data != nil {
		n = uint64(copy(dst[p.validity:end], p.Valid))
	}
	clear(dst[p.validity+n : aligned(end)])
	if spare := p.elements % 8; spare != 0 {
		dst[end-1] &= 1<<spare - 1
	}
}

func (f *Frame) encodeHeader(dst []byte) {
	outputs := 0
	for i := range f.Parts {
		if f.Parts[i].Column.Output {
			outputs++
		}
	}
	le.PutUint32(dst[offMagic:], Magic)
	le.PutUint16(dst[offMajor:], Major)
	le.PutUint16(dst[offMinor:], Minor)
	le.PutUint32(dst[offHeader:], HeaderBytes)
	le.PutUint32(dst[offTotal:], uint32(f.total))
	le.PutUint32(dst[offKind:], uint32(f.Kind))
	le.PutUint32(dst[offRows:], uint32(f.Rows))
	le.PutUint16(dst[offInputs:], uint16(len(f.Parts)-outputs))
	le.PutUint16(dst[offOutputs:], uint16(outputs))
	le.PutUint32(dst[offDescs:], HeaderBytes)
	le.PutUint32(dst[offDescBytes:], DescriptorBytes)
	le.PutUint64(dst[offNow:], uint64(f.Now))
	le.PutUint64(dst[offSeed:], f.Seed)
	le.PutUint64(dst[offCycle:], f.Cycle)
	le.PutUint32(dst[offParams:], uint32(f.params))
	le.PutUint32(dst[offParamCount:], uint32(len(f.Params)))
	le.PutUint32(dst[offError:], uint32(f.errText))
	le.PutUint32(dst[offErrorCap:], ErrorBytes)
	le.PutUint32(dst[offDict:], uint32(f.dict))
	if f.dict != 0 {
		le.PutUint32(dst[offDictCount:], 1)
	}
	le.PutUint32(dst[offResources:], uint32(f.Resources))
}

func (p *Part) describe(d []byte, f *Frame) {
	c := p.Column
	le.PutUint32(d[descID:], uint32(c.ID))
	d[descType] = byte(c.Type)
	d[descFlags] = byte(flagsOf(c))
	if p.Data == nil && !c.Output {
		d[descFlags] |= byte(FlagAbsent)
	}
	le.PutUint16(d[descElemSize:], uint16(c.Type.Size()))
	le.PutUint32(d[descOffset:], uint32(p.offset))
	le.PutUint32(d[descElements:], uint32(p.elements))
	le.PutUint32(d[descValidity:], uint32(p.validity))
	if c.Type == Dict32 && f.dict != 0 {
		le.PutUint32(d[descDict:], 1)
	}
	le.PutUint16(d[descWidth:], 1)
	if c.Shape == ShapeMatrix {
		le.PutUint16(d[descWidth:], uint16(f.Resources))
	}
}

func flagsOf(c *Column) Flag {
	flags := [...]Flag{ShapeRow: 0, ShapeMatrix: FlagMatrix, ShapeResource: FlagResource, ShapeBatch: FlagBatch}[c.Shape]
	if c.Output {
		flags |= FlagOutput
	}
	if c.Nullable {
		flags |= FlagNullable
	}
	return flags
}

func (f *Frame) encodeParams(dst []byte) {
	n := copy(dst[f.params:], Bytes(f.Params))
	end := f.params + uint64(n)
	clear(dst[end:aligned(end)])
}

func (f *Frame) encodeDict(dst []byte) {
	if f.dict == 0 {
		return
	}
	clear(dst[f.dict:f.dictBytes])
	at := uint32(0)
	for i, s := range f.Strings {
		le.PutUint32(dst[f.dictOffsets+4*uint64(i):], at)
		copy(dst[f.dictBytes+uint64(at):], s)
		at += uint32(len(s))
	}
	end := f.dictBytes + uint64(at)
	clear(dst[end:aligned(end)])
	le.PutUint32(dst[f.dictOffsets+4*uint64(len(f.Strings)):], at)
	entry := dst[f.dict:]
	le.PutUint32(entry, uint32(len(f.Strings)))
	le.PutUint32(entry[4:], uint32(f.dictOffsets))
	le.PutUint32(entry[8:], uint32(f.dictBytes))
	le.PutUint32(entry[12:], at)
}

// Output returns the bytes of part i in a batch that this frame has encoded and a
// guest has answered. Only the frame's own offsets are used: what the guest made of
// the header and the descriptors does not matter.
func (f *Frame) Output(batch []byte, i int) []byte {
	p := &f.Parts[i]
	return batch[p.offset : p.offset+p.bytes]
}

// ErrorText returns what the guest wrote into the error area, cut to its capacity.
func (f *Frame) ErrorText(batch []byte) string {
	n := min(le.Uint32(batch[offErrorLen:]), ErrorBytes)
	return string(batch[f.errText : f.errText+uint64(n)])
}
