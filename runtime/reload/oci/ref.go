package oci

import (
	"net"
	"strings"

	"oras.land/oras-go/v2/registry"

	"github.com/musterhq/muster/runtime/reload/reason"
	"github.com/musterhq/muster/runtime/reload/trust"
)

// Ref is where an artifact lies: in a registry, or in a folder with an OCI image
// layout.
type Ref struct {
	Host, Repository string // of a registry
	Layout           string // folder, instead
	// Tag is a tag or a digest, sha256:….
	Tag string
	// PlainHTTP uses http, which is allowed to a registry on this machine only.
	PlainHTTP bool
}

// Parse reads HOST/REPOSITORY:TAG or HOST/REPOSITORY@sha256:….
func Parse(s string) (Ref, error) {
	r, err := registry.ParseReference(strings.TrimPrefix(s, "oci://"))
	if err != nil {
		return Ref{}, badRef(s, "write REGISTRY/REPOSITORY:TAG or REGISTRY/REPOSITORY@sha256:…")
	}
	return checked(s, Ref{Host: r.Registry, Repository: r.Repository, Tag: r.Reference})
}

// ParseLayout reads FOLDER:TAG or FOLDER@sha256:….
func ParseLayout(s string) (Ref, error) {
	dir, tag, ok := strings.Cut(s, "@")
	if i := strings.LastIndexByte(s, ':'); !ok && i > 0 && !strings.ContainsRune(s[i:], '/') {
		dir, tag, ok = s[:i], s[i+1:], true
	}
	if !ok || dir == "" {
		return Ref{}, badRef(s, "write FOLDER:TAG or FOLDER@sha256:…")
	}
	return checked(s, Ref{Layout: dir, Tag: tag})
}

func checked(s string, r Ref) (Ref, error) {
	if strings.Contains(r.Tag, ":") && !trust.IsDigest(r.Tag) {
		return Ref{}, badRef(s, "a digest is sha256: and 64 hexadecimal digits in lower case")
	}
	probe := registry.Reference{Registry: "localhost", Repository: "x", Reference: r.Tag}
	if r.Tag == "" || probe.ValidateReference() != nil {
		return Ref{}, badRef(s, "name a tag or a digest: there is no default")
	}
	return r, nil
}

func badRef(s, hint string) error {
	return reason.New(reason.NotFound, s, hint, "not the address of an artifact")
}

func (r Ref) String() string { return r.At(r.Tag) }

// At is the address of another tag or digest at the same place.
func (r Ref) At(tag string) string {
	between := ":"
	if strings.Contains(tag, ":") {
		between = "@"
	}
	if r.Layout != "" {
		return "layout:" + r.Layout + between + tag
	}
	return "oci:" + r.Name() + between + tag
}

// Name is HOST/REPOSITORY, or the folder of a layout.
func (r Ref) Name() string {
	if r.Layout != "" {
		return r.Layout
	}
	return r.Host + "/" + r.Repository
}

// checkPlain refuses to send policies and credentials over a network in the clear.
func (r Ref) checkPlain() error {
	if !r.PlainHTTP {
		return nil
	}
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	if host == "localhost" || ip != nil && ip.IsLoopback() {
		return nil
	}
	return reason.New(reason.Unreachable, r.String(), "leave plainHTTP out and give the registry a certificate",
		"plain http is only for a registry on this machine")
}
