package view

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/musterhq/muster/hostabi"
)

// Outside is the state of a job that is not in the scheduler's world: no queue takes it, or none
// of its pods may be scheduled. Such a job has no queue, and waits for nobody but its owner.
const Outside State = "outside"

// addOutside lists the jobs that the adapter knows of and the world does not, by id. A job of which
// nothing is known is on its way into the world.
func (s *Snapshot) addOutside(ids []string, about func(id string) []Reason) {
	slices.Sort(ids)
	s.outIx = map[string]int{}
	for _, id := range slices.Compact(ids) {
		if _, in := s.jobIx[id]; in {
			continue
		}
		why := about(id)
		if len(why) == 0 {
			continue
		}
		s.outIx[id] = len(s.Outside)
		s.Outside = append(s.Outside, Job{ID: id, State: Outside, Groups: []Group{}, Reason: &why[0]})
	}
}

// OutsideJob finds a job that is not in the world.
func (s *Snapshot) OutsideJob(id string) (*Job, bool) {
	i, ok := s.outIx[id]
	if !ok {
		return nil, false
	}
	return &s.Outside[i], true
}

// explainOutside says why a job is not in the world.
func (s *Snapshot) explainOutside(id string, past []Eviction, extra []Reason) *Explanation {
	e := &Explanation{
		Kind: "job", Name: id, State: "unknown", Levels: []Level{}, Extra: extra, Evictions: past,
		Summary: id + " has no tasks in the scheduler's world now",
	}
	if len(extra) == 0 {
		return e
	}
	e.State = string(Outside)
	e.Summary += fmt.Sprintf(": %s [%s]", extra[0].Text, extra[0].Code)
	e.Unblock = s.letIn(extra[0])
	return e
}

// letIn says what lets a job into the world.
func (s *Snapshot) letIn(why Reason) string {
	switch why.Code {
	case "no-queue":
		if near := s.near(queueIn(why.Text), true); near != "" {
			return fmt.Sprintf("did you mean the queue %s? `muster get queues` lists all", near)
		}
		return "the label muster.dev/queue (or queue) names a leaf; `muster get queues` lists the queues"
	case "acl-denied":
		return "a submitacl of the queue, or of one above it, that names the user or a group"
	case "queue-draining":
		return "another queue; this one is being taken out of the configuration"
	}
	return ""
}

// Near is the path of the queue that was meant by one that is not there, "" if none is near
// (hostabi.Nearest). The root's name, which may be left out, does not count.
func (s *Snapshot) Near(path string) string { return s.near(path, false) }

func (s *Snapshot) near(path string, leaf bool) string {
	if len(s.Queues) == 0 {
		return ""
	}
	top := s.Queues[0].Path + "."
	var below []string
	for i := range s.Queues {
		if q := &s.Queues[i]; q.Parent != "" && (q.Leaf || !leaf) {
			below = append(below, strings.TrimPrefix(q.Path, top))
		}
	}
	if best := hostabi.Nearest(strings.TrimPrefix(path, top), below); best != "" {
		return top + best
	}
	return ""
}

// queueNamed finds the queue that a refusal is about.
var queueNamed = regexp.MustCompile(`queue "?([A-Za-z0-9_:#/@.-]+)`)

// queueIn is the path of the queue that a refusal names, the last if there are several; a bare
// name is one below the root.
func queueIn(text string) string {
	all := queueNamed.FindAllStringSubmatch(text, -1)
	if len(all) == 0 {
		return ""
	}
	path := strings.ToLower(all[len(all)-1][1])
	if strings.HasPrefix(path, "root.") {
		return path
	}
	return "root." + path
}
