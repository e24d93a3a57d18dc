package act

import (
	"context"
	"log/slog"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/musterhq/muster/runtime/clock"
)

// Options of an Actor. The zero value of a field stands for its default.
type Options struct {
	// Workers is how many requests of binding are in flight at most (16). More than that
	// makes an API server slower, not faster.
	Workers int
	// QPS bounds binds per second; 0 is no bound. The client has limits of its own
	// (rest.Config.QPS), which should be lifted: -1.
	QPS float64
	// EvictWorkers is how many requests of evictions and notices are in flight (8).
	EvictWorkers int
	// WaitingQPS bounds how many waiting pods are told per second why (100; negative: no
	// bound), EventQPS how many events are written (100; negative: no bound). While pods are
	// being bound both are a tenth of it.
	WaitingQPS, EventQPS float64
	// EventQueue is how many events wait to be written before new ones are dropped (20000).
	EventQueue int
	// NoEvents writes none at all.
	NoEvents bool
	// Retell is how long a pod's condition stands at least if only its words change (30 s).
	Retell time.Duration

	// Namespace is the scheduler's own, for records of gangs ("default").
	Namespace string
	// Identity is the replica's name, Component the scheduler's ("muster"), for events.
	Identity, Component string

	// Admit has the last word right before a bind is sent: an error has it decided anew.
	// It is called from any goroutine and must be quick; nil admits everything.
	Admit func(Bind) error

	// Timeout of one request (15 s).
	Timeout time.Duration
	// Patience is how long something is tried before it counts as failed (1 min). Time in
	// which the API server is away does not count, for none of the patiences.
	Patience time.Duration
	// ClaimPatience is how long a claim may take to be bound (10 min, as kube-scheduler's
	// bindTimeoutSeconds).
	ClaimPatience time.Duration
	// EvictionPatience is how long a PodDisruptionBudget can keep a pod from being evicted
	// (30 s; negative: not at all). After that the pod is deleted: a queue's guarantee is a
	// contract, and budgets are respected where possible, as kube-scheduler's preemption
	// does. With RespectBudgets the eviction fails instead.
	EvictionPatience time.Duration
	RespectBudgets   bool
	// Grace is how long requests in flight may go on when Run's context ends (5 s).
	Grace time.Duration

	Log   *slog.Logger
	Clock clock.Clock
}

func (o Options) withDefaults() Options {
	orDefault(&o.Workers, 16)
	orDefault(&o.EvictWorkers, 8)
	orDefault(&o.WaitingQPS, 100)
	orDefault(&o.EventQPS, 100)
	orDefault(&o.EventQueue, 20_000)
	orDefault(&o.Retell, 30*time.Second)
	orDefault(&o.Namespace, corev1.NamespaceDefault)
	orDefault(&o.Component, "muster")
	orDefault(&o.Identity, "muster")
	orDefault(&o.Timeout, 15*time.Second)
	orDefault(&o.Patience, time.Minute)
	orDefault(&o.ClaimPatience, 10*time.Minute)
	orDefault(&o.EvictionPatience, 30*time.Second)
	orDefault(&o.Grace, 5*time.Second)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Clock == nil {
		o.Clock = clock.Real{}
	}
	return o
}

func orDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// Actor carries out Work. Its methods may be called from any goroutine.
type Actor struct {
	api   kubernetes.Interface
	opts  Options
	clock clock.Clock
	out   Outcomes

	// Requests in flight: of binding, of evictions and notices, of what is only told.
	binds, evicts, low            *slots
	bindPace, waitPace, eventPace *pacer
	gate                          gate
	units                         *inbox[*unitRun]
	evictions                     *inbox[*eviction]
	waits                         waits
	marks                         marks
	events                        *events
	stats                         counters
	group                         sync.WaitGroup // everything that Run started
}

// New makes an actor that does nothing until Run.
func New(api kubernetes.Interface, opts Options, out Outcomes) *Actor {
	opts = opts.withDefaults()
	c := opts.Clock
	return &Actor{
		api: api, opts: opts, clock: c, out: out,
		binds: newSlots(opts.Workers), evicts: newSlots(opts.EvictWorkers), low: newSlots(tellers),
		bindPace: newPacer(c, opts.QPS), waitPace: newPacer(c, opts.WaitingQPS), eventPace: newPacer(c, opts.EventQPS),
		gate:  gate{clock: c},
		units: newInbox[*unitRun](), evictions: newInbox[*eviction](),
		waits:  waits{lane: newLane[Waiting](c), told: map[types.UID]told{}, binding: map[types.UID]bool{}},
		marks:  marks{lane: newLane[mark](c), noticed: map[types.UID]int64{}},
		events: newEvents(c, opts.EventQueue, opts.NoEvents),
	}
}

