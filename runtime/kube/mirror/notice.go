package mirror

import (
	"slices"
	"strings"
	"time"

	"github.com/musterhq/muster/builtin/plan"
	"github.com/musterhq/muster/runtime/kube/act"
)

const (
	// noticeHolds is how long a notice may stand on a pod that nobody means to evict: the
	// one who gave it may have led before us, and is about to be followed by our own.
	noticeHolds = 5 * time.Second
	// noticeAgain is when taking it back is tried again.
	noticeAgain = 30 * time.Second
)

// stays says that the pod of the slot is not being evicted yet: at most it was told that
// it will be.
func (s *slot) stays() bool { return s.state == placed || s.state == leaving && s.why.noticed }

// stay takes a notice back: its victims run on as if nothing had been.
func (m *Mirror) stay(e plan.Stay) {
	j := m.jobs[e.Job]
	if j == nil {
		return
	}
	for _, t := range e.Tasks {
		if int(t) >= len(j.slots) {
			continue
		}
		s := j.slots[t]
		if s.state != leaving || !s.why.noticed {
			continue
		}
		s.state, s.why = placed, evicting{}
		m.awaited[s.node] = true
		if s.pod != nil {
			m.withdraw(s.pod, stayText(e.Reason))
		}
	}
}

func stayText(reason string) string {
	switch reason {
	case plan.StayWoke:
		return "its GPUs are in use again"
	case plan.StayUnknown:
		return "it can't be told any more whether its GPUs are in use"
	case plan.StayUnneeded:
		return "nobody needs its place any more"
	}
	return reason
}

// giveUp takes note that a job has lost the places that were kept for it.
func (m *Mirror) giveUp(e plan.Event, known uint64) {
	j := m.jobs[e.Job]
	if e.Code != plan.EventExpired || j == nil {
		return
	}
	for _, s := range j.slots {
		if s.state == claimed && s.keep.IsZero() && s.seq <= known {
			s.state, s.node = pending, ""
		}
	}
}

func (m *Mirror) withdraw(p *pod, text string) {
	if _, ok := m.noticed[p]; ok {
		m.noticed[p] = m.o.Now().Add(noticeAgain)
	}
	m.out.work.Withdraws = append(m.out.work.Withdraws, act.Withdraw{Pod: p.id(), Text: text})
}

// note remembers which pods of ours bear a notice.
func (m *Mirror) note(p *pod) {
	_, bears := p.obj.Annotations[act.EvictAtAnnotation]
	if _, known := m.noticed[p]; known == bears || !p.ours {
		return
	}
	if bears {
		m.noticed[p] = m.o.Now()
	} else {
		delete(m.noticed, p)
	}
}

// sweepNotices takes back what is written on pods and no decision of ours: a notice is
// no ground for an eviction, so whoever gave it must have decided it anew by now.
func (m *Mirror) sweepNotices(now time.Time) {
	var old []*pod
	for p, since := range m.noticed {
		switch {
		case p.over():
			delete(m.noticed, p)
		case p.obj.DeletionTimestamp != nil:
		case p.slot != nil && p.slot.state == leaving:
			m.noticed[p] = now
		case now.Sub(since) >= noticeHolds:
			old = append(old, p)
		}
	}
	slices.SortFunc(old, func(a, b *pod) int { return strings.Compare(string(a.obj.UID), string(b.obj.UID)) })
	for _, p := range old {
		m.withdraw(p, "the scheduler that gave the notice is gone, and nothing comes of it")
	}
}

// await says whose wake-ups are waited for on nodes where that has changed: those under
// notice because they do nothing.
func (m *Mirror) await() {
	if m.o.Await == nil {
		clear(m.awaited)
		return
	}
	for _, name := range sortedKeys(m.awaited, func(n string) string { return n }) {
		var owners []string
		if n := m.nodes[name]; n != nil {
			for _, p := range n.pods {
				if s := p.slot; s != nil && s.state == leaving && s.why.noticed && s.why.idle {
					owners = append(owners, string(p.obj.UID), "pod:"+p.obj.Namespace+"/"+p.obj.Name)
				}
			}
		}
		slices.Sort(owners)
		m.o.Await(name, owners)
	}
	clear(m.awaited)
}
