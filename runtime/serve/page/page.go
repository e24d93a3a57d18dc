// Package page is the page that people look at: three embedded files that ask the API
// and nothing else. They hold no data, so they are served to everybody.
package page

import (
	"embed"
	"net/http"
)

//go:embed files
var files embed.FS

// Policy lets the page load its own files, ask its own server, and nothing else.
const Policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// Route serves the page and its files.
func Route(mux *http.ServeMux) {
	for path, file := range map[string]string{"GET /{$}": "index.html", "GET /page.css": "page.css", "GET /page.js": "page.js"} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			h := w.Header()
			h.Set("Content-Security-Policy", Policy)
			h.Set("X-Content-Type-Options", "nosniff")
			h.Set("Referrer-Policy", "no-referrer")
			h.Set("Cache-Control", "no-cache")
			http.ServeFileFS(w, r, files, "files/"+file)
		})
	}
}
