package deploy

import (
	"os"
	"strings"
	"testing"
	"text/template"

	"github.com/goccy/go-yaml"
)

// TestThePluginManifestIsOneForKrew renders the template as krew's release bot does.
func TestThePluginManifestIsOneForKrew(t *testing.T) {
	text, err := os.ReadFile("krew/muster.yaml")
	if err != nil {
		t.Fatal(err)
	}
	functions := template.FuncMap{"addURIAndSha": func(uri, tag string) string {
		return "uri: " + strings.ReplaceAll(uri, "{{ .TagName }}", tag) + "\n      sha256: " + strings.Repeat("f", 64)
	}}
	var out strings.Builder
	if err := template.Must(template.New("").Funcs(functions).Parse(string(text))).Execute(&out, struct{ TagName string }{"v0.3.0"}); err != nil {
		t.Fatal(err)
	}
	var plugin struct {
		Kind     string
		Metadata struct{ Name string }
		Spec     struct {
			Version          string
			ShortDescription string `yaml:"shortDescription"`
			Platforms        []struct {
				URI, Sha256, Bin string
				Selector         struct {
					MatchLabels map[string]string `yaml:"matchLabels"`
				}
				Files []struct{ From, To string }
			}
		}
	}
	if err := yaml.Unmarshal([]byte(out.String()), &plugin); err != nil {
		t.Fatalf("%v in\n%s", err, out.String())
	}
	s := plugin.Spec
	if plugin.Kind != "Plugin" || plugin.Metadata.Name != "muster" || s.Version != "v0.3.0" || s.ShortDescription == "" || len(s.ShortDescription) > 50 {
		t.Errorf("krew would refuse %+v", plugin)
	}
	for _, p := range s.Platforms {
		at := p.Selector.MatchLabels
		if want := "muster-" + at["os"] + "-" + at["arch"] + ".tar.gz"; !strings.HasSuffix(p.URI, "/v0.3.0/"+want) {
			t.Errorf("for %v it would fetch %s, not %s", at, p.URI, want)
		}
		if len(p.Sha256) != 64 || p.Bin != "kubectl-muster" || len(p.Files) != 2 || p.Files[0].To != p.Bin {
			t.Errorf("for %v it would run %q of %v", at, p.Bin, p.Files)
		}
	}
}
