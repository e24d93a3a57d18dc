package usage

import (
	"cmp"
	"slices"
	"strings"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/spec"
)

const (
	// busyStep is by how much a pod must be more or less busy to be told of at once.
	busyStep = amount.One / 20
	// blink is how far two instants may lie apart and be the same: reports travel.
	blink = spec.Second
)

// told is what the Sink was told of a pod, and when.
type told struct {
	PodUse
	when spec.Time
}

func byPod(a, b told) int { return a.compare(b.PodUse) }

// compare puts pods in order: by UID, and by name those that have none.
func (p PodUse) compare(o PodUse) int {
	if p.UID != "" && p.UID == o.UID {
		return 0 // its name may have become known
	}
	return cmp.Or(cmp.Compare(p.UID, o.UID), cmp.Compare(p.Namespace, o.Namespace), cmp.Compare(p.Name, o.Name))
}

// ref of the pod that a use is of; not ok if it is of no pod.
func (c *use) ref() (ref PodRef, ok bool) {
	if strings.HasPrefix(c.owner, "host:") {
		return PodRef{}, false
	}
	named, ok := strings.CutPrefix(c.owner, "pod:")
	if !ok {
		return PodRef{c.owner, c.namespace, c.pod}, true
	}
	namespace, name, ok := strings.Cut(named, "/")
	return PodRef{"", namespace, name}, ok
}

// pods of the node: each of its uses has the pod's index, -1 if it is of none. A pod that
// one GPU knows by UID and another by name only is one.
func (n *nodeState) pods() (refs []PodRef, of []int) {
	of = make([]int, len(n.uses))
	at := make(map[PodRef]int, len(n.uses))
	place := func(i int, key, ref PodRef) {
		k, ok := at[key]
		if !ok {
			k = len(refs)
			refs, at[key] = append(refs, ref), k
		}
		of[i] = k
	}
	for i := range n.uses { // those with a UID first: others may turn out to be the same
		of[i] = -1
		if ref, ok := n.uses[i].ref(); ok && ref.UID != "" {
			place(i, PodRef{UID: ref.UID}, ref)
			if ref.Name != "" {
				at[PodRef{"", ref.Namespace, ref.Name}] = of[i]
				refs[of[i]] = ref
			}
		}
	}
	for i := range n.uses {
		if ref, ok := n.uses[i].ref(); ok && ref.UID == "" {
			place(i, ref, ref)
		}
	}
	return refs, of
}

// sum is what the uses of one pod add up to.
type sum struct {
	gpus             int
	busy             amount.Amount // permille, of all GPUs
	idle, watched    spec.Duration // the least
	age              spec.Duration // the most
	unknown          bool
	given, mayBeMine bool // assigned to it, or it can't be told whether
}

func (s *sum) add(c *use, now spec.Time) {
	idle, ok := c.idleFor(now)
	s.unknown = s.unknown || !ok || c.has&hasBusy == 0
	watched := c.watchedFor(now)
	if s.gpus == 0 {
		s.idle, s.watched = idle, watched
	}
	s.gpus++
	s.busy += amount.Amount(c.busy)
	s.idle, s.watched = min(s.idle, idle), min(s.watched, watched)
	s.age = max(s.age, spec.Duration(c.age)*millisecond)
	s.given = s.given || c.has&assigned != 0
	s.mayBeMine = s.mayBeMine || c.has&hasAssigned == 0
}

// use of a pod, as of the moment from which nothing newer is known: when it was measured,
// or when it last did something if that was later.
func (s *sum) use(ref PodRef, now spec.Time) PodUse {
	p := PodUse{
		UID: ref.UID, Namespace: ref.Namespace, Name: ref.Name, GPUs: s.gpus,
		Known: !s.unknown, At: now, Unassigned: !s.given && !s.mayBeMine,
	}
	if p.Known {
		back := min(s.age, s.idle)
		p.At, p.Idle = now-back, s.idle-back
		p.Watched = max(0, s.watched-back)
		p.Busy = amount.ShareOf(s.busy, amount.Amount(1000*s.gpus))
	}
	return p
}

// tellUses tells of the pods of which something changed that matters, and of those that
// were not told of for long.
func (n *nodeState) tellUses(sink Sink, refresh spec.Duration) {
	refs, of := n.pods()
	sums := make([]sum, len(refs))
	for i, k := range of {
		if k >= 0 {
			sums[k].add(&n.uses[i], n.at)
		}
	}
	now := make([]told, len(refs))
	for k, ref := range refs {
		now[k] = told{sums[k].use(ref, n.at), n.at}
	}
	slices.SortFunc(now, byPod)
	out := n.gone(now) // first: one that had only a name may have got its UID
	for i := range now {
		p := &now[i]
		if k, ok := slices.BinarySearchFunc(n.told, *p, byPod); ok {
			old := &n.told[k]
			p.notBefore(old.At)
			if !p.matters(&old.PodUse) && n.at-old.when < refresh {
				*p = *old
				continue
			}
		}
		out = append(out, p.PodUse)
	}
	n.told = now
	if len(out) > 0 && sink != nil {
		sink.Used(n.name, out)
	}
}

// notBefore keeps a pod's times in order: what was told once is not news again.
func (p *PodUse) notBefore(at spec.Time) {
	if p.Known && p.At < at {
		if p.Idle > 0 {
			p.Idle += at - p.At
		}
		p.At = at
	}
}

// matters says whether anybody could decide differently than by what was told.
func (p *PodUse) matters(old *PodUse) bool {
	if p.Known != old.Known || p.GPUs != old.GPUs || p.Unassigned != old.Unassigned || p.Namespace != old.Namespace || p.Name != old.Name {
		return true
	}
	if !p.Known {
		return false
	}
	moved := max(p.Busy-old.Busy, old.Busy-p.Busy)
	return moved > busyStep || (p.Idle > 0) != (old.Idle > 0) ||
		broke(p.Idle, p.At, old.Idle, old.At) || broke(p.Watched, p.At, old.Watched, old.At) ||
		lasted(p.Idle, old.Idle) || lasted(min(p.Idle, p.Watched), min(old.Idle, old.Watched))
}

// lasted says that an idleness is an eighth longer than was told: the core takes a
// measurement at its word and does not count on by itself, as that would be a guess.
func lasted(now, told spec.Duration) bool { return now-told >= max(blink, told/8) }

// broke says that something that lasted has ended since: what lasts now began later, or
// nothing does.
func broke(now spec.Duration, at spec.Time, before spec.Duration, then spec.Time) bool {
	return before > 0 && (now == 0 || at-now > then-before+blink)
}

// gone are the pods that were known and are not there any more.
func (n *nodeState) gone(now []told) (out []PodUse) {
	for i := range n.told {
		old := &n.told[i]
		if _, ok := slices.BinarySearchFunc(now, *old, byPod); !ok && old.Known {
			out = append(out, old.unknown(n.at))
		}
	}
	return out
}

// unknown is that nothing is known of a pod any more.
func (p *PodUse) unknown(at spec.Time) PodUse {
	return PodUse{UID: p.UID, Namespace: p.Namespace, Name: p.Name, GPUs: p.GPUs, At: max(at, p.At), Unassigned: p.Unassigned}
}

// tellLost tells that no pod of the node is known any more.
func (n *nodeState) tellLost(sink Sink) {
	var out []PodUse
	for i := range n.told {
		if p := &n.told[i]; p.Known {
			p.PodUse = p.unknown(n.at)
			out = append(out, p.PodUse)
		}
	}
	if len(out) > 0 && sink != nil {
		sink.Used(n.name, out)
	}
}
