package push

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
	"math/big"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/musterhq/muster/gpuprobe/wire"
	"github.com/musterhq/muster/runtime/usage"
)

// scheduler is a server on loopback.
type scheduler struct {
	*usage.Server
	address string
	stop    func()
}

func newScheduler(t *testing.T, leads bool, change ...func(*usage.Options)) *scheduler {
	t.Helper()
	s := &scheduler{}
	o := usage.Options{Identify: usage.NamedByToken}
	for _, f := range change {
		f(&o)
	}
	var err error
	if s.Server, err = usage.NewServer(o); err != nil {
		t.Fatal(err)
	}
	s.SetLeading(leads)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.address = l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, l) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(s.stop)
	return s
}

// start runs a client until the test ends; it reports every hour unless it is told to.
func start(t *testing.T, o Options) *Client {
	t.Helper()
	if o.Token == nil {
		o.Token = func() (string, error) { return "n", nil }
	}
	if o.Interval == 0 {
		o.Interval = time.Hour
	}
	o.Jitter, o.MaxDelay = -1, 20*time.Millisecond
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	return c
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it never came to %s", what)
		}
	}
}

// says is a state of one pod that is as busy as that.
type says uint32

func (busy says) Report(time.Time) *wire.NodeReport {
	return &wire.NodeReport{Node: "n", BootId: "b", Uses: []*wire.Use{
		{Owner: "p", Gpu: "G", Busy: proto.Uint32(uint32(busy)), IdleMs: proto.Uint64(0)},
	}}
}

// busy is what the scheduler knows of p, permille; -1 if it does not know.
func (s *scheduler) busy() int {
	n, _ := s.Table().One("n")
	if n.Stale || len(n.Uses) == 0 {
		return -1
	}
	return int(n.Uses[0].GetBusy())
}

func TestTheLeaderIsFoundAmongAll(t *testing.T) {
	waits, leads := newScheduler(t, false), newScheduler(t, true)
	c := start(t, Options{Addresses: []string{"127.0.0.1:1", waits.address, leads.address}})
	c.Report(says(1), false)
	eventually(t, "a report at the leader", func() bool { return leads.busy() == 1 })
	if s := c.Status(); !s.Connected || s.Address != leads.address || !s.Source().GetUp() {
		t.Errorf("%+v", s)
	}
	leads.SetLeading(false)
	waits.SetLeading(true)
	c.Report(says(2), false)
	eventually(t, "a report at the new leader", func() bool { return waits.busy() == 2 })
	if leads.busy() != -1 {
		t.Error("the old one still believes something")
	}
}

func TestANameStandsForAllItsAddresses(t *testing.T) {
	s := newScheduler(t, true)
	_, port, _ := net.SplitHostPort(s.address)
	c := start(t, Options{
		Addresses: []string{"localhost:" + port},
		Lookup:    func(context.Context, string) ([]string, error) { return []string{"127.0.0.2", "127.0.0.1"}, nil },
	})
	c.Report(says(1), false)
	eventually(t, "a report", func() bool { return s.busy() == 1 })
}

func TestWhyThereIsNoStreamIsTold(t *testing.T) {
	waits, refuses := newScheduler(t, false), newScheduler(t, true, func(o *usage.Options) { o.Identify = usage.Static(nil) })
	for want, o := range map[string]Options{
		"NotLeading":  {Addresses: []string{waits.address}},
		"Unreachable": {Addresses: []string{"127.0.0.1:1"}},
		"Refused":     {Addresses: []string{refuses.address}},
		"NoToken":     {Addresses: []string{refuses.address}, Token: func() (string, error) { return "", errors.New("no file") }},
	} {
		c := start(t, o)
		if s := c.Status(); s.Reason != "Starting" || s.Source().GetUp() {
			t.Errorf("%+v", s)
		}
		c.Report(says(1), false)
		eventually(t, want, func() bool { return c.Status().Reason == want })
	}
}

func TestTheTokenIsReadAgainForEachStream(t *testing.T) {
	s := newScheduler(t, true, func(o *usage.Options) { o.Identify = usage.Static(map[string]string{"new": "n"}) })
	var reads atomic.Int32
	c := start(t, Options{Addresses: []string{s.address}, Token: func() (string, error) {
		if reads.Add(1) < 3 {
			return "old", nil
		}
		return "new", nil
	}})
	c.Report(says(1), false)
	eventually(t, "a report", func() bool { return s.busy() == 1 })
}

func TestOnlyTheNewestStateIsSentAndAnEdgeAtOnce(t *testing.T) {
	s := newScheduler(t, false)
	c := start(t, Options{Addresses: []string{s.address}})
	for i := range 500 {
		c.Report(says(i), i == 250) // nobody listens: this must not block, nor queue
	}
	s.SetLeading(true)
	eventually(t, "the newest", func() bool { return s.busy() == 499 })
	if st := s.Stats(); st.Edges != 1 || st.Full != 1 || st.Reports > 2 {
		t.Errorf("%+v", st)
	}
	c.Report(says(900), false) // in an hour
	c.Report(says(1000), true)
	eventually(t, "the edge", func() bool { return s.busy() == 1000 })
	if st := s.Stats(); st.Full != 1 {
		t.Errorf("%+v", st)
	}
}

