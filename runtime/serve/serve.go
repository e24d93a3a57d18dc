// Package serve answers over HTTP what a running scheduler knows: the JSON API
// (docs/api.md), metrics, health, and one page for people. It reads; nothing that it
// serves changes anything.
package serve

import (
	"net/http"
	"net/http/pprof"

	"github.com/musterhq/muster/runtime/clock"
	"github.com/musterhq/muster/runtime/serve/page"
	"github.com/musterhq/muster/runtime/serve/view"
)

// Config is what a server serves.
type Config struct {
	Source *view.Source
	// Metrics answers /metrics; nil serves none.
	Metrics http.Handler
	// Healthy says why the process should be started anew, Ready why it can't be asked
	// yet; nil always is.
	Healthy, Ready func() error
	// Auth decides who may read what; nil lets everybody who reaches the address.
	Auth Authorizer
	// Pprof serves /debug/pprof.
	Pprof bool
	// Clock is the one of the loop; `since=2h` counts from its now.
	Clock clock.Clock
}

// Handler answers all requests.
func Handler(c Config) http.Handler {
	if c.Clock == nil {
		c.Clock = clock.Real{}
	}
	a := &api{source: c.Source, clock: c.Clock}
	open, guarded := http.NewServeMux(), http.NewServeMux()
	a.routes(guarded)
	if c.Metrics != nil {
		guarded.Handle("GET /metrics", c.Metrics)
	}
	if c.Pprof {
		routePprof(guarded)
	}
	guarded.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fail(w, &Error{http.StatusNotFound, "not-found", "there is no " + r.URL.Path, "GET /api/v1 lists what there is"})
	})
	open.HandleFunc("GET /healthz", probe(c.Healthy))
	open.HandleFunc("GET /readyz", probe(c.Ready))
	page.Route(open) // it holds no data: its script asks the API
	open.Handle("/", readOnly(guard(c.Auth, compress(guarded))))
	if c.Auth == nil {
		return localOnly(open)
	}
	return open
}

func routePprof(mux *http.ServeMux) {
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
}

// probe answers kubelets: "ok", or 503 and why not.
func probe(check func() error) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		if check != nil {
			if err := check(); err != nil {
				w.WriteHeader(http.StatusServiceUnavailable)
				_, _ = w.Write([]byte(err.Error() + "\n")) // the client may be gone
				return
			}
		}
		_, _ = w.Write([]byte("ok\n"))
	}
}

// readOnly refuses what could only be meant to change something.
func readOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			fail(w, &Error{http.StatusMethodNotAllowed, "read-only", r.Method + " is not served: this API only reads", "use GET"})
			return
		}
		next.ServeHTTP(w, r)
	})
}
