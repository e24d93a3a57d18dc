package trace

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// sheet reads a CSV file with a header, row by row. It is itself the record of
// the current row.
type sheet struct {
	name    string
	r       *csv.Reader
	ps      *Problems
	header  []string
	columns map[string]int
	row     []string
	rows    int // good rows so far
}

// openSheet reads the header. A sheet without one of the required columns has
// no rows, only a problem. Columns outside known are refused when known is not
// nil.
func openSheet(src source, ps *Problems, required, known []string) *sheet {
	s := &sheet{name: src.name, ps: ps, columns: map[string]int{}}
	s.r = csv.NewReader(bytes.NewReader(bytes.TrimPrefix(src.data, []byte("\ufeff"))))
	s.r.FieldsPerRecord = -1
	s.r.ReuseRecord = true
	row, err := s.r.Read()
	if err != nil {
		s.fail(err)
		return s
	}
	s.header = slices.Clone(row)
	for i, h := range s.header {
		s.header[i] = strings.TrimSpace(h)
		s.column(i, known)
	}
	for _, name := range required {
		if _, ok := s.columns[name]; !ok {
			ps.at(s.here(0, name), CodeColumn, "the header has no column "+name, "needed are "+strings.Join(required, ", "))
			s.r = nil
			return s
		}
	}
	return s
}

func (s *sheet) column(i int, known []string) {
	h := s.header[i]
	if _, twice := s.columns[h]; twice {
		s.ps.at(s.here(i, h), CodeDuplicate, fmt.Sprintf("column %q is there twice", clip(h)), "")
		return
	}
	if known != nil && !slices.Contains(known, h) {
		s.ps.at(s.here(i, h), CodeColumn, fmt.Sprintf("unknown column %q", clip(h)), "known are "+strings.Join(known, ", "))
	}
	s.columns[h] = i
}

// next moves to the next row that has as many columns as the header.
func (s *sheet) next() bool {
	for s.r != nil {
		row, err := s.r.Read()
		if err != nil {
			s.fail(err)
			return false
		}
		if len(row) == len(s.header) {
			s.row = row
			s.rows++
			return true
		}
		s.row = row
		s.ps.at(s.here(len(row)-1, ""), CodeColumns, fmt.Sprintf("%d columns, the header has %d", len(row), len(s.header)), "is the file cut off?")
	}
	return false
}

func (s *sheet) fail(err error) {
	s.r = nil
	var pe *csv.ParseError
	switch {
	case errors.As(err, &pe):
		s.ps.add(Problem{s.name, pe.Line, pe.Column, CodeSyntax, "not CSV: " + pe.Err.Error(), "quote a field that has quotes, and double them inside"})
	case !errors.Is(err, io.EOF):
		s.ps.file(s.name, CodeFile, err.Error(), "")
	case s.header == nil:
		s.ps.file(s.name, CodeEmpty, "the file is empty", "the first line names the columns")
	}
}

func (s *sheet) here(field int, name string) cell {
	c := cell{file: s.name, name: name}
	if s.r != nil {
		c.line, c.col = s.r.FieldPos(field)
	}
	return c
}

func (s *sheet) cell(name string) (cell, bool) {
	i, ok := s.columns[name]
	if !ok {
		return s.here(0, name), false
	}
	c := s.here(i, name)
	c.text = strings.TrimSpace(s.row[i])
	return c, c.text != ""
}
