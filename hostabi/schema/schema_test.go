package schema

import (
	"strings"
	"testing"
)

func TestEachIDSaysItsKindAndWhetherItIsAnOutput(t *testing.T) {
	groups, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	for i, g := range groups {
		last := uint32(0)
		for _, c := range g.Columns {
			if c.ID>>8 != uint32(i+1) || (c.ID&0x80 != 0) != c.Output {
				t.Errorf("%s: id %#x does not say kind %d, output %v", c.Name, c.ID, i+1, c.Output)
			}
			if c.ID <= last {
				t.Errorf("%s: id %#x does not follow %#x", c.Name, c.ID, last)
			}
			last = c.ID
			if !strings.HasPrefix(c.Name, strings.ToLower(strings.TrimSuffix(g.Name, "s"))+".") || c.Doc == "" {
				t.Errorf("%s: want a name that begins with its batch, and a meaning", c.Name)
			}
		}
	}
}

func TestAMistakeInTheSchemaIsNamedWithItsLine(t *testing.T) {
	const head = "[job_order] Jobs: x\n"
	for _, c := range []struct{ text, want string }{
		{"0x1 a.b B i64 row in - | x", "columns.txt:1: a column before"},
		{"[job_order Jobs", "columns.txt:1: want"},
		{head + "0x1 a.b B i64 row in -", "columns.txt:2: want"},
		{head + "0xz a.b B i64 row in - | x", "columns.txt:2: id"},
		{head + "0x1 a.b B i65 row in - | x", "unknown type"},
		{head + "0x1 a.b B i64 rows in - | x", "unknown shape"},
		{head + "0x1 a.b B i64 row on - | x", "neither in nor out"},
		{head + "0x1 a.b B i64 row in - | x\n0x2 a.b C i64 row in - | x", "columns.txt:3: a.b is already on line 2"},
		{head + "0x1 a.b B i64 row in - | x\n0x1 a.c C i64 row in - | x", "columns.txt:3: 1 is already on line 2"},
	} {
		if _, err := Parse(c.text); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: got %v, want %q", c.text, err, c.want)
		}
	}
}
