package muster

import "runtime"

// Batches and the open batch are kept, so that a call allocates nothing. A guest has
// one thread and one call at a time.
var (
	jobs    Jobs
	queues  Queues
	victims Victims
	current batch

	bindJob    = jobs.bind
	bindQueue  = queues.bind
	bindVictim = victims.bind

	jobPolicy    func(*Jobs) error
	queuePolicy  func(*Queues) error
	victimPolicy func(*Victims) error
)

// HandleJobs sets the job order; package joborder calls it.
func HandleJobs(f func(*Jobs) error) { jobPolicy = f }

// HandleQueues sets the fairness; package queueshares calls it.
func HandleQueues(f func(*Queues) error) { queuePolicy = f }

// HandleVictims sets the victim costs; package victimcosts calls it.
func HandleVictims(f func(*Victims) error) { victimPolicy = f }

// ServeJobs answers one batch with the job order and returns the status; package
// joborder calls it.
func ServeJobs(mem []byte) uint32 { return serve(mem, 1, bindJob, runJobs) }

// ServeQueues answers one batch with the fairness; package queueshares calls it.
func ServeQueues(mem []byte) uint32 { return serve(mem, 2, bindQueue, runQueues) }

// ServeVictims answers one batch with the victim costs; package victimcosts calls it.
func ServeVictims(mem []byte) uint32 { return serve(mem, 3, bindVictim, runVictims) }

func runJobs(c Call) error {
	jobs.Call = c
	return jobPolicy(&jobs)
}

func runQueues(c Call) error {
	queues.Call = c
	return queuePolicy(&queues)
}

func runVictims(c Call) error {
	victims.Call = c
	return victimPolicy(&victims)
}

// serve runs one call: views, the policy, its status. It yields before it returns,
// because the collector of a Go guest that never yields never finishes.
func serve(mem []byte, kind uint32, bind func(uint32, view), run func(Call) error) (status uint32) {
	jobs, queues, victims = Jobs{}, Queues{}, Victims{}
	var ok bool
	if current, ok = open(mem, kind); !ok {
		return statusBadInput
	}
	if !current.columns(bind) {
		return statusBadInput
	}
	defer runtime.Gosched()
	defer func() {
		if r := recover(); r != nil {
			status = current.caught(r)
		}
	}()
	return current.answer(run(current.call()))
}
