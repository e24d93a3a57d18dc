package trust

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// Extension of the file with the signatures of a plain file: order.wasm.sig is beside
// order.wasm.
const Extension = ".sig"

// Bounds of a signature file.
const (
	MaxFile       = 64 << 10
	MaxSignatures = 64
)

// sigFile is what a signature file holds.
type sigFile struct {
	Digest     string      `json:"digest"`
	Signatures []Signature `json:"signatures"`
}

// EncodeFile writes a signature file.
func EncodeFile(digest string, sigs []Signature) ([]byte, error) {
	text, err := json.MarshalIndent(sigFile{digest, sigs}, "", "  ")
	return append(text, '\n'), err
}

// ParseFile reads a signature file: the digest that it says it is of, and signatures,
// none of them verified yet.
func ParseFile(text []byte) (digest string, sigs []Signature, err error) {
	if len(text) > MaxFile {
		return "", nil, fmt.Errorf("a signature file of %d bytes, the most is %d", len(text), MaxFile)
	}
	var f sigFile
	d := json.NewDecoder(bytes.NewReader(text))
	if err := d.Decode(&f); err != nil {
		return "", nil, fmt.Errorf("not a signature file: %w", err)
	}
	if d.More() || !IsDigest(f.Digest) {
		return "", nil, fmt.Errorf("not a signature file: want one JSON object with digest and signatures")
	}
	if len(f.Signatures) > MaxSignatures {
		return "", nil, fmt.Errorf("%d signatures, the most is %d", len(f.Signatures), MaxSignatures)
	}
	return f.Digest, f.Signatures, nil
}
