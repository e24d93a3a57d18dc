package config

import (
	"encoding/json"
	"strings"
	"testing"
)

const faulty = "partitions:\n- queues:\n  - name: root\n    queues:\n\n    - nam: a\n"

// wrapped is a ConfigMap with a text, as people write it.
func wrapped(text, key, style string) string {
	var b strings.Builder
	b.WriteString("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: muster-queues}\ndata:\n  other: x\n  " + key + ": " + style + "\n")
	for line := range strings.Lines(text) {
		if strings.TrimSpace(line) != "" {
			b.WriteString("    ")
		}
		b.WriteString(line)
	}
	return b.String()
}

func TestTheTextInAConfigMapIsCheckedWhereItStands(t *testing.T) {
	const place = "m.yaml:12:11: error[unknown-key]"
	packed, err := json.Marshal(map[string]any{"kind": "ConfigMap", "data": map[string]string{"queues.yaml": faulty}})
	if err != nil {
		t.Fatal(err)
	}
	const inJSON = "m.yaml (data, queues.yaml):6:7: error[unknown-key]"
	for name, c := range map[string]struct{ text, want string }{
		"as a block":               {wrapped(faulty, "queues.yaml", "|"), place},
		"without the last line":    {wrapped(faulty, "queues.yaml", "|-"), place},
		"a quoted key":             {wrapped(faulty, `"queues.yaml"`, "|"), place},
		"lines of Windows":         {strings.ReplaceAll(wrapped(faulty, "queues.yaml", "|"), "\n", "\r\n"), place},
		"more after it":            {wrapped(faulty, "queues.yaml", "|") + "immutable: false\n", place},
		"indented JSON":            {strings.NewReplacer(`"kind":"ConfigMap"`, "\n\"kind\": \"ConfigMap\"\n").Replace(string(packed)), inJSON},
		"another key":              {wrapped(faulty, "queues.yml", "|"), "m.yaml:4:1: error[no-queues]: this is a ConfigMap without text below data, key queues.yaml"},
		"no data":                  {"kind: ConfigMap\n", "m.yaml:1:1: error[no-queues]"},
		"no manifest":              {faulty, "m.yaml:6:7: error[unknown-key]"},
		"another kind":             {"kind: Secret\n", `unknown-key]: the file has no key "kind"`},
		"a queue that is so named": {"partitions:\n- queues:\n  - kind: ConfigMap\n", `a queue has no key "kind"`},
	} {
		t.Run(name, func(t *testing.T) {
			f, _, problems := ParseManifest("m.yaml", []byte(c.text))
			if f != nil || !strings.Contains(problems.Error(), c.want) {
				t.Errorf("want %s in\n%v", c.want, problems)
			}
			for _, p := range problems {
				if c.want == place && strings.TrimSpace(p.Source) != "- nam: a" {
					t.Errorf("the line is told as %q", p.Source)
				}
			}
		})
	}
}

func TestAGoodConfigMapIsReadAsItsText(t *testing.T) {
	plain, _, _ := ParseManifest("m.yaml", []byte(everything))
	f, usedDefault, problems := ParseManifest("m.yaml", []byte(wrapped(everything, "queues.yaml", "|")))
	if f == nil || usedDefault || problems.Err() != nil || f.Partitions[0].Tree.Root.Children[1].Weight != plain.Partitions[0].Tree.Root.Children[1].Weight {
		t.Errorf("%+v, %v", f, problems)
	}
	if f, usedDefault, _ := ParseManifest("m.yaml", []byte(wrapped("# none yet\n", "queues.yaml", "|"))); f == nil || !usedDefault {
		t.Errorf("an empty text stands for the default: %+v", f)
	}
}
