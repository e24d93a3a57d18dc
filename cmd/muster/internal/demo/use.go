package demo

import (
	"fmt"
	"strings"

	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/builtin/world"
	"github.com/musterhq/muster/runtime/sim/trace"
)

// jobState is a job of a story that shows each.
type jobState struct {
	id    string
	queue int
	runs  bool
	// goes is when it is to go, if it is under notice; evicted when it went, if it has
	// not come back since.
	goes, evicted spec.Time
	known, idle   bool      // whether its GPUs do anything
	since         spec.Time // when they stopped
}

// does is what a job does, in a few words.
func (j *jobState) does() string {
	switch {
	case j.goes > 0:
		return "is to go at " + clock(j.goes)
	case !j.runs && j.evicted > 0:
		return "evicted at " + clock(j.evicted)
	case !j.runs:
		return "waits"
	case !j.known:
		return "runs"
	case j.idle:
		return "idle since " + clock(j.since)
	}
	return "busy"
}

// lookAtJobs takes in what each job does, for a story that shows it.
func (p *player) lookAtJobs(now spec.Time, w *world.World) {
	if !p.story.measured {
		return
	}
	p.now.jobs = p.now.jobs[:0]
	for i := range p.story.trace.Jobs {
		t := &p.story.trace.Jobs[i]
		j := w.Job(t.ID)
		if j == nil {
			continue
		}
		s := jobState{id: t.ID, queue: p.leaf(t.Queue), evicted: p.evictedAt[t.ID]}
		s.look(w, j, now)
		p.now.jobs = append(p.now.jobs, s)
	}
}

// look takes in what the tasks of a job do.
func (j *jobState) look(w *world.World, of *world.Job, now spec.Time) {
	var tasks []*world.Task
	for i := range of.Tasks {
		if t := &of.Tasks[i]; t.State == world.Bound || t.State == world.Releasing {
			tasks = append(tasks, t)
		}
	}
	j.runs = len(tasks) > 0
	if quiet, ok := w.Quiet(tasks, now); ok {
		j.known, j.idle = true, quiet > 0
		j.since = w.KnownUntil(tasks, now) - w.Quota.UseMaxAge - quiet
	}
	for i := range w.Notices {
		if n := &w.Notices[i]; n.Job == of {
			j.goes = n.Deadline
		}
	}
}

// job is the state of one, nil if it has not come.
func (s *state) job(id string) *jobState {
	for i := range s.jobs {
		if s.jobs[i].id == id {
			return &s.jobs[i]
		}
	}
	return nil
}

// jobsLine is what all jobs do, for those who see no picture.
func (p *player) jobsLine() string {
	var out []string
	for i := range p.now.jobs {
		j := &p.now.jobs[i]
		out = append(out, j.id+" "+j.does())
	}
	return "jobs: " + strings.Join(out, "; ")
}

// busyText is how many GPUs of a queue really compute.
func (q queueState) busyText() string {
	if q.unknown {
		return "?"
	}
	return gpus(q.busy)
}

// nameWidth is that of the longest name, and a space.
func (s *story) nameWidth() int {
	width := 6
	for _, n := range s.names {
		width = max(width, len(n)+1)
	}
	return width
}

