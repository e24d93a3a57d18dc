// Package plan has the result of a cycle: a value that says what to do and why,
// with no side effect of its own. Production, simulator, shadow runs and replay
// all take the same value.
package plan

import (
	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/spec"
)

// Plan is all decisions of one cycle, each list in the order of deciding.
type Plan struct {
	Cycle uint64    `json:"cycle"`
	Now   spec.Time `json:"now"`
	// Policies that were asked, once per policy and kind.
	Policies  []PolicyUse `json:"policies,omitempty"`
	Binds     []Bind      `json:"binds,omitempty"`
	Claims    []Claim     `json:"claims,omitempty"`
	Evictions []Eviction  `json:"evictions,omitempty"`
	// Ends are victims whose notice is over: they saved their work, or the deadline
	// has come.
	Ends []End `json:"ends,omitempty"`
	// Stays are victims under notice that run on after all; nothing of theirs was ended.
	Stays []Stay `json:"stays,omitempty"`
	// Reserved and Unreserved nodes, for named gangs.
	Reserved []Reservation `json:"reserved,omitempty"`
	// Pending holds the jobs whose reason to wait is new or changed.
	Pending []Pending `json:"pending,omitempty"`
	Events  []Event   `json:"events,omitempty"`
	// Wake is when the next decision may be due though nothing happens, 0 if never.
	Wake spec.Time `json:"wake,omitempty"`
}

// Empty says whether the plan asks for nothing to be done.
func (p *Plan) Empty() bool {
	return len(p.Binds) == 0 && len(p.Claims) == 0 && len(p.Evictions) == 0 && len(p.Ends) == 0 && len(p.Stays) == 0 && len(p.Reserved) == 0
}

// PolicyUse is one policy's part in a cycle.
type PolicyUse struct {
	Kind    string `json:"kind"`
	Name    string `json:"name"`
	Version string `json:"version,omitempty"`
	Digest  string `json:"digest"`
	Calls   int    `json:"calls"`
	Rows    int    `json:"rows"`
	// Fuel is what the calls used, of a policy that is metered.
	Fuel int64 `json:"fuel,omitempty"`
	// Protected is how many of the rows must not be evicted, of protection rules.
	Protected int `json:"protected,omitempty"`
	// Fallbacks counts the calls that the built-in had to answer; Failure is the
	// first reason, Code its code (policies.Code).
	Fallbacks int    `json:"fallbacks,omitempty"`
	Code      string `json:"code,omitempty"`
	Failure   string `json:"failure,omitempty"`
	Fallback  string `json:"fallback,omitempty"` // name of the built-in
}

// Bind starts one task on a node. Tasks of one job and Unit form one unit: a
// gang's first tasks are bound together or not at all.
type Bind struct {
	Job     string `json:"job"`
	Group   int32  `json:"group,omitempty"`
	Task    int32  `json:"task"`
	Node    string `json:"node"`
	Devices uint64 `json:"devices,omitempty"` // a bit for each device held
	Unit    int32  `json:"unit"`
	// Borrowed says that the job's leaf is above its guarantee with it.
	Borrowed bool `json:"borrowed,omitempty"`
	// Nominated tasks had the place reserved by an earlier plan.
	Nominated bool `json:"nominated,omitempty"`
}

// Claim reserves a place for a task of a preemptor until its victims are gone.
type Claim struct {
	Job     string    `json:"job"`
	Group   int32     `json:"group,omitempty"`
	Task    int32     `json:"task"`
	Node    string    `json:"node"`
	Devices uint64    `json:"devices,omitempty"`
	Unit    int32     `json:"unit"`
	Until   spec.Time `json:"until"`
}

// Rule is the ground for an eviction.
type Rule string

// The rules. Reclaim restores a guarantee; Straddle is reclaim of a unit that was
// above the guarantee only with a part of it; Priority is inside one queue.
const (
	RuleReclaim  Rule = "reclaim"
	RuleStraddle Rule = "straddle"
	RulePriority Rule = "priority"
)

// Eviction ends the tasks of one victim unit for the sake of a job.
type Eviction struct {
	Job   string  `json:"job"`
	Queue string  `json:"queue"`
	Tasks []int32 `json:"tasks"`
	Whole bool    `json:"whole"` // the job has nothing left after it
	For   string  `json:"for"`
	Rule  Rule    `json:"rule"`
	// Notify asks the job to checkpoint; the tasks are ended when it has, at the
	// latest at Deadline.
	Notify   bool      `json:"notify,omitempty"`
	Deadline spec.Time `json:"deadline"`
	Cost     int64     `json:"cost"`
	LostMS   int64     `json:"lost_gpu_ms"` // work lost, GPU-milliseconds
	Policy   string    `json:"policy"`      // name@version digest of the victim policy
	// Candidates were legal, Protected would have been but for rules; Alternatives is
	// the cost of the cheapest set that was found and not taken, 0 if none.
	Candidates   int   `json:"candidates"`
	Protected    int   `json:"protected,omitempty"`
	Alternatives int64 `json:"alternative_cost,omitempty"`
	GPUs         int64 `json:"gpu_milli"`
	// Idle is for how long the unit's GPUs had done nothing, if it was chosen for that
	// (preemption.idle); 0 if not. Such an eviction is withdrawn if they wake up before
	// Deadline.
	Idle spec.Duration `json:"idle_ns,omitempty"`
}

