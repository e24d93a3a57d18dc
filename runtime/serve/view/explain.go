package view

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/plan"
)

// Explanation says how something stands and why, level by level.
type Explanation struct {
	Kind    string `json:"kind"` // job, queue or node
	Name    string `json:"name"`
	State   string `json:"state,omitempty"`
	Summary string `json:"summary"`
	// Levels are gone through in order; the first that blocks is why a job waits.
	Levels []Level `json:"levels"`
	// Unblock says what would let a job that waits start.
	Unblock   string     `json:"unblock,omitempty"`
	Extra     []Reason   `json:"extra,omitempty"` // from outside of the scheduler's world
	Tasks     []Task     `json:"tasks,omitempty"`
	Evictions []Eviction `json:"evictions,omitempty"` // newest first
}

// Verdict is what one level says.
type Verdict string

// The verdicts.
const (
	Passed     Verdict = "passed"
	Blocked    Verdict = "blocked"
	NotReached Verdict = "not reached"
	Note       Verdict = "note" // a fact that blocks nobody
)

// Level is one step of a decision.
type Level struct {
	Level   string   `json:"level"`
	Verdict Verdict  `json:"verdict"`
	Code    string   `json:"code,omitempty"`
	Text    string   `json:"text"`
	Details []string `json:"details,omitempty"`
}

// levels in the order in which a job goes through them.
var levels = []string{"structure", "policy", "quota", "order", "fit", "victims"}

// LevelOf is the level that a reason belongs to.
func LevelOf(c plan.Code) string {
	switch c {
	case plan.GangExceedsMax, plan.GangExceedsPool, plan.GangIncomplete:
		return "structure"
	case plan.AdmissionRefused:
		return "policy"
	case plan.QueueMax, plan.UserLimit, plan.GroupLimit, plan.MaxApps, plan.OutsideGuarantee, plan.TypedMax:
		return "quota"
	case plan.BehindBlocked, plan.NotConsidered:
		return "order"
	case plan.WaitingForVictims, plan.WaitingReservation:
		return "victims"
	default:
		return "fit"
	}
}

// ExplainJob says where a job runs, or at which level it is held up.
func (s *Snapshot) ExplainJob(id string, evictions []Eviction, extra []Reason) (*Explanation, bool) {
	j, ok := s.Job(id)
	past := evictionsOf(id, evictions)
	if !ok {
		if len(past) == 0 && len(extra) == 0 {
			return nil, false
		}
		return s.explainOutside(id, past, extra), true
	}
	e := &Explanation{Kind: "job", Name: id, State: string(j.State), Extra: extra, Tasks: s.Tasks(id), Evictions: past, Levels: []Level{}}
	e.Summary = s.summary(j, past)
	if j.State.Waits() {
		e.Levels = s.levelsOf(j)
		e.Unblock = s.unblock(j)
	}
	return e, true
}

func evictionsOf(id string, all []Eviction) (out []Eviction) {
	for _, e := range all {
		if e.Job == id {
			out = append(out, e)
		}
	}
	return out
}

func (s *Snapshot) summary(j *Job, past []Eviction) string {
	running, total := int32(0), int32(0)
	for _, g := range j.Groups {
		running, total = running+g.Running, total+g.Size-g.Finished
	}
	var text string
	switch j.State {
	case Running, Growing:
		text = fmt.Sprintf("%s runs %d of %d tasks in %s on %s since %s", j.ID, running, total, j.Queue, s.places(j.ID), clockText(j.Since))
	case Starting:
		text = fmt.Sprintf("%s has its places in %s and starts when victims have left them", j.ID, j.Queue)
	case Leaving:
		text = fmt.Sprintf("%s was evicted and its tasks are ending", j.ID)
	default:
		text = fmt.Sprintf("%s waits in %s since %s", j.ID, j.Queue, clockText(j.Submit))
	}
	if j.Reason != nil {
		text += ": " + j.Reason.Text
	}
	if len(past) > 0 {
		text += "; last evicted " + evictionText(&past[0])
	}
	return text
}

