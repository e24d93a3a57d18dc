package simulate

import (
	"cmp"
	"container/heap"
	"context"
	"errors"
	"math"
	"sync"
	"time"

	"github.com/musterhq/muster/gpuprobe/push"
	"github.com/musterhq/muster/runtime/clock"
)

// FleetOptions say how nodes report.
type FleetOptions struct {
	// Push makes the options of a node's client. Its Clock and Now must be left alone.
	Push func(*Node) push.Options
	// Clock is the machine's if nil.
	Clock clock.Clock
	// Edge is told of each edge at the moment at which its report is handed to the
	// client; nil tells nobody.
	Edge func(n *Node, at time.Time)
}

// Fleet has the reports of many nodes sent.
type Fleet struct {
	o       FleetOptions
	nodes   []*Node
	clients []*push.Client

	mu   sync.Mutex
	due  agenda
	kick chan struct{} // holds a token if the first of the agenda changed
}

// entry is a node's next edge.
type entry struct {
	node  int
	at    int64 // Unix ns
	place int   // in the agenda, -1 if there is no edge to come
}

// NewFleet makes a client for each node; *push.Error if its options are wrong.
func NewFleet(nodes []*Node, o FleetOptions) (*Fleet, error) {
	if o.Push == nil {
		return nil, errors.New("simulate: a fleet needs to know where to report to [no-push]")
	}
	if o.Clock == nil {
		o.Clock = clock.Real{}
	}
	f := &Fleet{o: o, nodes: nodes, kick: make(chan struct{}, 1)}
	for _, n := range nodes {
		po := o.Push(n)
		po.Clock, po.Now = o.Clock, func() time.Time { return time.Unix(0, o.Clock.Now()) }
		c, err := push.New(po)
		if err != nil {
			return nil, err
		}
		f.clients = append(f.clients, c)
	}
	return f, nil
}

// Run reports until the context ends, which is what it returns.
func (f *Fleet) Run(ctx context.Context) error {
	var clients sync.WaitGroup
	defer clients.Wait()
	for i, n := range f.nodes {
		e := &entry{node: i, place: -1}
		n.mu.Lock()
		n.changed = func() { f.changed(e) }
		n.mu.Unlock()
		f.plan(e, f.o.Clock.Now())
		f.clients[i].Report(Live{n}, false)
		clients.Go(func() { _ = f.clients[i].Run(ctx) }) // it ends with the context only
	}
	for {
		var alarm <-chan int64
		if at := f.next(); at < math.MaxInt64 {
			alarm = f.o.Clock.Wake(at)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-f.kick:
		case <-alarm:
		}
		f.fire(f.o.Clock.Now())
	}
}

// changed plans a node anew: pods came or went.
func (f *Fleet) changed(e *entry) {
	f.plan(e, f.o.Clock.Now())
	select {
	case f.kick <- struct{}{}:
	default:
	}
}

// plan finds a node's next edge after a time.
func (f *Fleet) plan(e *entry, after int64) {
	at, ok := f.nodes[e.node].NextEdge(time.Unix(0, after))
	f.mu.Lock()
	defer f.mu.Unlock()
	if e.place >= 0 {
		heap.Remove(&f.due, e.place)
	}
	if ok {
		e.at = at.UnixNano()
		heap.Push(&f.due, e)
	}
}

// next is when the first edge is due; the end of time if there is none.
func (f *Fleet) next() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.due) == 0 {
		return math.MaxInt64
	}
	return f.due[0].at
}

// fire reports the edges that are due.
func (f *Fleet) fire(now int64) {
	for {
		f.mu.Lock()
		if len(f.due) == 0 || f.due[0].at > now {
			f.mu.Unlock()
			return
		}
		e := f.due[0]
		f.mu.Unlock()
		n := f.nodes[e.node]
		if f.o.Edge != nil {
			f.o.Edge(n, time.Unix(0, e.at))
		}
		f.clients[e.node].Report(Live{n}, true)
		f.plan(e, now)
	}
}

// Status sums up the clients.
type Status struct {
	Nodes, Connected int
	Streams          uint64
	Reports          uint64
	Full             uint64
	Edges            uint64
	// Reasons has how many are not connected, by reason.
	Reasons map[string]int
}

// Status of the fleet now.
func (f *Fleet) Status() Status {
	out := Status{Nodes: len(f.nodes), Reasons: map[string]int{}}
	for _, c := range f.clients {
		s := c.Status()
		if s.Connected {
			out.Connected++
		} else {
			out.Reasons[cmp.Or(s.Reason, "Starting")]++
		}
		out.Streams += s.Streams
		out.Reports += s.Reports
		out.Full += s.Full
		out.Edges += s.Edges
	}
	return out
}

// Client of a node, by its place in the list.
func (f *Fleet) Client(i int) *push.Client { return f.clients[i] }

// agenda is a heap of edges.
type agenda []*entry

func (a agenda) Len() int           { return len(a) }
func (a agenda) Less(i, j int) bool { return a[i].at < a[j].at }
func (a agenda) Swap(i, j int) {
	a[i], a[j] = a[j], a[i]
	a[i].place, a[j].place = i, j
}

// Push is heap.Interface.
func (a *agenda) Push(x any) {
	e := x.(*entry)
	e.place = len(*a)
	*a = append(*a, e)
}

// Pop is heap.Interface.
func (a *agenda) Pop() any {
	last := len(*a) - 1
	e := (*a)[last]
	*a = (*a)[:last]
	e.place = -1
	return e
}
