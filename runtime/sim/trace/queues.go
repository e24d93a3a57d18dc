package trace

import (
	"fmt"
	"slices"
	"strings"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/spec"
)

// queueRow is a queue as a file writes it: id is what other rows and jobs call
// it, its name is the last part of id.
type queueRow struct {
	id, parent cell
	queue      *spec.Queue
	up         *queueRow // nil at the top
	path       string
}

// queueSet resolves what jobs write as their queue.
type queueSet struct {
	root   *spec.Queue
	byName map[string]*queueRow
}

var queueColumns = []string{"queue", "parent", "guaranteed", "max", "weight", "idle_after", "idle_grace"}

func readQueueRow(r record, ps *Problems) (queueRow, bool) {
	id, ok := ps.require(r, "queue")
	if !ok {
		return queueRow{}, false
	}
	row := queueRow{id: id, queue: &spec.Queue{Name: lastPart(id.text)}}
	row.parent, _ = r.cell("parent")
	if row.parent.text == "" {
		row.parent.text = strings.TrimSuffix(strings.TrimSuffix(id.text, row.queue.Name), ".")
	}
	if row.queue.Name == "" {
		ps.at(id, CodeValue, fmt.Sprintf("queue %q has an empty last part", clip(id.text)), "write root.team or team")
		return row, false
	}
	if g := ps.milli(r, "guaranteed", -1); g >= 0 {
		row.queue.Guaranteed = spec.Resources{{Name: amount.GPUName, Amount: amount.Amount(g)}}
	}
	if m := ps.milli(r, "max", -1); m >= 0 {
		row.queue.Max = spec.Resources{{Name: amount.GPUName, Amount: amount.Amount(m)}}
	}
	row.queue.Weight = ps.integer(r, "weight", 0, 0, maxCount)
	row.queue.IdleAfter = ps.duration(r, "idle_after", true)
	row.queue.IdleGrace = ps.duration(r, "idle_grace", false)
	return row, true
}

func lastPart(path string) string { return path[strings.LastIndexByte(path, '.')+1:] }

// buildTree links the rows. Rows without a parent hang below root, which need
// not be written.
func buildTree(rows []queueRow, ps *Problems) queueSet {
	set := queueSet{root: &spec.Queue{Name: "root", Parent: true}, byName: map[string]*queueRow{}}
	before := ps.Total
	for i := range rows {
		r := &rows[i]
		if old, twice := set.byName[r.id.text]; twice {
			ps.at(r.id, CodeDuplicate, fmt.Sprintf("queue %q is there twice", clip(r.id.text)), fmt.Sprintf("first in line %d", old.id.line))
			continue
		}
		set.byName[r.id.text] = r
	}
	for i := range rows {
		set.link(&rows[i], ps)
	}
	for i := range rows {
		reportCycle(&rows[i], ps)
	}
	if ps.Total > before {
		return set
	}
	set.attach(rows, ps)
	return set
}

func (s *queueSet) link(r *queueRow, ps *Problems) {
	if r.parent.text == "" || r.parent.text == "root" && s.byName["root"] == nil {
		return
	}
	r.up = s.byName[r.parent.text]
	if r.up == nil {
		ps.at(r.parent, CodeUnknownQueue, fmt.Sprintf("queue %q has the unknown parent %q", clip(r.id.text), clip(r.parent.text)), "write a row for the parent")
	}
}

// reportCycle reports each cycle once, at its first row, and a queue deeper
// than maxDepth, of which there is no honest one.
func reportCycle(start *queueRow, ps *Problems) {
	names, earlier := []string{start.id.text}, false
	for r := start.up; r != nil; r = r.up {
		if r == start {
			if !earlier {
				ps.at(start.parent, CodeCycle, "queues are their own ancestors: "+clip(strings.Join(append(names, start.id.text), " > ")), "give one of them another parent")
			}
			return
		}
		if len(names) > maxDepth {
			ps.at(start.parent, CodeCycle, fmt.Sprintf("queue %q has more than %d ancestors", clip(start.id.text), maxDepth), "")
			return
		}
		earlier = earlier || r.id.line < start.id.line
		names = append(names, r.id.text)
	}
}

func (s *queueSet) attach(rows []queueRow, ps *Problems) {
	paths := map[string]*queueRow{}
	for i := range rows {
		r := &rows[i]
		r.path = r.fullPath()
		if r.path == "root" {
			s.root, r.queue.Parent = r.queue, true
		}
	}
	for i := range rows {
		r := &rows[i]
		if old := paths[r.path]; old != nil {
			ps.at(r.id, CodeDuplicate, fmt.Sprintf("queue %q is there twice", clip(r.path)), fmt.Sprintf("first in line %d", old.id.line))
			continue
		}
		paths[r.path] = r
		up := s.root
		if r.up != nil {
			up = r.up.queue
		}
		if r.queue != s.root {
			up.Children, up.Parent = append(up.Children, r.queue), true
		}
	}
	s.nameLeaves(rows)
	for path, r := range paths {
		s.byName[path] = r
	}
}

// nameLeaves lets jobs write only the last part of a queue's path where no
// other queue ends alike.
func (s *queueSet) nameLeaves(rows []queueRow) {
	count := map[string]int{}
	for i := range rows {
		count[rows[i].queue.Name]++
	}
	for i := range rows {
		name := rows[i].queue.Name
		if s.byName[name] == nil && count[name] == 1 {
			s.byName[name] = &rows[i]
		}
	}
}

// fullPath walks up; there is no cycle when it is called.
func (r *queueRow) fullPath() string {
	if r.up == nil {
		if r.id.text == "root" {
			return "root"
		}
		return "root." + r.queue.Name
	}
	return r.up.fullPath() + "." + r.queue.Name
}

// resolve returns the full path of the leaf that a job names.
func (s *queueSet) resolve(c cell, ps *Problems) string {
	r := s.byName[c.text]
	switch {
	case r == nil:
		ps.at(c, CodeUnknownQueue, fmt.Sprintf("no queue %q", clip(c.text)), "known are "+s.known())
	case len(r.queue.Children) > 0 || r.path == "root":
		ps.at(c, CodeNotLeaf, fmt.Sprintf("queue %q has children and takes no jobs", clip(c.text)), "name one of its leaf queues")
	default:
		return r.path
	}
	return ""
}

func (s *queueSet) known() string {
	names := make([]string, 0, len(s.byName))
	for n := range s.byName {
		names = append(names, n)
	}
	slices.Sort(names)
	if len(names) > 8 {
		names = append(names[:8], "...")
	}
	return strings.Join(names, ", ")
}
