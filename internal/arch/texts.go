package arch

import (
	"bytes"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
)

var (
	link    = regexp.MustCompile(`\]\(([^()\s]+)(?:\s+"[^"]*")?\)`)
	heading = regexp.MustCompile(`^#{1,6}\s+(.+?)\s*#*$`)
	remote  = regexp.MustCompile(`^[a-z][a-z0-9+.-]*:`)
	// slugless is what GitHub leaves out when it turns a heading into an anchor.
	slugless = regexp.MustCompile(`[^\p{L}\p{N}\s_-]`)

	// machinePath is a path that exists on one person's or one CI machine only.
	machinePath = regexp.MustCompile(`(?:^|[^[:alnum:]_./*-])(/(?:work|farm|root|home|Users|tmp)/[[:alnum:]][^\s"'` + "`" + `)]*)`)
	// registryHost is a host that serves packages; which one is used is the
	// machine's setting and not the project's.
	registryHost = regexp.MustCompile(`\b(?:goproxy|proxy|registry|sum|deb|mirrors?)\.[a-z0-9-]+\.(?:org|com|net|io|dev|cn)\b`)
)

// CheckLinks finds relative links of Markdown files, outside code blocks, that
// lead to no file or no heading.
func CheckLinks(t Tree) ([]Finding, error) {
	files, err := t.Files(".md", false)
	if err != nil {
		return nil, err
	}
	var out []Finding
	for _, f := range files {
		lines, err := t.prose(f)
		if err != nil {
			return nil, err
		}
		for i, line := range lines {
			for _, m := range link.FindAllStringSubmatch(line, -1) {
				if remote.MatchString(m[1]) {
					continue
				}
				if problem := t.followLink(f, m[1]); problem != "" {
					out = append(out, Finding{f, i + 1, "dead link " + m[1] + ": " + problem, "correct the link, or write what it promises"})
				}
			}
		}
	}
	return out, nil
}

// followLink says what is wrong with a relative link of a file, or "".
func (t Tree) followLink(from, to string) string {
	target, anchor, _ := strings.Cut(to, "#")
	file := from
	if target != "" {
		file = path.Join(path.Dir(from), target)
	}
	if _, err := os.Stat(filepath.Join(t.Root, filepath.FromSlash(file))); err != nil {
		return "there is no " + file
	}
	if anchor == "" || !strings.HasSuffix(file, ".md") {
		return ""
	}
	lines, err := t.prose(file)
	if err != nil {
		return err.Error()
	}
	for _, l := range lines {
		if m := heading.FindStringSubmatch(l); m != nil && slug(m[1]) == anchor {
			return ""
		}
	}
	return fmt.Sprintf("%s has no heading #%s", file, anchor)
}

// prose returns the lines of a Markdown file with code blocks emptied, so that
// line numbers stay.
func (t Tree) prose(file string) ([]string, error) {
	src, err := t.Read(file)
	if err != nil {
		return nil, err
	}
	lines := strings.Split(string(src), "\n")
	inCode := false
	for i, l := range lines {
		fence := strings.HasPrefix(strings.TrimSpace(l), "```")
		if fence {
			inCode = !inCode
		}
		if fence || inCode {
			lines[i] = ""
		}
	}
	return lines, nil
}

// slug is the anchor that GitHub gives a heading.
func slug(heading string) string {
	s := slugless.ReplaceAllString(strings.ToLower(heading), "")
	return strings.ReplaceAll(strings.TrimSpace(s), " ", "-")
}

// CheckTexts finds paths of one machine and hosts of package registries in the
// tree's text files. Checksums of modules and fuzz inputs are left out.
func CheckTexts(t Tree) ([]Finding, error) {
	files, err := t.Files("", true)
	if err != nil {
		return nil, err
	}
	var out []Finding
	for _, f := range files {
		if strings.HasSuffix(f, "go.sum") || strings.Contains(f, "testdata/fuzz/") || within(f, "internal/arch/testdata") {
			continue
		}
		src, err := t.Read(f)
		if err != nil {
			return nil, err
		}
		if bytes.IndexByte(src[:min(len(src), 8000)], 0) >= 0 {
			continue // binary
		}
		out = append(out, checkText(f, string(src))...)
	}
	return out, nil
}

func checkText(file, text string) []Finding {
	var out []Finding
	line := 0
	for l := range strings.SplitSeq(text, "\n") {
		line++
		if m := machinePath.FindStringSubmatch(l); m != nil {
			out = append(out, Finding{file, line, "the path " + m[1] + " exists on one machine only", "write it relative to the repository, or take it as an argument"})
		}
		if m := registryHost.FindString(l); m != "" {
			out = append(out, Finding{file, line, "names the package registry " + m, "use the tool by its package name; the machine knows where packages come from"})
		}
	}
	return out
}