// End ends victims that an earlier plan gave notice to.
type End struct {
	Job   string  `json:"job"`
	Tasks []int32 `json:"tasks"`
	Saved bool    `json:"saved"` // the job had checkpointed; else the deadline came
}

// Stay says that victims which an earlier plan gave notice to, because their GPUs did
// nothing, run on: the notice is void, and the job For lost the places it was promised
// there.
type Stay struct {
	Job    string  `json:"job"`
	Tasks  []int32 `json:"tasks"`
	For    string  `json:"for"`
	Reason string  `json:"reason"` // one of the Stay constants
}

// The reasons to stay: GPUs of the unit are busy again; nobody knows any more what they
// do, which counts as busy; or when its time is over, nobody needs its place any more.
const (
	StayWoke     = "woke"
	StayUnknown  = "unknown"
	StayUnneeded = "unneeded"
)

// Reservation keeps a node for a job until a time; Until 0 lifts it.
type Reservation struct {
	Node  string    `json:"node"`
	Job   string    `json:"job"`
	Until spec.Time `json:"until"`
}

// Event is something people should know that is no decision.
type Event struct {
	Code string `json:"code"`
	Job  string `json:"job,omitempty"`
	Text string `json:"text"`
}

// Pending is a job that waits, and why.
type Pending struct {
	Job   string `json:"job"`
	Queue string `json:"queue"`
	Why   *Why   `json:"why"`
}

// Code is a stable reason for waiting.
type Code string

// The reasons, level by level: structure, policy, quota, order, fit, victims.
const (
	GangExceedsMax        Code = "gang-exceeds-max"    // never fits under the queue's max
	GangExceedsPool       Code = "gang-exceeds-pool"   // never fits on the nodes there are
	AdmissionRefused      Code = "admission-refused"   // Rego said no, or said nothing
	QueueMax              Code = "queue-max"           // a queue on the path is full
	UserLimit             Code = "user-limit"          // the user's limit is reached
	GroupLimit            Code = "group-limit"         // the group's limit is reached
	MaxApps               Code = "max-applications"    // too many running jobs
	GangIncomplete        Code = "gang-incomplete"     // some of the gang's tasks have no pod yet
	OutsideGuarantee      Code = "outside-guarantee"   // non-preemptible, and no guarantee left
	BehindBlocked         Code = "behind-blocked"      // strictFIFO
	NoRoom                Code = "no-room"             // no node has room now
	GangNoRoom            Code = "gang-no-room"        // some tasks fit, not all
	WaitingForVictims     Code = "waiting-for-victims" // placed; victims are leaving
	WaitingReservation    Code = "nodes-reserved"      // nodes are kept and filling
	NotConsidered         Code = "not-considered"      // nothing changed that could help
	TypedMax              Code = "gpu-type-max"        // quota of the only GPU types that have room is full
	EventFrozen                = "preemption-frozen"   // a pair of jobs evicted each other
	EventDegraded              = "guarantees-degraded" // the pool is smaller than its guarantees
	EventReserved              = "nodes-reserved"      // a gang got nodes reserved
	EventExpired               = "reservation-expired" // and did not start in time
	EventPolicyFallback        = "policy-fallback"     // the built-in answered for a policy
	EventProtectionFailed      = "protection-failed"   // rules did not answer: nobody is evicted
	EventWithdrawn             = "eviction-withdrawn"  // a victim chosen for being idle is so no more: it stays
)

// Why is one reason for waiting with its numbers. Jobs that ask for the same in
// the same queue share one.
type Why struct {
	Code Code `json:"code"`
	// Queue, Resource, Used, Max and Need say which account is full, in base units.
	Queue    string        `json:"queue,omitempty"`
	Who      string        `json:"who,omitempty"` // user or group of a limit
	Resource string        `json:"resource,omitempty"`
	Used     amount.Amount `json:"used,omitempty"`
	Max      amount.Amount `json:"max,omitempty"`
	Need     amount.Amount `json:"need,omitempty"`
	// Nodes looked at, those excluded by what, and how many tasks found a place.
	Nodes    int        `json:"nodes,omitempty"`
	Excluded []Excluded `json:"excluded,omitempty"`
	Placed   int32      `json:"placed,omitempty"`
	Of       int32      `json:"of,omitempty"`
	Best     string     `json:"best_node,omitempty"` // the node that lacks least
	Lacks    string     `json:"lacks,omitempty"`     // and what
	// Preemption says why nobody was evicted for the job, if that was looked at.
	Preemption string `json:"preemption,omitempty"`
	Text       string `json:"text,omitempty"`
}

// Excluded counts nodes that can't take a task, by what.
type Excluded struct {
	By    string `json:"by"`
	Nodes int    `json:"nodes"`
}
