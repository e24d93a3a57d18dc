package oci

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	"go.uber.org/goleak"

	"github.com/musterhq/muster/runtime/reload/reason"
	"github.com/musterhq/muster/runtime/reload/trust"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server is a registry on this machine that can be made to misbehave.
type server struct {
	ref   Ref
	opt   Options
	twist atomic.Pointer[func(http.ResponseWriter, *http.Request, http.Handler)]
}

func newServer(t *testing.T, referrers bool) *server {
	t.Helper()
	s := &server{}
	real := registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(referrers))
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f := s.twist.Load(); f != nil {
			(*f)(w, r, real)
			return
		}
		real.ServeHTTP(w, r)
	}))
	t.Cleanup(h.Close)
	s.opt.Client = h.Client()
	s.ref = Ref{Host: strings.TrimPrefix(h.URL, "http://"), Repository: "policies/order", Tag: "1.0", PlainHTTP: true}
	return s
}

// misbehave changes what the registry does.
func (s *server) misbehave(f func(http.ResponseWriter, *http.Request, http.Handler)) {
	s.twist.Store(&f)
}

// places are a registry with and without the referrers API, and a layout.
func places(t *testing.T) map[string]struct {
	ref Ref
	opt Options
} {
	with, without := newServer(t, true), newServer(t, false)
	return map[string]struct {
		ref Ref
		opt Options
	}{
		"registry":                   {with.ref, with.opt},
		"registry without referrers": {without.ref, without.opt},
		"layout":                     {Ref{Layout: filepath.Join(t.TempDir(), "bundles"), Tag: "1.0"}, Options{}},
	}
}

func policy(content string) Package {
	return Package{MediaType: MediaModule, Content: []byte(content), Config: []byte(`{"name":"order"}`), Report: []byte("kind: PolicyConformanceReport\n")}
}

func push(t *testing.T, r Ref, p Package, o Options) string {
	t.Helper()
	digest, err := Push(context.Background(), r, p, o)
	if err != nil {
		t.Fatal(err)
	}
	return digest
}

// notPulled says why a pull did not go well.
func notPulled(t *testing.T, r Ref, pin string, o Options) *reason.Error {
	t.Helper()
	p, err := Pull(context.Background(), r, pin, o)
	var e *reason.Error
	if !errors.As(err, &e) {
		t.Fatalf("want a refusal, got %+v, %v", p, err)
	}
	return e
}

func TestAPolicyComesBackAsItWasPushed(t *testing.T) {
	for name, at := range places(t) {
		t.Run(name, func(t *testing.T) {
			digest := push(t, at.ref, policy("module"), at.opt)
			got, err := Pull(context.Background(), at.ref, "", at.opt)
			if err != nil {
				t.Fatal(err)
			}
			if got.Digest != digest || string(got.Layer.Bytes) != "module" || got.Layer.MediaType != MediaModule ||
				got.Layer.Digest != trust.Digest([]byte("module")) || string(got.Config) != `{"name":"order"}` || !bytes.HasPrefix(got.Report, []byte("kind:")) {
				t.Errorf("pulled %+v", got)
			}
			if again := push(t, at.ref, policy("module"), at.opt); again != digest {
				t.Errorf("the same policy has two digests, %s and %s", digest, again)
			}
		})
	}
}

func TestSignaturesOfBothSchemesAreFoundAndHold(t *testing.T) {
	signers, keys := map[trust.Scheme]*trust.Signer{}, trust.Keys{}
	for id, a := range map[string]trust.Algorithm{"muster": trust.Ed25519, "cosign": trust.ECDSA} {
		private, public, err := trust.Generate(a)
		if err != nil {
			t.Fatal(err)
		}
		signers[trust.Scheme(id)], _ = trust.ParsePrivate(private)
		k, _ := trust.ParsePublic(id, public)
		keys = append(keys, k)
	}
	for name, at := range places(t) {
		t.Run(name, func(t *testing.T) {
			digest := push(t, at.ref, policy("module"), at.opt)
			var want []string
			for _, scheme := range []trust.Scheme{trust.Cosign, trust.Muster} {
				signed, err := Sign(context.Background(), at.ref, signers[scheme], scheme, at.opt)
				if err != nil || signed != digest {
					t.Fatalf("%s: %s, %v", scheme, signed, err)
				}
				want = append(want, string(scheme))
				got, err := Pull(context.Background(), at.ref, "", at.opt)
				if err != nil {
					t.Fatal(err)
				}
				if by := keys.Verify(digest, got.Signatures); !slices.Equal(by, want) {
					t.Errorf("signed by %v, want %v (%d signatures)", by, want, len(got.Signatures))
				}
			}
			if _, err := Sign(context.Background(), at.ref, signers[trust.Cosign], trust.Cosign, at.opt); err != nil {
				t.Errorf("a second signature: %v", err)
			}
			if got, err := Pull(context.Background(), at.ref, "", at.opt); err != nil || len(got.Signatures) != 3 {
				t.Errorf("%d signatures, %v", len(got.Signatures), err)
			}
			// A signature of one manifest says nothing of another one.
			next := at.ref
			next.Tag = "2.0"
			push(t, next, policy("other module"), at.opt)
			if got, err := Pull(context.Background(), next, "", at.opt); err != nil || len(got.Signatures) != 0 {
				t.Errorf("another policy has %d signatures, %v", len(got.Signatures), err)
			}
		})
	}
}

