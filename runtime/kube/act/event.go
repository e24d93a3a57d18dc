package act

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/musterhq/muster/runtime/clock"
)

// Events are written through events.k8s.io/v1, as kube-scheduler does: unlike core/v1 it
// names the other object of a preemption (related) and counts repetitions as a series;
// kubectl shows both alike, as they are one store.
//
// They are told, not promised. The same text about the same object within seriesWindow is
// counted, not written again, and its count is written once per seriesEvery. An object
// gets spamBurst different texts with one reason, then one each spamEvery. When more than
// Options.EventQueue wait, new ones are dropped. The Scheduled events of bound pods have a
// queue of their own, which goes last: they say what the pod's spec says.
const (
	seriesWindow = 10 * time.Minute
	seriesEvery  = 5 * time.Minute
	seriesKnown  = 20_000
	spamBurst    = 10
	spamEvery    = 30 * time.Second
	eventRetry   = 10 * time.Second
)

// event is what is to be told about an object.
type event struct {
	about   corev1.ObjectReference
	related *corev1.ObjectReference
	kind    string // Normal, Warning
	reason  string
	action  string
	text    string
}

// series is an event and how often it was told.
type series struct {
	event
	name        string // of its object, "" before it was written
	first, last int64
	count       int32
	written     int64 // when the object was written last
	queued      bool
}

type seriesKey struct {
	about  string
	reason string
	text   string
}

type spamKey struct{ about, reason string }

// bucket of tokens: how many more texts an object may get.
type bucket struct {
	tokens int
	at     int64
}

type events struct {
	clock clock.Clock
	limit int
	off   bool
	kick  chan struct{}

	mu    sync.Mutex
	rest  []*series
	plain []*series // Scheduled
	known map[seriesKey]*series
	order []seriesKey // of known, oldest first
	spam  map[spamKey]*bucket

	sent, merged, dropped uint64
}

func newEvents(c clock.Clock, limit int, off bool) *events {
	return &events{clock: c, limit: limit, off: off, kick: make(chan struct{}, 1), known: map[seriesKey]*series{}, spam: map[spamKey]*bucket{}}
}

// put never blocks.
func (e *events) put(ev event) {
	if e.off {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	now := e.clock.Now()
	ev.text = cut(ev.text, noteMax)
	if ev.reason == "Scheduled" {
		e.queue(&e.plain, &series{event: ev, first: now, last: now, count: 1})
		return
	}
	key := seriesKey{aboutKey(&ev.about), ev.reason, ev.text}
	if s := e.known[key]; s != nil && now-s.last < int64(seriesWindow) {
		s.count++
		s.last = now
		e.merged++
		if !s.queued && s.name != "" && now-s.written >= int64(seriesEvery) {
			e.queue(&e.rest, s)
		}
		return
	}
	if !e.allow(spamKey{key.about, key.reason}, now) {
		e.dropped++
		return
	}
	s := &series{event: ev, first: now, last: now, count: 1}
	if e.queue(&e.rest, s) {
		e.remember(key, s)
	}
}

func aboutKey(o *corev1.ObjectReference) string {
	if o.UID != "" {
		return string(o.UID)
	}
	return o.Kind + "/" + o.Namespace + "/" + o.Name
}

func (e *events) queue(q *[]*series, s *series) bool {
	if len(*q) >= e.limit {
		e.dropped++
		return false
	}
	s.queued = true
	*q = append(*q, s)
	e.wake()
	return true
}

func (e *events) wake() {
	select {
	case e.kick <- struct{}{}:
	default:
	}
}

func (e *events) remember(key seriesKey, s *series) {
	if e.known[key] == nil {
		e.order = append(e.order, key)
	}
	e.known[key] = s
	for len(e.order) > seriesKnown {
		delete(e.known, e.order[0])
		e.order = e.order[1:]
	}
}

func (e *events) allow(key spamKey, now int64) bool {
	b := e.spam[key]
	if b == nil {
		if len(e.spam) >= seriesKnown {
			clear(e.spam)
		}
		b = &bucket{tokens: spamBurst, at: now}
		e.spam[key] = b
	}
	if more := (now - b.at) / int64(spamEvery); more > 0 {
		b.tokens = min(spamBurst, b.tokens+int(more))
		b.at += more * int64(spamEvery)
	}
	if b.tokens == 0 {
		return false
	}
	b.tokens--
	return true
}

// next waits for an event to be written.
func (e *events) next(ctx context.Context) (*series, error) {
	for {
		if s := e.pop(); s != nil {
			return s, nil
		}
		select {
		case <-e.kick:
		case <-ctx.Done():
			return nil, errStopped
		}
	}
}

func (e *events) pop() *series {
	e.mu.Lock()
	defer e.mu.Unlock()
	q := &e.rest
	if len(*q) == 0 {
		q = &e.plain
	}
	if len(*q) == 0 {
		return nil
	}
	s := (*q)[0]
	(*q)[0] = nil
	*q = (*q)[1:]
	if len(e.rest)+len(e.plain) > 0 {
		e.wake()
	}
	return s
}

func (e *events) len() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.rest) + len(e.plain)
}

