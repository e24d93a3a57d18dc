package nvml

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// DefaultDeadline is how long Guard waits for the driver. A call takes microseconds, on a
// busy machine milliseconds.
const DefaultDeadline = 3 * time.Second

// slice is the longest that one call of the driver waits for an event, so that Close need
// not wait for a timeout of minutes. Events come at once all the same. Much shorter is dear:
// with each call that does not come back at once, Go's runtime looks for 10 ms whether its
// processor is of use to another, which are dozens of wake-ups.
const slice = time.Second

// Guarded is a Library whose calls come back, whatever the driver does: see Guard.
type Guarded struct {
	inner    Library
	deadline time.Duration
	gone     atomic.Bool // the driver has said that it is not the one that was opened

	mu      sync.Mutex
	workers map[int]*worker // by index of the GPU, or one of the two below
	last    []Device        // of Devices, guarded
	closing chan struct{}   // closed by the first Close
	closed  chan struct{}   // closed when inner is
	result  error           // of closing inner; read it after closed
}

// Workers that are of no GPU.
const (
	systemWorker = -1
	eventsWorker = -2
)

// Guard runs the calls of each GPU (and its instances), those of the system and those for
// events on one goroutine each, and gives up waiting after the deadline (0:
// DefaultDeadline). A call that was given up is ErrUnresponsive; so is, at once, every
// later one to that GPU, until the driver has come back: it never gets a second call for
// a GPU which it has not answered. The others go on.
//
// While a GPU does not answer, Devices is the list of last time. If Devices itself gets
// no answer, it is that list and ErrUnresponsive.
//
// Close waits for the deadline at most. A library with a call inside is closed when that
// returns; only goroutines that wait for the driver outlive Close.
func Guard(inner Library, deadline time.Duration) *Guarded {
	if deadline <= 0 {
		deadline = DefaultDeadline
	}
	return &Guarded{
		inner: inner, deadline: deadline,
		workers: map[int]*worker{}, closing: make(chan struct{}), closed: make(chan struct{}),
	}
}

func (g *Guarded) worker(index int, who string) (*worker, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.isClosing() {
		return nil, ErrUninitialized
	}
	w, ok := g.workers[index]
	if !ok {
		w = newWorker(who)
		g.workers[index] = w
	}
	return w, nil
}

func (g *Guarded) isClosing() bool {
	select {
	case <-g.closing:
		return true
	default:
		return false
	}
}

// guarded runs f on a worker, and notes whether the driver is another one now.
func guarded[T any](g *Guarded, index int, who, name string, deadline time.Duration, f func() (T, error)) (T, error) {
	w, err := g.worker(index, who)
	if err != nil {
		var zero T
		return zero, err
	}
	value, err := call(w, name, deadline, f)
	if errors.Is(err, ErrLibraryVersion) || errors.Is(err, ErrDriverNotLoaded) || errors.Is(err, ErrUninitialized) {
		g.gone.Store(true)
	}
	return value, err
}

// System asks the driver.
func (g *Guarded) System() (System, error) {
	return guarded(g, systemWorker, "the driver", "System", g.deadline, g.inner.System)
}

// Devices lists the GPUs, guarded.
func (g *Guarded) Devices() ([]Device, error) {
	if last := g.lastDevices(); last != nil && g.Stuck() > 0 {
		return last, nil
	}
	inner, err := guarded(g, systemWorker, "the driver", "Devices", g.deadline, g.inner.Devices)
	if errors.Is(err, ErrUnresponsive) {
		return g.lastDevices(), err
	}
	if err != nil {
		return nil, err
	}
	list := g.wrap(inner)
	g.mu.Lock()
	g.last = list
	g.mu.Unlock()
	return slices.Clone(list), nil
}

func (g *Guarded) lastDevices() []Device {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.last)
}

// Events waits for the timeout, in slices: between two of them Close finds nobody inside.
// Who asks again after an error leaves some time between, except after ErrTimeout.
func (g *Guarded) Events(timeout time.Duration) (Event, error) {
	until := time.Now().Add(timeout)
	for {
		left := max(time.Until(until), 0)
		wait := min(left, slice)
		event, err := guarded(g, eventsWorker, "events", "Events", wait+g.deadline, func() (Event, error) {
			return g.inner.Events(wait)
		})
		if !errors.Is(err, ErrTimeout) || left <= slice {
			return event, err
		}
	}
}

// Stuck counts the calls that the driver has not answered in time, nor until now.
func (g *Guarded) Stuck() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := 0
	for _, w := range g.workers {
		if w.stuck.Load() != nil {
			n++
		}
	}
	return n
}

// Close says ErrUnresponsive if the driver is not done within the deadline.
func (g *Guarded) Close() error {
	g.mu.Lock()
	if !g.isClosing() {
		close(g.closing)
		for _, w := range g.workers {
			w.stop()
		}
		go g.closeInner()
	}
	g.mu.Unlock()
	timer := time.NewTimer(g.deadline)
	defer timer.Stop()
	select {
	case <-g.closed:
		return g.result
	case <-timer.C:
		return fmt.Errorf("%w: the library is closed when it does", ErrUnresponsive)
	}
}

// closeInner waits until nobody is inside.
func (g *Guarded) closeInner() {
	for _, w := range g.workers { // no new ones since closing
		<-w.done
	}
	g.result = g.inner.Close()
	close(g.closed)
}

func (g *Guarded) wrap(inner []Device) []Device {
	list := make([]Device, len(inner))
	for i, d := range inner {
		list[i] = &guardedDevice{g: g, inner: d, who: fmt.Sprintf("GPU %d", d.Index())}
	}
	return list
}

// guardedDevice is a GPU or an instance; both run on the GPU's worker.
type guardedDevice struct {
	g     *Guarded
	inner Device
	who   string
}

func onDevice[T any](d *guardedDevice, name string, f func() (T, error)) (T, error) {
	return guarded(d.g, d.inner.Index(), d.who, name, d.g.deadline, f)
}

func (d *guardedDevice) Index() int { return d.inner.Index() }
func (d *guardedDevice) Identity() (Identity, error) {
	return onDevice(d, "Identity", d.inner.Identity)
}
func (d *guardedDevice) Memory() (Memory, error) { return onDevice(d, "Memory", d.inner.Memory) }
func (d *guardedDevice) Utilization() (int, error) {
	return onDevice(d, "Utilization", d.inner.Utilization)
}

func (d *guardedDevice) Processes() ([]Process, error) {
	return onDevice(d, "Processes", d.inner.Processes)
}

func (d *guardedDevice) ProcessUtilization() (map[uint32]ProcessUse, error) {
	return onDevice(d, "ProcessUtilization", d.inner.ProcessUtilization)
}
func (d *guardedDevice) Status() (Status, error) { return onDevice(d, "Status", d.inner.Status) }
func (d *guardedDevice) GPM() (int, error)       { return onDevice(d, "GPM", d.inner.GPM) }

func (d *guardedDevice) MIG() ([]Device, error) {
	instances, err := onDevice(d, "MIG", d.inner.MIG)
	if err != nil {
		return nil, err
	}
	return d.g.wrap(instances), nil
}
