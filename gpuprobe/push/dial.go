package push

import (
	"context"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/musterhq/muster/gpuprobe/wire"
)

// A leader whose machine is gone says nothing; pings find out.
const (
	pingAfter   = 20 * time.Second
	pingTimeout = 10 * time.Second
	bufferSize  = 4 << 10 // reports are small
	maxAsk      = 1 << 20
)

func (c *Client) dial(p place) (*grpc.ClientConn, error) {
	secure := insecure.NewCredentials()
	if c.o.TLS != nil {
		t := c.o.TLS.Clone()
		if t.ServerName == "" {
			t.ServerName = p.host
		}
		secure = credentials.NewTLS(t)
	}
	return grpc.NewClient("passthrough:///"+p.address,
		grpc.WithTransportCredentials(secure), grpc.WithNoProxy(), grpc.WithDisableRetry(), grpc.WithDisableServiceConfig(),
		grpc.WithIdleTimeout(0), grpc.WithReadBufferSize(bufferSize), grpc.WithWriteBufferSize(bufferSize),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAsk)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: pingAfter, Timeout: pingTimeout}))
}

// open returns a stream that the scheduler let in.
func (c *Client) open(ctx context.Context, conn *grpc.ClientConn) (*stream, error) {
	proof, err := c.o.Token()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNoToken, err)
	}
	if proof != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+proof)
	}
	ctx, cancel := context.WithCancel(ctx)
	late := time.AfterFunc(c.o.Timeout, cancel)
	g, err := wire.NewProbeClient(conn).Report(ctx)
	if err == nil {
		err = welcome(g)
	}
	if !late.Stop() && err != nil {
		err = status.Error(codes.DeadlineExceeded, "no answer in time")
	}
	if err != nil {
		cancel()
		return nil, err
	}
	return &stream{
		BidiStreamingClient: g, told: newTold(max(c.o.Interval, time.Second)),
		asked: make(chan struct{}, 1), timed: make(chan struct{}, 1), anew: make(chan struct{}, 1),
		end: make(chan error, 1), ended: make(chan struct{}), over: cancel,
	}, nil
}

// welcome waits for the headers, which a scheduler sends that leads and knows whose the
// token is. Where the stream ended instead, receiving says why.
func welcome(g grpc.BidiStreamingClient[wire.NodeReport, wire.Ask]) error {
	md, err := g.Header()
	if err == nil && md == nil {
		if _, err = g.Recv(); err == nil {
			err = status.Error(codes.Unavailable, "the stream ended before it began")
		}
	}
	return err
}

func notLeading(err error) bool {
	return err != nil && strings.Contains(status.Convert(err).Message(), "[not-leading]")
}
