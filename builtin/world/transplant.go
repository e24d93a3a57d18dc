package world

import (
	"fmt"

	"github.com/musterhq/muster/builtin/quota"
)

// WithTree returns a world with the same nodes, jobs and places over another
// queue tree. Every job's queue must be a leaf of it; else nothing is changed and
// the error names the first that is not. The old world must not be used again.
func (w *World) WithTree(tree *quota.Tree) (*World, error) {
	jobs := w.Jobs()
	leaves := make([]quota.Q, len(jobs))
	for i, j := range jobs {
		path := w.Quota.Queues[j.Queue].Path
		q, ok := tree.Lookup(path)
		if !ok || !tree.Queues[q].Leaf {
			return nil, fmt.Errorf("queue %s has jobs (%s) and is no leaf of the new tree; drain it first", path, j.Spec.ID)
		}
		leaves[i] = q
	}
	n := New(tree.Res, tree)
	for i := range w.Nodes {
		if w.Nodes[i].Present {
			at := n.AddNode(w.Nodes[i].Spec)
			if f := w.Nodes[i].foreign; f != nil {
				n.setForeign(at, f.Foreign, f.devices)
			}
		}
	}
	for i, j := range jobs {
		n.adopt(w, j, leaves[i])
	}
	n.Epoch = w.Epoch + 1
	n.feuds, n.Index, n.SeenTasks = w.feuds, w.Index, w.SeenTasks
	n.serial, n.Measured = w.serial, w.Measured
	tree.Inherit(w.Quota)
	n.adoptNotices(w)
	tree.Rescale()
	return n, nil
}

// adopt copies a job with everything it holds.
func (w *World) adopt(from *World, j *Job, q quota.Q) {
	c := w.AddJob(j.Own, q)
	c.Spec = j.Spec
	w.Narrow(c, j.Only)
	c.Judged, c.Refused, c.Attempts, c.Evicted = j.Judged, j.Refused, j.Attempts, j.Evicted
	c.Waits, c.Blocked, c.Checkpoint, c.Notes = j.Waits, j.Blocked, j.Checkpoint, j.Notes
	c.Stayed, c.Woke = j.Stayed, j.Woke
	c.ClaimExpiry, c.ReservedUntil = j.ClaimExpiry, j.ReservedUntil
	c.Serial, c.use = j.Serial, j.use
	for i := range j.Tasks {
		t := &j.Tasks[i]
		switch {
		case t.State == Done || t.State == Absent:
			if t.released {
				w.ReleaseSurplus(&c.Tasks[i])
			} else {
				w.end(&c.Tasks[i], t.State)
			}
			c.Tasks[i].Since = t.Since
		case t.Node != NoNode:
			w.put(&c.Tasks[i], w.nodeIx[from.Nodes[t.Node].Name], t.Dev, t.State, t.Since)
			if t.kept {
				w.keep(&c.Tasks[i])
			}
		}
	}
	for n := range from.Nodes {
		if from.Nodes[n].Present && from.Nodes[n].ReservedFor == j {
			w.setReserved(w.nodeIx[from.Nodes[n].Name], c)
		}
	}
}

func (w *World) adoptNotices(from *World) {
	for _, n := range from.Notices {
		j := w.jobs[n.Job.Spec.ID]
		m := n
		m.Job, m.Tasks = j, nil
		for _, t := range n.Tasks {
			m.Tasks = append(m.Tasks, &j.Tasks[t.Index])
		}
		w.Notices = append(w.Notices, m)
	}
}
