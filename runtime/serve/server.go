package serve

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/runtime/clock"
)

// Listen says where and how a server listens.
type Listen struct {
	// Address is host:port; DefaultAddress if it is "".
	Address string
	// CertFile and KeyFile turn TLS on. They are read again when they change.
	CertFile, KeyFile string
	// SelfSigned turns TLS on with a certificate made at start, where there are no files.
	SelfSigned bool
	// Guarded says that the handler authorizes; without it only loopback is listened on.
	Guarded bool
	// Log is where failures of connections go; nil drops them.
	Log io.Writer
}

// DefaultAddress is where a server listens and where the commands look for it.
const DefaultAddress = "127.0.0.1:9070"

// Times of a server: a slow client must not hold a connection for ever. Profiles take
// 30 seconds unless they say otherwise.
const (
	readTimeout  = 10 * time.Second
	writeTimeout = 2 * time.Minute
	idleTimeout  = 2 * time.Minute
	grace        = 10 * time.Second
)

// Server is a listener with a handler.
type Server struct {
	listener net.Listener
	http     http.Server
	tls      bool
}

// Open listens; Serve answers.
func Open(l Listen, h http.Handler) (*Server, error) {
	if l.Address == "" {
		l.Address = DefaultAddress
	}
	if err := l.check(); err != nil {
		return nil, err
	}
	config, err := l.tlsConfig()
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", l.Address)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %s: %w", l.Address, err)
	}
	if config != nil {
		listener = tls.NewListener(listener, config)
	}
	if l.Log == nil {
		l.Log = io.Discard
	}
	return &Server{listener: listener, tls: config != nil, http: http.Server{
		Handler: h, ReadTimeout: readTimeout, ReadHeaderTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: 64 << 10, ErrorLog: log.New(l.Log, "", 0),
	}}, nil
}

// check refuses to show everybody what nobody guards.
func (l *Listen) check() error {
	host, _, err := net.SplitHostPort(l.Address)
	if err != nil {
		return fmt.Errorf("address %q: write host:port, as in %s", l.Address, DefaultAddress)
	}
	if !l.Guarded && !IsLocal(host) {
		return fmt.Errorf("address %s can be reached from elsewhere, and nobody asks who reads: listen on 127.0.0.1, or turn authorization on", l.Address)
	}
	if l.Guarded && l.CertFile == "" && !l.SelfSigned && !IsLocal(host) {
		return fmt.Errorf("address %s: tokens would travel unencrypted: give a certificate, or let one be made", l.Address)
	}
	if (l.CertFile == "") != (l.KeyFile == "") {
		return errors.New("a certificate and its key go together: give both files")
	}
	return nil
}

// URL is where the server answers.
func (s *Server) URL() string {
	scheme := "http://"
	if s.tls {
		scheme = "https://"
	}
	return scheme + s.listener.Addr().String()
}

// Serve answers until the context ends, then lets requests that have begun come to
// their ends. That is no error.
func (s *Server) Serve(ctx context.Context) error {
	ended := make(chan error, 1)
	go func() { ended <- s.http.Serve(s.listener) }()
	select {
	case err := <-ended:
		return fmt.Errorf("the server ended: %w", err)
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	err := s.http.Shutdown(last)
	if err != nil {
		err = errors.Join(err, s.http.Close())
	}
	if e := <-ended; !errors.Is(e, http.ErrServerClosed) {
		err = errors.Join(err, e)
	}
	return err
}

// TLS is how a listener of this kind encrypts, nil if it does not: for what is served
// beside the API with the same certificate.
func (l *Listen) TLS() (*tls.Config, error) { return l.tlsConfig() }

func (l *Listen) tlsConfig() (*tls.Config, error) {
	switch {
	case l.CertFile != "":
		f := &certFiles{cert: l.CertFile, key: l.KeyFile}
		if _, err := f.get(nil); err != nil {
			return nil, err
		}
		return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: f.get, NextProtos: []string{"http/1.1"}}, nil
	case l.SelfSigned:
		c, err := selfSigned(time.Unix(0, clock.Real{}.Now()))
		if err != nil {
			return nil, err
		}
		return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{c}, NextProtos: []string{"http/1.1"}}, nil
	default:
		return nil, nil
	}
}

// certFiles reads a certificate again once its file has changed: those of clusters are
// replaced every few weeks.
type certFiles struct {
	cert, key string
	clock     clock.Real

	mu      sync.Mutex
	loaded  *tls.Certificate
	changed time.Time
	looked  spec.Time
}

func (f *certFiles) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.loaded != nil && f.clock.Now() < f.looked+5*spec.Second {
		return f.loaded, nil
	}
	f.looked = f.clock.Now()
	info, err := os.Stat(f.cert)
	if err == nil && f.loaded != nil && info.ModTime().Equal(f.changed) {
		return f.loaded, nil
	}
	pair, err := tls.LoadX509KeyPair(f.cert, f.key)
	switch {
	case err == nil:
		f.loaded = &pair
		if info != nil {
			f.changed = info.ModTime()
		}
	case f.loaded == nil:
		return nil, fmt.Errorf("certificate %s: %w", f.cert, err)
	}
	return f.loaded, nil // half a pair may be written just now: the old one serves
}

// selfSigned makes a certificate for a year. It keeps listeners out; who it is that
// answers, it can't prove.
func selfSigned(now time.Time) (c tls.Certificate, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return c, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return c, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "muster"}, NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(1, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true,
		DNSNames: []string{"localhost", "muster", "muster.muster-system.svc"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return c, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}
