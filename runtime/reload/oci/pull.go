package oci

import (
	"context"
	"encoding/json"
	"errors"
	"io"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"

	"github.com/musterhq/muster/runtime/reload/reason"
	"github.com/musterhq/muster/runtime/reload/trust"
)

// Layer is one part of an artifact.
type Layer struct {
	MediaType string
	Digest    string
	Bytes     []byte
}

// Pulled is an artifact whose every part is what its digest says.
type Pulled struct {
	// Digest is the manifest's; it is what the tag meant, and what signatures are of.
	Digest string
	Config []byte // the metadata, JSON
	Layer  Layer  // the module or the rules
	Report []byte // conformance report, or nil
	// Signatures are all that were found, none of them verified.
	Signatures []trust.Signature
}

// Pull fetches an artifact. pin is empty, or the digest of the manifest or of the layer
// that it must have; a manifest that is pinned is fetched even when the tag has moved.
func Pull(ctx context.Context, r Ref, pin string, o Options) (*Pulled, error) {
	from, err := target(ctx, r, o, false)
	if err != nil {
		return nil, err
	}
	p, err := pull(ctx, from, r, pin)
	if err != nil {
		return nil, describe(r.String(), err)
	}
	return p, nil
}

func pull(ctx context.Context, from oras.GraphTarget, r Ref, pin string) (*Pulled, error) {
	at, err := resolve(ctx, from, r.Tag, pin)
	if err != nil {
		return nil, err
	}
	m, err := manifest(ctx, from, at)
	if err != nil {
		return nil, err
	}
	if m.ArtifactType != ArtifactType {
		return nil, reason.New(reason.NotAPolicy, r.String(), "push policies with muster policy push",
			"an artifact of type %q, not %s", m.ArtifactType, ArtifactType)
	}
	p := &Pulled{Digest: at.Digest.String()}
	if p.Config, err = fetch(ctx, from, m.Config, MaxConfig); err != nil {
		return nil, err
	}
	if err := p.layers(ctx, from, r, m.Layers); err != nil {
		return nil, err
	}
	if pin != "" && pin != p.Digest && pin != p.Layer.Digest {
		return nil, reason.New(reason.DigestDiffers, r.String(), "change the pin if the new one is wanted",
			"the manifest is %s and its layer %s, pinned is %s", p.Digest, p.Layer.Digest, pin)
	}
	p.Signatures, err = signatures(ctx, from, at)
	return p, err
}

// resolve prefers the pin, if it names a manifest.
func resolve(ctx context.Context, from oras.GraphTarget, tag, pin string) (ocispec.Descriptor, error) {
	if pin != "" {
		at, err := from.Resolve(ctx, pin)
		if err == nil && at.MediaType == ocispec.MediaTypeImageManifest || err != nil && !errors.Is(err, errdef.ErrNotFound) {
			return at, err
		}
	}
	return from.Resolve(ctx, tag)
}

func (p *Pulled) layers(ctx context.Context, from oras.GraphTarget, r Ref, layers []ocispec.Descriptor) error {
	for _, d := range layers {
		switch {
		case d.MediaType == MediaReport && p.Report == nil:
			b, err := fetch(ctx, from, d, MaxReport)
			if err != nil {
				return err
			}
			p.Report = b
		case d.MediaType != MediaModule && d.MediaType != MediaRules: // of a later version
		case p.Layer.Bytes != nil:
			return reason.New(reason.NotAPolicy, r.String(), "one artifact holds one policy", "more than one module or bundle of rules")
		default:
			b, err := fetch(ctx, from, d, MaxLayer)
			if err != nil {
				return err
			}
			p.Layer = Layer{d.MediaType, d.Digest.String(), b}
		}
	}
	if p.Layer.Bytes == nil {
		return reason.New(reason.NotAPolicy, r.String(), "push it with muster policy push", "neither a module nor rules in it")
	}
	return nil
}

// fetch reads one content, bounded, and holds it against its digest.
func fetch(ctx context.Context, from content.Fetcher, d ocispec.Descriptor, most int64) ([]byte, error) {
	if d.Size > most || d.Size < 0 {
		return nil, reason.New(reason.TooLarge, d.Digest.String(), "no policy needs that much", "%s of %d bytes, the most is %d", d.MediaType, d.Size, most)
	}
	if !trust.IsDigest(d.Digest.String()) {
		return nil, reason.New(reason.NotAPolicy, d.Digest.String(), "sha256 is the one in use", "a digest of another kind")
	}
	r, err := from.Fetch(ctx, d)
	if err != nil {
		return nil, err
	}
	defer r.Close() //nolint:errcheck // it was only read
	b, err := content.ReadAll(r, d)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, content.ErrMismatchedDigest // shorter than its descriptor says
	}
	return b, err
}

func manifest(ctx context.Context, from content.Fetcher, d ocispec.Descriptor) (m ocispec.Manifest, err error) {
	if d.MediaType != ocispec.MediaTypeImageManifest {
		return m, reason.New(reason.NotAPolicy, d.Digest.String(), "push policies with muster policy push", "a %s, not a manifest of an artifact", d.MediaType)
	}
	b, err := fetch(ctx, from, d, MaxManifest)
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return m, reason.New(reason.NotAPolicy, d.Digest.String(), "", "a manifest that is not JSON: %v", err)
	}
	return m, nil
}