// realUse is the story of what GPUs really do.
func realUse(o Policies) *story {
	s := &story{
		title: "32 GPUs, and what they really do", trace: trace.Use(), names: []string{"research", "product"},
		policies: o, measured: true,
	}
	for _, v := range trace.UsePromise() {
		s.promises = append(s.promises, exactly(s.names, v))
	}
	end := s.trace.End
	woke, seen := 125*minute, 10*spec.Second // by when the probes have seen what happened
	s.promises = append(s.promises,
		fated("train, which is busy, runs all the time and is never told to go", "train", 0, 0, 0, end),
		fated("eval, told at 2:00 to go, wakes up at 2:05 and stays", "eval", 2*hour, woke, 0, end),
		fated("notebook-ann, idle, is told at 1:30 and goes at 1:40", "notebook-ann", 90*minute, 100*minute, 100*minute, end),
		fated("notebook-bob, idle, is told at 2:05 and goes at 2:15", "notebook-bob", woke, 135*minute, 135*minute, end))
	s.beats = []beat{
		{seen, func(p *player) string {
			return fmt.Sprintf("product is away, and research holds all %s GPUs, %s of them borrowed: four gangs of the same age. %s",
				p.used(0), gpus(p.now.queues[0].borrowed()), p.really())
		}},
		{89 * minute, func(p *player) string {
			return p.idlers() + " Nobody needs the GPUs, so nobody has to go."
		}},
		{90 * minute, func(p *player) string {
			text := "product comes back for 8 GPUs. " + p.fate()
			if train := p.now.job("train"); train != nil && train.runs && train.goes == 0 {
				text += " train is as old and saves its work often: it would cost least to evict, but it is busy, and stays."
			}
			return text
		}},
		{100 * minute, func(p *player) string { return p.fate() + fmt.Sprintf(" product holds %s.", p.used(1)) }},
		{2 * hour, func(p *player) string { return "product asks for 8 more. " + p.fate() }},
		{woke + seen, func(p *player) string { return "eval gets its data and computes again. " + p.fate() }},
		{135*minute + seen, func(p *player) string {
			return p.fate() + fmt.Sprintf(" product holds %s. ", p.used(1)) + p.really()
		}},
	}
	return s
}

// really is how many of the GPUs that are held compute.
func (p *player) really() string {
	var all queueState
	for _, q := range p.now.queues {
		all.used, all.busy, all.unknown = all.used.Add(q.used), all.busy.Add(q.busy), all.unknown || q.unknown
	}
	if all.unknown {
		return "Nobody knows what the GPUs really do."
	}
	return fmt.Sprintf("Probes on the nodes tell what GPUs really do: %s of the %s in use are busy.", gpus(all.busy), gpus(all.used))
}

// idlers are the jobs that hold GPUs and do nothing.
func (p *player) idlers() string {
	var who []string
	for i := range p.now.jobs {
		if j := &p.now.jobs[i]; j.runs && j.idle {
			who = append(who, fmt.Sprintf("%s (since %s)", j.id, clock(j.since)))
		}
	}
	if len(who) == 0 {
		return "Nobody knows of a GPU that does nothing."
	}
	return fmt.Sprintf("%s of the %s GPUs are held and do nothing: %s.", gpus(p.now.queues[0].idle), p.used(0), listed(who))
}

// fate is what has become of jobs since the last beat.
func (p *player) fate() string {
	var out []string
	for _, id := range p.ousted {
		out = append(out, id+" has to go at once.")
	}
	for _, id := range p.gone {
		out = append(out, id+" has slept on, and goes.")
	}
	for _, id := range p.stayed {
		out = append(out, fmt.Sprintf("In the same instant its eviction is taken back: %s stays, and has lost nothing.", id))
	}
	for _, id := range p.told {
		if j := p.now.job(id); j != nil && j.goes > 0 {
			out = append(out, fmt.Sprintf("%s has done nothing for %d minutes, so it is to go at %s, unless it wakes up.", id, (p.now.now-j.since)/minute, clock(j.goes)))
		}
	}
	return strings.Join(out, " ")
}

// fated: the job runs until it goes (0: all the time), and is under notice from told on
// until that is over, and at no other time.
func fated(text, id string, told, over, goes, end spec.Time) *promise {
	return &promise{text: text, to: end, broken: func(s *state, _ spec.Duration, _ bool) string {
		j := s.job(id)
		if j == nil {
			return id + " was not there"
		}
		runs, noticed := goes == 0 || s.now < goes, s.now >= told && s.now < over
		if j.runs != runs || (j.goes > 0) != noticed {
			return fmt.Sprintf("%s was: %s", id, j.does())
		}
		return ""
	}}
}