func TestReportsComeInTheirIntervalAndTellOnlyWhatChanged(t *testing.T) {
	s := newScheduler(t, true)
	c := start(t, Options{Addresses: []string{s.address}, Interval: 20 * time.Millisecond})
	c.Report(says(100), false)
	eventually(t, "some reports", func() bool { return s.Stats().Reports > 2 })
	c.Report(says(150), false) // within the dead band
	n := s.Stats().Reports
	eventually(t, "two more", func() bool { return s.Stats().Reports > n+1 })
	if s.busy() != 100 {
		t.Errorf("busy %d", s.busy())
	}
	c.Report(says(151), false)
	eventually(t, "the change", func() bool { return s.busy() == 151 })
	if st := s.Stats(); st.Full != 1 || st.Edges != 0 {
		t.Errorf("%+v", st)
	}
}

func TestAStormOfEdgesIsTakenTogether(t *testing.T) {
	s := newScheduler(t, true)
	c := start(t, Options{Addresses: []string{s.address}})
	c.Report(says(0), false)
	eventually(t, "the first", func() bool { return s.Stats().Reports > 0 })
	for i := range 1000 {
		c.Report(says(i), true)
		time.Sleep(100 * time.Microsecond)
	}
	c.Report(says(123), true)
	eventually(t, "the last", func() bool { return s.busy() == 123 })
	if st := s.Stats(); st.Reports > 100 || st.Slowed > 0 {
		t.Errorf("1000 edges: %+v", st)
	}
}

func TestTheSchedulerAsksForAnIntervalAndForWakeUps(t *testing.T) {
	s := newScheduler(t, true, func(o *usage.Options) { o.Interval = 20 * time.Millisecond })
	watched := make(chan []string, 8)
	c := start(t, Options{Addresses: []string{s.address}, Watch: func(owners []string) { watched <- owners }})
	s.Watch("n", []string{"p"})
	c.Report(says(1), false)
	eventually(t, "reports every 20 ms", func() bool { return s.Stats().Reports > 4 })
	select {
	case got := <-watched:
		if !slices.Equal(got, []string{"p"}) {
			t.Errorf("%v", got)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("nobody asked")
	}
}

func TestABrokenStreamStartsAgainWithEverything(t *testing.T) {
	s := newScheduler(t, true)
	c := start(t, Options{Addresses: []string{s.address}})
	c.Report(says(7), false)
	eventually(t, "a report", func() bool { return s.busy() == 7 })
	s.SetLeading(false)
	eventually(t, "nothing being known", func() bool { return s.busy() == -1 })
	eventually(t, "the client to know", func() bool { return !c.Status().Connected })
	s.SetLeading(true)
	eventually(t, "all being known again", func() bool { return s.busy() == 7 })
	if st := s.Stats(); st.Full != 2 || c.Status().Streams != 2 {
		t.Errorf("%+v, %+v", st, c.Status())
	}
}

// certificate is self-signed, for a host.
func certificate(t *testing.T, host string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	from := x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host}, IsCA: true,
		BasicConstraintsValid: true, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, &from, &from, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

func TestTheServersCertificateMustBeForItsName(t *testing.T) {
	cert, pool := certificate(t, "muster.test")
	s := newScheduler(t, true, func(o *usage.Options) { o.TLS = &tls.Config{Certificates: []tls.Certificate{cert}} })
	_, port, _ := net.SplitHostPort(s.address)
	here := func(context.Context, string) ([]string, error) { return []string{"127.0.0.1"}, nil }
	wrong := start(t, Options{Addresses: []string{"other.test:" + port}, TLS: &tls.Config{RootCAs: pool}, Lookup: here})
	wrong.Report(says(1), false)
	eventually(t, "the wrong name being found out", func() bool { return wrong.Status().Reason == "Unreachable" })
	right := start(t, Options{Addresses: []string{"muster.test:" + port}, TLS: &tls.Config{RootCAs: pool}, Lookup: here})
	right.Report(says(2), false)
	eventually(t, "a report", func() bool { return s.busy() == 2 })
}

func TestOptionsThatCantWork(t *testing.T) {
	for want, o := range map[string]Options{
		"no-address":  {},
		"bad-address": {Addresses: []string{"nowhere"}},
		"no-tls":      {Addresses: []string{"muster.example:1"}},
	} {
		_, err := New(o)
		var wrong *Error
		if !errors.As(err, &wrong) || wrong.Code != want || wrong.Hint == "" {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func TestPaceIsSlowerThanTheSchedulerReads(t *testing.T) {
	var p pace
	sent, now := 0, int64(1e18)
	for end := now + int64(10*time.Second); now < end; sent++ {
		now += int64(p.wait(now))
	}
	if sent > 10+10*4+1 {
		t.Errorf("%d in ten seconds", sent)
	}
}

func TestTriesAreSpreadMoreAndMoreUpToALimit(t *testing.T) {
	var waits []time.Duration
	c, err := New(Options{
		Addresses: []string{"127.0.0.1:1"}, Jitter: 4 * time.Second, MaxDelay: 10 * time.Second, Chance: func() float64 { return 1 },
		Clock: &countedClock{f: func(d time.Duration) { waits = append(waits, d) }, most: 4},
	})
	if err != nil {
		t.Fatal(err)
	}
	c.Report(says(1), false)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	c.o.Clock.(*countedClock).end = cancel
	if err := c.Run(ctx); err == nil {
		t.Fatal("it ended by itself")
	}
	if got := fmt.Sprint(waits); got != "[4s 8s 10s 10s]" {
		t.Errorf("it waited %s", got)
	}
}

// countedClock is a clock on which nobody waits; after some alarms it ends the test.
type countedClock struct {
	f    func(time.Duration)
	most int
	end  func()
}

func (*countedClock) Now() int64 { return 0 }

func (c *countedClock) Wake(t int64) <-chan int64 {
	ch := make(chan int64, 1)
	c.f(time.Duration(t))
	if c.most--; c.most == 0 {
		c.end()
		return ch
	}
	ch <- t
	return ch
}
