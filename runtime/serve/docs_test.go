package serve_test

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/musterhq/muster/runtime/serve/view"
)

// Who writes a client reads docs/api.md: a path, a parameter, a field or a series that is
// not in it is one that nobody knows of.
func TestTheDocumentHasEveryPathParameterFieldAndSeries(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "api.md"))
	if err != nil {
		t.Fatal(err)
	}
	has := func(kind, name string) {
		t.Helper()
		if !strings.Contains(string(text), name) {
			t.Errorf("docs/api.md does not have the %s %s", kind, name)
		}
	}
	_, h := serveBusy(t, view.Options{})
	type entry struct {
		Path       string
		Parameters []string
	}
	for _, e := range items[entry](t, ask(t, h, "/api/v1")) {
		path, _, _ := strings.Cut(strings.TrimPrefix(e.Path, "/api/v1"), "{")
		has("path", path)
		for _, p := range e.Parameters {
			has("parameter", "`"+p+"`")
		}
	}
	answers := []any{
		view.Pool{},
		view.Queue{},
		view.QueueResource{},
		view.Measured{},
		view.Job{},
		view.Group{},
		view.Node{},
		view.Eviction{},
		view.Usage{},
		view.UsageSeries{},
		view.Explanation{},
		view.Level{},
		view.GPU{},
		view.GPUUse{},
		view.Probe{},
		view.ProbeSource{},
	}
	for _, v := range answers {
		for f := range reflect.TypeOf(v).Fields() {
			if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" {
				has("field of "+reflect.TypeOf(v).Name(), "`"+name+"`")
			}
		}
	}
	series, err := os.ReadFile(filepath.Join("metrics", "testdata", "names.txt"))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Fields(strings.NewReplacer("muster_queue", "", "muster_policy", "").Replace(string(series))) {
		if name, _, is := strings.Cut(line, "{"); is {
			has("series", name)
		}
	}
}
