package arch

import (
	"go/parser"
	"strconv"
	"strings"
)

// Std stands for the standard library, which every rule allows; it makes a list
// that holds nothing else readable.
const Std = "std"

// Rule says what some folders may or may not import. Folders and the project's
// own packages are written relative to the root ("builtin/pack"), packages from
// elsewhere in full; each stands for everything below it as well.
type Rule struct {
	// In are the folders the rule holds for; empty is the whole tree. Except are
	// folders below them for which it does not.
	In, Except []string
	// Only, if not empty, lists all that may be imported. Never lists what may
	// not.
	Only, Never []string
	// Tests extends the rule to test files.
	Tests bool
	// Why and Instead are printed when the rule is broken.
	Why, Instead string
}

// Rules are the import directions of ARCHITECTURE.md, and one door for each
// heavy dependency.
var Rules = []Rule{
	{
		In: []string{"policies"}, Except: []string{"policies/library"},
		Only:    []string{Std},
		Why:     "the contract of policies is what everybody imports, so it imports nothing but the standard library",
		Instead: "describe the data in policies itself, or move the code to the package that needs both",
	},
	{
		In:      []string{"hostabi"},
		Only:    []string{Std, "hostabi"},
		Why:     "the wire format is read by SDKs in other modules and languages, so it depends on nothing",
		Instead: "convert in runtime/wasm, which knows both policies and hostabi",
	},
	{
		In:      []string{"policies/library", "sdk"},
		Only:    []string{Std, "hostabi", "policies/library", "sdk"},
		Why:     "a guest sees its batch and nothing of the host, or it could not be moved to another language",
		Instead: "use the columns of the batch; a missing one is added to hostabi/schema (CONTRIBUTING.md has the checklist)",
	},
	{
		In:      []string{"builtin"},
		Only:    []string{Std, "policies", "builtin"},
		Why:     "the core is pure: values in, a plan out, the same on every machine",
		Instead: "take what you need as an argument; runtime fetches it and hands it in",
	},
	{
		In:      []string{"builtin/amount"},
		Never:   []string{"builtin", "policies"},
		Why:     "amounts are the bottom of the core",
		Instead: "put the code in the package that owns the other type",
	},
	{
		In:      []string{"builtin/spec"},
		Never:   []string{"builtin/quota", "builtin/world", "builtin/pack", "builtin/gang", "builtin/victim", "builtin/order", "builtin/plan", "policies"},
		Why:     "spec is what the outside says; it knows nothing of how it is decided",
		Instead: "convert in the package that decides",
	},
	{
		In: []string{"builtin"}, Except: []string{"builtin/cycle"},
		Never:   []string{"builtin/cycle"},
		Why:     "cycle joins the parts of the core; a part that knew it would make a ring",
		Instead: "take the value or a small function as an argument",
	},
	{
		In:      []string{"runtime/wasm/meter"},
		Only:    []string{Std, "hostabi/wasmbin"},
		Why:     "the rewriter changes what runs in the scheduler's process, so it has to be readable by itself",
		Instead: "do it in runtime/wasm, on the rewritten module",
	},
	{
		In:      []string{"runtime/wasm", "runtime/rego"},
		Never:   []string{"runtime/ledger", "runtime/loop", "runtime/sim", "runtime/kube", "runtime/serve", "runtime/config"},
		Why:     "an engine runs policies and knows nothing of the cluster around it",
		Instead: "pass the batch or the document in",
	},
	{
		In:      []string{"runtime/clock"},
		Only:    []string{Std},
		Why:     "everything that happens in time stands on the clock",
		Instead: "let the caller of the clock do it",
	},
	{
		In:      []string{"runtime/config"},
		Never:   []string{"runtime"},
		Why:     "reading queues.yaml gives a value (spec.Tree) that needs nothing running",
		Instead: "return the value; runtime/loop takes it as an event",
	},
	{
		In:      []string{"runtime/ledger", "runtime/loop", "runtime/reload", "runtime/journal"},
		Never:   []string{"runtime/sim", "runtime/kube", "runtime/serve"},
		Why:     "the loop is the same in production and in the simulator because it knows neither",
		Instead: "send an event in, take a plan out; adapters import the loop, never the reverse",
	},
	{
		In:      []string{"runtime/sim"},
		Never:   []string{"runtime/kube", "runtime/serve"},
		Why:     "adapters stand side by side",
		Instead: "share it below, in runtime/loop or runtime/ledger",
	},
	{
		In:      []string{"runtime/kube"},
		Never:   []string{"runtime/sim", "runtime/serve"},
		Why:     "adapters stand side by side",
		Instead: "share it below, in runtime/loop or runtime/ledger",
	},
	{
		In: []string{"builtin", "policies", "hostabi", "runtime", "sdk", "gpuprobe"},
		Never: []string{
			"conformance", "cmd", "internal/arch",
		},
		Tests:   true,
		Why:     "commands and suites stand on top of everything",
		Instead: "move what is shared into the package it is about",
	},
	{
		In: []string{"gpuprobe"},
		Never: []string{ // all but runtime/clock, and the types of our API objects
			"builtin", "policies", "runtime/config", "runtime/ledger", "runtime/loop", "runtime/manifest", "runtime/rego",
			"runtime/reload", "runtime/rules", "runtime/serve", "runtime/sim", "runtime/usage", "runtime/wasm",
			"runtime/kube/act", "runtime/kube/auth", "runtime/kube/groups", "runtime/kube/mirror", "runtime/kube/objects",
			"runtime/kube/pods", "runtime/kube/route",
		},
		Why:     "the probe runs on every node and carries none of the scheduler",
		Instead: "exchange values of gpuprobe/wire",
	},
	{
		In:      []string{"gpuprobe/pattern"},
		Only:    []string{Std},
		Why:     "what a pod does with its GPUs is words and times; probes and simulators share it",
		Instead: "play the pattern where the rest is known: gpuprobe/simulate for nodes, runtime/sim for clusters",
	},
	{
		In: []string{"runtime", "builtin"}, Except: []string{"runtime/sim"},
		Never:   []string{"gpuprobe/pattern"},
		Why:     "only the simulator knows what GPUs will do; the scheduler is told what they did",
		Instead: "take ledger.UseMeasured",
	},
	{
		In: []string{"runtime", "builtin"},
		Never: []string{
			"gpuprobe/agent", "gpuprobe/nvml", "gpuprobe/bpf", "gpuprobe/cgroup", "gpuprobe/podresources",
			"gpuprobe/push", "gpuprobe/crd", "gpuprobe/metrics", "gpuprobe/simulate",
		},
		Why:     "the scheduler reads reports and links no driver",
		Instead: "import gpuprobe/wire only, and gpuprobe/pattern in the simulator",
	},
	door("github.com/tetratelabs/wazero", "runtime/wasm"),
	door("github.com/open-policy-agent", "runtime/rego"),
	door("gonum.org/v1", "runtime/sim/report"),
	door("oras.land/oras-go", "runtime/reload/oci"),
	door("github.com/fsnotify/fsnotify", "runtime/reload/source"),
	door("github.com/google/go-containerregistry", "runtime/reload"),
	door("github.com/spf13/cobra", "cmd"),
	door("k8s.io/client-go", "runtime/kube", "gpuprobe/crd", "cmd"),
	door("k8s.io/api", "runtime/kube", "gpuprobe/crd", "cmd"),
	door("k8s.io/kubelet", "gpuprobe/podresources"),
	door("google.golang.org/grpc", "runtime/usage", "gpuprobe/wire", "gpuprobe/push", "gpuprobe/podresources"),
	door("github.com/prometheus/client_golang", "runtime/serve", "gpuprobe/metrics", "cmd"),
	door("github.com/chromedp/chromedp", "runtime/serve"),
	door("github.com/cilium/ebpf", "gpuprobe/bpf"),
	door("github.com/ebitengine/purego", "gpuprobe/nvml"),
}

