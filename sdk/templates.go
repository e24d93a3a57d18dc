package sdk

import (
	"embed"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"testing/fstest"

	"github.com/musterhq/muster/sdk/gosource"
)

//go:embed c/muster.h c/muster_test.h c/template
//go:embed assemblyscript/assembly assemblyscript/testing assemblyscript/template
//go:embed rust/Cargo.toml rust/src rust/template
var sources embed.FS

// PlaceholderName is what a template calls its policy; PlaceholderIdent is the same name
// where the language wants an identifier. Project replaces both.
const (
	PlaceholderName  = "my-policy"
	PlaceholderIdent = "my_policy"
)

// project says where the files of a language's project come from: folders of sources,
// without their sub-folders, and where they go. A target is "." for the project's root.
type project struct {
	lang  string
	parts []part
}

type part struct{ from, to string }

var projects = []project{
	{"assemblyscript", []part{
		{"assemblyscript/template", "."},
		{"assemblyscript/assembly", "muster"},
		{"assemblyscript/testing", "muster/testing"},
	}},
	{"c", []part{{"c/template", "."}, {"c", "muster"}}},
	{"rust", []part{{"rust/template", "."}, {"rust", "muster"}}},
}

// Languages returns the languages that there are templates for, sorted.
func Languages() []string {
	out := []string{"go"}
	for _, p := range projects {
		out = append(out, p.lang)
	}
	slices.Sort(out)
	return out
}

// Files returns the project of a new policy in a language: the template, and the SDK in
// its folder muster. The policy is called PlaceholderName in it.
func Files(lang string) (fs.FS, error) {
	if lang == "go" { // a module of its own, which can't be embedded from here
		return gosource.Files()
	}
	i := slices.IndexFunc(projects, func(p project) bool { return p.lang == lang })
	if i < 0 {
		return nil, fmt.Errorf("there is no template for the language %q; there are %s", lang, strings.Join(Languages(), ", "))
	}
	out := fstest.MapFS{}
	for _, part := range projects[i].parts {
		if err := copyFolder(out, part); err != nil {
			return nil, fmt.Errorf("template %s: %w", lang, err)
		}
	}
	return out, nil
}

func copyFolder(out fstest.MapFS, p part) error {
	return fs.WalkDir(sources, p.from, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if d.Name() == "template" && name != p.from {
				return fs.SkipDir
			}
			return nil
		}
		data, err := sources.ReadFile(name)
		if err != nil {
			return err
		}
		target := path.Join(p.to, strings.TrimPrefix(name, p.from+"/"))
		out[target] = &fstest.MapFile{Data: data, Mode: 0o644}
		return nil
	})
}

// Project returns Files with the policy called by its own name: lower-case letters,
// digits and dashes, beginning with a letter.
func Project(lang, name string) (fs.FS, error) {
	if !validName(name) {
		return nil, fmt.Errorf("policy name %q: want lower-case letters, digits and dashes, beginning with a letter", name)
	}
	files, err := Files(lang)
	if err != nil {
		return nil, err
	}
	named := strings.NewReplacer(PlaceholderName, name, PlaceholderIdent, strings.ReplaceAll(name, "-", "_"))
	out := fstest.MapFS{}
	for file, f := range files.(fstest.MapFS) {
		data := f.Data
		if !strings.HasPrefix(file, "muster/") {
			data = []byte(named.Replace(string(data)))
		}
		out[file] = &fstest.MapFile{Data: data, Mode: f.Mode}
	}
	return out, nil
}

func validName(name string) bool {
	if name == "" || name[0] < 'a' || name[0] > 'z' || strings.HasSuffix(name, "-") {
		return false
	}
	for _, r := range name {
		if (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' {
			return false
		}
	}
	return true
}
