// Package operator is what operators do with policies: sign and verify them, keep them
// in registries, and have a running scheduler load them by way of a policies.yaml.
package operator

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/musterhq/muster/conformance/suite"
	"github.com/musterhq/muster/policies"
	"github.com/musterhq/muster/runtime/rego"
	"github.com/musterhq/muster/runtime/reload"
	"github.com/musterhq/muster/runtime/reload/oci"
	"github.com/musterhq/muster/runtime/reload/source"
	"github.com/musterhq/muster/runtime/reload/trust"
	"github.com/musterhq/muster/runtime/reload/wanted"
	"github.com/musterhq/muster/runtime/rules"
)

// Error is something that can't be done, with what to do about it.
type Error struct {
	Problem string
	Hint    string
}

func (e *Error) Error() string { return e.Problem }

func errorf(hint, format string, args ...any) error {
	return &Error{fmt.Sprintf(format, args...), hint}
}

// StatusFile is where a scheduler tells about the policies of a policies.yaml.
func StatusFile(file string) string {
	return strings.TrimSuffix(file, filepath.Ext(file)) + ".status.json"
}

// ParseSource reads where a policy is, as people write it: a file or folder by its
// path, oci:HOST/REPOSITORY:TAG for a registry, layout:FOLDER:TAG for an OCI image
// layout on disk.
func ParseSource(text string) (wanted.Source, error) {
	if at, ok := strings.CutPrefix(text, "oci:"); ok {
		return wanted.Source{Kind: wanted.FromOCI, At: strings.TrimPrefix(at, "//")}, nil
	}
	if at, ok := strings.CutPrefix(text, "layout:"); ok {
		return wanted.Source{Kind: wanted.FromLayout, At: at}, nil
	}
	info, err := os.Stat(text)
	switch {
	case err != nil:
		return wanted.Source{}, errorf("name a module, a folder of rules, oci:HOST/REPOSITORY:TAG or layout:FOLDER:TAG", "cannot read %s: %s", text, reason(err))
	case info.IsDir():
		return wanted.Source{Kind: wanted.FromFolder, At: text}, nil
	default:
		return wanted.Source{Kind: wanted.FromFile, At: text}, nil
	}
}

func reason(err error) string {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err.Error()
	}
	return err.Error()
}

// Reach says how to reach registries from a command line.
func Reach() oci.Options { return oci.Options{UseDocker: true} }

// Fetch reads a policy from wherever it is.
func Fetch(ctx context.Context, s wanted.Source) (*source.Artifact, error) {
	return source.Fetch(ctx, s, "", source.Options{Dir: ".", OCI: Reach()})
}

// NewKey makes a pair of keys: path for the private one, path.pub for the public one.
// It overwrites nothing.
func NewKey(path string, a trust.Algorithm) error {
	private, public, err := trust.Generate(a)
	if err != nil {
		return err
	}
	if err := create(path+".pub", public, 0o644); err != nil {
		return err
	}
	if err := create(path, private, 0o600); err != nil {
		return errors.Join(err, os.Remove(path+".pub")) // half a pair is worth nothing
	}
	return nil
}

func create(path string, content []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return errorf("name a file that is not there yet", "cannot write %s: %s", path, reason(err))
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Close())
}

// Signer reads a private key.
func Signer(path string) (*trust.Signer, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, errorf("`muster policy sign --new-key FILE` makes a pair of keys", "cannot read key %s: %s", path, reason(err))
	}
	s, err := trust.ParsePrivate(text)
	return s, keyError(path, err)
}

func keyError(path string, err error) error {
	var k *trust.KeyError
	if errors.As(err, &k) {
		return errorf(k.Hint, "key %s: %s", path, k.Problem)
	}
	return err
}

// PublicKeys reads public keys; each is called like its file.
func PublicKeys(paths []string) (keys trust.Keys, err error) {
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, errorf("a public key is the .pub file beside a private one", "cannot read key %s: %s", path, reason(err))
		}
		k, err := trust.ParsePublic(strings.TrimSuffix(filepath.Base(path), ".pub"), text)
		if err != nil {
			return nil, keyError(path, err)
		}
		keys = append(keys, k)
	}
	return keys, nil
}