// places lists the nodes of a job, the first few by name.
func (s *Snapshot) places(id string) string {
	var nodes []string
	for _, t := range s.Tasks(id) {
		if t.State == "bound" && !slices.Contains(nodes, t.Node) {
			nodes = append(nodes, t.Node)
		}
		if len(nodes) > 3 {
			break
		}
	}
	if j, ok := s.Job(id); ok && len(nodes) > 3 {
		return fmt.Sprintf("%s and %d more nodes", strings.Join(nodes[:3], ", "), j.Nodes-3)
	}
	return strings.Join(nodes, ", ")
}

func evictionText(e *Eviction) string {
	what := fmt.Sprintf("%d tasks", len(e.Tasks))
	if e.Whole {
		what = "whole"
	}
	text := fmt.Sprintf("at %s, %s, for %s (%s): %s GPU-hours unsaved", clockText(e.At), what, e.For, e.Rule, hours(e.LostMS))
	if e.Policy != "" {
		text += fmt.Sprintf("; cost %d by %s, cheapest of %d candidates", e.Cost, e.Policy, e.Candidates)
	}
	if e.AlternativeCost > 0 {
		text += fmt.Sprintf(" (next best set %d)", e.AlternativeCost)
	}
	if e.Idle > 0 {
		text += fmt.Sprintf("; idle for %s", (time.Duration(e.Idle) * time.Millisecond).Round(time.Second))
	}
	if !e.Stayed.IsZero() {
		text += "; withdrawn at " + clockText(e.Stayed) + ": " + stayed[e.StayedFor]
	}
	return text
}

// stayed says why an eviction was withdrawn.
var stayed = map[string]string{
	plan.StayWoke:     "it works again",
	plan.StayUnknown:  "what it does is not known any more",
	plan.StayUnneeded: "nobody needs its place any more",
}

func hours(gpuMS int64) string { return fmt.Sprintf("%.1f", float64(gpuMS)/3_600_000) }

