// Package oci keeps policies as OCI artifacts, in a registry or in a local image
// layout: the metadata as the config, one layer with a Wasm module or with rules, and,
// if there is one, a conformance report as a second layer. Signatures hang on the
// manifest as referrers, or lie where cosign puts them. It is the only package that
// knows oras-go.
//
// Nothing that a registry says is believed: sizes are bounded before anything is read,
// and every content is held against its digest.
package oci

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content/oci"
	"oras.land/oras-go/v2/registry"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/credentials"

	"github.com/musterhq/muster/runtime/reload/reason"
)

// Types of an artifact and its parts.
const (
	ArtifactType  = "application/vnd.muster.policy.v1"
	MediaConfig   = "application/vnd.muster.policy.config.v1+json"
	MediaModule   = "application/wasm"
	MediaRules    = "application/vnd.muster.rego.v1.tar+gzip"
	MediaReport   = "application/vnd.muster.conformance.v1+yaml"
	SignatureType = "application/vnd.muster.signature.v1"
	mediaSig      = "application/vnd.muster.signature.v1+json"

	mediaCosign      = "application/vnd.dev.cosign.simplesigning.v1+json"
	annotationCosign = "dev.cosignproject.cosign/signature"
	mediaImageConfig = "application/vnd.oci.image.config.v1+json"
)

// Bounds of what is fetched, in bytes.
const (
	MaxManifest   = 64 << 10
	MaxConfig     = 64 << 10
	MaxLayer      = 4 << 20
	MaxReport     = 1 << 20
	MaxSignatures = 64 // referrers looked at, and signatures of one image
)

// patience is how long one request may take in all.
const patience = time.Minute

// Options say how to reach registries.
type Options struct {
	// Credential gives the user and password for a host; nil is what `docker login`
	// left, if UseDocker, and nothing else.
	Credential func(ctx context.Context, host string) (user, password string, err error)
	UseDocker  bool
	// Client is for tests; nil is a client with a time limit.
	Client *http.Client
}

func (o *Options) client() (remote.Client, error) {
	c := &auth.Client{Client: o.Client, Cache: auth.NewCache()}
	if c.Client == nil {
		c.Client = &http.Client{Timeout: patience}
	}
	c.SetUserAgent("muster")
	switch {
	case o.Credential != nil:
		c.Credential = func(ctx context.Context, host string) (auth.Credential, error) {
			user, password, err := o.Credential(ctx, host)
			return auth.Credential{Username: user, Password: password}, err
		}
	case o.UseDocker:
		store, err := credentials.NewStoreFromDocker(credentials.StoreOptions{})
		if err != nil {
			return nil, reason.New(reason.Unauthorized, "docker's configuration", "run docker login again, or remove it", "%v", err)
		}
		c.Credential = credentials.Credential(store)
	}
	return c, nil
}

// target opens a place to read from and write to. A layout is made if it is not there
// and create is set.
func target(ctx context.Context, r Ref, o Options, create bool) (oras.GraphTarget, error) {
	if err := r.checkPlain(); err != nil {
		return nil, err
	}
	if r.Layout != "" {
		return layout(ctx, r, create)
	}
	client, err := o.client()
	if err != nil {
		return nil, err
	}
	return &remote.Repository{
		Client:    client,
		Reference: registry.Reference{Registry: r.Host, Repository: r.Repository},
		PlainHTTP: r.PlainHTTP, MaxMetadataBytes: MaxLayer, ReferrerListMaxPages: 4, SkipReferrersGC: true,
	}, nil
}

func layout(ctx context.Context, r Ref, create bool) (oras.GraphTarget, error) {
	if _, err := os.Stat(filepath.Join(r.Layout, "oci-layout")); err != nil && !create {
		return nil, &reason.Error{Code: reason.NotFound, Where: r.String(), Problem: "there is no OCI image layout", Hint: "muster policy push makes one", Again: true, Err: err}
	}
	s, err := oci.NewWithContext(ctx, r.Layout)
	if err != nil {
		return nil, &reason.Error{Code: reason.Unreadable, Where: r.String(), Problem: "not an OCI image layout: " + err.Error(), Hint: "it has files oci-layout and index.json", Err: err}
	}
	return s, nil
}

// describe makes a refusal of whatever went wrong at a place.
func describe(where string, err error) error {
	var known *reason.Error
	if errors.As(err, &known) {
		return err
	}
	e := &reason.Error{Where: where, Problem: err.Error(), Err: err}
	classify(e)
	return e
}
