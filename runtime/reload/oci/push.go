package oci

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"

	"github.com/musterhq/muster/runtime/reload/reason"
)

// Package is a policy to be pushed.
type Package struct {
	MediaType string // MediaModule or MediaRules
	Content   []byte
	Config    []byte // the metadata, JSON; empty is {}
	Report    []byte // conformance report, or nil
	// Annotations of the manifest. There is no time of creation: the same policy has
	// the same digest, whoever pushes it and whenever.
	Annotations map[string]string
}

// Push stores an artifact, tags it and returns the digest of its manifest.
func Push(ctx context.Context, r Ref, p Package, o Options) (string, error) {
	if err := p.check(r); err != nil {
		return "", err
	}
	to, err := target(ctx, r, o, true)
	if err != nil {
		return "", err
	}
	d, err := p.push(ctx, to)
	if err == nil {
		err = to.Tag(ctx, d, r.Tag)
	}
	if err != nil {
		return "", describe(r.String(), err)
	}
	return d.Digest.String(), nil
}

func (p *Package) check(r Ref) error {
	if p.Config == nil {
		p.Config = []byte("{}")
	}
	switch {
	case p.MediaType != MediaModule && p.MediaType != MediaRules:
		return reason.New(reason.NotAPolicy, r.String(), "push a module or rules", "content of type %q", p.MediaType)
	case len(p.Content) == 0:
		return reason.New(reason.NotAPolicy, r.String(), "push a module or rules", "it is empty")
	case len(p.Content) > MaxLayer || len(p.Config) > MaxConfig || len(p.Report) > MaxReport:
		return reason.New(reason.TooLarge, r.String(), "leave debug information out: -ldflags='-s -w'",
			"content of %d bytes, metadata of %d, report of %d; the most are %d, %d and %d",
			len(p.Content), len(p.Config), len(p.Report), MaxLayer, MaxConfig, MaxReport)
	}
	return nil
}

func (p *Package) push(ctx context.Context, to oras.GraphTarget) (d ocispec.Descriptor, err error) {
	m := ocispec.Manifest{ArtifactType: ArtifactType, Annotations: p.Annotations}
	if m.Config, err = pushBytes(ctx, to, MediaConfig, p.Config); err != nil {
		return d, err
	}
	layer, err := pushBytes(ctx, to, p.MediaType, p.Content)
	if err != nil {
		return d, err
	}
	m.Layers = []ocispec.Descriptor{layer}
	if p.Report != nil {
		if layer, err = pushBytes(ctx, to, MediaReport, p.Report); err != nil {
			return d, err
		}
		m.Layers = append(m.Layers, layer)
	}
	return pushManifest(ctx, to, m)
}

func pushManifest(ctx context.Context, to content.Pusher, m ocispec.Manifest) (ocispec.Descriptor, error) {
	m.Versioned, m.MediaType = specs.Versioned{SchemaVersion: 2}, ocispec.MediaTypeImageManifest
	text, err := json.Marshal(m)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	d, err := pushBytes(ctx, to, m.MediaType, text)
	d.ArtifactType = m.ArtifactType
	return d, err
}

func pushBytes(ctx context.Context, to content.Pusher, mediaType string, b []byte) (ocispec.Descriptor, error) {
	d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(b), Size: int64(len(b))}
	err := to.Push(ctx, d, bytes.NewReader(b))
	if errors.Is(err, errdef.ErrAlreadyExists) {
		err = nil
	}
	return d, err
}
