package wasmbin

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// SectionID says what a section holds (core specification, section 5.5.2).
type SectionID byte

// The sections, and the order in which they must come; custom ones may stand
// anywhere. SecDataCount comes before SecCode, and SecTag before SecGlobal.
const (
	SecCustom SectionID = iota
	SecType
	SecImport
	SecFunction
	SecTable
	SecMemory
	SecGlobal
	SecExport
	SecStart
	SecElement
	SecCode
	SecData
	SecDataCount
	SecTag

	secLast = SecTag
)

// place is the place of each section in a binary.
var place = [...]int{
	SecType: 1, SecImport: 2, SecFunction: 3, SecTable: 4, SecMemory: 5, SecTag: 6, SecGlobal: 7,
	SecExport: 8, SecStart: 9, SecElement: 10, SecDataCount: 11, SecCode: 12, SecData: 13,
}

// Before says whether section a must stand before section b, where neither is custom.
func (a SectionID) Before(b SectionID) bool { return place[a] < place[b] }

const head = "\x00asm\x01\x00\x00\x00"

// checkHead checks magic and version.
func checkHead(bin []byte) error {
	if len(bin) < len(head) {
		return &Error{len(bin), fmt.Sprintf("%d bytes are too few for a module", len(bin)), true}
	}
	if string(bin[:4]) != head[:4] {
		return &Error{0, fmt.Sprintf("starts with %q, a module starts with \"\\x00asm\"", bin[:4]), false}
	}
	if string(bin[4:8]) != head[4:] {
		return &Error{4, fmt.Sprintf("binary version % x, want 01 00 00 00 (a component is not a module)", bin[4:8]), false}
	}
	return nil
}

// Section is one section: bin[Start:End] with its head, and bin[Body:End] without.
type Section struct {
	ID               SectionID
	Start, Body, End int
}

// Sections splits a binary. Each section but the custom ones comes at most once and in
// its order, as the specification wants it. The error is an *Error.
func Sections(bin []byte) ([]Section, error) {
	if err := checkHead(bin); err != nil {
		return nil, err
	}
	r := NewReader(bin, len(head), len(bin))
	var out []Section
	last := SecCustom
	for r.More() {
		s := r.section()
		if s.ID != SecCustom && r.Ok() {
			if last != SecCustom && !last.Before(s.ID) {
				r.fail(s.Start, "section %d comes after section %d", s.ID, last)
			}
			last = s.ID
		}
		out = append(out, s)
	}
	return out, r.Err()
}

// section reads the head of a section and steps over its body.
func (r *Reader) section() Section {
	s := Section{Start: r.at}
	id := r.Byte()
	size := r.U32()
	if r.err == nil && id > byte(secLast) {
		r.fail(s.Start, "unknown section %d", id)
	}
	if int64(size) > int64(len(r.b)-r.at) {
		r.cut("section %d has %d bytes, %d are left", id, size, len(r.b)-r.at)
	}
	s.ID, s.Body = SectionID(id), r.at
	if r.err == nil {
		r.at += int(size)
	}
	s.End = r.at
	return s
}

// AppendHead appends magic and version, with which a binary starts.
func AppendHead(out []byte) []byte { return append(out, head...) }

// AppendSection appends a section.
func AppendSection(out []byte, id SectionID, body []byte) []byte {
	return append(AppendU(append(out, byte(id)), uint64(len(body))), body...)
}

// AppendU appends an unsigned LEB128 number.
func AppendU(out []byte, v uint64) []byte { return binary.AppendUvarint(out, v) }

// AppendS appends a signed LEB128 number.
func AppendS(out []byte, v int64) []byte {
	for {
		c := byte(v & 0x7f)
		v >>= 7
		if v == 0 && c&0x40 == 0 || v == -1 && c&0x40 != 0 {
			return append(out, c)
		}
		out = append(out, c|0x80)
	}
}

// AppendName appends a text with its length.
func AppendName(out []byte, s string) []byte { return append(AppendU(out, uint64(len(s))), s...) }

// SetCustom returns the binary with a custom section of that name and content: the
// first one of the name is replaced where it stands, others of the name are dropped,
// and where there is none it comes last. All else stays byte for byte.
func SetCustom(bin []byte, name string, content []byte) ([]byte, error) {
	secs, err := Sections(bin)
	if err != nil {
		return nil, err
	}
	section := AppendSection(nil, SecCustom, append(AppendName(nil, name), content...))
	out := slices.Grow(AppendHead(nil), len(bin)+len(section))
	placed := false
	for _, s := range secs {
		r := NewReader(bin, s.Body, s.End)
		if s.ID != SecCustom || r.Name() != name {
			out = append(out, bin[s.Start:s.End]...)
		} else if !placed {
			out, placed = append(out, section...), true
		}
	}
	if !placed {
		out = append(out, section...)
	}
	return out, nil
}
