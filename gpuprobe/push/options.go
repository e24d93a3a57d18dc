package push

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"time"

	"github.com/musterhq/muster/runtime/clock"
)

// Options of a Client. Addresses is needed; the rest has defaults.
type Options struct {
	// Addresses of schedulers, host:port. Each stands for all that its name resolves to,
	// such as the pods behind a headless service; only the leader takes reports.
	Addresses []string
	// Token proves which node this is. It is asked for again for every stream, as tokens
	// that kubelets project are replaced. nil sends none.
	Token func() (string, error)
	// TLS is needed unless all addresses are on loopback.
	TLS *tls.Config
	// Interval between reports that nothing made urgent; 10 s if 0. The scheduler may ask
	// for another one.
	Interval time.Duration
	// Jitter is the most that a first try waits, and one after a stream broke, so that
	// thousands of nodes do not come at once; it doubles with each failure up to MaxDelay.
	// 30 s and 60 s if 0, none if negative.
	Jitter, MaxDelay time.Duration
	// Timeout of the way to an open stream at one address; 10 s if 0.
	Timeout time.Duration
	// Watch is told whose next launch is awaited; called on the client's goroutine.
	Watch func(owners []string)
	// Clock is for waiting; the machine's if nil. Now is the time that States are asked
	// for; it must be that of the agent. It is time.Now if nil and Clock is too.
	Clock clock.Clock
	Now   func() time.Time
	// Lookup resolves names; net.DefaultResolver's if nil.
	Lookup func(ctx context.Context, host string) ([]string, error)
	// Chance gives numbers from [0, 1).
	Chance func() float64
	Log    *slog.Logger // none if nil
}

// Error is what is wrong with Options.
type Error struct {
	Code string // stable: no-address, bad-address, no-tls
	Text string
	Hint string
}

func (e *Error) Error() string { return e.Text + " [" + e.Code + "]; " + e.Hint }

func (o *Options) complete() error {
	if len(o.Addresses) == 0 {
		return &Error{"no-address", "push: no address of a scheduler", "give host:port of at least one"}
	}
	for _, a := range o.Addresses {
		host, _, err := net.SplitHostPort(a)
		if err != nil {
			return &Error{"bad-address", fmt.Sprintf("push: address %q: %v", a, err), "write host:port"}
		}
		if ip := net.ParseIP(host); o.TLS == nil && host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			return &Error{"no-tls", fmt.Sprintf("push: %s is not on loopback, and a token must not be sent in the clear", a), "give a CA certificate"}
		}
	}
	if o.Now == nil {
		o.Now = time.Now
		if c := o.Clock; c != nil {
			o.Now = func() time.Time { return time.Unix(0, c.Now()) }
		}
	}
	if o.Clock == nil {
		o.Clock = clock.Real{}
	}
	o.Interval = cmp.Or(o.Interval, 10*time.Second)
	o.Jitter = max(0, cmp.Or(o.Jitter, 30*time.Second))
	o.MaxDelay = max(0, cmp.Or(o.MaxDelay, 60*time.Second))
	o.Timeout = cmp.Or(o.Timeout, 10*time.Second)
	o.fill()
	return nil
}

func (o *Options) fill() {
	if o.Token == nil {
		o.Token = func() (string, error) { return "", nil }
	}
	if o.Watch == nil {
		o.Watch = func([]string) {}
	}
	if o.Lookup == nil {
		o.Lookup = net.DefaultResolver.LookupHost
	}
	if o.Chance == nil {
		o.Chance = rand.Float64
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
}

// place is one address that may have a scheduler.
type place struct {
	address string // what is dialled
	host    string // what its certificate must be for
}

// places are all addresses that the names stand for now, those that can't be resolved as
// they are: dialling says why.
func (o *Options) places(ctx context.Context) (out []place) {
	for _, a := range o.Addresses {
		host, port, err := net.SplitHostPort(a)
		if err != nil {
			continue // complete has seen to it
		}
		ips := []string{host}
		if net.ParseIP(host) == nil {
			if found, err := o.Lookup(ctx, host); err == nil && len(found) > 0 {
				ips = found
			}
		}
		for _, ip := range ips {
			out = append(out, place{net.JoinHostPort(ip, port), host})
		}
	}
	return out
}

// errNoToken says that there is no token to prove who we are with.
var errNoToken = errors.New("the token can't be read")
