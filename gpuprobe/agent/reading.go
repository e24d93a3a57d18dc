package agent

import (
	"cmp"
	"errors"
	"slices"
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

	// strange says that somebody of whom it is not known who it is works there, or may.
	strange bool
	// odd is the first error, of a question, that is neither the device's nor for want of
	// what is asked for.
	odd error

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

// fatal says that the device as a whole does not answer, unlike a question that fails.
func fatal(err error) bool {
	return isAny(err, nvml.ErrUnresponsive, nvml.ErrGPULost, nvml.ErrResetRequired,
		nvml.ErrUninitialized, nvml.ErrDriverNotLoaded, nvml.ErrLibraryVersion)
}

// lacking says that a device, or its driver, does not have what it was asked for, or not
// for us, or not now.
func lacking(err error) bool {
	return isAny(err, nvml.ErrNotSupported, nvml.ErrNoSymbol, nvml.ErrNotFound, nvml.ErrTimeout, nvml.ErrNoPermission,
		nvml.ErrInvalidArgument, nvml.ErrInsufficientSize, nvml.ErrArgumentVersion)
}

func isAny(err error, list ...error) bool {
	return err != nil && slices.ContainsFunc(list, func(e error) bool { return errors.Is(err, e) })
}

// ask puts the questions. The first answer that is fatal ends it; so does it if all fail.
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
		err := step()
		switch {
		case fatal(err):
			r.err = err
			return
		case err != nil && !lacking(err):
			r.odd = cmp.Or(r.odd, err)
		}
	}
	if !r.answered() {
		r.err = r.odd
	}
	r.strange = l.strange(r)
}

func (r *reading) answered() bool {
	return r.identity != nil || r.memory != nil || r.busy != nil || r.listed || r.use != nil || r.sm != nil || r.status != nil
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

// own says that samples are of the processes themselves, and all that there are. Where one
// runs the work of the others, or a living process works that holds no context (the server
// of MPS again), the others would look idle; so they all would where the device works and
// the driver has no samples of whose work it is.
func (l *lookup) own(use map[uint32]nvml.ProcessUse, r *reading) bool {
	holds := make(map[uint32]bool, len(r.processes))
	for _, p := range r.processes {
		if p.info != nil && p.info.proxy {
			return false
		}
		holds[p.pid] = true
	}
	explained := r.busy == nil || *r.busy <= 0 || *r.busy > 1000
	for pid, u := range use {
		if worked(u) && !holds[pid] && l.look(pid, r.sweep) != nil {
			return false
		}
		explained = explained || worked(u)
	}
	return explained
}

// worked says of the samples of a process that it did something, or may have.
func worked(u nvml.ProcessUse) bool { return u.Samples == 0 || u.SM != 0 }

// strange says that a process of which it is not known who it is works on the device, or
// may: it may be anybody's. One that was known and has ended is not strange.
func (l *lookup) strange(r *reading) bool {
	nobodys := map[uint32]bool{}
	for _, p := range r.processes {
		if p.info == nil && !l.hasEnded(p.pid) {
			if !r.measured {
				return true
			}
			nobodys[p.pid] = true
		}
	}
	if !r.measured {
		return false
	}
	for pid, u := range r.use {
		if worked(u) && (nobodys[pid] || l.look(pid, r.sweep) == nil && !l.hasEnded(pid)) {
			return true
		}
	}
	return false
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
