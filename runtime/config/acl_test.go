package config_test

import (
	"strings"
	"testing"

	"github.com/musterhq/muster/runtime/config"
)

func TestAnACLLetsInWhomItNames(t *testing.T) {
	for _, c := range []struct {
		acl, user string
		groups    []string
		want      bool
	}{
		{"", "ada", []string{"ml"}, false},
		{" ", "ada", []string{"ml"}, false},
		{"", "", nil, false},
		{"*", "ada", nil, true},
		{"* ", "ada", nil, true},
		{" *", "ada", nil, true},
		{"bob *", "ada", nil, true},
		{"bob,*", "ada", nil, false}, // * stands alone
		{"ada", "ada", nil, true},
		{"bob,ada", "ada", nil, true},
		{"ada", "bob", []string{"ada"}, false},
		{" ml", "ada", []string{"dev", "ml"}, true},
		{"ml", "ada", []string{"ml"}, false}, // users come first
		{"bob dev,ml", "ada", []string{"ml"}, true},
		{"bob dev,ml", "ada", []string{"web"}, false},
		{"Ada", "ada", nil, false},
		{"sys:a", "sys:a", nil, false}, // no name for YuniKorn, and warned of
	} {
		a := config.ParseACL(c.acl)
		if got := a.Allows(c.user, c.groups); got != c.want {
			t.Errorf("%q lets %s in groups %v in: %v, want %v", c.acl, c.user, c.groups, got, c.want)
		}
	}
}

// FuzzParseACL: whoever is let in stands in the text, or a * does.
func FuzzParseACL(f *testing.F) {
	for _, text := range []string{"", "*", "ada,bob ml", " ml,dev", "a  b", "a,,b ,", "bob,*", "sys:a dev.ops"} {
		f.Add(text, "ada", "ml")
	}
	f.Fuzz(func(t *testing.T, text, user, group string) {
		a := config.ParseACL(text)
		in := a.Allows(user, []string{group})
		if in && !a.Everyone && !strings.Contains(text, user) && !strings.Contains(text, group) {
			t.Errorf("%q lets %q of %q in", text, user, group)
		}
		if a.Everyone && !strings.Contains(text, "*") {
			t.Errorf("%q lets everyone in", text)
		}
		if in && !a.Everyone && (user == "" && group == "" || strings.ContainsAny(user, ", ") && strings.ContainsAny(group, ", ")) {
			t.Errorf("%q lets %q of %q in, who can't be named", text, user, group)
		}
	})
}
