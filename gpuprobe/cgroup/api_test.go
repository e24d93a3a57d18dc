package cgroup

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestTheNameOfAnOwnerIsBoundedAndItsOwn(t *testing.T) {
	deep := strings.Repeat("/äö", 1000)
	names := map[string]bool{}
	for _, o := range []Owner{
		{Path: "/system.slice"},
		{Path: deep},
		{Path: deep + "/a"},
		{Path: deep + "/b"},
		{Path: "/x" + deep},
		{Pod: "8f1c0000-0000-4000-8000-000000000000", Path: deep},
	} {
		name := o.Name()
		if len(name) > maxName || !utf8.ValidString(name) || names[name] || (o.Pod == "") != strings.HasPrefix(name, "host:/") {
			t.Errorf("%d bytes: %q", len(name), name)
		}
		if name != o.Name() {
			t.Error("it changes")
		}
		names[name] = true
	}
	if got := (Owner{Path: "/system.slice"}).Name(); got != "host:/system.slice" {
		t.Error(got)
	}
}