// door is the rule that a heavy dependency is imported in one place only.
func door(dependency string, at ...string) Rule {
	return Rule{
		Except: at, Never: []string{dependency}, Tests: true,
		Why:     "a heavy dependency has one door, so that it can be replaced and the rest stays light",
		Instead: "use " + at[0] + ", or extend it by what you need",
	}
}

// CheckImports holds every Go file of the tree to the rules.
func CheckImports(t Tree, rules []Rule) ([]Finding, error) {
	files, err := t.parse(parser.ImportsOnly)
	if err != nil {
		return nil, err
	}
	var out []Finding
	for _, f := range files {
		for _, spec := range f.ast.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return nil, err
			}
			for _, r := range rules {
				if r.holdsFor(f) && !r.allows(f, imported) {
					out = append(out, Finding{f.file, f.line(spec.Pos()), "must not import " + imported + ": " + r.Why, r.Instead})
				}
			}
		}
	}
	return out, nil
}

func (r Rule) holdsFor(f parsed) bool {
	in := len(r.In) == 0 || withinAny(f.dir(), r.In)
	return in && !withinAny(f.dir(), r.Except) && (r.Tests || !f.isTest())
}

// allows says whether a file may import a package. A package is always allowed
// to import its own sub-packages and, in an external test, itself.
func (r Rule) allows(f parsed, imported string) bool {
	if isStd(imported) { // even the standard library's own package runtime
		return true
	}
	name, isOwn := strings.CutPrefix(imported, Module+"/")
	if isOwn && within(name, f.dir()) {
		return true
	}
	return !withinAny(name, r.Never) && (len(r.Only) == 0 || withinAny(name, r.Only))
}

// isStd says whether an import path is the standard library's: its first element
// has no dot.
func isStd(imported string) bool {
	first, _, _ := strings.Cut(imported, "/")
	return !strings.Contains(first, ".")
}
