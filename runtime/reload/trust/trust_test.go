package trust

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"slices"
	"strings"
	"testing"
)

// pair makes a signer and its public key under an id.
func pair(t testing.TB, id string, a Algorithm) (*Signer, Key) {
	t.Helper()
	private, public, err := Generate(a)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ParsePrivate(private)
	if err != nil {
		t.Fatal(err)
	}
	k, err := ParsePublic(id, public)
	if err != nil {
		t.Fatal(err)
	}
	return s, k
}

var (
	digest = Digest([]byte("a policy"))
	other  = Digest([]byte("another policy"))
)

// schemes are the ways to sign.
var schemes = map[Scheme]func(*Signer, string) (Signature, error){
	Muster: (*Signer).Sign,
	Cosign: func(s *Signer, d string) (Signature, error) {
		return s.SignCosign("registry.example/policies/order", d)
	},
}

func TestASignatureHoldsForItsDigestAndItsKeyOnly(t *testing.T) {
	for _, a := range []Algorithm{Ed25519, ECDSA} {
		for scheme, sign := range schemes {
			t.Run(string(a)+"/"+string(scheme), func(t *testing.T) {
				s, k := pair(t, "team", a)
				_, stranger := pair(t, "stranger", a)
				sig, err := sign(s, digest)
				if err != nil || sig.Scheme != scheme || sig.Key != k.Fingerprint() {
					t.Fatalf("%+v, %v", sig, err)
				}
				if got := (Keys{stranger, k}).Verify(digest, []Signature{sig}); !slices.Equal(got, []string{"team"}) {
					t.Errorf("signed by %v", got)
				}
				if got := (Keys{k}).Verify(other, []Signature{sig}); got != nil {
					t.Errorf("it holds for another digest: %v", got)
				}
				if got := (Keys{stranger}).Verify(digest, []Signature{sig}); got != nil {
					t.Errorf("it holds for another key: %v", got)
				}
			})
		}
	}
}

func TestAnyChangedBitBreaksASignature(t *testing.T) {
	for scheme, sign := range schemes {
		s, k := pair(t, "team", Ed25519)
		sig, err := sign(s, digest)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 8 * len(sig.Bytes) {
			bad := sig
			bad.Bytes = bytes.Clone(sig.Bytes)
			bad.Bytes[i/8] ^= 1 << (i % 8)
			if (Keys{k}).Verify(digest, []Signature{bad}) != nil {
				t.Fatalf("%s: bit %d", scheme, i)
			}
		}
		for i := range sig.Payload {
			bad := sig
			bad.Payload = bytes.Clone(sig.Payload)
			bad.Payload[i] ^= 1
			if (Keys{k}).Verify(digest, []Signature{bad}) != nil {
				t.Fatalf("%s: payload byte %d", scheme, i)
			}
		}
	}
}

// A signature of one scheme must not pass for one of the other.
func TestSchemesDoNotMix(t *testing.T) {
	s, k := pair(t, "team", ECDSA)
	for _, sign := range schemes {
		sig, err := sign(s, digest)
		if err != nil {
			t.Fatal(err)
		}
		for _, scheme := range []Scheme{Muster, Cosign, "", "x"} {
			if scheme == sig.Scheme {
				continue
			}
			bad := sig
			bad.Scheme = scheme
			if (Keys{k}).Verify(digest, []Signature{bad}) != nil {
				t.Errorf("%s passes as %q", sig.Scheme, scheme)
			}
		}
	}
}

func TestDuringARotationEitherKeyIsEnoughAndBothAreNamed(t *testing.T) {
	old, oldKey := pair(t, "team-2025", ECDSA)
	next, nextKey := pair(t, "team-2026", Ed25519)
	a, _ := old.Sign(digest)
	b, _ := next.Sign(digest)
	keys := Keys{oldKey, nextKey}
	for want, sigs := range map[string][]Signature{"team-2025": {a}, "team-2026": {b}, "team-2025 team-2026": {b, a, a}} {
		if got := strings.Join(keys.Verify(digest, sigs), " "); got != want {
			t.Errorf("signed by %q, want %q", got, want)
		}
	}
}

// What cosign signs: the bytes of the payload, by ECDSA over their SHA-256 in ASN.1;
// and what the payload must say.
func TestACosignSignatureIsWhatCosignVerifies(t *testing.T) {
	s, k := pair(t, "team", ECDSA)
	sig, err := s.SignCosign("registry.example/policies/order", digest)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(sig.Payload)
	if !ecdsa.VerifyASN1(k.Public.(*ecdsa.PublicKey), sum[:], sig.Bytes) {
		t.Error("not a signature of the payload")
	}
	want := `{"critical":{"identity":{"docker-reference":"registry.example/policies/order"},"image":{"docker-manifest-digest":"` + digest + `"},"type":"cosign container image signature"},"optional":null}`
	if string(sig.Payload) != want {
		t.Errorf("payload\n%s\nwant\n%s", sig.Payload, want)
	}
}

