package trust

import (
	"bytes"
	"encoding/json"
)

// MaxPayload bounds the JSON that a cosign signature is over.
const MaxPayload = 64 << 10

// payload is the simple signing format of Red Hat as cosign writes it.
type payload struct {
	Critical struct {
		Identity struct {
			Reference string `json:"docker-reference"`
		} `json:"identity"`
		Image struct {
			Digest string `json:"docker-manifest-digest"`
		} `json:"image"`
		Type string `json:"type"`
	} `json:"critical"`
	Optional map[string]any `json:"optional"`
}

// payloadType is the only type that a payload may have.
const payloadType = "cosign container image signature"

// SignCosign signs the digest of a manifest as `cosign sign --key` does. repository is
// what the payload says it was signed as, REGISTRY/NAME.
func (s *Signer) SignCosign(repository, digest string) (Signature, error) {
	if !IsDigest(digest) {
		return Signature{}, ErrDigest
	}
	var p payload
	p.Critical.Identity.Reference = repository
	p.Critical.Image.Digest = digest
	p.Critical.Type = payloadType
	text, err := json.Marshal(p)
	if err != nil {
		return Signature{}, err
	}
	sig, err := s.sign(text)
	return Signature{Scheme: Cosign, Key: s.Fingerprint(), Bytes: sig, Payload: text}, err
}

// payloadNames says whether a payload is of the known type and names exactly this
// digest. The repository it names is not looked at: a copy in a mirror has the same
// digest, and the digest is what is loaded.
func payloadNames(text []byte, digest string) bool {
	if len(text) > MaxPayload {
		return false
	}
	var p payload
	d := json.NewDecoder(bytes.NewReader(text))
	if d.Decode(&p) != nil || d.More() {
		return false
	}
	return p.Critical.Type == payloadType && p.Critical.Image.Digest == digest
}