func TestAPinHoldsWhenTheTagHasMoved(t *testing.T) {
	for name, at := range places(t) {
		t.Run(name, func(t *testing.T) {
			first := push(t, at.ref, policy("one"), at.opt)
			second := push(t, at.ref, policy("two"), at.opt)
			if got, err := Pull(context.Background(), at.ref, "", at.opt); err != nil || got.Digest != second {
				t.Errorf("the tag means %v, %v", got, err)
			}
			if at.ref.Layout == "" { // a layout forgets what no tag names
				if got, err := Pull(context.Background(), at.ref, first, at.opt); err != nil || string(got.Layer.Bytes) != "one" {
					t.Errorf("pinned to the manifest: %v, %v", got, err)
				}
			}
			if got, err := Pull(context.Background(), at.ref, trust.Digest([]byte("two")), at.opt); err != nil || got.Digest != second {
				t.Errorf("pinned to the module: %v, %v", got, err)
			}
			if e := notPulled(t, at.ref, trust.Digest([]byte("three")), at.opt); e.Code != reason.DigestDiffers {
				t.Errorf("pinned to something else: %v", e)
			}
		})
	}
}

// What goes wrong at a registry, and what it is called.
func TestARegistryThatFailsIsToldApart(t *testing.T) {
	status := func(code int) func(http.ResponseWriter, *http.Request, http.Handler) {
		return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { http.Error(w, "no", code) }
	}
	for name, c := range map[string]struct {
		twist func(http.ResponseWriter, *http.Request, http.Handler)
		code  reason.Code
		again bool
	}{
		"404":          {status(404), reason.NotFound, true},
		"500":          {status(500), reason.RegistryError, true},
		"429":          {status(429), reason.RegistryError, true},
		"401":          {status(401), reason.Unauthorized, false},
		"403":          {status(403), reason.Unauthorized, false},
		"hangs up":     {func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { panic(http.ErrAbortHandler) }, reason.Unreachable, true},
		"other bytes":  {swapBody("module", "modulf"), reason.DigestDiffers, false},
		"fewer bytes":  {swapBody("module", "modul"), reason.RegistryError, true},
		"more bytes":   {swapBody("module", "module!"), reason.RegistryError, true},
		"lying config": {swapBody(`{"name":"order"}`, `{"name":"OTHER"}`), reason.DigestDiffers, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, true)
			push(t, s.ref, policy("module"), s.opt)
			s.misbehave(c.twist)
			e := notPulled(t, s.ref, "", s.opt)
			if e.Code != c.code || e.Again != c.again || e.Where == "" {
				t.Errorf("%s, again %t, at %q: %v", e.Code, e.Again, e.Where, e)
			}
		})
	}
	t.Run("down", func(t *testing.T) {
		h := httptest.NewServer(http.NotFoundHandler())
		host := strings.TrimPrefix(h.URL, "http://")
		h.Close()
		if e := notPulled(t, Ref{Host: host, Repository: "x", Tag: "1", PlainHTTP: true}, "", Options{Client: &http.Client{}}); e.Code != reason.Unreachable || !e.Again {
			t.Errorf("%v", e)
		}
	})
}

// swapBody answers with other bytes where the real registry would give these.
func swapBody(from, to string) func(http.ResponseWriter, *http.Request, http.Handler) {
	return func(w http.ResponseWriter, r *http.Request, real http.Handler) {
		rec := httptest.NewRecorder()
		real.ServeHTTP(rec, r)
		for k, v := range rec.Header() {
			w.Header()[k] = v
		}
		body := rec.Body.String()
		if body == from {
			body = to
			w.Header().Del("Content-Length")
		}
		w.WriteHeader(rec.Code)
		_, _ = io.WriteString(w, body) // the client may have gone
	}
}

func TestATagThatLiesAboutItsManifestIsRefused(t *testing.T) {
	s := newServer(t, true)
	push(t, s.ref, policy("module"), s.opt)
	evil := s.ref
	evil.Tag = "evil"
	lie := push(t, evil, policy("other module"), s.opt)
	s.misbehave(func(w http.ResponseWriter, r *http.Request, real http.Handler) {
		if strings.HasSuffix(r.URL.Path, "/manifests/"+lie) { // the bytes are those of another manifest
			r.URL.Path = strings.Replace(r.URL.Path, lie, "1.0", 1)
			rec := httptest.NewRecorder()
			real.ServeHTTP(rec, r)
			w.Header().Set("Content-Type", rec.Header().Get("Content-Type"))
			w.Header().Set("Docker-Content-Digest", lie)
			w.WriteHeader(rec.Code)
			_, _ = w.Write(rec.Body.Bytes())
			return
		}
		real.ServeHTTP(w, r)
	})
	if _, err := Pull(context.Background(), evil, "", s.opt); err == nil {
		t.Error("a manifest with another digest was taken")
	}
}

