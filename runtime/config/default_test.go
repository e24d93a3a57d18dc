package config

import (
	"reflect"
	"strings"
	"testing"

	"github.com/musterhq/muster/builtin/spec"
)

func TestATextThatConfiguresNothingStandsForYuniKornsDefault(t *testing.T) {
	for _, c := range []struct {
		name, text  string
		usedDefault bool
	}{
		{"no text, as of a ConfigMap without the key", "", true},
		{"blanks", " \n\n", true},
		{"comments", "# queues will come later\n", true},
		{"an empty list", "partitions: []\n", true},
		{"a checksum alone", "checksum: AB\n", true},
		{"a partition", "partitions:\n- queues: [{name: root}]\n", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, usedDefault, problems := ParseOrDefault("queues.yaml", []byte(c.text))
			if f == nil || problems.Err() != nil || usedDefault != c.usedDefault || len(f.Partitions) != 1 {
				t.Fatalf("%+v, default %t, %v", f, usedDefault, problems)
			}
			if !usedDefault {
				return
			}
			p := f.Partitions[0]
			want := []spec.PlacementRule{{Name: "tag", Value: "namespace", Create: true}}
			if p.Name != "default" || !reflect.DeepEqual(p.Tree.Rules, want) || p.Tree.Root.SubmitACL != "*" || !p.Tree.Root.Parent {
				t.Errorf("got %+v with root %+v", p, p.Tree.Root)
			}
		})
	}
	t.Run("a text with a fault is refused and stands for nothing", func(t *testing.T) {
		f, usedDefault, problems := ParseOrDefault("queues.yaml", []byte("partition: []\n"))
		if f != nil || usedDefault || problems.Err() == nil {
			t.Errorf("%+v, default %t, %v", f, usedDefault, problems)
		}
	})
}

func TestAPartitionSaysIfEverybodyMaySubmit(t *testing.T) {
	for _, c := range []struct{ name, queues, note string }{
		{"no ACL anywhere", "[{name: root, queues: [{name: a}]}]", "everybody may submit to every queue of partition p"},
		{"an ACL of blanks", `[{name: root, submitacl: " ", queues: [{name: a}]}]`, "everybody may submit"},
		{"one on a leaf", "[{name: root, queues: [{name: a, submitacl: ada}, {name: b}]}]", ""},
		{"everybody, as written", `[{name: root, submitacl: "*"}]`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, problems := Parse("queues.yaml", []byte("partitions: [{name: p, queues: "+c.queues+"}]"))
			if f == nil {
				t.Fatal(problems)
			}
			got := strings.Join(f.Partitions[0].Notes(), "\n")
			if c.note == "" && got != "" || !strings.Contains(got, c.note) {
				t.Errorf("notes %q, want %q", got, c.note)
			}
		})
	}
}
