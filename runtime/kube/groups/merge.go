package groups

import (
	"cmp"
	"time"
)

// Merge joins what the members of a job say, oldest first. The newest member that says
// anything about a matter counts; a member that leaves it out takes nothing back. Gangs
// are one matter: groups and minimum come from the same member. Only Object is the oldest's.
func Merge(members ...Info) Info {
	var out Info
	for i := range members {
		out = out.with(&members[i])
	}
	return out
}

func (i Info) with(n *Info) Info {
	out := *n
	out.Queue = cmp.Or(n.Queue, i.Queue)
	if n.User == "" {
		out.User, out.UserGroups = i.User, i.UserGroups
	}
	if n.Min == 0 && n.Groups == nil {
		out.Min, out.Groups = i.Min, i.Groups
	}
	out.Whole = n.Whole || i.Whole
	out.NonPreemptible = n.NonPreemptible || i.NonPreemptible
	out.LastVictim = n.LastVictim || i.LastVictim
	out.NeverPreempts = n.NeverPreempts || i.NeverPreempts
	out.PriorityClass = cmp.Or(n.PriorityClass, i.PriorityClass)
	if n.Priority == nil {
		out.Priority = i.Priority
	}
	for _, d := range []struct{ into, from *time.Duration }{
		{&out.Notice, &i.Notice},
		{&out.Checkpoint, &i.Checkpoint},
		{&out.RestartCost, &i.RestartCost},
		{&out.Duration, &i.Duration},
	} {
		*d.into = cmp.Or(*d.into, *d.from)
	}
	if n.GangTimeout == 0 && !n.Soft {
		out.GangTimeout, out.Soft = i.GangTimeout, i.Soft
	}
	if n.Deadline.IsZero() {
		out.Deadline = i.Deadline
	}
	if n.Created.IsZero() {
		out.Created = i.Created
	}
	out.Topology = cmp.Or(n.Topology, i.Topology)
	if i.Object != nil { // the first pods are the cluster's or the driver's, later ones may be made by those
		out.Object = i.Object
	}
	return out
}