func clockText(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05Z") }

// levelsOf goes through the levels up to the one that blocks.
func (s *Snapshot) levelsOf(j *Job) []Level {
	at := len(levels)
	if j.why != nil {
		at = slices.Index(levels, LevelOf(j.why.Code))
	}
	out := make([]Level, len(levels))
	for i, name := range levels {
		l := Level{Level: name, Verdict: Passed}
		l.Text, l.Details = s.facts(name, j)
		switch {
		case i == at:
			l.Verdict, l.Code, l.Text = Blocked, string(j.why.Code), j.why.Sentence()
		case i > at:
			l.Verdict, l.Text, l.Details = NotReached, "", nil
		case j.why == nil && i >= slices.Index(levels, "order"):
			l.Verdict = Note
		}
		out[i] = l
	}
	if j.why == nil {
		out[len(out)-1].Text = "it has not been tried yet; the next cycle looks at it"
	}
	return out
}

// facts are what is known at a level, whether it blocks or not.
func (s *Snapshot) facts(level string, j *Job) (text string, details []string) {
	switch level {
	case "structure":
		return structureText(j), groupLines(j)
	case "policy":
		return "no admission rule refuses it", nil
	case "quota":
		return "every queue on its path has room for it", s.quotaLines(j)
	case "order":
		q, _ := s.Queue(j.Queue)
		return fmt.Sprintf("%s of the %d jobs that wait in %s, by submit time; %s orders them", ordinal(j.Place), q.PendingJobs, j.Queue, q.Policies.JobOrder), nil
	case "fit":
		return "nodes were found for it", fitLines(j.why)
	default:
		if j.ReservedNodes > 0 {
			return fmt.Sprintf("%d nodes are kept for it until %s", j.ReservedNodes, clockText(j.ReservedUntil)), nil
		}
		return "it waits for nobody to leave", nil
	}
}

func structureText(j *Job) string {
	gang, size := int32(0), int32(0)
	for _, g := range j.Groups {
		gang, size = gang+g.Min, size+g.Size
	}
	switch {
	case gang == 0:
		return fmt.Sprintf("%d tasks that start one by one", size)
	case gang == size && size == 1:
		return "one task"
	case gang == size:
		return fmt.Sprintf("a gang of %d tasks that start together", size)
	default:
		return fmt.Sprintf("%d tasks start together, %d more join one by one", gang, size-gang)
	}
}

func groupLines(j *Job) (out []string) {
	for _, g := range j.Groups {
		line := fmt.Sprintf("%d × %s", g.Size, requestText(g.Request))
		if g.Name != "" {
			line = g.Name + ": " + line
		}
		if len(g.GPUTypes) > 0 {
			line += " on " + strings.Join(g.GPUTypes, " or ")
		}
		out = append(out, line)
	}
	return out
}

func requestText(a Amounts) string {
	var parts []string
	for _, name := range sortedNames(a) {
		parts = append(parts, Quantity(name, a[name])+" "+name)
	}
	return strings.Join(parts, ", ")
}

// sortedNames lists GPUs first, then the rest by name.
func sortedNames(a Amounts) []string {
	names := make([]string, 0, len(a))
	for n := range a {
		names = append(names, n)
	}
	slices.SortFunc(names, func(x, y string) int {
		if gx, gy := amount.IsGPU(x), amount.IsGPU(y); gx != gy {
			return map[bool]int{true: -1, false: 1}[gx]
		}
		return cmp.Compare(x, y)
	})
	return names
}

// quotaLines tell of every queue from the leaf up, for the resources that the job
// asks for and that are bounded or guaranteed there.
func (s *Snapshot) quotaLines(j *Job) (out []string) {
	asked := Amounts{}
	for _, g := range j.Groups {
		for name, v := range g.Request {
			asked[name] += v
		}
	}
	for q, ok := s.Queue(j.Queue); ok; q, ok = s.Queue(q.Parent) {
		for _, r := range q.Resources {
			if _, wanted := asked[r.Resource]; !wanted && !anyType(r.Resource, asked) {
				continue
			}
			if r.Max == nil && r.Guaranteed == nil {
				continue
			}
			out = append(out, q.Path+" "+r.line())
		}
		if q.Parent == "" {
			break
		}
	}
	return out
}

// anyType says whether a resource counts GPUs of one type, and the job takes any type.
func anyType(resource string, asked Amounts) bool {
	if !strings.HasPrefix(resource, amount.GPUName+":") || asked[amount.GPUName] == 0 {
		return false
	}
	for name := range asked {
		if strings.HasPrefix(name, amount.GPUName+":") {
			return false
		}
	}
	return true
}

func (r *QueueResource) line() string {
	text := fmt.Sprintf("uses %s %s", Quantity(r.Resource, r.Used), r.Resource)
	if r.Max != nil {
		text = fmt.Sprintf("uses %s of at most %s %s", Quantity(r.Resource, r.Used), Quantity(r.Resource, *r.Max), r.Resource)
	}
	if r.Guaranteed == nil {
		return text
	}
	text += ", guaranteed " + Quantity(r.Resource, *r.Guaranteed)
	if *r.Effective != *r.Guaranteed {
		text += fmt.Sprintf(" (now %s: the pool is too small)", Quantity(r.Resource, *r.Effective))
	}
	return text
}

func fitLines(y *why) (out []string) {
	if y == nil {
		return nil
	}
	for _, e := range y.Excluded {
		out = append(out, fmt.Sprintf("%d of %d nodes %s", e.Nodes, y.Nodes, e.By))
	}
	if y.Best != "" {
		out = append(out, fmt.Sprintf("closest is %s, which lacks %s", y.Best, y.Lacks))
	}
	if y.Preemption != "" {
		out = append(out, "preemption: "+y.Preemption)
	}
	return out
}

func ordinal(n int) string {
	suffix := "th"
	if n%100 < 11 || n%100 > 13 {
		suffix = map[int]string{1: "st", 2: "nd", 3: "rd"}[n%10]
		if suffix == "" {
			suffix = "th"
		}
	}
	return fmt.Sprintf("%d%s", n, suffix)
}

// unblock says what would let the job start.
func (s *Snapshot) unblock(j *Job) string {
	y := j.why
	if y == nil {
		return ""
	}
	switch y.Code {
	case plan.GangExceedsMax:
		return fmt.Sprintf("a smaller gang, or a higher max of %s in %s; waiting alone does not help", y.Resource, y.Queue)
	case plan.GangExceedsPool:
		return "larger or more nodes of its kind, or a smaller gang; waiting alone does not help"
	case plan.GangIncomplete:
		return "the pods that are missing are created"
	case plan.AdmissionRefused:
		return "a change of the job, or of the admission rules"
	case plan.QueueMax, plan.TypedMax:
		return fmt.Sprintf("jobs in %s end, or its max of %s is raised", y.Queue, y.Resource)
	case plan.UserLimit, plan.GroupLimit:
		return fmt.Sprintf("other jobs of %s in %s end, or the limit is raised", y.Who, y.Queue)
	case plan.MaxApps:
		return fmt.Sprintf("another job in %s ends", y.Queue)
	case plan.OutsideGuarantee:
		return fmt.Sprintf("non-preemptible jobs in %s end: they run inside the guarantee only", y.Queue)
	case plan.BehindBlocked:
		return "the job before it starts"
	case plan.WaitingForVictims:
		return "the tasks that are leaving have ended"
	case plan.WaitingReservation:
		return "the nodes kept for it have become free"
	}
	if y.Lacks != "" {
		return fmt.Sprintf("%s more become free on a node like %s, or nodes are added", y.Lacks, y.Best)
	}
	return "capacity of its kind becomes free, or nodes are added"
}

// ExplainQueue says what a queue holds, is owed and waits for.
func (s *Snapshot) ExplainQueue(path string) (*Explanation, bool) {
	q, ok := s.Queue(path)
	if !ok {
		return nil, false
	}
	e := &Explanation{Kind: "queue", Name: q.Path, Summary: s.queueSummary(q)}
	use := Level{Level: "quota", Verdict: Note, Text: "what it holds and may hold"}
	for _, r := range q.Resources {
		use.Details = append(use.Details, r.line()+extraUse(r))
	}
	fair := Level{Level: "policy", Verdict: Note, Text: fmt.Sprintf("%s shares the pool, %s orders its jobs, %s prices victims", q.Policies.Fairness, q.Policies.JobOrder, q.Policies.Victims)}
	if q.Rank != nil {
		fair.Details = append(fair.Details, fmt.Sprintf("rank %d: %s", *q.Rank, map[bool]string{true: "it comes first while it holds less than its guarantee", false: "it is served after those that are owed their guarantee"}[*q.Rank == 0]))
	}
	if q.StrictFIFO {
		fair.Details = append(fair.Details, "strict: nobody overtakes its first job")
	}
	if q.Fenced {
		fair.Details = append(fair.Details, "fenced: preemption that begins inside stays inside")
	}
	if q.NoVictims {
		fair.Details = append(fair.Details, "nobody in it is evicted")
	}
	e.Levels = []Level{use, fair, s.waitingIn(q)}
	return e, true
}

func extraUse(r QueueResource) string {
	var text string
	if r.Guaranteed != nil && r.Borrowed > 0 {
		text += fmt.Sprintf(", %s of it borrowed", Quantity(r.Resource, r.Borrowed))
	}
	if r.Pending > 0 {
		text += fmt.Sprintf(", %s more asked for", Quantity(r.Resource, r.Pending))
	}
	if r.Entitled != nil {
		text += fmt.Sprintf(", entitled to %s", Quantity(r.Resource, *r.Entitled))
	}
	if m := r.Measured; m != nil && r.Used > 0 {
		text += fmt.Sprintf("; really busy: %s GPUs, %s idle, %s not measured", Quantity(r.Resource, m.Busy), Quantity(r.Resource, m.Idle), Quantity(r.Resource, m.Unknown))
	}
	return text
}

func (s *Snapshot) queueSummary(q *Queue) string {
	text := fmt.Sprintf("%s runs %d jobs, %d wait", q.Path, q.RunningJobs, q.PendingJobs)
	if q.Created {
		text += fmt.Sprintf("; a placement rule created it, and it goes when no job has been in it for %s", q.stays())
	}
	g := q.Of(amount.GPUName)
	switch {
	case g.Effective == nil:
	case g.Used < *g.Effective && g.Pending > 0:
		text += fmt.Sprintf("; it is owed %s GPUs of its guarantee", Quantity(g.Resource, min(g.Pending, *g.Effective-g.Used)))
	case g.Borrowed > 0:
		text += fmt.Sprintf("; it borrows %s GPUs", Quantity(g.Resource, g.Borrowed))
	}
	return text
}

// waitingIn counts the reasons of the jobs that wait in a queue and below it.
func (s *Snapshot) waitingIn(q *Queue) Level {
	count := map[string]int{}
	first := map[string]string{}
	for i := range s.Jobs {
		j := &s.Jobs[i]
		if !j.State.Waits() || j.Queue != q.Path && !strings.HasPrefix(j.Queue, q.Path+".") {
			continue
		}
		code := "not tried yet"
		if j.Reason != nil {
			code = j.Reason.Code
		}
		if count[code]++; count[code] == 1 {
			first[code] = j.ID
		}
	}
	l := Level{Level: "order", Verdict: Note, Text: fmt.Sprintf("%d jobs wait", q.PendingJobs)}
	codes := make([]string, 0, len(count))
	for c := range count {
		codes = append(codes, c)
	}
	slices.SortFunc(codes, func(a, b string) int { return cmp.Or(count[b]-count[a], cmp.Compare(a, b)) })
	for _, c := range codes {
		l.Details = append(l.Details, fmt.Sprintf("%d %s (the oldest is %s)", count[c], c, first[c]))
	}
	return l
}

// ExplainNode says what a node holds and whom it takes.
func (s *Snapshot) ExplainNode(name string) (*Explanation, bool) {
	n, ok := s.Node(name)
	if !ok {
		return nil, false
	}
	e := &Explanation{Kind: "node", Name: name, State: "open"}
	use := Level{Level: "fit", Verdict: Note, Text: "what is free"}
	for _, r := range sortedNames(n.Capacity) {
		line := fmt.Sprintf("%s of %s %s", Quantity(r, n.Free[r]), Quantity(r, n.Capacity[r]), r)
		if f := n.Foreign[r]; f > 0 {
			line += fmt.Sprintf(", %s taken by others than our jobs", Quantity(r, f))
		}
		use.Details = append(use.Details, line)
	}
	takes := Level{Level: "structure", Verdict: Passed, Text: "it takes new tasks"}
	switch {
	case n.Cordoned:
		e.State = "cordoned"
		takes.Verdict, takes.Text = Blocked, "it takes no new tasks: "+cmp.Or(n.Note, "it is cordoned")
	case n.ReservedFor != "":
		e.State = "reserved"
		takes.Verdict, takes.Text = Blocked, "it is kept for "+n.ReservedFor
	}
	e.Levels = []Level{takes, use}
	for i, tasks := range s.tasksOf {
		for _, t := range tasks {
			if t.Node == name {
				t.Job, t.Node = s.Jobs[i].ID, ""
				e.Tasks = append(e.Tasks, t)
			}
		}
	}
	e.Summary = fmt.Sprintf("%s has %d tasks and %d of %d GPUs wholly free; %s", name, n.Tasks, n.FreeDevices, n.Devices, takes.Text)
	return e, true
}
