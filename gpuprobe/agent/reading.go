package agent

import (
	"errors"
	"time"

	"github.com/musterhq/muster/gpuprobe/nvml"
)

// reading is what one look at a device found. It is made on the device's own goroutine
// and handed over whole.
type reading struct {
	slot  int    // of the GPU; unused in instances
	gen   uint64 // of the library
	sweep uint64

	at       time.Time
	err      error // the driver did not answer for the device: nothing below holds
	identity *nvml.Identity
	memory   *nvml.Memory
	busy     *int
	sm       *int
	status   *nvml.Status

	processes []process
	// listed says that the list of processes is good; measured, that use is.
	listed   bool
	use      map[uint32]nvml.ProcessUse
	measured bool

	// instances of a GPU in MIG mode; nil if they were not enumerated, or none.
	instances []reading
	mig       []nvml.Device // for the next time
	migAt     uint64        // sweep in which they were enumerated
}

// process is one that holds a context, and who it belongs to.
type process struct {
	pid    uint32
	memory *uint64
	info   *procInfo // nil if no owner was found
}

// question is what a reader is to ask a device.
type question struct {
	identity, status, mig bool
}

// fatal says that the device as a whole does not answer, unlike a field that it does not
// have.
func fatal(err error) bool {
	return err != nil && !errors.Is(err, nvml.ErrNotSupported) && !errors.Is(err, nvml.ErrNoSymbol) &&
		!errors.Is(err, nvml.ErrNotFound) && !errors.Is(err, nvml.ErrTimeout) && !errors.Is(err, nvml.ErrNoPermission) &&
		!errors.Is(err, nvml.ErrInvalidArgument) && !errors.Is(err, nvml.ErrInsufficientSize) && !errors.Is(err, nvml.ErrArgumentVersion)
}

// ask puts the questions. The first answer that is fatal ends it.
func (l *lookup) ask(d nvml.Device, q question, isMIG bool, r *reading) {
	for _, step := range []func() error{
		func() error { return r.askIdentity(d, q) },
		func() error {
			m, err := d.Memory()
			if err == nil {
				r.memory = &m
			}
			return err
		},
		func() error {
			n, err := d.Utilization()
			if err == nil {
				r.busy = &n
			}
			return err
		},
		func() error {
			if isMIG { // its instances are asked
				return nil
			}
			return r.askProcesses(d, l)
		},
		func() error {
			if isMIG {
				return nil
			}
			u, err := d.ProcessUtilization()
			r.use, r.measured = u, err == nil && l.own(u, r)
			return err
		},
		func() error {
			n, err := d.GPM()
			if err == nil {
				r.sm = &n
			}
			return err
		},
		func() error {
			if !q.status {
				return nil
			}
			s, err := d.Status()
			if err == nil {
				r.status = &s
			}
			return err
		},
	} {
		if err := step(); fatal(err) {
			r.err = err
			return
		}
	}
}

func (r *reading) askIdentity(d nvml.Device, q question) error {
	if !q.identity {
		return nil
	}
	id, err := d.Identity()
	if err == nil {
		r.identity = &id
	}
	return err
}

func (r *reading) askProcesses(d nvml.Device, l *lookup) error {
	list, err := d.Processes()
	if err != nil {
		return err
	}
	r.listed = true
	r.processes = make([]process, 0, len(list))
	for _, p := range list {
		r.processes = append(r.processes, process{pid: p.PID, memory: p.Memory, info: l.look(p.PID, r.sweep)})
	}
	return nil
}

// own says that samples are of the processes themselves. Where one runs the work of the
// others, or a living process works that holds no context (the server of MPS again), the
// others would look idle.
func (l *lookup) own(use map[uint32]nvml.ProcessUse, r *reading) bool {
	holds := make(map[uint32]bool, len(r.processes))
	for _, p := range r.processes {
		if p.info != nil && p.info.proxy {
			return false
		}
		holds[p.pid] = true
	}
	for pid, u := range use {
		if u.SM > 0 && !holds[pid] && l.look(pid, r.sweep) != nil {
			return false
		}
	}
	return true
}

// askInstances reads the instances of a GPU in MIG mode.
func (l *lookup) askInstances(d nvml.Device, q question, known []nvml.Device, r *reading) {
	r.mig = known
	if q.mig || known == nil {
		list, err := d.MIG()
		if err != nil {
			if fatal(err) {
				r.err = err
			}
			return
		}
		r.mig, r.migAt = list, r.sweep
	}
	r.instances = make([]reading, 0, len(r.mig))
	for _, m := range r.mig {
		one := reading{slot: r.slot, gen: r.gen, sweep: r.sweep, at: r.at}
		l.ask(m, question{identity: true}, false, &one)
		r.instances = append(r.instances, one)
	}
}
