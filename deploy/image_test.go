package deploy

import (
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// instruction is one of a Dockerfile: COPY with its arguments.
type instruction struct {
	name string
	args []string
}

// dockerfile reads the instructions of our Dockerfile. There may be no engine to build it
// with where the tests run, so they hold it to what it speaks of.
func dockerfile(t *testing.T) (out []instruction) {
	t.Helper()
	text, err := os.ReadFile("Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(strings.ReplaceAll(string(text), "\\\n", " ")) {
		if words := strings.Fields(line); len(words) > 0 && !strings.HasPrefix(words[0], "#") {
			out = append(out, instruction{words[0], words[1:]})
		}
	}
	return out
}

// of are the arguments of all instructions of a name, one after the other.
func of(all []instruction, name string) (out []string) {
	for _, i := range all {
		if i.name == name {
			out = append(out, i.args...)
		}
	}
	return out
}

// built says where the image's build writes which package of ours.
func built(t *testing.T, all []instruction) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, m := range regexp.MustCompile(`go build [^&]*-o (\S+) (\S+)`).FindAllStringSubmatch(strings.Join(of(all, "RUN"), " "), -1) {
		out[m[1]] = m[2]
	}
	if len(out) == 0 {
		t.Fatal("the image builds nothing")
	}
	return out
}

func TestTheImageIsBuiltFromWhatThereIs(t *testing.T) {
	all := dockerfile(t)
	outputs := built(t, all)
	for file, pkg := range outputs {
		parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join("..", pkg, "main.go"), nil, parser.PackageClauseOnly)
		if err != nil || parsed.Name.Name != "main" {
			t.Errorf("%s is built from %s, which is no program: %v", file, pkg, err)
		}
	}
	for _, i := range all {
		if i.name != "COPY" {
			continue
		}
		from, sources := "", i.args[:len(i.args)-1]
		if name, is := strings.CutPrefix(sources[0], "--from="); is {
			from, sources = name, sources[1:]
		}
		for _, s := range sources {
			if from != "" {
				if outputs[s] == "" && s != "/etc/ssl/certs/ca-certificates.crt" {
					t.Errorf("COPY --from=%s %s: nothing puts it there", from, s)
				}
			} else if _, err := os.Stat(filepath.Join("..", s)); err != nil {
				t.Errorf("COPY %s: %v", s, err)
			}
		}
	}
	if !slices.Contains(of(all, "ENV"), "CGO_ENABLED=0") {
		t.Error("with cgo the image of one architecture can't build another's")
	}
	mod, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	version := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindSubmatch(mod)[1]
	if !slices.ContainsFunc(of(all, "FROM"), func(s string) bool { return strings.HasPrefix(s, "golang:"+string(version)+"-") }) {
		t.Errorf("go.mod wants Go %s: %v", version, of(all, "FROM"))
	}
}

// What is left out of the build must be nothing of ours: it would not compile, or `muster
// version` would say that it was changed.
func TestTheImageIsBuiltFromAllThatGitKnows(t *testing.T) {
	cmd := exec.Command("git", "ls-files", "--cached", "--ignored", "--exclude-from=.dockerignore")
	cmd.Dir = ".."
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Skipf("SKIPPED, NOT TESTED: this is no clone: %v\n%s", err, out)
	}
	if len(out) > 0 {
		t.Errorf(".dockerignore leaves out:\n%s", out)
	}
}

// The image and the manifests are about the same programs, ports and user.
func TestTheImageHasWhatTheManifestsRun(t *testing.T) {
	all := dockerfile(t)
	manifests := string(Manifests())
	var programs []string
	for file := range built(t, all) {
		programs = append(programs, path.Base(file))
	}
	for _, m := range regexp.MustCompile(`(?m)^ +command: \[(\S+)\]$`).FindAllStringSubmatch(manifests, -1) {
		if !slices.Contains(programs, m[1]) {
			t.Errorf("the manifests run %s; the image has %v", m[1], programs)
		}
	}
	if entry := strings.Join(of(all, "ENTRYPOINT"), ""); entry != `["/usr/local/bin/muster"]` {
		t.Errorf("the scheduler's arguments are for muster, the image begins with %s", entry)
	}
	exposed := of(all, "EXPOSE")
	for _, m := range regexp.MustCompile(`containerPort: (\d+)`).FindAllStringSubmatch(manifests, -1) {
		if !slices.Contains(exposed, m[1]) {
			t.Errorf("the manifests use port %s; the image says %v", m[1], exposed)
		}
	}
	user, group, _ := strings.Cut(strings.Join(of(all, "USER"), ""), ":")
	if !strings.Contains(manifests, "runAsUser: "+user+"\n        runAsGroup: "+group+"\n") {
		t.Errorf("no manifest runs as %s:%s", user, group)
	}
}

// The root file system of a container is read-only, and the scheduler unpacks rules.
func TestTheSchedulerCanWriteWhereItUnpacks(t *testing.T) {
	scheduler := string(file("30-scheduler.yaml"))
	if strings.Contains(scheduler, "readOnlyRootFilesystem: true") && !strings.Contains(scheduler, "mountPath: /tmp}") {
		t.Error("there is no folder for temporary files: rules in Rego could not be loaded")
	}
}
