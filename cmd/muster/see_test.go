package main

import (
	"context"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/musterhq/muster/runtime/serve"
	"github.com/musterhq/muster/runtime/serve/servetest"
	"github.com/musterhq/muster/runtime/serve/view"
)

// guest answers to the token "secret" only.
type guest struct{}

func (guest) Authorize(_ context.Context, token, _, path string) (serve.Decision, error) {
	switch token {
	case "secret":
		return serve.Decision{Allowed: true, User: "ann"}, nil
	case "poor":
		return serve.Decision{User: "bob"}, nil
	}
	return serve.Decision{}, nil
}

// lost is an adapter that knows of a job that no queue takes.
type lost struct{}

func (lost) Extra(id string) []view.Reason {
	if id != "team/pod/lost" {
		return nil
	}
	return []view.Reason{{Code: "no-queue", Text: "queue root.batsh is not in the configuration"}}
}

// The scripts of testdata/see ask a scheduler that runs: $MUSTER_SERVER on loopback for
// everybody, $GUARDED over TLS for the token "secret". At $BARE is one that no probe
// reports to, whose queue root.serving a placement rule has created, and that has no queue for
// team/pod/lost.
func TestSeeingScripts(t *testing.T) {
	c, _ := servetest.Measured(t)
	created := func() []view.Created { return []view.Created{{Path: "root.serving", Below: "root"}} }
	other := servetest.Busy(t, view.Options{
		Created: created, Stays: int64(10 * time.Second), Extra: lost{}, Outside: func() []string { return []string{"team/pod/lost"} },
	})
	bare := start(t, serve.Listen{Address: "127.0.0.1:0"}, serve.Config{Source: other.Source, Clock: c.Clock})
	open := start(t, serve.Listen{Address: "127.0.0.1:0"}, serve.Config{Source: c.Source, Clock: c.Clock})
	guarded := start(t, serve.Listen{Address: "127.0.0.1:0", SelfSigned: true, Guarded: true}, serve.Config{Source: c.Source, Clock: c.Clock, Auth: guest{}})
	testscript.Run(t, testscript.Params{
		Dir: "testdata/see",
		Setup: func(env *testscript.Env) error {
			env.Setenv("MUSTER_SERVER", open)
			env.Setenv("GUARDED", guarded)
			env.Setenv("BARE", bare)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"code": exitCode, "empty": isEmpty, "unhinted": unhinted},
	})
}

// start serves until the test ends and returns the URL.
func start(t *testing.T, l serve.Listen, c serve.Config) string {
	t.Helper()
	s, err := serve.Open(l, serve.Handler(c))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	end := make(chan error, 1)
	go func() { end <- s.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-end; err != nil {
			t.Error(err)
		}
	})
	return s.URL()
}
