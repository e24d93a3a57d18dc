package oci

import (
	"context"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
)

// signCosignLike pushes something that is an artifact of nobody's: an image.
func signCosignLike(ctx context.Context, s *server, to oras.GraphTarget) error {
	config, err := pushBytes(ctx, to, mediaImageConfig, imageConfig(nil))
	if err != nil {
		return err
	}
	d, err := pushManifest(ctx, to, ocispec.Manifest{Config: config, Layers: []ocispec.Descriptor{}})
	if err != nil {
		return err
	}
	return to.Tag(ctx, d, s.ref.Tag)
}

// pushLayers pushes an artifact with layers of these types.
func pushLayers(ctx context.Context, s *server, artifactType string, types ...string) error {
	to, err := target(ctx, s.ref, s.opt, true)
	if err != nil {
		return err
	}
	m := ocispec.Manifest{ArtifactType: artifactType}
	if m.Config, err = pushBytes(ctx, to, MediaConfig, []byte("{}")); err != nil {
		return err
	}
	for i, mediaType := range types {
		layer, err := pushBytes(ctx, to, mediaType, []byte{byte(i)})
		if err != nil {
			return err
		}
		m.Layers = append(m.Layers, layer)
	}
	d, err := pushManifest(ctx, to, m)
	if err != nil {
		return err
	}
	return to.Tag(ctx, d, s.ref.Tag)
}
