package view

import (
	"strings"
	"time"

	"github.com/musterhq/muster/builtin/spec"
)

// markCreated marks the leaves that placement rules have created, and the queues between
// each and the configured one that it is below. Paths are compared as the tree compares
// them, whatever their case.
func (s *Snapshot) markCreated(leaves []Created, stays spec.Duration) {
	made := map[string]bool{}
	for _, l := range leaves {
		path, below := strings.ToLower(l.Path), strings.ToLower(l.Below)
		for strings.HasPrefix(path, below+".") && !made[path] {
			made[path] = true
			path = path[:strings.LastIndexByte(path, '.')]
		}
	}
	for i := range s.Queues {
		if q := &s.Queues[i]; made[strings.ToLower(q.Path)] {
			q.Created, q.StaysMS = true, stays/int64(time.Millisecond)
		}
	}
}

// Origin is who made the queue, and when it goes: "config", or "rule, goes after 10s empty".
func (q *Queue) Origin() string {
	if !q.Created {
		return "config"
	}
	return "rule, goes after " + q.stays() + " empty"
}

func (q *Queue) stays() string { return (time.Duration(q.StaysMS) * time.Millisecond).String() }
