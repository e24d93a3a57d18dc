package report

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/goccy/go-yaml"
)

// Names of the files that Write makes.
const (
	FileYAML   = "report.yaml"
	FileJUnit  = "junit.xml"
	FileHTML   = "report.html"
	FileBadge  = "badge.svg"
	FileShield = "badge.json"
	DirRepro   = "repro"
)

// Write makes all files of a report in a folder, which it creates, and returns their
// paths. What an earlier report left in repro is removed.
func (r *Report) Write(dir string) ([]string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	if err := os.RemoveAll(filepath.Join(dir, DirRepro)); err != nil {
		return nil, err
	}
	var paths []string
	for _, f := range []struct {
		name string
		make func() ([]byte, error)
	}{
		{FileYAML, r.YAML}, {FileJUnit, r.JUnit}, {FileHTML, r.HTML}, {FileBadge, r.Badge}, {FileShield, r.Shield},
	} {
		content, err := f.make()
		if err != nil {
			return paths, fmt.Errorf("%s: %w", f.name, err)
		}
		path := filepath.Join(dir, f.name)
		if err := os.WriteFile(path, content, 0o644); err != nil {
			return paths, err
		}
		paths = append(paths, path)
	}
	more, err := r.writeRepro(filepath.Join(dir, DirRepro))
	return append(paths, more...), err
}

// repro is the sidecar of a failure's batches.
type repro struct {
	Law       string   `yaml:"law"`
	Statement string   `yaml:"statement"`
	What      string   `yaml:"what"`
	Policy    string   `yaml:"policy"`
	Digest    string   `yaml:"digest"`
	Suite     string   `yaml:"suite"`
	Seed      uint64   `yaml:"seed"`
	Case      int      `yaml:"case"`
	Batches   []string `yaml:"batches,omitempty"`
}

func (r *Report) writeRepro(dir string) ([]string, error) {
	if len(r.Failures) == 0 {
		return nil, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	var paths []string
	write := func(name string, content []byte) error {
		paths = append(paths, filepath.Join(dir, name))
		return os.WriteFile(filepath.Join(dir, name), content, 0o644)
	}
	for _, f := range r.Failures {
		stem := fmt.Sprintf("%s.seed%d", strings.ReplaceAll(f.Law, "/", "-"), f.Seed)
		side := repro{f.Law, f.Statement, f.What, r.Policy.Name, r.Policy.Digest, r.Suite.Version, f.Seed, f.Case, nil}
		for i, batch := range [][]byte{f.Batch, f.With} {
			if batch == nil {
				continue
			}
			name := stem + [2]string{"", ".other"}[i] + ".mbatch"
			side.Batches = append(side.Batches, name)
			if err := write(name, batch); err != nil {
				return paths, err
			}
		}
		text, err := yaml.Marshal(side)
		if err != nil {
			return paths, err
		}
		if err := write(stem+".yaml", text); err != nil {
			return paths, err
		}
	}
	return paths, nil
}

type junitSuites struct {
	XMLName xml.Name     `xml:"testsuites"`
	Name    string       `xml:"name,attr"`
	Suites  []junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Skipped  int         `xml:"skipped,attr"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Class   string        `xml:"classname,attr"`
	Name    string        `xml:"name,attr"`
	Failure *junitMessage `xml:"failure,omitempty"`
	Skipped *junitMessage `xml:"skipped,omitempty"`
}

type junitMessage struct {
	Message string `xml:"message,attr"`
}

// JUnit writes the laws as test cases: a suite for each profile. A broken law that only
// should hold is a skipped case with its reason, so that CI fails where the policy does.
func (r *Report) JUnit() ([]byte, error) {
	out := junitSuites{Name: "conformance of " + r.Policy.Name}
	for _, p := range r.Profiles {
		s := junitSuite{Name: p.Name}
		for _, l := range r.Laws {
			if l.Profile == p.Name {
				s.add(r.Policy.Name+"."+p.Name, l)
			}
		}
		out.Suites = append(out.Suites, s)
	}
	b, err := xml.MarshalIndent(out, "", "  ")
	return append([]byte(xml.Header), append(b, '\n')...), err
}

func (s *junitSuite) add(class string, l Law) {
	c := junitCase{Class: class, Name: l.ID}
	switch {
	case l.Outcome == Broken && l.Severity != "should":
		s.Failures++
		c.Failure = &junitMessage{l.What}
	case l.Outcome == Broken:
		s.Skipped++
		c.Skipped = &junitMessage{"should hold: " + l.What}
	case l.Outcome != Kept:
		s.Skipped++
		c.Skipped = &junitMessage{strings.TrimPrefix(l.Note+" "+l.Outcome, " ")}
	}
	s.Tests++
	s.Cases = append(s.Cases, c)
}

// badge is the text and the colour of the badge.
func (r *Report) badge() (text, colour string) {
	switch r.Result {
	case Success:
		return "success", "#2e7d32"
	case Partial:
		return "partial", "#b26a00"
	}
	return "failure", "#c62828"
}

// Badge draws the result as a small SVG picture.
func (r *Report) Badge() ([]byte, error) {
	const label, height = "muster conformance", 20
	text, colour := r.badge()
	left, right := 7*len(label)+6, 7*len(text)+14
	var s strings.Builder
	fmt.Fprintf(&s, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" role="img" aria-label="%s: %s">`, left+right, height, label, text)
	fmt.Fprintf(&s, "\n<title>%s: %s</title>\n", label, text)
	fmt.Fprintf(&s, `<rect width="%d" height="%d" rx="3" fill="#444"/>`+"\n", left+right, height)
	fmt.Fprintf(&s, `<path d="M%d 0h%da3 3 0 0 1 3 3v14a3 3 0 0 1-3 3H%dz" fill="%s"/>`+"\n", left, right-3, left, colour)
	s.WriteString(`<g fill="#fff" text-anchor="middle" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11">` + "\n")
	fmt.Fprintf(&s, `<text x="%d" y="14" textLength="%d">%s</text>`+"\n", left/2, left-14, label)
	fmt.Fprintf(&s, `<text x="%d" y="14" textLength="%d">%s</text>`+"\n</g>\n</svg>\n", left+right/2, right-14, text)
	return []byte(s.String()), nil
}

// Shield is the result in the form that badge services read from a URL.
func (r *Report) Shield() ([]byte, error) {
	text, colour := r.badge()
	b, err := json.Marshal(struct {
		SchemaVersion int    `json:"schemaVersion"`
		Label         string `json:"label"`
		Message       string `json:"message"`
		Color         string `json:"color"`
	}{1, "muster conformance", text, colour})
	return append(b, '\n'), err
}
