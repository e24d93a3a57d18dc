package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/musterhq/muster/cmd/muster/internal/operator"
	"github.com/musterhq/muster/runtime/reload/oci"
	"github.com/musterhq/muster/runtime/reload/source"
	"github.com/musterhq/muster/runtime/reload/trust"
	"github.com/musterhq/muster/runtime/wasm"
)

const aboutSources = `
A policy is a module, a folder or bundle of rules, oci:HOST/REPOSITORY:TAG in a
registry, or layout:FOLDER:TAG in an OCI image layout on disk.`

// operatorFailed gives an error of package operator its hint.
func operatorFailed(err error) error {
	var e *operator.Error
	if errors.As(err, &e) {
		return failed(e.Hint, "%s", e.Problem)
	}
	return err
}

// signed is the JSON of sign and verify.
type signed struct {
	Policy    string   `json:"policy"`
	Digest    string   `json:"digest"`
	Signature string   `json:"signature,omitempty"` // where it is
	Key       string   `json:"key,omitempty"`       // fingerprint
	Signers   []string `json:"signers,omitempty"`
	Found     int      `json:"signatures,omitempty"` // by whomever
}

func (a *app) policySign() *cobra.Command {
	var format, key, newKey, scheme string
	var ecdsa bool
	c := a.command("sign POLICY --key KEY", "sign a policy", aboutSources+`

A file's signature is in a file beside it, X.wasm.sig. An artifact is signed in its
registry: over the digest of its manifest, as a referrer, or with --scheme cosign as
`+"`cosign sign --key`"+` does, so that cosign verifies it too. Keys are ed25519, or ECDSA
P-256 for cosign, in PEM and not encrypted.`, `
  muster policy sign my-order.wasm --new-key platform.key
  muster policy sign oci:registry.internal/policies/order:1.4 --key platform.key --scheme cosign`,
		"", cobra.ExactArgs(1), func(ctx context.Context, args []string) error {
			if err := checkFormat(format); err != nil {
				return err
			}
			algorithm := trust.Ed25519
			if ecdsa || scheme == string(trust.Cosign) {
				algorithm = trust.ECDSA
			}
			return operatorFailed(a.sign(ctx, args[0], key, newKey, trust.Scheme(scheme), algorithm, format))
		})
	formatFlag(c, &format)
	c.Flags().StringVar(&key, "key", "", "`FILE` of the private key")
	c.Flags().StringVar(&newKey, "new-key", "", "make a pair of keys, `FILE` and FILE.pub, and sign with it")
	c.Flags().StringVar(&scheme, "scheme", string(trust.Muster), "`SCHEME` of the signature: muster or cosign")
	c.Flags().BoolVar(&ecdsa, "ecdsa", false, "the new key is ECDSA P-256 instead of ed25519")
	return c
}

func (a *app) sign(ctx context.Context, policy, key, newKey string, scheme trust.Scheme, algorithm trust.Algorithm, format string) error {
	switch {
	case scheme != trust.Muster && scheme != trust.Cosign:
		return misused("schemes are muster and cosign", "there is no scheme %q", scheme)
	case (key == "") == (newKey == ""):
		return misused("--key FILE for a key that is there, --new-key FILE for a new one", "with which key?")
	case newKey != "":
		if err := operator.NewKey(newKey, algorithm); err != nil {
			return err
		}
		a.remark("made %s, which is secret, and %s.pub", newKey, newKey)
		key = newKey
	}
	src, err := operator.ParseSource(policy)
	if err != nil {
		return err
	}
	signer, err := operator.Signer(key)
	if err != nil {
		return err
	}
	digest, where, err := operator.Sign(ctx, src, signer, scheme)
	if err != nil {
		return err
	}
	r := signed{Policy: policy, Digest: digest, Signature: where, Key: signer.Fingerprint()}
	return a.print(format, r, func() error {
		fmt.Fprintf(a.out, "%s: signed by key %s, in %s\n%s\n", r.Policy, r.Key, r.Signature, r.Digest)
		return nil
	})
}

