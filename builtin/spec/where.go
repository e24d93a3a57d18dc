package spec

// Where restricts the nodes of a task in a way that only the outside can read, such as
// Kubernetes' node affinity. Its answers are pure: they depend on its Key and on what
// they are asked about, on nothing else.
type Where interface {
	// Key tells restrictions apart: equal keys, equal answers. It is also their stored
	// form, so it holds all there is to know.
	Key() string
	// Misfit says why nodes like this one won't do ("selector", "taint", "affinity",
	// "volume", …: what Why.Excluded counts by), "" if they will. It is asked once for
	// all nodes with the same labels, taints, GPU type and capacity, so it must not look
	// at the name.
	Misfit(n *Node) string
	// ByName says that nodes differ by name too; only then Refuses is asked.
	ByName() bool
	// Refuses says why the node of that name won't do, "" if it will.
	Refuses(node string) string
}

// Near is how tasks stand to other tasks by place: inter-pod affinity and
// anti-affinity, topology spread, host ports, volumes that one node may use at a time.
// Everything is said in terms.
type Near struct {
	// Counts are the terms that each task counts for, wherever it runs: while it sits on
	// a node, as a place kept, running, or a victim that has not left yet. Sorted, none
	// twice.
	Counts []string
	// Needs are the terms of which a task must have at least one counted in its domain.
	// If no task in any domain counts for a term that the task itself counts for, the
	// first may go anywhere that has the topology (Kubernetes' rule for a group's first
	// pod). A gang whose groups all need a term that they all count for gathers in one
	// domain, which is chosen so that it holds all of it.
	Needs []Term
	// Avoids are the terms of which a task must have none counted in its domain; nor may
	// a task that counts for one of them join it there later. On a node that is in no
	// domain it has nothing to avoid.
	Avoids []Term
	// Spread bounds how unevenly the tasks of a term are spread over domains.
	Spread []Spread
}

// Empty says whether a task relates to no other.
func (n *Near) Empty() bool {
	return len(n.Counts) == 0 && len(n.Needs) == 0 && len(n.Avoids) == 0 && len(n.Spread) == 0
}

// Term is a set of tasks, whose members are those that list its ID in Counts, seen by
// domain: nodes with the same value of the label Topology. The empty Topology is the
// node itself. A node without the label is in no domain.
type Term struct{ ID, Topology string }

// Spread is a topology spread constraint: in the domain that a task joins, the term's
// count with the task may exceed the smallest count of any eligible domain by at most
// MaxSkew (Kubernetes: DoNotSchedule). With fewer than MinDomains eligible domains the
// smallest count is taken as 0. A domain is eligible if it has a node that the task's
// shape may run on, cordoned or not, full or not; all tasks in it are counted, also those
// on its other nodes. A node without the label takes no such task.
type Spread struct {
	Term
	MaxSkew, MinDomains int32
	// Self says that the task counts for the term itself.
	Self bool
}
