// Package schema reads the one description of the ABI's columns, columns.txt.
// Only generators and tests import it; everything else uses what they write.
package schema

import (
	_ "embed"
	"fmt"
	"strconv"
	"strings"
)

//go:embed columns.txt
var source string

// Group is one kind of policy with its columns.
type Group struct {
	Kind    string // job_order
	Name    string // Jobs
	Doc     string
	Columns []Column
}

// Column is one line of columns.txt.
type Column struct {
	ID     uint32
	Name   string // frozen: job.priority
	Field  string // Go field of the batch
	Type   string // i64 f64 u32 i32 u8 dict32
	Shape  string // row matrix res batch
	Output bool
	// Nullable columns come with a validity bitmap where an element is not known.
	Nullable bool
	Unit     string // empty if it has none
	Doc      string
}

// Load returns the columns of ABI v1.
func Load() ([]Group, error) { return Parse(source) }

// Parse reads the form of columns.txt. An error names the line.
func Parse(text string) ([]Group, error) {
	var groups []Group
	seen := map[string]int{}
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
			continue
		case strings.HasPrefix(line, "["):
			g, err := parseGroup(line)
			if err != nil {
				return nil, fmt.Errorf("columns.txt:%d: %w", i+1, err)
			}
			groups = append(groups, g)
			continue
		case len(groups) == 0:
			return nil, fmt.Errorf("columns.txt:%d: a column before the first [kind]", i+1)
		}
		c, err := parseColumn(line)
		if err != nil {
			return nil, fmt.Errorf("columns.txt:%d: %w", i+1, err)
		}
		for _, key := range []string{c.Name, strconv.FormatUint(uint64(c.ID), 10)} {
			if first, dup := seen[key]; dup {
				return nil, fmt.Errorf("columns.txt:%d: %s is already on line %d", i+1, key, first)
			}
			seen[key] = i + 1
		}
		g := &groups[len(groups)-1]
		g.Columns = append(g.Columns, c)
	}
	return groups, nil
}

func parseGroup(line string) (Group, error) {
	kind, rest, ok := strings.Cut(strings.TrimPrefix(line, "["), "]")
	name, doc, ok2 := strings.Cut(strings.TrimSpace(rest), ":")
	if !ok || !ok2 {
		return Group{}, fmt.Errorf("want \"[kind] Name: meaning\", got %q", line)
	}
	return Group{Kind: kind, Name: name, Doc: strings.TrimSpace(doc)}, nil
}

func parseColumn(line string) (Column, error) {
	head, doc, ok := strings.Cut(line, "|")
	f := strings.Fields(head)
	if !ok || len(f) != 7 {
		return Column{}, fmt.Errorf("want \"id name field type shape dir unit | meaning\", got %q", line)
	}
	id, err := strconv.ParseUint(f[0], 0, 32)
	if err != nil {
		return Column{}, fmt.Errorf("id %q: %w", f[0], err)
	}
	typ, nullable := strings.CutSuffix(f[3], "?")
	c := Column{
		ID: uint32(id), Name: f[1], Field: f[2], Type: typ, Nullable: nullable, Shape: f[4],
		Output: f[5] == "out", Unit: strings.TrimPrefix(f[6], "-"), Doc: strings.TrimSpace(doc),
	}
	if !strings.Contains(" i64 f64 u32 i32 u8 dict32 ", " "+c.Type+" ") {
		return Column{}, fmt.Errorf("%s: unknown type %q", c.Name, c.Type)
	}
	if !strings.Contains(" row matrix res batch ", " "+c.Shape+" ") {
		return Column{}, fmt.Errorf("%s: unknown shape %q", c.Name, c.Shape)
	}
	if f[5] != "in" && f[5] != "out" {
		return Column{}, fmt.Errorf("%s: direction %q is neither in nor out", c.Name, f[5])
	}
	return c, nil
}
