package client_test

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/musterhq/muster/runtime/serve"
	"github.com/musterhq/muster/runtime/serve/client"
	"github.com/musterhq/muster/runtime/serve/servetest"
	"github.com/musterhq/muster/runtime/serve/view"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// guest answers to the token "secret" only.
type guest struct{}

func (guest) Authorize(_ context.Context, token, _, _ string) (serve.Decision, error) {
	if token != "secret" {
		return serve.Decision{}, nil
	}
	return serve.Decision{Allowed: true, User: "ann"}, nil
}

func open(t *testing.T, o client.Options) *client.Client {
	t.Helper()
	c, err := client.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestWhatCanNotBeAServerIsRefusedBeforeAnythingIsSent(t *testing.T) {
	none := filepath.Join(t.TempDir(), "none.pem")
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, []byte("no PEM"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		o    client.Options
		want string
	}{
		{client.Options{Server: "ftp://x"}, "write https://host:port"},
		{client.Options{Server: "http://"}, "write https://host:port"},
		{client.Options{Server: "http://muster.example:80", Token: "secret"}, "unencrypted"},
		{client.Options{CAFile: none}, "none.pem"},
		{client.Options{CAFile: empty}, "no certificates"},
	} {
		if _, err := client.New(c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c.o, err)
		}
	}
}

func TestWhoDoesNotAnswerIsNamed(t *testing.T) {
	gone := httptest.NewServer(nil)
	gone.Close()
	_, err := open(t, client.Options{Server: gone.URL}).Get(t.Context(), "/pool", nil, nil)
	var u *client.Unreachable
	if !errors.As(err, &u) || u.Server != gone.URL {
		t.Errorf("got %v", err)
	}
}

func TestAnotherProgramIsNotTakenForMuster(t *testing.T) {
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	_, err := open(t, client.Options{Server: other.URL}).Get(t.Context(), "/pool", nil, nil)
	var e *serve.Error
	if !errors.As(err, &e) || e.Code != "no-api" || e.Status != 404 {
		t.Errorf("got %v", err)
	}
}

func TestOverTLSTheServerIsVerifiedAndTheTokenIsSent(t *testing.T) {
	cluster := servetest.Busy(t, view.Options{})
	s := httptest.NewTLSServer(serve.Handler(serve.Config{Source: cluster.Source, Auth: guest{}}))
	defer s.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	var pool view.Pool
	_, err := open(t, client.Options{Server: s.URL}).Get(t.Context(), "/pool", nil, &pool)
	var unknown x509.UnknownAuthorityError
	if !errors.As(err, &unknown) {
		t.Errorf("without the CA: %v", err)
	}
	_, err = open(t, client.Options{Server: s.URL, CAFile: ca}).Get(t.Context(), "/pool", nil, &pool)
	var e *serve.Error
	if !errors.As(err, &e) || e.Code != "unauthorized" {
		t.Errorf("without the token: %v", err)
	}
	for _, o := range []client.Options{{Server: s.URL, CAFile: ca, Token: "secret"}, {Server: s.URL, Insecure: true, Token: "secret"}} {
		m, err := open(t, o).Get(t.Context(), "/pool", nil, &pool)
		if err != nil || pool.Nodes != 4 || m.Generation == 0 || m.At.IsZero() {
			t.Errorf("%+v: %+v, %+v, %v", o, pool, m, err)
		}
	}
}

func TestNamesWithSlashesAndSpacesComeThrough(t *testing.T) {
	cluster := servetest.New(t, servetest.Tree(), view.Options{})
	const id = `team a/pod group/x%2f"y?`
	cluster.Post(servetest.Job(id, "root.batch", "", 1, 1))
	s := httptest.NewServer(serve.Handler(serve.Config{Source: cluster.Source}))
	defer s.Close()
	var j view.Job
	if _, err := open(t, client.Options{Server: s.URL}).Get(t.Context(), client.Path("/jobs", id), nil, &j); err != nil || j.ID != id {
		t.Errorf("got %q, %v", j.ID, err)
	}
}