func TestAPayloadOfAnotherTypeIsNotOfAPolicy(t *testing.T) {
	private, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	k := Key{"team", private}
	for name, text := range map[string]string{
		"other type":   `{"critical":{"image":{"docker-manifest-digest":"` + digest + `"},"type":"atomic container signature"}}`,
		"no digest":    `{"critical":{"type":"cosign container image signature"}}`,
		"not JSON":     digest,
		"two values":   `{"critical":{"image":{"docker-manifest-digest":"` + digest + `"},"type":"cosign container image signature"}} {}`,
		"other digest": `{"critical":{"image":{"docker-manifest-digest":"` + other + `"},"type":"cosign container image signature"}}`,
		"huge":         `{"critical":{"image":{"docker-manifest-digest":"` + digest + `"},"type":"cosign container image signature"},"optional":{"x":"` + strings.Repeat("x", MaxPayload) + `"}}`,
	} {
		sig := Signature{Scheme: Cosign, Bytes: ed25519.Sign(key, []byte(text)), Payload: []byte(text)}
		if got := (Keys{k}).Verify(digest, []Signature{sig}); got != nil {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestKeysThatCannotBeUsedAreRefusedWithAHint(t *testing.T) {
	private, public, err := Generate(ECDSA)
	if err != nil {
		t.Fatal(err)
	}
	big, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaPublic, _ := EncodePublic(big.Public())
	p384Public, _ := EncodePublic(p384.Public())
	p384DER, _ := x509.MarshalECPrivateKey(p384)
	block := func(kind string, b []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}) }
	for name, text := range map[string][]byte{
		"no PEM": []byte("ssh-ed25519 AAAA"), "private": private, "RSA": rsaPublic, "P-384": p384Public,
		"damaged": block("PUBLIC KEY", []byte("x")), "empty": nil,
	} {
		var e *KeyError
		if _, err := ParsePublic("k", text); !errors.As(err, &e) || e.Hint == "" {
			t.Errorf("public, %s: %v", name, err)
		}
	}
	for name, text := range map[string][]byte{
		"no PEM": []byte("x"), "public": public, "encrypted": block("ENCRYPTED SIGSTORE PRIVATE KEY", []byte("{}")),
		"P-384": block("EC PRIVATE KEY", p384DER), "damaged": block("PRIVATE KEY", []byte("x")),
	} {
		var e *KeyError
		if _, err := ParsePrivate(text); !errors.As(err, &e) || e.Hint == "" {
			t.Errorf("private, %s: %v", name, err)
		}
	}
	if _, _, err := Generate("rsa"); err == nil {
		t.Error("RSA was generated")
	}
}

func TestWhatIsNoDigestIsNotSigned(t *testing.T) {
	s, k := pair(t, "team", Ed25519)
	for _, d := range []string{"", "sha256:abc", "sha512:" + strings.Repeat("0", 64), strings.ToUpper(digest), digest + "\n"} {
		if _, err := s.Sign(d); !errors.Is(err, ErrDigest) {
			t.Errorf("%q was signed: %v", d, err)
		}
		if _, err := s.SignCosign("x", d); !errors.Is(err, ErrDigest) {
			t.Errorf("%q was signed for cosign: %v", d, err)
		}
		if sig, _ := s.sign([]byte(prefix + d)); (Keys{k}).Verify(d, []Signature{{Scheme: Muster, Bytes: sig}}) != nil {
			t.Errorf("%q was verified", d)
		}
	}
}

func TestASignatureFileComesBackAsItWasWritten(t *testing.T) {
	s, k := pair(t, "team", ECDSA)
	a, _ := s.Sign(digest)
	b, _ := s.SignCosign("x", digest)
	text, err := EncodeFile(digest, []Signature{a, b})
	if err != nil {
		t.Fatal(err)
	}
	d, sigs, err := ParseFile(text)
	if err != nil || d != digest || len(sigs) != 2 {
		t.Fatalf("%s, %d signatures, %v", d, len(sigs), err)
	}
	for _, sig := range sigs {
		if (Keys{k}).Verify(digest, []Signature{sig}) == nil {
			t.Errorf("%s does not hold any more", sig.Scheme)
		}
	}
}

func FuzzParseFile(f *testing.F) {
	s, _ := pair(f, "team", Ed25519)
	sig, _ := s.Sign(digest)
	text, _ := EncodeFile(digest, []Signature{sig})
	f.Add(text)
	f.Add(text[:len(text)/2])
	f.Add([]byte(`{"digest":"sha256:x"}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, text []byte) {
		d, sigs, err := ParseFile(text)
		if err == nil && (!IsDigest(d) || len(sigs) > MaxSignatures) {
			t.Errorf("taken: %s, %d signatures", d, len(sigs))
		}
		if err == nil {
			if again, err := json.Marshal(sigs); err != nil {
				t.Errorf("%s: %v", again, err)
			}
		}
		_ = payloadNames(text, digest)
		_, _ = ParsePublic("x", text)
		_, _ = ParsePrivate(text)
	})
}
