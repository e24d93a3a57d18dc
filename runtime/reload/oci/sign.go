package oci

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"

	"github.com/musterhq/muster/runtime/reload/reason"
	"github.com/musterhq/muster/runtime/reload/trust"
)

// Resolve returns the digest of the manifest that a reference means now.
func Resolve(ctx context.Context, r Ref, o Options) (string, error) {
	at, err := target(ctx, r, o, false)
	if err != nil {
		return "", err
	}
	d, err := at.Resolve(ctx, r.Tag)
	if err != nil {
		return "", describe(r.String(), err)
	}
	return d.Digest.String(), nil
}

// Sign adds a signature to the artifact that a reference means: in Muster's scheme as a
// referrer of its manifest, in cosign's under the tag that cosign looks for.
func Sign(ctx context.Context, r Ref, s *trust.Signer, scheme trust.Scheme, o Options) (digest string, err error) {
	to, err := target(ctx, r, o, false)
	if err != nil {
		return "", err
	}
	d, err := to.Resolve(ctx, r.Tag)
	if err == nil && scheme == trust.Cosign {
		err = signCosign(ctx, to, d, r.Name(), s)
	} else if err == nil {
		err = signMuster(ctx, to, d, s)
	}
	if err != nil {
		return "", describe(r.String(), err)
	}
	return d.Digest.String(), nil
}

func signMuster(ctx context.Context, to oras.GraphTarget, d ocispec.Descriptor, s *trust.Signer) error {
	sig, err := s.Sign(d.Digest.String())
	if err != nil {
		return err
	}
	text, err := json.Marshal(sig)
	if err != nil {
		return err
	}
	layer, err := pushBytes(ctx, to, mediaSig, text)
	if err != nil {
		return err
	}
	config, err := pushBytes(ctx, to, ocispec.MediaTypeEmptyJSON, []byte("{}"))
	if err != nil {
		return err
	}
	subject := ocispec.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}
	_, err = pushManifest(ctx, to, ocispec.Manifest{
		ArtifactType: SignatureType, Config: config, Layers: []ocispec.Descriptor{layer}, Subject: &subject,
	})
	return err
}

func signCosign(ctx context.Context, to oras.GraphTarget, d ocispec.Descriptor, repository string, s *trust.Signer) error {
	sig, err := s.SignCosign(repository, d.Digest.String())
	if err != nil {
		return err
	}
	layer, err := pushBytes(ctx, to, mediaCosign, sig.Payload)
	if err != nil {
		return err
	}
	layer.Annotations = map[string]string{annotationCosign: base64.StdEncoding.EncodeToString(sig.Bytes)}
	tag := cosignTag(d)
	m, err := tagged(ctx, to, tag)
	if err != nil {
		return err
	}
	m.Layers = append(m.Layers, layer)
	if m.Config, err = pushBytes(ctx, to, mediaImageConfig, imageConfig(m.Layers)); err != nil {
		return err
	}
	at, err := pushManifest(ctx, to, m)
	if err != nil {
		return err
	}
	return to.Tag(ctx, at, tag)
}

// imageConfig is the config of an image whose layers are signatures, as cosign has it.
func imageConfig(layers []ocispec.Descriptor) []byte {
	ids := make([]string, len(layers))
	for i, l := range layers {
		ids[i] = l.Digest.String()
	}
	text, err := json.Marshal(map[string]any{
		"architecture": "", "os": "", "created": "0001-01-01T00:00:00Z", "config": map[string]any{},
		"rootfs": map[string]any{"type": "layers", "diff_ids": ids},
	})
	if err != nil {
		panic(err) // texts and maps of texts always are JSON
	}
	return text
}

// cosignTag is where cosign keeps the signatures of an image.
func cosignTag(d ocispec.Descriptor) string {
	return strings.Replace(d.Digest.String(), ":", "-", 1) + ".sig"
}

// tagged reads a manifest by its tag; it is empty if there is none.
func tagged(ctx context.Context, from oras.GraphTarget, tag string) (ocispec.Manifest, error) {
	d, err := from.Resolve(ctx, tag)
	if errors.Is(err, errdef.ErrNotFound) {
		return ocispec.Manifest{}, nil
	}
	if err != nil {
		return ocispec.Manifest{}, err
	}
	return manifest(ctx, from, d)
}

// signatures finds what signs a manifest. One that is damaged, or of another kind, is
// passed over: it can only be missed. A registry that fails is an error.
func signatures(ctx context.Context, from oras.GraphTarget, d ocispec.Descriptor) ([]trust.Signature, error) {
	refs, err := from.Predecessors(ctx, d)
	if err != nil && !errors.Is(err, errdef.ErrNotFound) {
		return nil, err
	}
	var out []trust.Signature
	for _, r := range refs[:min(len(refs), MaxSignatures)] {
		s, err := referrer(ctx, from, r)
		if err != nil {
			return nil, err
		}
		out = append(out, s...)
	}
	m, err := tagged(ctx, from, cosignTag(d))
	if refused(err) {
		return out, nil
	}
	if err != nil {
		return nil, err
	}
	more, err := cosigned(ctx, from, m)
	return append(out, more...), err
}

func referrer(ctx context.Context, from content.Fetcher, d ocispec.Descriptor) ([]trust.Signature, error) {
	if d.MediaType != ocispec.MediaTypeImageManifest { // its artifact type is not asked: some registries list another
		return nil, nil
	}
	m, err := manifest(ctx, from, d)
	if refused(err) || err == nil && (m.ArtifactType != SignatureType || len(m.Layers) != 1) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	text, err := fetch(ctx, from, m.Layers[0], trust.MaxPayload)
	if refused(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var s trust.Signature
	if json.Unmarshal(text, &s) != nil {
		return nil, nil
	}
	return []trust.Signature{s}, nil
}

func cosigned(ctx context.Context, from content.Fetcher, m ocispec.Manifest) ([]trust.Signature, error) {
	var out []trust.Signature
	for _, l := range m.Layers[:min(len(m.Layers), MaxSignatures)] {
		sig, err := base64.StdEncoding.DecodeString(l.Annotations[annotationCosign])
		if l.MediaType != mediaCosign || err != nil || len(sig) == 0 {
			continue
		}
		text, err := fetch(ctx, from, l, trust.MaxPayload)
		if refused(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, trust.Signature{Scheme: trust.Cosign, Bytes: sig, Payload: text})
	}
	return out, nil
}

// refused says that a content is not what it should be, as against a registry that does
// not answer.
func refused(err error) bool {
	var e *reason.Error
	return errors.As(err, &e) || errors.Is(err, content.ErrMismatchedDigest) || errors.Is(err, content.ErrTrailingData) || errors.Is(err, errdef.ErrNotFound)
}