func (a *app) policyVerify() *cobra.Command {
	var format string
	var keys []string
	c := a.command("verify POLICY --key KEY.pub…", "find out who has signed a policy", aboutSources+`

Says which of the keys have signed it, in Muster's scheme or cosign's. Nothing of
the policy is run.`, `
  muster policy verify my-order.wasm --key platform.key.pub
  muster policy verify layout:bundles/order:1.4 --key a.pub --key b.pub -o json`,
		"0 at least one of the keys has signed it, 1 none has, or it could not be read, 2 it was called wrongly", cobra.ExactArgs(1),
		func(ctx context.Context, args []string) error {
			if err := checkFormat(format); err != nil {
				return err
			}
			if len(keys) == 0 {
				return misused("as in --key platform.key.pub", "by which keys?")
			}
			return operatorFailed(a.verify(ctx, args[0], keys, format))
		})
	formatFlag(c, &format)
	c.Flags().StringArrayVar(&keys, "key", nil, "`FILE` of a public key; may be repeated")
	return c
}

func (a *app) verify(ctx context.Context, policy string, paths []string, format string) error {
	keys, err := operator.PublicKeys(paths)
	if err != nil {
		return err
	}
	src, err := operator.ParseSource(policy)
	if err != nil {
		return err
	}
	art, err := operator.Fetch(ctx, src)
	if err != nil {
		return err
	}
	r := signed{Policy: policy, Digest: art.Signed, Signers: keys.Verify(art.Signed, art.Signatures), Found: len(art.Signatures)}
	if len(r.Signers) == 0 {
		hint := "`muster policy sign` signs it"
		if r.Found > 0 {
			hint = "it was signed by other keys, or changed since"
		}
		return failed(hint, "%s: none of the keys has signed %s (%s found)", policy, r.Digest, plural(r.Found, "signature"))
	}
	return a.print(format, r, func() error {
		fmt.Fprintf(a.out, "%s: signed by %s\n%s\n", r.Policy, strings.Join(r.Signers, ", "), r.Digest)
		return nil
	})
}

// moved is the JSON of push and pull.
type moved struct {
	Reference string `json:"reference"`
	Digest    string `json:"digest"` // of the manifest
	Policy    string `json:"policy"`
	Content   string `json:"content"` // digest of the module or rules
	File      string `json:"file,omitempty"`
}

func (a *app) policyPush() *cobra.Command {
	var format, report string
	var plain bool
	c := a.command("push POLICY REFERENCE", "store a policy as an OCI artifact", `
POLICY is a module, or a folder or bundle of rules. REFERENCE is oci:HOST/REPOSITORY:TAG,
or layout:FOLDER:TAG for an OCI image layout on disk. The metadata become the
artifact's config; the same policy has the same digest whoever pushes it. Credentials
are those of `+"`docker login`"+`.`, `
  muster policy push my-order.wasm oci:registry.internal/policies/my-order:1.0.0
  muster policy push my-order.wasm layout:bundles/my-order:1.0.0 --report report.yaml`,
		"", cobra.ExactArgs(2), func(ctx context.Context, args []string) error {
			if err := checkFormat(format); err != nil {
				return err
			}
			return operatorFailed(a.push(ctx, args[0], args[1], report, plain, format))
		})
	formatFlag(c, &format)
	c.Flags().StringVar(&report, "report", "", "`FILE` of a conformance report to store with it")
	c.Flags().BoolVar(&plain, "plain-http", false, "use http, to a registry on this machine")
	return c
}

func reference(text string, plain bool) (oci.Ref, error) {
	src, err := operator.ParseSource(text)
	if err != nil {
		return oci.Ref{}, err
	}
	src.PlainHTTP = plain
	ref, err := source.Ref(src, source.Options{Dir: "."})
	if err != nil {
		return ref, misused("as in oci:registry.internal/policies/order:1.4, or layout:bundles/order:1.4", "reference %q: %w", text, err)
	}
	return ref, nil
}