// Sign adds a signature: to the .sig file beside a file or folder, or to an artifact in
// a registry or layout. It returns the digest that was signed and where the signature is.
func Sign(ctx context.Context, s wanted.Source, signer *trust.Signer, scheme trust.Scheme) (digest, where string, err error) {
	if s.Kind == wanted.FromOCI || s.Kind == wanted.FromLayout {
		ref, err := source.Ref(s, source.Options{Dir: ".", OCI: Reach()})
		if err != nil {
			return "", "", err
		}
		digest, err = oci.Sign(ctx, ref, signer, scheme, Reach())
		return digest, ref.String(), err
	}
	a, err := Fetch(ctx, s)
	if err != nil {
		return "", "", err
	}
	if scheme == trust.Cosign {
		return "", "", errorf("push it first; a file is signed in Muster's own scheme", "cosign signs what is in a registry or layout, not files")
	}
	sig, err := signer.Sign(a.Signed)
	if err != nil {
		return "", "", err
	}
	path := filepath.Clean(s.At) + trust.Extension
	return a.Signed, path, addSignature(path, a.Signed, sig)
}

// addSignature keeps the signatures that the file has of the same digest.
func addSignature(path, digest string, sig trust.Signature) error {
	var sigs []trust.Signature
	if text, err := os.ReadFile(path); err == nil {
		if of, old, err := trust.ParseFile(text); err == nil && of == digest {
			for _, o := range old {
				if o.Key != sig.Key || o.Scheme != sig.Scheme {
					sigs = append(sigs, o)
				}
			}
		}
	}
	text, err := trust.EncodeFile(digest, append(sigs, sig))
	if err != nil {
		return err
	}
	return replace(path, text)
}

// replace writes a file as a whole: readers see the old or the new one.
func replace(path string, content []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*.tmp")
	if err != nil {
		return errorf("is there such a folder, and may you write to it?", "cannot write %s: %s", path, reason(err))
	}
	_, err = tmp.Write(content)
	if err = errors.Join(err, tmp.Chmod(0o644), tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp.Name()))
	}
	return nil
}

// Options makes the life cycle of a scheduler: the checks and the rules are the same
// wherever Muster runs.
func Options(dir string, guard *rules.Rules) reload.Options {
	o := reload.Options{
		Source: source.Options{Dir: dir, OCI: Reach()},
		Check: func(ctx context.Context, p policies.Policy) (string, error) {
			began := time.Now()
			if err := suite.Smoke(ctx, p, suite.DefaultSeed); err != nil {
				return "", err
			}
			return fmt.Sprintf("no law of the smoke set is broken (suite %s, %d ms)", suite.Version, time.Since(began).Milliseconds()), nil
		},
		OpenRules: func(ctx context.Context, path string, _ wanted.Spec) (reload.Rules, error) {
			r, err := rules.Open(ctx, path, rules.Options{})
			if err != nil {
				return reload.Rules{}, err
			}
			return reload.Rules{Admission: r.Admission(), Protection: r.Protection()}, nil
		},
	}
	if guard != nil && guard.Guard() != nil {
		may := guard.Guard()
		o.Guard = func(ctx context.Context, q reload.LoadRequest) error {
			kinds := kindNames(q.Kinds)
			if q.Rules {
				kinds = []string{"rules"}
			}
			return may(ctx, rego.LoadRequest{Name: q.Name, Source: q.Source, Digest: q.Digest, By: q.By, Signers: q.Signers, Kinds: kinds})
		}
	}
	return o
}

func kindNames(k policies.Kind) (out []string) {
	for _, one := range []policies.Kind{policies.JobOrder, policies.QueueShares, policies.VictimCosts} {
		if k&one != 0 {
			out = append(out, one.String())
		}
	}
	return out
}

// Try takes a policy through the life cycle up to active, beside nothing: what a
// scheduler would do with it, and refuse.
func Try(ctx context.Context, dir, by string, s wanted.Spec, t *wanted.Trust, guard *rules.Rules) (v reload.Version, err error) {
	o := Options(dir, guard)
	o.By = by
	o.Swap = func(reload.Set) <-chan struct{} {
		done := make(chan struct{})
		close(done)
		return done
	}
	m, err := reload.New(o)
	if err != nil {
		return v, err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	if err := m.Trust(t); err != nil {
		return v, err
	}
	s.Mode, s.Beside, s.ShadowFor = wanted.Active, "", 0
	return m.Load(ctx, s)
}

// Read reads a policies.yaml; one that is not there is empty.
func Read(file string) (*wanted.File, []byte, error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return &wanted.File{}, nil, nil
	}
	if err != nil {
		return nil, nil, errorf("name a policies.yaml", "cannot read %s: %s", file, reason(err))
	}
	f, problems := wanted.Parse(file, text)
	if err := problems.Err(); err != nil {
		return nil, nil, err
	}
	return f, text, nil
}

// Write replaces a policies.yaml by a text that was proven to be valid.
func Write(file string, text []byte) error {
	if _, problems := wanted.Parse(file, text); problems.Err() != nil {
		return fmt.Errorf("the change would make %s invalid: %w", file, problems.Err())
	}
	return replace(file, bytes.TrimLeft(text, "\n"))
}
