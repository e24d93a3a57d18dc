package serve

import (
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Error is what the API answers when it has no answer.
type Error struct {
	Status  int    `json:"-"`
	Code    string `json:"code"` // stable
	Message string `json:"message"`
	Hint    string `json:"hint"`
}

func (e *Error) Error() string { return e.Message + " [" + e.Code + "]" }

// fail answers with an error.
func fail(w http.ResponseWriter, e *Error) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(e.Status)
	_ = json.NewEncoder(w).Encode(map[string]*Error{"error": e}) // the client may be gone
}

// Answer is the envelope of every answer. At and Generation say which picture it is of;
// equal items have equal ETags whatever they are.
type Answer struct {
	At         time.Time `json:"at,omitzero"`
	Generation uint64    `json:"generation,omitempty"`
	// Stale says that the scheduler is too busy to be looked at: this is the last picture.
	Stale bool `json:"stale,omitempty"`
	// Total counts the items that the filters left; Items are those from offset to limit.
	Total *int `json:"total,omitempty"`
	Items any  `json:"items,omitempty"`
	Item  any  `json:"item,omitempty"`
}

// AtHeader has the time of the picture that an answer is of, the scheduler's own.
const AtHeader = "Muster-At"

// reply writes an answer, or 304 if the client has these items already.
func reply(w http.ResponseWriter, r *http.Request, a Answer) {
	content := a.Items
	if content == nil {
		content = a.Item
	}
	body, err := json.Marshal(content)
	if err != nil {
		fail(w, &Error{http.StatusInternalServerError, "internal", "the answer can't be written: " + err.Error(), "report this"})
		return
	}
	sum := sha256.Sum256(body)
	tag := `W/"` + hex.EncodeToString(sum[:12]) + `"`
	h := w.Header()
	h.Set("ETag", tag)
	if !a.At.IsZero() {
		h.Set(AtHeader, a.At.Format(time.RFC3339Nano)) // also where the items are the same
	}
	h.Set("Cache-Control", "private, no-cache")
	h.Set("X-Content-Type-Options", "nosniff")
	if knows(r.Header.Get("If-None-Match"), tag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	if a.Items != nil {
		a.Items = json.RawMessage(body)
	} else {
		a.Item = json.RawMessage(body)
	}
	h.Set("Content-Type", "application/json")
	if r.Method == http.MethodHead {
		return
	}
	_ = json.NewEncoder(w).Encode(a) // the client may be gone
}

// knows compares weakly, as RFC 9110 13.1.2 says.
func knows(header, tag string) bool {
	weak := func(t string) string { return strings.TrimPrefix(strings.TrimSpace(t), "W/") }
	for _, t := range strings.Split(header, ",") {
		if strings.TrimSpace(t) == "*" || weak(t) == weak(tag) {
			return true
		}
	}
	return false
}

// zippers are kept: each has a window of 800 KB.
var zippers = sync.Pool{New: func() any {
	z, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed) // the level is valid
	return z
}}

// zipped compresses what is written through it.
type zipped struct {
	http.ResponseWriter
	z *gzip.Writer
}

// WriteHeader decides whether there is anything to compress.
func (w *zipped) WriteHeader(status int) {
	h := w.Header()
	if status != http.StatusNotModified && status != http.StatusNoContent && h.Get("Content-Encoding") == "" {
		h.Set("Content-Encoding", "gzip")
		h.Del("Content-Length")
		w.z = zippers.Get().(*gzip.Writer)
		w.z.Reset(w.ResponseWriter)
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *zipped) Write(b []byte) (int, error) {
	if w.z == nil && w.Header().Get("Content-Encoding") == "" {
		w.WriteHeader(http.StatusOK)
	}
	if w.z == nil {
		return w.ResponseWriter.Write(b)
	}
	return w.z.Write(b)
}

// Flush sends what there is: profiles are streams.
func (w *zipped) Flush() {
	if w.z != nil {
		_ = w.z.Flush() // the client may be gone
	}
	if f, ok := w.ResponseWriter.(http.Flusher); ok {
		f.Flush()
	}
}

// compress answers with gzip to those who take it.
func compress(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Add("Vary", "Accept-Encoding")
		if !strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") || r.Method == http.MethodHead ||
			r.URL.Path == "/metrics" || strings.HasPrefix(r.URL.Path, "/debug/") { // these do it themselves
			next.ServeHTTP(w, r)
			return
		}
		z := &zipped{ResponseWriter: w}
		defer func() {
			if z.z != nil {
				_ = z.z.Close() // the client may be gone
				zippers.Put(z.z)
			}
		}()
		next.ServeHTTP(z, r)
	})
}
