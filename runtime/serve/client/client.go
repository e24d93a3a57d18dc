// Package client asks a running scheduler over its JSON API.
package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/musterhq/muster/runtime/serve"
)

// Options say which scheduler, and how it is reached.
type Options struct {
	// Server is a URL, or host:port, which stands for http; DefaultAddress if it is "".
	Server string
	// Token is sent as a bearer token. It is not sent over plain http to another machine.
	Token string
	// CAFile has the certificates that the server's must be signed by; Insecure takes any.
	CAFile   string
	Insecure bool
}

// Unreachable says that nobody answered.
type Unreachable struct {
	Server string
	Err    error
}

func (e *Unreachable) Error() string { return fmt.Sprintf("%s does not answer: %v", e.Server, e.Err) }
func (e *Unreachable) Unwrap() error { return e.Err }

// Client asks one server.
type Client struct {
	server string
	token  string
	http   http.Client
}

// maxAnswer bounds what is read of an answer: 50,000 jobs are about 40 MB.
const maxAnswer = 512 << 20

// New returns a client.
func New(o Options) (*Client, error) {
	if o.Server == "" {
		o.Server = serve.DefaultAddress
	}
	if !strings.Contains(o.Server, "://") {
		o.Server = "http://" + o.Server
	}
	u, err := url.Parse(strings.TrimRight(o.Server, "/"))
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("server %q: write https://host:port or host:port", o.Server)
	}
	if o.Token != "" && u.Scheme == "http" && !serve.IsLocal(u.Host) {
		return nil, fmt.Errorf("server %s: a token would travel unencrypted; use https", u)
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: o.Insecure}
	if o.CAFile != "" {
		text, err := os.ReadFile(o.CAFile)
		if err != nil {
			return nil, fmt.Errorf("cannot read the certificates in %s: %w", o.CAFile, errors.Unwrap(err))
		}
		t.TLSClientConfig.RootCAs = x509.NewCertPool()
		if !t.TLSClientConfig.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("%s has no certificates in PEM form", o.CAFile)
		}
	}
	return &Client{server: u.String(), token: o.Token, http: http.Client{Transport: t, Timeout: time.Minute}}, nil
}

// Close ends idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Server is whom the client asks.
func (c *Client) Server() string { return c.server }

// Meta is what an answer says beside its items.
type Meta struct {
	At         time.Time
	Generation uint64
	Stale      bool
	Total      int
	// Date is the server's clock when it answered, to the second; zero if it did not tell.
	Date time.Time
}

// Get reads the items, or the item, at a path below the API's prefix. An error of the
// API is a *serve.Error, no answer at all an *Unreachable.
func (c *Client) Get(ctx context.Context, path string, query url.Values, into any) (m Meta, err error) {
	at := c.server + serve.Prefix + path
	if len(query) > 0 {
		at += "?" + query.Encode()
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return m, err
	}
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	answer, err := c.http.Do(r)
	if err != nil {
		if ctx.Err() != nil {
			return m, ctx.Err()
		}
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err
		}
		return m, &Unreachable{c.server, err}
	}
	defer func() { err = errors.Join(err, answer.Body.Close()) }()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return m, &Unreachable{c.server, err}
	}
	m, err = c.read(answer.StatusCode, text, into)
	m.Date, _ = http.ParseTime(answer.Header.Get("Date")) // zero if there is none
	return m, err
}

// Ready asks whether the process can be asked, as kubelets do, and what it says of that.
func (c *Client) Ready(ctx context.Context) (ready bool, text string, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.server+"/readyz", nil)
	if err != nil {
		return false, "", err
	}
	answer, err := c.http.Do(r)
	if err != nil {
		return false, "", &Unreachable{c.server, err}
	}
	defer func() { err = errors.Join(err, answer.Body.Close()) }()
	body, err := io.ReadAll(io.LimitReader(answer.Body, 16<<10))
	if err != nil {
		return false, "", &Unreachable{c.server, err}
	}
	return answer.StatusCode == http.StatusOK, strings.TrimSpace(string(body)), nil
}

func (c *Client) read(status int, text []byte, into any) (m Meta, err error) {
	var a struct {
		At         time.Time       `json:"at"`
		Generation uint64          `json:"generation"`
		Stale      bool            `json:"stale"`
		Total      int             `json:"total"`
		Items      json.RawMessage `json:"items"`
		Item       json.RawMessage `json:"item"`
		Error      *serve.Error    `json:"error"`
	}
	if err := json.Unmarshal(text, &a); err != nil || a.Error == nil && a.Items == nil && a.Item == nil {
		return m, &serve.Error{Status: status, Code: "no-api", Message: fmt.Sprintf("%s answers %d, and not as Muster does", c.server, status), Hint: "is that the address of a Muster scheduler?"}
	}
	if a.Error != nil {
		a.Error.Status = status
		return m, a.Error
	}
	content := a.Items
	if content == nil {
		content = a.Item
	}
	return Meta{At: a.At, Generation: a.Generation, Stale: a.Stale, Total: a.Total}, json.Unmarshal(content, into)
}

// Path escapes names into a path: job ids contain slashes, which stay.
func Path(of, name string) string {
	parts := strings.Split(name, "/")
	for i := range parts {
		parts[i] = url.PathEscape(parts[i])
	}
	return of + "/" + strings.Join(parts, "/")
}