func TestTooMuchIsRefusedBeforeItIsRead(t *testing.T) {
	for name, p := range map[string]Package{
		"module":   {MediaType: MediaModule, Content: make([]byte, MaxLayer+1)},
		"metadata": {MediaType: MediaModule, Content: []byte("x"), Config: make([]byte, MaxConfig+1)},
		"report":   {MediaType: MediaModule, Content: []byte("x"), Report: make([]byte, MaxReport+1)},
		"nothing":  {MediaType: MediaModule},
		"text":     {MediaType: "text/plain", Content: []byte("x")},
	} {
		s := newServer(t, true)
		if _, err := Push(context.Background(), s.ref, p, s.opt); err == nil {
			t.Errorf("%s was pushed", name)
		}
		if name == "nothing" || name == "text" {
			continue
		}
		to, err := target(context.Background(), s.ref, s.opt, true) // as another tool would push it
		if err != nil {
			t.Fatal(err)
		}
		if p.Config == nil {
			p.Config = []byte("{}")
		}
		d, err := p.push(context.Background(), to)
		if err != nil {
			t.Fatal(err)
		}
		if err := to.Tag(context.Background(), d, s.ref.Tag); err != nil {
			t.Fatal(err)
		}
		read := int64(0)
		s.misbehave(func(w http.ResponseWriter, r *http.Request, real http.Handler) {
			c := &counter{ResponseWriter: w}
			real.ServeHTTP(c, r)
			if r.Method == http.MethodGet {
				read += c.n
			}
		})
		if e := notPulled(t, s.ref, "", s.opt); e.Code != reason.TooLarge || read > 64<<10 {
			t.Errorf("%s: %v after %d bytes", name, e, read)
		}
	}
}

type counter struct {
	http.ResponseWriter
	n int64
}

func (c *counter) Write(b []byte) (int, error) {
	c.n += int64(len(b))
	return c.ResponseWriter.Write(b)
}

func TestAnArtifactOfAnotherKindIsNoPolicy(t *testing.T) {
	s := newServer(t, true)
	ctx := context.Background()
	to, err := target(ctx, s.ref, s.opt, true)
	if err != nil {
		t.Fatal(err)
	}
	for name, build := range map[string]func() error{
		"an image": func() error {
			return signCosignLike(ctx, s, to)
		},
		"two modules": func() error {
			return pushLayers(ctx, s, ArtifactType, MediaModule, MediaModule)
		},
		"no module":   func() error { return pushLayers(ctx, s, ArtifactType, MediaReport) },
		"other type":  func() error { return pushLayers(ctx, s, "application/vnd.other", MediaModule) },
		"no such tag": func() error { s.ref.Tag = "nowhere"; return nil },
	} {
		s.ref.Tag = "t"
		if err := build(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		want := reason.NotAPolicy
		if name == "no such tag" {
			want = reason.NotFound
		}
		if e := notPulled(t, s.ref, "", s.opt); e.Code != want {
			t.Errorf("%s: %v", name, e)
		}
	}
}

func TestPlainHTTPStaysOnThisMachine(t *testing.T) {
	for host, ok := range map[string]bool{"127.0.0.1:5000": true, "localhost": true, "[::1]:5000": true, "registry.example": false, "10.0.0.1:5000": false, "localhost.example": false} {
		err := Ref{Host: host, Repository: "x", Tag: "1", PlainHTTP: true}.checkPlain()
		if (err == nil) != ok {
			t.Errorf("%s: %v", host, err)
		}
	}
}

func TestAddresses(t *testing.T) {
	digest := trust.Digest(nil)
	for s, want := range map[string]string{
		"reg.example:5000/a/b:1.0":    "oci:reg.example:5000/a/b:1.0",
		"oci://reg.example/a:1":       "oci:reg.example/a:1",
		"reg.example/a@" + digest:     "oci:reg.example/a@" + digest,
		"reg.example/a":               "",
		"reg.example/a@sha256:12":     "",
		"a:1":                         "",
		"reg.example/A:1":             "",
		"":                            "",
		"reg.example/a@sha512:" + "0": "",
	} {
		r, err := Parse(s)
		if (err == nil) != (want != "") || err == nil && r.String() != want {
			t.Errorf("%q: %s, %v", s, r, err)
		}
	}
	for s, want := range map[string]string{
		"bundles/order:1.0": "layout:bundles/order:1.0", "/a/b:c/d": "", "x@" + digest: "layout:x@" + digest, "x:": "", ":1": "", "x": "", "x:a b": "",
	} {
		r, err := ParseLayout(s)
		if (err == nil) != (want != "") || err == nil && r.String() != want {
			t.Errorf("layout %q: %s, %v", s, r, err)
		}
	}
}

func TestALayoutThatIsNotThereIsNotMade(t *testing.T) {
	dir := t.TempDir()
	if e := notPulled(t, Ref{Layout: dir, Tag: "1"}, "", Options{}); e.Code != reason.NotFound {
		t.Errorf("%v", e)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("a pull wrote %v", entries)
	}
}