func (a *app) push(ctx context.Context, policy, to, report string, plain bool, format string) error {
	ref, err := reference(to, plain)
	if err != nil {
		return err
	}
	src, err := operator.ParseSource(policy)
	if err != nil {
		return err
	}
	art, err := operator.Fetch(ctx, src)
	if err != nil {
		return err
	}
	pkg := oci.Package{MediaType: oci.MediaModule, Content: art.Module}
	if art.IsRules() {
		pkg.MediaType = oci.MediaRules
		if pkg.Content, err = art.Tar(); err != nil {
			return err
		}
	} else if pkg.Config, err = metadataOf(policy, art.Module); err != nil {
		return err
	}
	if report != "" {
		if pkg.Report, err = os.ReadFile(report); err != nil {
			return failed("`muster conformance run` writes one", "cannot read %w", pathFirst(err))
		}
	}
	digest, err := oci.Push(ctx, ref, pkg, operator.Reach())
	if err != nil {
		return err
	}
	r := moved{Reference: to, Digest: digest, Policy: or(identity(art.Name, art.Version), policy), Content: trust.Digest(pkg.Content)}
	return a.print(format, r, func() error {
		fmt.Fprintf(a.out, "%s: %s\n%s\n", r.Reference, r.Policy, r.Digest)
		return nil
	})
}

func metadataOf(path string, bin []byte) ([]byte, error) {
	in, err := wasm.Inspect(moduleName(path), bin)
	if err != nil || !in.HasMetadata {
		return nil, err
	}
	md := in.Metadata
	return (&md).JSON()
}

func (a *app) policyPull() *cobra.Command {
	var format, to, pin string
	var keys []string
	var plain bool
	c := a.command("pull REFERENCE -o FILE", "fetch a policy that is stored as an OCI artifact", `
Every part is held against its digest. With --digest the artifact must be exactly
that one, with --key it must be signed by one of the keys; else nothing is written.
Rules are written as a bundle, FILE.tar.gz.`, `
  muster policy pull oci:registry.internal/policies/my-order:1.0.0 -o my-order.wasm
  muster policy pull layout:bundles/my-order:1.0.0 -o my-order.wasm --key platform.key.pub`,
		"", cobra.ExactArgs(1), func(ctx context.Context, args []string) error {
			if err := checkFormat(format); err != nil {
				return err
			}
			if to == "" {
				return misused("add -o my-order.wasm", "where shall the policy go?")
			}
			return operatorFailed(a.pull(ctx, args[0], to, pin, keys, plain, format))
		})
	c.Flags().StringVarP(&to, "output", "o", "", "`FILE` to write (required)")
	c.Flags().StringVar(&format, "format", "text", "`FORMAT` of the answer: text, json or yaml")
	c.Flags().StringVar(&pin, "digest", "", "`sha256:…` that it must have")
	c.Flags().StringArrayVar(&keys, "key", nil, "`FILE` of a public key of which one must have signed it")
	c.Flags().BoolVar(&plain, "plain-http", false, "use http, to a registry on this machine")
	return c
}

func (a *app) pull(ctx context.Context, from, to, pin string, paths []string, plain bool, format string) error {
	if pin != "" && !trust.IsDigest(pin) {
		return misused("a digest is sha256: and 64 hexadecimal digits", "%q is no digest", pin)
	}
	ref, err := reference(from, plain)
	if err != nil {
		return err
	}
	keys, err := operator.PublicKeys(paths)
	if err != nil {
		return err
	}
	got, err := oci.Pull(ctx, ref, pin, operator.Reach())
	if err != nil {
		return err
	}
	if len(keys) > 0 && len(keys.Verify(got.Digest, got.Signatures)) == 0 {
		return failed("sign it, or trust another key", "%s: none of the keys has signed %s", from, got.Digest)
	}
	if got.Layer.MediaType == oci.MediaRules && filepath.Ext(to) != ".gz" {
		return misused("as in -o rules.tar.gz", "%s holds rules in Rego", from)
	}
	if err := writeFile(to, got.Layer.Bytes); err != nil {
		return err
	}
	r := moved{Reference: from, Digest: got.Digest, Policy: moduleName(to), Content: got.Layer.Digest, File: to}
	return a.print(format, r, func() error {
		fmt.Fprintf(a.out, "%s: %s, %d bytes\n%s\n", r.File, r.Reference, len(got.Layer.Bytes), r.Digest)
		return nil
	})
}
