package mirror

import (
	"time"

	"github.com/musterhq/muster/runtime/kube/act"
	"github.com/musterhq/muster/runtime/kube/pods"
)

var _ act.Outcomes = (*Mirror)(nil)

// Bound takes in that the API server has bound a pod. Where it is, the pod's own change
// tells; until then its bind counts as under way.
func (m *Mirror) Bound(job string, _ int32, pod act.Pod, _ string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if p := m.pods[pod.UID]; p != nil {
		p.bad = 0
		if p.job != nil {
			m.mark(p.job)
		}
	}
}

// BindFailed has the pod decided about anew, after a while if it failed before.
func (m *Mirror) BindFailed(job string, task int32, pod act.Pod, node string, err error, gone bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p, n := m.pods[pod.UID], m.nodes[node]
	if p == nil || n == nil || m.failed(p, n) || p.slot == nil || p.slot.issued != p || p.slot.issuedOn != n {
		return // it is of a bind that was decided anew since
	}
	s := p.slot
	s.unissue()
	m.mark(s.job)
	if p.node() != "" || gone { // the informer tells the rest
		return
	}
	m.absent(s)
	if p.bad++; p.bad > 1 {
		wait := min(time.Minute, time.Second<<min(p.bad, 6))
		p.until = nanos(m.o.Now().Add(wait))
		p.resting = &pods.Problem{Code: "bind-failed", Text: err.Error(), Fatal: true}
	}
}

// EvictFailed has the victim stay: the preemptor looks for another.
func (m *Mirror) EvictFailed(_ string, pod act.Pod, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.pods[pod.UID]
	if p == nil || p.slot == nil || p.slot.state != leaving {
		return
	}
	m.o.Log.Warn("a victim could not be evicted", "pod", pod, "error", err)
	s := p.slot
	m.absent(s) // and running again by the next flush
	m.mark(s.job)
}

// Paused takes in that nothing is carried out for now.
func (m *Mirror) Paused(paused bool) {
	m.o.Log.Warn("the API server", "away", paused)
}

// Sweep does what is due by the clock.
func (m *Mirror) Sweep() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.begun {
		return
	}
	now := m.o.Now()
	for _, j := range m.jobs { //muster:anyorder each for itself
		if m.due(j, now) {
			m.mark(j)
		}
		if !j.partial.IsZero() && now.After(j.partial.Add(m.o.Waits.Complete)) {
			m.breakUp(j)
		}
	}
	m.sweepHealth(now)
	m.sweepNotices(now)
	m.send()
}

// due says whether something about the job changes by time alone.
func (m *Mirror) due(j *job, now time.Time) bool {
	if j.doubted || len(j.pods) == 0 {
		return true
	}
	found := false
	for p := range j.pods {
		if p.until != 0 && now.UnixNano() >= p.until {
			p.until, p.resting, found = 0, nil, true
		}
	}
	for _, s := range j.slots {
		if s.pod == nil && s.state != absent && s.state != done {
			return true
		}
	}
	return found
}

// breakUp takes a gang off that could start only in part: its other members exist and
// find no place. What runs of it can't work, and holds what others could use.
func (m *Mirror) breakUp(j *job) {
	j.partial = time.Time{}
	var bound []*slot
	for _, s := range j.slots {
		if s.pod != nil && s.pod.node() != "" {
			bound = append(bound, s)
		}
	}
	sortLeadersLast(bound)
	for _, s := range bound {
		s.state, s.why = leaving, evicting{reason: "GangIncomplete", text: "the rest of its gang found no place in time"}
		m.drive(s)
	}
}
