package config

import "github.com/musterhq/muster/builtin/amount"

// The raw types are a file as written: every value with its place, names as
// written, nothing inherited. The checks read them, build turns them into spec.

type rawFile struct {
	partitions []*rawPartition
}

type rawPartition struct {
	at        pos
	name      text
	queues    []*rawQueue
	hasQueues bool
	queuesAt  pos
	root      *rawQueue // set by checkStructure
	rules     []*rawRule
	limits    []*rawLimit
	limitsAt  pos
	placement string
	resolver  text
	// Muster's own, nanoseconds; 0 where not written
	halfLife, useMaxAge int64

	preemption PartitionPreemption
	sortType   text
	weights    map[string]float64
}

// nameAt is the place of the name or, if there is none, of the partition.
func (p *rawPartition) nameAt() pos {
	if p.name.set {
		return p.name.at
	}
	return p.at
}

type rawQueue struct {
	at       pos
	name     text
	lower    string // name as YuniKorn loads it
	path     string // set by checkStructure
	parent   bool
	broken   bool // not a mapping, and reported
	children []*rawQueue
	up       *rawQueue // set by checkStructure

	guaranteed, max rawResources
	maxApps         integer
	limits          []*rawLimit
	submit, admin   text
	properties      []property
	template        *rawQueue
	muster          musterKeys
}

func (q *rawQueue) nameAt() pos {
	if q.name.set {
		return q.name.at
	}
	return q.at
}

// walk visits the queue and all below it, parents first.
func (q *rawQueue) walk(visit func(*rawQueue)) {
	visit(q)
	for _, c := range q.children {
		c.walk(visit)
	}
}

func (q *rawQueue) isParent() bool { return q.parent || len(q.children) > 0 }

// musterKeys are the keys of a queue that YuniKorn does not have.
type musterKeys struct {
	weight                      int64
	jobOrder, fairness, victims string
	fairnessAt                  pos // of the key
	strictFIFO                  bool
	reserveAfter, minRuntime    int64 // nanoseconds
	preemption                  string
	delay, idleAfter, idleGrace int64 // nanoseconds
}

type property struct {
	key, value text
}

// rawResources has the amounts that could be read.
type rawResources struct {
	at      pos
	set     bool // present, even if empty
	entries []rawAmount
}

type rawAmount struct {
	at     pos
	name   string // canonical
	amount amount.Amount
}

func (r rawResources) get(name string) (rawAmount, bool) {
	for _, e := range r.entries {
		if e.name == name {
			return e, true
		}
	}
	return rawAmount{}, false
}

func (r rawResources) zero() bool {
	for _, e := range r.entries {
		if e.amount != 0 {
			return false
		}
	}
	return true
}

type rawLimit struct {
	at            pos
	name          string
	users, groups []text
	max           rawResources
	bad           bool // an amount could not be read: don't call the limit empty
	maxApps       integer
}

type rawRule struct {
	at          pos
	name, value text
	create      bool
	filter      rawFilter
	parent      *rawRule
}

type rawFilter struct {
	kind          text
	users, groups []text
}
