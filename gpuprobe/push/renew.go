package push

import (
	"context"
	"time"

	"google.golang.org/grpc"
)

// Pauses between two tries to open a new stream: doubled from the first to the last.
const (
	firstTry = time.Second
	lastTry  = 15 * time.Second
)

// renewal opens a new stream beside an old one, on the same connection: who we are is in
// the token, which is read anew. Until there is one the old one goes on; once there is, the
// scheduler listens to the new one only, whose first report has everything.
type renewal struct {
	c    *Client
	conn *grpc.ClientConn
	old  *stream
	// ready is closed when no more is tried, nil before begin; next is set before, to nil
	// if the old stream ended and there is no new one.
	ready chan struct{}
	next  *stream
}

// begin begins to try, unless it has.
func (r *renewal) begin(ctx context.Context) {
	if r.ready != nil {
		return
	}
	r.ready = make(chan struct{})
	go func() {
		defer close(r.ready)
		r.next = r.try(ctx)
	}()
}

// try until there is a stream, or the old one has ended without.
func (r *renewal) try(ctx context.Context) *stream {
	for pause := firstTry; ; pause = min(2*pause, lastTry) {
		st, err := r.c.open(ctx, r.conn)
		if err == nil {
			return st
		}
		r.c.note(func(s *Status) { s.Detail = "the stream is to be renewed, and no new one is taken: " + text(err) })
		r.c.o.Log.Debug("no new stream in place of the old one", "reason", reason(err), "err", err)
		select {
		case <-ctx.Done():
			return nil
		case <-r.old.ended:
			return nil
		case <-r.c.alarm(pause/2 + time.Duration(r.c.o.Chance()*float64(pause/2))):
		}
	}
}

// take returns the new stream, nil if there is none. It is called when the old one is not
// used any more, maybe as the scheduler has replaced it: it waits for a try that is under
// way.
func (r *renewal) take() *stream {
	if r.ready == nil {
		return nil
	}
	<-r.ready
	return r.next
}
