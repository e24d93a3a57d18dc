package usage

import (
	"context"
	"errors"
	"net"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// Identify says which node a token belongs to. ErrNobody (or an error that wraps it) says
// that it is nobody's; any other error that it could not be told now.
type Identify func(ctx context.Context, token string) (node string, err error)

// ErrNobody is the answer to a token that is no node's.
var ErrNobody = errors.New("the token is not that of a node's probe")

// Static knows tokens by a list, from token to node. For tests and simulations.
func Static(nodes map[string]string) Identify {
	return func(_ context.Context, token string) (string, error) {
		node, ok := nodes[token]
		if !ok {
			return "", ErrNobody
		}
		return node, nil
	}
}

// NamedByToken takes the token for the node's name: it believes everybody. Only for a
// simulation on loopback.
func NamedByToken(_ context.Context, token string) (string, error) {
	if token == "" || len(token) > MaxText {
		return "", ErrNobody
	}
	return token, nil
}

// bearer is the token that a call carries, "" if none.
func bearer(ctx context.Context) string {
	md, _ := metadata.FromIncomingContext(ctx)
	for _, v := range md.Get("authorization") {
		if token, ok := strings.CutPrefix(v, "Bearer "); ok {
			return token
		}
	}
	return ""
}

// identify asks whose stream it is. Few may ask at once: behind it is the API server.
func (s *Server) identify(ctx context.Context) (string, error) {
	token := bearer(ctx)
	if token == "" {
		return "", s.reject(codes.Unauthenticated, refuse("no-token", "a stream without a token"))
	}
	ctx, cancel := context.WithTimeout(ctx, identifyTimeout)
	defer cancel()
	select {
	case s.asking <- struct{}{}:
		defer func() { <-s.asking }()
	case <-ctx.Done():
		s.unsure()
		return "", s.reject(codes.Unavailable, refuse("identity-unavailable", "too many streams wait to be identified"))
	}
	node, err := s.o.Identify(ctx, token)
	switch {
	case errors.Is(err, ErrNobody):
		return "", s.reject(codes.Unauthenticated, refuse("nobody", "%v", err))
	case err != nil:
		s.unsure()
		return "", s.reject(codes.Unavailable, refuse("identity-unavailable", "it can't be told whose the token is: %v", err))
	case node == "" || len(node) > MaxText:
		return "", s.reject(codes.Unauthenticated, refuse("nobody", "the token names no node"))
	}
	return node, nil
}

// reject counts a refusal, logs the first of its kind, and makes it an answer.
func (s *Server) reject(code codes.Code, r *Refusal) error {
	if s.stats.refused(r.Code) {
		s.o.Log.Warn("a probe's report is refused; further ones of this kind are only counted", "reason", r.Code, "why", r.Text)
	}
	return status.Error(code, r.Error())
}

// onLoopback says whether a listener can be reached from this machine only.
func onLoopback(a net.Addr) bool {
	switch a := a.(type) {
	case *net.TCPAddr:
		return a.IP.IsLoopback()
	case *net.UnixAddr:
		return true
	}
	return a.Network() == "bufconn"
}
