// Package source fetches policies: from a file, a folder or an OCI artifact, always
// whole, into memory, and within bounds. What is checked later is what was read here,
// whatever becomes of the file meanwhile. It also watches files for changes.
package source

import (
	"context"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/musterhq/muster/hostabi"
	"github.com/musterhq/muster/hostabi/wasmbin"
	"github.com/musterhq/muster/policies"
	"github.com/musterhq/muster/runtime/reload/oci"
	"github.com/musterhq/muster/runtime/reload/reason"
	"github.com/musterhq/muster/runtime/reload/trust"
	"github.com/musterhq/muster/runtime/reload/wanted"
)

// Bounds of what is fetched.
const (
	MaxModule = oci.MaxLayer // a module, a bundle, or all files of a folder of rules
	MaxFiles  = 1000         // of one folder
	maxDepth  = 8            // folders inside each other
)

// Artifact is one policy as it was fetched.
type Artifact struct {
	// Module holds a Wasm module; nil for rules.
	Module []byte
	// Bundle holds rules as a .tar.gz, Files as files by their slash-separated paths.
	Bundle []byte
	Files  map[string][]byte
	// Content is the digest of the module, the bundle, or the files; it names the
	// policy in trails.
	Content string
	// Signed is the digest that the signatures are of: that of the manifest of an
	// artifact, else Content.
	Signed     string
	Signatures []trust.Signature
	// Origin is where it came from, with the digest that a tag meant.
	Origin string
	// Name, Version and Kinds are what a module says of itself, and ABI the least version
	// of the policy ABI that it says it needs, as 1.0.
	Name, Version, ABI string
	Kinds              policies.Kind
	// Report is the conformance report that came with it, or nil.
	Report []byte
}

// Fingerprint changes when the content or its signatures do.
func (a *Artifact) Fingerprint() string {
	text := []byte(a.Content + a.Signed)
	for _, s := range a.Signatures {
		text = append(append(text, s.Bytes...), s.Payload...)
	}
	return trust.Digest(text)
}

// Paths are the files to watch for changes of a source; nil for one that is not on disk.
func Paths(s wanted.Source, opt Options) []string {
	at := opt.path(s.At)
	switch s.Kind {
	case wanted.FromFile:
		return []string{at}
	case wanted.FromFolder:
		out := []string{at, filepath.Join(at, "any")}
		_ = filepath.WalkDir(at, func(path string, d fs.DirEntry, err error) error { // what can't be read is not watched
			if err == nil && d.IsDir() && len(out) < MaxFiles {
				out = append(out, filepath.Join(path, "any"))
			}
			return nil
		})
		return out
	}
	return nil
}

// IsRules says whether the artifact is Rego, not Wasm.
func (a *Artifact) IsRules() bool { return a.Module == nil }

// Options say how to reach what is not a file.
type Options struct {
	// Dir is the folder that file names are relative to.
	Dir string
	OCI oci.Options
	// ConfigMap reads the keys of a ConfigMap; nil means that there is no cluster. What
	// it fails with is a *reason.Error.
	ConfigMap func(ctx context.Context, namespace, name string) (map[string][]byte, error)
}

// Fetch reads what a source holds now. pin, if it is not empty, is asked of a registry
// instead of the tag.
func Fetch(ctx context.Context, s wanted.Source, pin string, opt Options) (*Artifact, error) {
	var a *Artifact
	var err error
	switch s.Kind {
	case wanted.FromFile:
		a, err = fetchFile(opt.path(s.At))
	case wanted.FromFolder:
		a, err = fetchFolder(opt.path(s.At))
	case wanted.FromOCI, wanted.FromLayout:
		a, err = fetchOCI(ctx, s, pin, opt)
	case wanted.FromConfigMap:
		a, err = fetchConfigMap(ctx, s.At, opt)
	case wanted.FromInline:
		a = inline(s)
	default:
		err = reason.New(reason.NotFound, s.String(), "kinds are file, folder, oci, layout, configmap and inline", "no such kind of source")
	}
	if err != nil {
		return nil, err
	}
	a.describe()
	return a, nil
}

func (o *Options) path(at string) string {
	if filepath.IsAbs(at) {
		return filepath.Clean(at)
	}
	return filepath.Join(o.Dir, at)
}

// describe reads what a module says of itself, without running it. A damaged module
// says nothing here; the engine will say what is wrong with it.
func (a *Artifact) describe() {
	if a.Module == nil {
		return
	}
	m, err := wasmbin.Read(a.Module)
	if err != nil {
		return
	}
	_, marked := m.Export(hostabi.ExportMarker)
	if md, ok, err := hostabi.ReadMetadata(m); marked && err == nil {
		a.ABI = fmt.Sprintf("%d.%d", hostabi.Major, md.ABI.MinMinor) // without metadata, what the marker says
		if ok {
			a.Name, a.Version = md.Name, md.Version
		}
	}
	for kind, bit := range kinds {
		if _, ok := m.Export(kind.Export()); ok {
			a.Kinds |= bit
		}
	}
}

var kinds = map[hostabi.Kind]policies.Kind{
	hostabi.KindJobOrder:    policies.JobOrder,
	hostabi.KindQueueShares: policies.QueueShares,
	hostabi.KindVictimCosts: policies.VictimCosts,
}

func fetchOCI(ctx context.Context, s wanted.Source, pin string, opt Options) (*Artifact, error) {
	ref, err := Ref(s, opt)
	if err != nil {
		return nil, err
	}
	p, err := oci.Pull(ctx, ref, pin, opt.OCI)
	if err != nil {
		return nil, err
	}
	a := &Artifact{
		Content: p.Layer.Digest, Signed: p.Digest, Signatures: p.Signatures,
		Origin: ref.At(p.Digest), Report: p.Report,
	}
	if p.Layer.MediaType == oci.MediaRules {
		a.Bundle = p.Layer.Bytes
	} else {
		a.Module = p.Layer.Bytes
	}
	return a, nil
}

// Ref is the address of an OCI source.
func Ref(s wanted.Source, opt Options) (oci.Ref, error) {
	if s.Kind == wanted.FromLayout {
		r, err := oci.ParseLayout(s.At)
		r.Layout = opt.path(r.Layout)
		return r, err
	}
	r, err := oci.Parse(s.At)
	r.PlainHTTP = s.PlainHTTP
	return r, err
}
