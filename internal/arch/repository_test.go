package arch

import "testing"

// TestRepository holds the tree as it is to every rule. A failure says where,
// why and what to do instead.
func TestRepository(t *testing.T) {
	tree, err := FindRoot()
	if err != nil {
		t.Fatal(err)
	}
	checks := map[string]func(Tree) ([]Finding, error){
		"imports point one way":                        func(t Tree) ([]Finding, error) { return CheckImports(t, Rules) },
		"the core knows no clock, chance or map order": func(t Tree) ([]Finding, error) { return CheckPurity(t, "builtin") },
		"every package says what it is for":            CheckPackageDocs,
		"files are short and in sub-packages":          CheckLayout,
		"links in the docs are alive":                  CheckLinks,
		"tools share the versions of our modules":      CheckVersions,
		"no text names one machine or a registry":      CheckTexts,
	}
	for name, check := range checks {
		t.Run(name, func(t *testing.T) {
			found, err := check(tree)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range found {
				t.Error(f)
			}
		})
	}
}
