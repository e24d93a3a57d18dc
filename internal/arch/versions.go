package arch

import (
	"fmt"
	"path"
	"strings"
)

// versionsAlike are the folders of the modules whose tools are built beside ours. Where
// they share a module with the root they share its version: then it is compiled once,
// which is minutes on a machine with an empty build cache. The test cluster is no such
// folder: it holds an older Kubernetes, which nothing here can be shared with.
const versionsAlike = "tools"

// apart are modules that a tool can't share, and why.
var apart = map[string]string{
	"github.com/gobwas/glob": "1.0, which OPA has, lacks the type that linters of golangci-lint are built on",
}

// CheckVersions finds modules that the root requires in one version and a tool in
// another.
func CheckVersions(t Tree) ([]Finding, error) {
	files, err := t.Files("go.mod", true)
	if err != nil {
		return nil, err
	}
	ours, err := t.requires("go.mod")
	if err != nil {
		return nil, err
	}
	var out []Finding
	for _, f := range files {
		if path.Base(f) != "go.mod" || !within(f, versionsAlike) {
			continue
		}
		theirs, err := t.requires(f)
		if err != nil {
			return nil, err
		}
		for _, r := range theirs {
			if v := versionOf(ours, r.module); v != "" && v != r.version && apart[r.module] == "" {
				out = append(out, Finding{
					f, r.line, fmt.Sprintf("requires %s %s, and the root %s: both are compiled", r.module, r.version, v),
					"run `go get` of the newer one in both",
				})
			}
		}
	}
	return out, nil
}

// requirement is a line of a go.mod's require block.
type requirement struct {
	module, version string
	line            int
}

func (t Tree) requires(file string) ([]requirement, error) {
	src, err := t.Read(file)
	if err != nil {
		return nil, err
	}
	var out []requirement
	inside, line := false, 0
	for l := range strings.SplitSeq(string(src), "\n") {
		line++
		words := strings.Fields(l)
		switch {
		case strings.HasPrefix(l, "require ("):
			inside = true
		case l == ")":
			inside = false
		case inside && len(words) >= 2:
			out = append(out, requirement{words[0], words[1], line})
		}
	}
	return out, nil
}

func versionOf(list []requirement, module string) string {
	for _, r := range list {
		if r.module == module {
			return r.version
		}
	}
	return ""
}