// tellers is how many requests of what is only told are in flight.
const tellers = 4

// Do takes the work and returns at once. It may be called before Run, and keeps w.
func (a *Actor) Do(w Work) {
	now := a.clock.Now()
	for i := range w.Waiting {
		a.tell(w.Waiting[i])
	}
	runs := make([]*unitRun, 0, len(w.Units))
	for i := range w.Units {
		u := &w.Units[i]
		a.stats.queuedBinds.Add(int64(len(u.Binds)))
		for j := range u.Binds {
			a.waits.bindingBegins(u.Binds[j].Pod.UID)
		}
		runs = append(runs, &unitRun{a: a, unit: u, since: now})
	}
	a.units.put(runs...)
	for i := range w.Notices {
		n := &w.Notices[i]
		a.marks.lane.put(n.Pod.UID, now, mark{pod: n.Pod, notice: n})
	}
	for _, x := range w.Withdraws {
		a.marks.lane.put(x.Pod.UID, now, mark{pod: x.Pod, text: x.Text})
	}
	a.stats.queuedEvicts.Add(int64(len(w.Evicts)))
	a.evictions.put(evictions(w.Evicts)...)
	for _, e := range w.Events {
		a.events.put(event{about: e.About, kind: e.Type, reason: e.Reason, action: "Scheduling", text: e.Text})
	}
}

// Run works until ctx ends and what is in flight then has ended too, which takes no
// longer than Options.Grace. What was not begun is dropped without a word: the next
// leader starts from the API server and Intents. It may be called once.
func (a *Actor) Run(ctx context.Context) {
	a.start(func() { a.beginUnits(ctx) })
	a.start(func() { a.beginEvictions(ctx) })
	for range a.opts.EvictWorkers {
		a.start(func() { a.markPods(ctx) })
	}
	for range tellers / 2 {
		a.start(func() { a.tellPods(ctx) })
		a.start(func() { a.tellEvents(ctx) })
	}
	a.group.Wait()
}

func (a *Actor) start(f func()) {
	a.group.Add(1)
	go func() {
		defer a.group.Done()
		f()
	}()
}

// beginUnits begins units in order, as many as keep all slots busy: one that waits for a
// claim, or before a further try, does not count.
func (a *Actor) beginUnits(ctx context.Context) {
	for {
		r, err := a.units.next(ctx)
		if err != nil || a.binds.waitRoom(ctx) != nil {
			return
		}
		r.first.Store(a.binds.draw())
		a.start(func() { r.run(ctx) })
	}
}

func (a *Actor) beginEvictions(ctx context.Context) {
	for {
		g, err := a.evictions.next(ctx)
		if err != nil {
			return
		}
		a.start(func() { a.evictJob(ctx, g) })
	}
}

// inbox is a queue without end, for one reader.
type inbox[T any] struct {
	mu    sync.Mutex
	items []T
	kick  chan struct{}
	batch []T // the reader's
}

func newInbox[T any]() *inbox[T] { return &inbox[T]{kick: make(chan struct{}, 1)} }

func (b *inbox[T]) put(items ...T) {
	if len(items) == 0 {
		return
	}
	b.mu.Lock()
	b.items = append(b.items, items...)
	b.mu.Unlock()
	select {
	case b.kick <- struct{}{}:
	default:
	}
}

func (b *inbox[T]) next(ctx context.Context) (v T, err error) {
	for len(b.batch) == 0 {
		b.mu.Lock()
		b.batch, b.items = b.items, nil
		b.mu.Unlock()
		if len(b.batch) > 0 {
			break
		}
		select {
		case <-b.kick:
		case <-ctx.Done():
			return v, errStopped
		}
	}
	if ctx.Err() != nil {
		return v, errStopped
	}
	v = b.batch[0]
	b.batch = b.batch[1:]
	return v, nil
}
