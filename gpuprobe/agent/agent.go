package agent

import (
	"context"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/musterhq/muster/gpuprobe/bpf"
	"github.com/musterhq/muster/gpuprobe/nvml"
)

// Agent measures one node. New makes it, Run is its life.
type Agent struct {
	c      Config
	lookup *lookup
	state  atomic.Pointer[State]
	alive  atomic.Int64 // when the loop last turned

	// What other goroutines send to the loop.
	libraries chan opened
	readings  chan *reading
	polls     chan *polled
	lists     chan listed
	starts    chan started
	events    chan nvml.Event
	eventsEnd chan string
	watches   chan []string
	orders    chan Orders
	recalls   chan Past
	armJobs   chan armJob // to the armer, one at most
	armed     chan error
	atRest    chan chan bool // asks whether nothing is under way; for tests

	// The rest belongs to the loop.
	library      nvml.Library // nil while there is none
	libErr       error
	gen          uint64 // of the library
	eventsStop   context.CancelFunc
	eventsDetail string
	system       System
	slots        []*slot
	procs        map[uint32]*proc
	uses         map[Key]*use
	owners       map[string]bool // that had processes in the last sweep
	watched      map[string]bool
	order        Orders
	recall       recall
	assignments  assignments
	sources      sources
	counts       Counts
	untold       uint64 // uses that there were too many of, in all States

	sweep     uint64    // the one that runs, or the last
	running   bool      // a sweep is under way
	waiting   int       // for so many readings
	asked     bool      // the library was asked for and has not answered
	began     time.Time // the sweep
	deadline  time.Time // of the sweep
	nextSweep time.Time
	sweptAt   time.Time // end of the last sweep
	edge      bool      // the State of this sweep can't wait
	countedAt time.Time
	lookingUp int // processes whose owner is asked for
	listing   bool
	nextList  time.Time
	looking   bool // Duty
	nextDuty  time.Time
	wanted    []uint32
	arming    int // sets that the armer has not finished with
	armErr    error
	lookedAt  uint64
	unownedAt uint64
}

// New checks the configuration and fills in defaults. The agent does nothing before Run.
func New(c Config) (*Agent, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	a := &Agent{
		c: c, lookup: newLookup(&c),
		libraries: make(chan opened, 1), readings: make(chan *reading, 64), polls: make(chan *polled, 64),
		lists: make(chan listed, 1), starts: make(chan started, 64), events: make(chan nvml.Event, 64),
		eventsEnd: make(chan string, 1), watches: make(chan []string, 1), orders: make(chan Orders, 1), recalls: make(chan Past, 1),
		armJobs: make(chan armJob, 1), armed: make(chan error, 1), atRest: make(chan chan bool),
		procs: map[uint32]*proc{}, uses: map[Key]*use{}, owners: map[string]bool{}, watched: map[string]bool{},
	}
	now := a.now()
	a.recall = recall{open: c.Recall, until: now.Add(c.RecallWithin)}
	a.order.IgnoreXIDs = c.IgnoreXIDs
	a.sources = newSources(now)
	a.sweptAt, a.countedAt = now, now
	a.alive.Store(now.UnixNano())
	a.publish(now, false)
	return a, nil
}

func (a *Agent) now() time.Time { return time.Unix(0, a.c.Clock.Now()) }

// State is the last one. Before the first sweep it holds nothing, and Sweep is 0.
func (a *Agent) State() *State { return a.state.Load() }

// Alive is when the loop last turned. It turns at least once an Interval, whatever the
// driver does.
func (a *Agent) Alive() time.Time { return time.Unix(0, a.alive.Load()) }

// Watch replaces the owners whose next launch is awaited, by the will of the server. They
// are armed whatever they do now. It may be called from any goroutine.
func (a *Agent) Watch(owners []string) {
	owners = slices.Clone(owners[:min(len(owners), maxWatched)])
	replace(a.watches, owners)
}

// Orders are what the administrator of the node wants.
type Orders struct {
	IgnoreXIDs []uint64 // besides those of Config
	Cordoned   []string // UUIDs of GPUs that get no new work: they count as failed
	// Repaired says of GPUs, by UUID, that what they failed of before then is over.
	Repaired map[string]time.Time
}

// Follow replaces the orders. It may be called from any goroutine.
func (a *Agent) Follow(o Orders) {
	replace(a.orders, Orders{slices.Clone(o.IgnoreXIDs), slices.Clone(o.Cordoned), maps.Clone(o.Repaired)})
}

