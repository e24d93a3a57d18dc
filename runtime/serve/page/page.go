// Package page is the page that people look at: embedded files that ask the API and
// nothing else. They hold no data, so they are served to everybody.
package page

import (
	"embed"
	"io/fs"
	"net/http"
)

//go:embed files
var files embed.FS

// Policy lets the page load its own files, ask its own server, and nothing else.
const Policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// Route serves the page and its files.
func Route(mux *http.ServeMux) {
	own, err := fs.Sub(files, "files")
	if err != nil { // the folder is embedded
		panic(err)
	}
	entries, err := fs.ReadDir(own, ".")
	if err != nil {
		panic(err)
	}
	for _, e := range entries {
		path := "GET /" + e.Name()
		if e.Name() == "index.html" {
			path = "GET /{$}"
		}
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			h := w.Header()
			h.Set("Content-Security-Policy", Policy)
			h.Set("X-Content-Type-Options", "nosniff")
			h.Set("Referrer-Policy", "no-referrer")
			h.Set("Cache-Control", "no-cache")
			http.ServeFileFS(w, r, own, e.Name())
		})
	}
}
