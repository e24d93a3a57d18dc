package serve

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// Authorizer decides who may read what.
type Authorizer interface {
	// Authorize decides about one request. A token is "" if none was sent. An error says
	// that nobody could be asked: then the request is refused.
	Authorize(ctx context.Context, token, verb, path string) (Decision, error)
}

// Decision is what an Authorizer found.
type Decision struct {
	Allowed bool
	// User is who asks, "" if the token is nobody's.
	User   string
	Reason string // why not, for people
}

// guard lets those pass whom an Authorizer lets.
func guard(auth Authorizer, next http.Handler) http.Handler {
	if auth == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d, err := auth.Authorize(r.Context(), bearer(r), strings.ToLower(r.Method), r.URL.Path)
		switch {
		case err != nil:
			fail(w, &Error{http.StatusServiceUnavailable, "no-authorization", "nobody can say whether you may read this: " + err.Error(), "is the API server there? try again in some seconds"})
		case d.User == "":
			w.Header().Set("WWW-Authenticate", `Bearer realm="muster"`)
			fail(w, &Error{http.StatusUnauthorized, "unauthorized", "a valid token is missing", "send Authorization: Bearer TOKEN, as from `kubectl create token`"})
		case !d.Allowed:
			fail(w, &Error{http.StatusForbidden, "forbidden", d.User + " may not " + strings.ToLower(r.Method) + " " + r.URL.Path, "bind the ClusterRole muster-viewer to " + d.User})
		default:
			next.ServeHTTP(w, r)
		}
	})
}

func bearer(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// localOnly refuses requests that were meant for another host. A page from anywhere can
// let its own name point to this address (DNS rebinding) and read what is here; it can't
// change the name that it sends.
func localOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !IsLocal(r.Host) {
			fail(w, &Error{http.StatusMisdirectedRequest, "wrong-host", r.Host + " is not a name of this machine", "without authorization only 127.0.0.1, [::1] and localhost are answered"})
			return
		}
		next.ServeHTTP(w, r)
	})
}

// IsLocal says whether a host, with or without a port, is this machine as it calls
// itself.
func IsLocal(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}
