// Package trust makes and checks signatures of policies with the standard library's
// cryptography, offline. What is signed is a digest: of a module or bundle in a plain
// file, or of the manifest of an OCI artifact, which covers the module in turn.
//
// There are two schemes. Muster's own signs "muster-policy-v1\n" and the digest. The
// other one is cosign's for keys: it signs a small JSON payload that names the digest
// of a manifest, so that `cosign verify --key` accepts what Muster signs and the other
// way round. Both take ed25519 and ECDSA P-256 keys.
package trust

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"regexp"
	"slices"
)

// Scheme says what bytes a signature is over.
type Scheme string

// The schemes.
const (
	Muster Scheme = "muster"
	Cosign Scheme = "cosign"
)

// prefix keeps a signature of a policy from being one of anything else.
const prefix = "muster-policy-v1\n"

// Signature is one signature of a digest.
type Signature struct {
	Scheme Scheme `json:"scheme"`
	// Key is the id that the signer gives its key: a fingerprint, only a hint.
	Key   string `json:"key,omitempty"`
	Bytes []byte `json:"signature"`
	// Payload is what cosign signs; empty for Muster's own scheme.
	Payload []byte `json:"payload,omitempty"`
}

// Algorithm of a key.
type Algorithm string

// The algorithms.
const (
	Ed25519 Algorithm = "ed25519"
	ECDSA   Algorithm = "ecdsa-p256"
)

// Key is a public key that is trusted under a name.
type Key struct {
	ID     string
	Public crypto.PublicKey
}

// Keys are all that are trusted; two keys of one signer, during a rotation, have two ids.
type Keys []Key

// Signer has a private key.
type Signer struct{ private crypto.Signer }

// KeyError is a key that can't be used.
type KeyError struct{ Problem, Hint string }

func (e *KeyError) Error() string { return e.Problem }

// digests have the one form that everything else in Muster uses, too.
var digests = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

// IsDigest says whether s is sha256: and 64 hexadecimal digits in lower case.
func IsDigest(s string) bool { return digests.MatchString(s) }

// Digest is the SHA-256 of b, as sha256:….
func Digest(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Generate makes a pair of keys in PEM: PKCS 8 and PKIX.
func Generate(a Algorithm) (private, public []byte, err error) {
	var key crypto.Signer
	switch a {
	case Ed25519:
		_, key, err = ed25519.GenerateKey(rand.Reader)
	case ECDSA:
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	default:
		return nil, nil, &KeyError{fmt.Sprintf("there is no algorithm %q", a), "use ed25519 or ecdsa-p256"}
	}
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	if public, err = EncodePublic(key.Public()); err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), public, nil
}

// EncodePublic writes a public key in PEM.
func EncodePublic(key crypto.PublicKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), nil
}

// ParsePublic reads a public key in PEM, as muster and cosign write it.
func ParsePublic(id string, text []byte) (Key, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return Key{}, &KeyError{"not a key in PEM", "it starts with -----BEGIN PUBLIC KEY-----"}
	}
	if block.Type != "PUBLIC KEY" {
		return Key{}, &KeyError{"a " + block.Type + ", not a PUBLIC KEY", "give the public half; keep the other one to yourself"}
	}
	public, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return Key{}, &KeyError{"a public key that can't be read: " + err.Error(), "make one by muster policy sign --new-key FILE"}
	}
	if err := usable(public); err != nil {
		return Key{}, err
	}
	return Key{ID: id, Public: public}, nil
}

// ParsePrivate reads a private key in PEM that is not encrypted.
func ParsePrivate(text []byte) (*Signer, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, &KeyError{"not a key in PEM", "it starts with -----BEGIN PRIVATE KEY-----"}
	}
	var key any
	var err error
	switch block.Type {
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	default:
		return nil, &KeyError{"a " + block.Type + ", which muster can't sign with", "give a PRIVATE KEY that is not encrypted; what cosign generated is signed by cosign, and muster verifies it"}
	}
	if err != nil {
		return nil, &KeyError{"a private key that can't be read: " + err.Error(), "make one by muster policy sign --new-key FILE"}
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, usable(nil)
	}
	if err := usable(signer.Public()); err != nil {
		return nil, err
	}
	return &Signer{signer}, nil
}

func usable(public crypto.PublicKey) error {
	switch k := public.(type) {
	case ed25519.PublicKey:
		return nil
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P256() {
			return nil
		}
	}
	return &KeyError{"neither an ed25519 nor an ECDSA P-256 key", "make one by muster policy sign --new-key FILE"}
}

// Public is the signer's public key in PEM.
func (s *Signer) Public() ([]byte, error) { return EncodePublic(s.private.Public()) }

// Fingerprint is a short name of the key: the start of the SHA-256 of its PKIX form.
func (s *Signer) Fingerprint() string { return fingerprint(s.private.Public()) }

// Fingerprint is a short name of the key: the start of the SHA-256 of its PKIX form.
func (k Key) Fingerprint() string { return fingerprint(k.Public) }

func fingerprint(public crypto.PublicKey) string {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:8])
}

// ErrDigest is what a signature can't be made of.
var ErrDigest = errors.New("not a digest: sha256: and 64 hexadecimal digits")

// Sign signs a digest in Muster's own scheme.
func (s *Signer) Sign(digest string) (Signature, error) {
	if !IsDigest(digest) {
		return Signature{}, ErrDigest
	}
	sig, err := s.sign([]byte(prefix + digest))
	return Signature{Scheme: Muster, Key: s.Fingerprint(), Bytes: sig}, err
}

func (s *Signer) sign(message []byte) ([]byte, error) {
	if _, ok := s.private.(ed25519.PrivateKey); ok {
		return s.private.Sign(rand.Reader, message, crypto.Hash(0))
	}
	sum := sha256.Sum256(message)
	return s.private.Sign(rand.Reader, sum[:], crypto.SHA256)
}

// Verify returns the ids of the keys that have signed the digest, sorted. A signature
// that does not hold, by an unknown key or of another digest, counts for nothing.
func (ks Keys) Verify(digest string, sigs []Signature) []string {
	var ids []string
	for _, s := range sigs {
		message, ok := s.message(digest)
		if !ok {
			continue
		}
		for _, k := range ks {
			if k.verifies(message, s.Bytes) && !slices.Contains(ids, k.ID) {
				ids = append(ids, k.ID)
			}
		}
	}
	slices.Sort(ids)
	return ids
}

// message is what s is over if it is a signature of digest.
func (s *Signature) message(digest string) ([]byte, bool) {
	if !IsDigest(digest) {
		return nil, false
	}
	switch s.Scheme {
	case Muster:
		return []byte(prefix + digest), true
	case Cosign:
		return s.Payload, payloadNames(s.Payload, digest)
	}
	return nil, false
}

func (k Key) verifies(message, sig []byte) bool {
	switch public := k.Public.(type) {
	case ed25519.PublicKey:
		return ed25519.Verify(public, message, sig)
	case *ecdsa.PublicKey:
		sum := sha256.Sum256(message)
		return ecdsa.VerifyASN1(public, sum[:], sig)
	}
	return false
}