// replace puts a value into a channel of one place, instead of what was not taken yet.
func replace[T any](ch chan T, v T) {
	for {
		select {
		case ch <- v:
			return
		default:
		}
		select {
		case <-ch:
		default:
		}
	}
}

// takeOrders has XIDs of the past judged as before: they are only counted.
func (a *Agent) takeOrders(o Orders) {
	a.setOrders(o)
	a.judgeHealth()
}

func (a *Agent) setOrders(o Orders) {
	a.order = o
	a.order.IgnoreXIDs = append(slices.Clone(a.c.IgnoreXIDs), o.IgnoreXIDs...)
}

// judgeHealth is for what comes between sweeps.
func (a *Agent) judgeHealth() {
	failed, now := false, a.now()
	for _, s := range a.slots {
		a.obey(s)
		failed = s.health.verdict(now) || failed
	}
	if failed {
		a.publish(now, true)
	}
}

func (a *Agent) obey(s *slot) {
	s.health.ignored = a.order.IgnoreXIDs
	s.health.cordoned = s.whole != nil && slices.Contains(a.order.Cordoned, s.whole.UUID)
	s.health.withheld = a.recall.open
	if s.whole != nil {
		s.health.repaired(a.order.Repaired[s.whole.UUID])
	}
}

// Run measures until the context ends. It closes neither the library nor the watcher.
func (a *Agent) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var edges <-chan bpf.Event
	if a.c.Watcher != nil {
		edges = a.c.Watcher.Events()
		go a.armer(ctx)
	}
	var alarm <-chan int64
	var rings time.Time
	for {
		now := a.now()
		a.alive.Store(now.UnixNano())
		a.due(ctx, now)
		if next := a.nextDue(); alarm == nil || next.Before(rings) || !rings.After(now) {
			alarm, rings = a.c.Clock.Wake(next.UnixNano()), next
		}
		select {
		case <-ctx.Done():
			return nil
		case <-alarm:
			alarm = nil
		case o := <-a.libraries:
			a.takeLibrary(ctx, o)
		case r := <-a.readings:
			a.takeReading(r)
		case p := <-a.polls:
			a.takePoll(p)
		case l := <-a.lists:
			a.takeList(l, a.now())
		case s := <-a.starts:
			a.takeStart(s)
		case e := <-a.events:
			a.takeEvent(ctx, e)
		case a.eventsDetail = <-a.eventsEnd:
		case o := <-a.orders:
			a.takeOrders(o)
		case p := <-a.recalls:
			a.takeRecall(p)
		case w := <-a.watches:
			a.takeWatch(w)
		case answer := <-a.atRest:
			answer <- a.arming == 0 && !a.listing && !a.running && a.lookingUp == 0
		case err := <-a.armed:
			a.takeArmed(err, a.now())
		case e, ok := <-edges:
			if !ok {
				edges = nil
				continue
			}
			a.takeEdges(ctx, e, edges)
		}
	}
}

// due does what is to be done by now.
func (a *Agent) due(ctx context.Context, now time.Time) {
	if a.running && !now.Before(a.deadline) {
		a.giveUp(now)
	}
	if a.running && !a.asked && a.waiting == 0 {
		a.finish(now)
	}
	if !a.running && !now.Before(a.nextSweep) {
		a.start(ctx, now)
	}
	if !a.listing && !now.Before(a.nextList) {
		a.list(ctx)
	}
	a.duty(now)
}

// nextDue is when due has something to do, if nothing else happens.
func (a *Agent) nextDue() time.Time {
	next := a.nextSweep
	if a.running {
		next = a.deadline
	}
	if !a.listing && a.nextList.Before(next) {
		next = a.nextList
	}
	if a.c.Duty > 0 && a.c.Watcher != nil && a.nextDuty.Before(next) {
		next = a.nextDuty
	}
	return next
}

// hurry has the next sweep come soon: there is a new process.
func (a *Agent) hurry(now time.Time) {
	soon := newest(now, a.began.Add(a.c.Interval/5))
	if soon.Before(a.nextSweep) {
		a.nextSweep = soon
	}
	if soon.Before(a.nextList) {
		a.nextList = soon
	}
}

func (a *Agent) takeWatch(owners []string) {
	clear(a.watched)
	for _, o := range owners {
		a.watched[o] = true
	}
	a.arm(a.now(), false)
}

// send gives up when the context ends.
func send[T any](ctx context.Context, ch chan<- T, v T) {
	select {
	case ch <- v:
	case <-ctx.Done():
	}
}