// tellEvents is the loop that writes them.
func (a *Actor) tellEvents(ctx context.Context) {
	for {
		if a.sleepUntil(ctx, a.eventPace.slot(a.slowness())) != nil {
			return
		}
		s, err := a.events.next(ctx)
		if err != nil {
			return
		}
		if err := a.writeEvent(ctx, s); err != nil && fateOf(err) != stopped {
			a.opts.Log.Debug("event not written", "reason", s.reason, "object", s.about.Name, "err", err)
		}
	}
}

func (a *Actor) writeEvent(ctx context.Context, s *series) error {
	e := a.events
	e.mu.Lock()
	s.queued = false
	now := e.clock.Now()
	s.written = now
	name, count, last := s.name, s.count, s.last
	e.mu.Unlock()

	var err error
	if name != "" {
		err = a.patchSeries(ctx, s, name, count, last)
	}
	if name == "" || fateOf(err) == gone { // the API server forgets events after an hour
		name = eventName(s.about.Name, now)
		err = a.createEvent(ctx, s, name, last)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if err != nil {
		e.dropped++
		return err
	}
	s.name = name
	e.sent++
	return nil
}

// eventName is the name of an event as client-go gives it: the object's, and a time. It has
// to be a name of DNS as well, and what it is about may take all of that.
func eventName(about string, now int64) string {
	const most = 253 - len(".") - 16
	if len(about) > most {
		about = strings.TrimRight(about[:most], "-.")
	}
	return fmt.Sprintf("%s.%x", about, now)
}

func (a *Actor) createEvent(ctx context.Context, s *series, name string, last int64) error {
	ev := &eventsv1.Event{
		ObjectMeta:          metav1.ObjectMeta{Name: name, Namespace: eventNamespace(s)},
		EventTime:           metav1.NewMicroTime(time.Unix(0, last)),
		ReportingController: a.opts.Component,
		ReportingInstance:   cut(a.opts.Component+"-"+a.opts.Identity, 128),
		Action:              s.action,
		Reason:              s.reason,
		Regarding:           s.about,
		Related:             s.related,
		Note:                s.text,
		Type:                s.kind,
	}
	return a.again(ctx, eventRetry, func() error {
		err := a.call(ctx, a.low.draw(), func(ctx context.Context) error {
			_, err := a.api.EventsV1().Events(ev.Namespace).Create(ctx, ev, metav1.CreateOptions{})
			return err
		})
		if fateOf(err) == conflict { // the answer to an earlier try was lost
			return nil
		}
		return err
	})
}

func (a *Actor) patchSeries(ctx context.Context, s *series, name string, count int32, last int64) error {
	body := marshal(map[string]any{"series": eventsv1.EventSeries{Count: count, LastObservedTime: metav1.NewMicroTime(time.Unix(0, last))}})
	return a.again(ctx, eventRetry, func() error {
		return a.call(ctx, a.low.draw(), func(ctx context.Context) error {
			_, err := a.api.EventsV1().Events(eventNamespace(s)).Patch(ctx, name, types.MergePatchType, []byte(body), metav1.PatchOptions{})
			return err
		})
	})
}

// eventNamespace is the object's, and default for those without one (API convention).
func eventNamespace(s *series) string {
	if s.about.Namespace == "" {
		return metav1.NamespaceDefault
	}
	return s.about.Namespace
}
