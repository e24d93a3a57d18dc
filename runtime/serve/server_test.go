package serve_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/musterhq/muster/runtime/serve"
	"github.com/musterhq/muster/runtime/serve/page"
	"github.com/musterhq/muster/runtime/serve/view"
)

func TestWhatNobodyGuardsIsNotListenedForFromElsewhere(t *testing.T) {
	for _, c := range []struct {
		listen serve.Listen
		want   string
	}{
		{serve.Listen{Address: ":9070"}, "turn authorization on"},
		{serve.Listen{Address: "0.0.0.0:9070"}, "turn authorization on"},
		{serve.Listen{Address: "0.0.0.0:9070", Guarded: true}, "unencrypted"},
		{serve.Listen{Address: "9070"}, "write host:port"},
		{serve.Listen{Address: "127.0.0.1:0", CertFile: "x"}, "go together"},
		{serve.Listen{Address: "127.0.0.1:0", CertFile: "none.crt", KeyFile: "none.key"}, "certificate none.crt"},
	} {
		if s, err := serve.Open(c.listen, nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, %v", c.listen, s, err)
		}
	}
}

func TestAServerAnswersUntilItIsToldAndEndsInOrder(t *testing.T) {
	for _, l := range []serve.Listen{{Address: "127.0.0.1:0"}, {Address: "127.0.0.1:0", SelfSigned: true, Guarded: true}} {
		begun, release := make(chan struct{}), make(chan struct{})
		h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			close(begun)
			<-release
			_, _ = io.WriteString(w, "whole")
		})
		s, err := serve.Open(l, h)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		end := make(chan error, 1)
		go func() { end <- s.Serve(ctx) }()
		if strings.HasPrefix(s.URL(), "https") != l.SelfSigned {
			t.Errorf("URL %s", s.URL())
		}
		body := make(chan string, 1)
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}
		go func() {
			r, err := client.Get(s.URL())
			if err != nil {
				body <- err.Error()
				return
			}
			text, _ := io.ReadAll(r.Body)
			_ = r.Body.Close()
			body <- string(text)
		}()
		<-begun
		cancel()
		close(release)
		if got := <-body; got != "whole" {
			t.Errorf("a request that had begun got %q", got)
		}
		if err := <-end; err != nil {
			t.Error(err)
		}
	}
}

func TestHealthAndReadinessSayWhyNot(t *testing.T) {
	broken := errors.New("the informers have not synced")
	h := serve.Handler(serve.Config{Source: view.NewSource(deaf{}, nil, view.Options{}), Ready: func() error { return broken }})
	if w := get(t, h, "/healthz"); w.Code != 200 || w.Body.String() != "ok\n" {
		t.Errorf("healthz: %d %q", w.Code, w.Body)
	}
	if w := get(t, h, "/readyz"); w.Code != 503 || w.Body.String() != "the informers have not synced\n" {
		t.Errorf("readyz: %d %q", w.Code, w.Body)
	}
}

func TestProfilesAreServedOnlyWhenTurnedOn(t *testing.T) {
	h := serve.Handler(serve.Config{Source: view.NewSource(deaf{}, nil, view.Options{}), Pprof: true})
	if w := get(t, h, "/debug/pprof/cmdline"); w.Code != 200 {
		t.Errorf("%d", w.Code)
	}
}

// register answers by token.
type register map[string]serve.Decision

func (a register) Authorize(_ context.Context, token, verb, path string) (serve.Decision, error) {
	if token == "away" {
		return serve.Decision{}, errors.New("no API server")
	}
	d := a[token]
	d.Allowed = d.Allowed && verb == "get" && strings.HasPrefix(path, "/api/")
	return d, nil
}

func TestOnlyThosePassWhomTheAuthorizerLets(t *testing.T) {
	h := serve.Handler(serve.Config{
		Source: view.NewSource(deaf{}, nil, view.Options{Wait: 1}), Pprof: true,
		Auth: register{"reader": {Allowed: true, User: "ann"}, "nobody": {User: "bob"}},
	})
	for _, c := range []struct {
		header, path string
		status       int
	}{
		{"", "/api/v1/jobs", 401},
		{"Bearer unknown", "/api/v1/jobs", 401},
		{"Basic reader", "/api/v1/jobs", 401},
		{"Bearer nobody", "/api/v1/jobs", 403},
		{"Bearer away", "/api/v1/jobs", 503},
		{"Bearer reader", "/api/v1", 200},
		{"bearer reader", "/api/v1", 200},
		{"Bearer reader", "/debug/pprof/cmdline", 403},
		{"", "/metrics", 401},
		{"", "/", 200},
		{"", "/page.js", 200},
		{"", "/healthz", 200},
	} {
		w := get(t, h, c.path, "Authorization", c.header)
		if w.Code != c.status {
			t.Errorf("%q %s: %d, not %d", c.header, c.path, w.Code, c.status)
		}
		if w.Code >= 400 && !strings.Contains(w.Body.String(), `"hint":"`) {
			t.Errorf("%q %s: %s", c.header, c.path, w.Body)
		}
	}
}

func TestAPageOfAnotherNameCantReadALoopbackServer(t *testing.T) {
	h := serve.Handler(serve.Config{Source: view.NewSource(deaf{}, nil, view.Options{})})
	for host, want := range map[string]int{"evil.example": 421, "evil.example:9070": 421, "10.0.0.1": 421, "localhost:9070": 200, "127.0.0.1": 200, "[::1]:9070": 200} {
		r := httptest.NewRequest(http.MethodGet, "/api/v1", nil)
		r.Host = host
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("%s: %d, not %d", host, w.Code, want)
		}
	}
}

func TestThePageMayLoadNothingFromElsewhere(t *testing.T) {
	h := serve.Handler(serve.Config{Source: view.NewSource(deaf{}, nil, view.Options{})})
	for path, kind := range map[string]string{"/": "text/html", "/page.js": "text/javascript", "/page.css": "text/css"} {
		w := get(t, h, path)
		if w.Code != 200 || !strings.HasPrefix(w.Header().Get("Content-Type"), kind) || w.Header().Get("Content-Security-Policy") != page.Policy {
			t.Errorf("%s: %d %v", path, w.Code, w.Header())
		}
		if strings.Contains(w.Body.String(), "https://") {
			t.Errorf("%s names a place elsewhere", path)
		}
	}
}
