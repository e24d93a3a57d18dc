// Package wanted reads policies.yaml: the policies that an operator wants loaded, the
// keys that are trusted, and the places that policies may come from. A file is judged
// as a whole; every problem has line, column, a stable code and a hint. A file with an
// error gives nothing, so that what runs goes on.
package wanted

import (
	"path/filepath"
	"time"

	"github.com/musterhq/muster/policies"
)

// Modes of a policy.
const (
	Active = "active" // decides
	Shadow = "shadow" // is asked beside the active one, and only compared
)

// File is a policies.yaml without errors.
type File struct {
	Policies []Spec `json:"policies"`
	Trust    *Trust `json:"trust,omitempty"` // nil: everything is trusted
}

// Spec is one wanted policy.
type Spec struct {
	// Name is what queues name.
	Name   string `json:"name"`
	Source Source `json:"source"`
	// Digest pins the policy: sha256:… of the module or bundle, or of the manifest of
	// an OCI artifact. Empty takes what is there.
	Digest string `json:"digest,omitempty"`
	// SignedBy are ids of trusted keys. At least Signatures of them (1 if it is 0 and
	// SignedBy is not empty) must have signed. Empty: any trusted key, if there is a
	// trust section.
	SignedBy   []string       `json:"signedBy,omitempty"`
	Signatures int            `json:"signatures,omitempty"`
	Params     map[string]any `json:"params,omitempty"`
	Limits     Limits         `json:"limits,omitzero"`
	Mode       string         `json:"mode"` // Active or Shadow
	// Beside is the policy that a shadow is compared with, by the name that queues use;
	// it may be a built-in. Empty is Name itself.
	Beside string `json:"beside,omitempty"`
	// Kinds are what is compared; 0 is everything that the shadow decides.
	Kinds policies.Kind `json:"kinds,omitempty"`
	// ShadowFor is how long a new version runs as a shadow before it becomes active by
	// itself: for Active, 0 is not at all; for Shadow, 0 is for ever.
	ShadowFor time.Duration `json:"shadowFor,omitempty"`
}

// Slot is the name under which queues find the policy once it is active.
func (s *Spec) Slot() string {
	if s.Beside != "" {
		return s.Beside
	}
	return s.Name
}

// SourceKind says how a policy is fetched.
type SourceKind string

// The kinds of sources.
const (
	FromFile   SourceKind = "file"   // a module, or a bundle of rules
	FromFolder SourceKind = "folder" // the newest module in it, or rules
	FromOCI    SourceKind = "oci"    // REGISTRY/REPOSITORY:TAG or @sha256:…
	FromLayout SourceKind = "layout" // FOLDER:TAG, an OCI image layout

	// Of policies that are objects of a cluster; policies.yaml has none of these, but its
	// trust section may speak of them.
	FromConfigMap SourceKind = "configmap" // NAMESPACE/NAME or NAMESPACE/NAME/KEY
	FromInline    SourceKind = "inline"    // NAME of the object, rules as its text
)

// Source is where a policy comes from. File names are relative to policies.yaml.
type Source struct {
	Kind SourceKind `json:"kind"`
	At   string     `json:"at"`
	// PlainHTTP allows http to a registry on this machine.
	PlainHTTP bool `json:"plainHTTP,omitempty"`
	// Text has the rules of FromInline.
	Text string `json:"-"`
}

// String is kind and place, with a file name in its shortest form, so that no ".." gets
// past a pattern.
func (s Source) String() string {
	at := s.At
	if s.Kind != FromOCI {
		at = filepath.ToSlash(filepath.Clean(at))
	}
	return string(s.Kind) + ":" + at
}

// Limits bound a module's calls; zero values are the engine's defaults.
type Limits struct {
	FuelBase   int64         `json:"fuelBase,omitempty"`
	FuelPerRow int64         `json:"fuelPerRow,omitempty"`
	Memory     int64         `json:"memory,omitempty"` // bytes
	Timeout    time.Duration `json:"timeout,omitempty"`
}

// Trust says whom and what to believe. Where there is one, what it does not name is
// refused.
type Trust struct {
	Keys    []Key     `json:"keys"`
	Sources []Allowed `json:"sources"`
}

// Key is a public key: ed25519 or ECDSA P-256, in PEM.
type Key struct {
	ID   string `json:"id"`
	PEM  string `json:"pem,omitempty"`
	File string `json:"file,omitempty"` // instead of PEM, relative to policies.yaml
}

// Allowed is a pattern of sources, as Source prints itself: * stands for anything but a
// slash, ** for anything.
type Allowed struct {
	Match    string `json:"match"`
	Unsigned bool   `json:"unsigned,omitempty"` // what comes from here needs no signature
}

// Allow finds the pattern that allows a source. With no trust section, everything is
// allowed and nothing needs a signature.
func (t *Trust) Allow(source string) (a Allowed, ok bool) {
	if t == nil {
		return Allowed{Match: "**", Unsigned: true}, true
	}
	for _, a := range t.Sources {
		if match(a.Match, source) {
			return a, true
		}
	}
	return Allowed{}, false
}

// match is a small glob, linear in practice: patterns are the operator's own.
func match(pattern, s string) bool {
	for pattern != "" {
		if pattern[0] == '*' {
			return matchStar(pattern, s)
		}
		if s == "" || pattern[0] != s[0] {
			return false
		}
		pattern, s = pattern[1:], s[1:]
	}
	return s == ""
}

func matchStar(pattern, s string) bool {
	deep := len(pattern) > 1 && pattern[1] == '*'
	rest := pattern[1:]
	for deep && rest != "" && rest[0] == '*' {
		rest = rest[1:]
	}
	for i := 0; ; i++ {
		if match(rest, s[i:]) {
			return true
		}
		if i == len(s) || !deep && s[i] == '/' {
			return false
		}
	}
}
