package serve

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/runtime/clock"
	"github.com/musterhq/muster/runtime/serve/view"
)

// Prefix is where the API is.
const Prefix = "/api/v1"

// Bounds of lists.
const (
	DefaultLimit = 500
	MaxLimit     = 50_000
)

// api answers from snapshots.
type api struct {
	source *view.Source
	clock  clock.Clock
}

// handler answers a request with an answer or an error.
type handler func(r *http.Request, q query) (Answer, error)

// routes are the paths of the API with the parameters that each takes.
func (a *api) routes(mux *http.ServeMux) {
	for _, e := range a.endpoints() {
		mux.HandleFunc("GET "+Prefix+e.path, func(w http.ResponseWriter, r *http.Request) {
			answer, err := a.answer(r, e)
			if err != nil {
				fail(w, errorOf(err))
				return
			}
			reply(w, r, answer)
		})
	}
}

// endpoint is one path.
type endpoint struct {
	path   string
	params []string
	do     handler
	about  string
}

func (a *api) endpoints() []endpoint {
	return []endpoint{
		{"", nil, a.index, "what there is"},
		{"/pool", nil, a.pool, "capacity, leader, whether anything is paused"},
		{"/queues", []string{"queue", "limit", "offset"}, a.queues, "the queue tree: guaranteed, max, used, pending by resource"},
		{"/queues/{path...}", nil, a.queue, "one queue"},
		{"/jobs", []string{"queue", "state", "user", "reason", "limit", "offset"}, a.jobs, "jobs, by submit time"},
		{"/jobs/{id...}", nil, a.job, "one job with its tasks"},
		{"/nodes", []string{"gpu_type", "free", "limit", "offset"}, a.nodes, "nodes, by name"},
		{"/nodes/{name...}", nil, a.node, "one node"},
		{"/gpus", []string{"node", "queue", "product", "idle", "unhealthy", "unrequested", "limit", "offset"}, a.gpus, "GPUs with what they really do, by node and index"},
		{"/gpus/{uuid}", nil, a.gpu, "one GPU"},
		{"/probes", []string{"state", "limit", "offset"}, a.probes, "how the nodes' probes are doing"},
		{"/explain/job/{id...}", nil, a.explainJob, "why a job waits, or where it runs"},
		{"/explain/queue/{path...}", nil, a.explainQueue, "what a queue holds, is owed and waits for"},
		{"/explain/node/{name...}", nil, a.explainNode, "what is free on a node, and who is on it"},
		{"/evictions", []string{"queue", "job", "since", "limit", "offset"}, a.evictions, "who was evicted for whom, newest first"},
		{"/events", []string{"job", "code", "since", "limit", "offset"}, a.events, "what else happened, newest first"},
		{"/policies", nil, a.policies, "policies with versions, calls and fallbacks"},
		{"/usage", []string{"resource", "queue", "since"}, a.usage, "use over time of the leaves"},
	}
}

func (a *api) answer(r *http.Request, e endpoint) (Answer, error) {
	q, err := parseQuery(r.URL.RawQuery, e.params)
	if err != nil {
		return Answer{}, err
	}
	return e.do(r, q)
}

// errorOf turns what went wrong into what is answered.
func errorOf(err error) *Error {
	var e *Error
	var standby *view.ErrStandby
	switch {
	case errors.As(err, &e):
		return e
	case errors.As(err, &standby):
		return &Error{http.StatusServiceUnavailable, "standby", err.Error(), "ask the leader; the Service that Muster is installed with leads to it"}
	default:
		return &Error{http.StatusServiceUnavailable, "not-ready", err.Error(), "it may be starting; /readyz tells, try again in some seconds"}
	}
}

func missing(kind, name, hint string) error {
	return &Error{http.StatusNotFound, "unknown-" + kind, fmt.Sprintf("there is no %s %q", kind, name), hint}
}

// noQueue says that there is no such queue, and which may have been meant.
func noQueue(s *view.Snapshot, path string) error {
	hint := "GET " + Prefix + "/queues lists the queues"
	if near := s.Near(path); near != "" {
		hint = "did you mean " + near + "? " + hint
	}
	return missing("queue", path, hint)
}

// query is the parameters of a request.
type query struct {
	url.Values
	limit, offset int
}

func bad(name, value, hint string) error {
	return &Error{http.StatusBadRequest, "bad-parameter", fmt.Sprintf("%s=%s is not understood", name, value), hint}
}

// parseQuery refuses parameters that would be ignored: a filter with a typo shows too
// much and says nothing.
func parseQuery(raw string, known []string) (query, error) {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return query{}, bad("query", raw, "write it as in ?queue=root.a&limit=10")
	}
	q := query{values, DefaultLimit, 0}
	for name, v := range values {
		if !slices.Contains(known, name) {
			hint := "this path takes no parameters"
			if len(known) > 0 {
				hint = "this path takes " + strings.Join(known, ", ")
			}
			return q, &Error{http.StatusBadRequest, "unknown-parameter", fmt.Sprintf("there is no parameter %q", name), hint}
		}
		if len(v) != 1 {
			return q, bad(name, strings.Join(v, ","), "give it once")
		}
	}
	if q.limit, err = number(q, "limit", DefaultLimit, 1, MaxLimit); err != nil {
		return q, err
	}
	q.offset, err = number(q, "offset", 0, 0, 1<<30)
	return q, err
}

func number(q query, name string, otherwise, least, most int) (int, error) {
	text := q.Get(name)
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > most {
		return 0, bad(name, text, fmt.Sprintf("a number from %d to %d", least, most))
	}
	return n, nil
}

// since reads a time: 2026-01-31T12:00:00Z, seconds since the Unix epoch, or how long
// ago (90s, 2h).
func (a *api) since(q query, otherwise time.Duration) (time.Time, error) {
	now := time.Unix(0, a.clock.Now())
	text := q.Get("since")
	if text == "" {
		if otherwise == 0 {
			return time.Time{}, nil
		}
		return now.Add(-otherwise), nil
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	if s, err := strconv.ParseInt(text, 10, 64); err == nil {
		return time.Unix(s, 0), nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, bad("since", text, "write 2h, 2026-01-31T12:00:00Z or seconds since the Unix epoch")
	}
	return t, nil
}

// list cuts a list to its page.
func list[T any](s *view.Snapshot, all []T, q query) Answer {
	total := len(all)
	from := min(q.offset, total)
	page := all[from:min(from+q.limit, total)]
	if page == nil {
		page = []T{}
	}
	a := of(s)
	a.Total, a.Items = &total, page
	return a
}

// of is an answer from a snapshot; nil stands for what is recorded and no picture.
func of(s *view.Snapshot) Answer {
	if s == nil {
		return Answer{}
	}
	return Answer{At: s.At, Generation: s.Number, Stale: s.Stale}
}

func one(s *view.Snapshot, item any) (Answer, error) {
	a := of(s)
	a.Item = item
	return a, nil
}

func (a *api) index(*http.Request, query) (Answer, error) {
	type entry struct {
		Path       string   `json:"path"`
		Parameters []string `json:"parameters,omitempty"`
		About      string   `json:"about"`
	}
	var out []entry
	for _, e := range a.endpoints() {
		out = append(out, entry{Prefix + e.path, e.params, e.about})
	}
	return Answer{Items: out}, nil
}

func (a *api) pool(r *http.Request, _ query) (Answer, error) {
	s, err := a.source.Snapshot(r.Context())
	if err != nil {
		return Answer{}, err
	}
	return one(s, s.Pool)
}

// under says whether a queue is in a subtree; the root's name may be left out.
func under(queue, top string) bool {
	if top == "" || queue == top || strings.HasPrefix(queue, top+".") {
		return true
	}
	_, below, _ := strings.Cut(queue, ".")
	return below == top || strings.HasPrefix(below, top+".")
}

func (a *api) queues(r *http.Request, q query) (Answer, error) {
	s, err := a.source.Snapshot(r.Context())
	if err != nil {
		return Answer{}, err
	}
	return list(s, filtered(s.Queues, func(v *view.Queue) bool { return under(v.Path, q.Get("queue")) }), q), nil
}

func filtered[T any](all []T, keep func(*T) bool) []T {
	out := make([]T, 0, min(len(all), 1024))
	for i := range all {
		if keep(&all[i]) {
			out = append(out, all[i])
		}
	}
	return out
}

func (a *api) queue(r *http.Request, _ query) (Answer, error) {
	s, err := a.source.Snapshot(r.Context())
	if err != nil {
		return Answer{}, err
	}
	v, ok := s.Queue(r.PathValue("path"))
	if !ok {
		return Answer{}, noQueue(s, r.PathValue("path"))
	}
	return one(s, v)
}

var states = []string{string(view.Pending), string(view.Starting), string(view.Running), string(view.Growing), string(view.Leaving), string(view.Outside)}

func (a *api) jobs(r *http.Request, q query) (Answer, error) {
	state := q.Get("state")
	if state != "" && state != "waiting" && !slices.Contains(states, state) {
		return Answer{}, bad("state", state, "states are "+strings.Join(states, ", ")+"; waiting is all that have tasks which wait")
	}
	s, err := a.source.Snapshot(r.Context())
	if err != nil {
		return Answer{}, err
	}
	keep := func(j *view.Job) bool {
		is := state == "" || string(j.State) == state || state == "waiting" && j.State.Waits()
		why := q.Get("reason") == "" || j.Reason != nil && j.Reason.Code == q.Get("reason")
		return is && why && (q.Get("user") == "" || j.User == q.Get("user")) && under(j.Queue, q.Get("queue"))
	}
	return list(s, append(filtered(s.Jobs, keep), filtered(s.Outside, keep)...), q), nil
}

// jobDetail is a job with its tasks.
type jobDetail struct {
	view.Job
	Tasks []view.Task   `json:"tasks"`
	Extra []view.Reason `json:"extra,omitempty"`
}

func (a *api) job(r *http.Request, _ query) (Answer, error) {
	s, err := a.source.Snapshot(r.Context())
	if err != nil {
		return Answer{}, err
	}
	id := r.PathValue("id")
	j, ok := s.Job(id)
	if !ok {
		j, ok = s.OutsideJob(id)
	}
	if !ok {
		return Answer{}, missing("job", id, "GET "+Prefix+"/jobs lists the jobs; one that has ended is not kept")
	}
	tasks := s.Tasks(id)
	if tasks == nil {
		tasks = []view.Task{}
	}
	return one(s, jobDetail{*j, tasks, a.source.Extra(id)})
}

func (a *api) nodes(r *http.Request, q query) (Answer, error) {
	least, err := number(q, "free", 0, 0, 1<<20)
	if err != nil {
		return Answer{}, err
	}
	s, err := a.source.Snapshot(r.Context())
	if err != nil {
		return Answer{}, err
	}
	keep := func(n *view.Node) bool {
		return (q.Get("gpu_type") == "" || n.GPUType == q.Get("gpu_type")) && int(n.FreeDevices) >= least
	}
	return list(s, filtered(s.Nodes, keep), q), nil
}

func (a *api) node(r *http.Request, _ query) (Answer, error) {
	s, err := a.source.Snapshot(r.Context())
	if err != nil {
		return Answer{}, err
	}
	n, ok := s.Node(r.PathValue("name"))
	if !ok {
		return Answer{}, missing("node", r.PathValue("name"), "GET "+Prefix+"/nodes lists the nodes")
	}
	return one(s, n)
}

func (a *api) explainJob(r *http.Request, _ query) (Answer, error) {
	s, err := a.source.Snapshot(r.Context())
	if err != nil {
		return Answer{}, err
	}
	id := r.PathValue("id")
	e, ok := s.ExplainJob(id, a.source.Recorder.Evictions(), a.source.Extra(id))
	if !ok {
		return Answer{}, missing("job", id, "GET "+Prefix+"/jobs lists the jobs; one that has ended is not kept")
	}
	return one(s, e)
}

func (a *api) explainQueue(r *http.Request, _ query) (Answer, error) {
	s, err := a.source.Snapshot(r.Context())
	if err != nil {
		return Answer{}, err
	}
	e, ok := s.ExplainQueue(r.PathValue("path"))
	if !ok {
		return Answer{}, noQueue(s, r.PathValue("path"))
	}
	return one(s, e)
}

func (a *api) explainNode(r *http.Request, _ query) (Answer, error) {
	s, err := a.source.Snapshot(r.Context())
	if err != nil {
		return Answer{}, err
	}
	e, ok := s.ExplainNode(r.PathValue("name"))
	if !ok {
		return Answer{}, missing("node", r.PathValue("name"), "GET "+Prefix+"/nodes lists the nodes")
	}
	return one(s, e)
}

func (a *api) evictions(_ *http.Request, q query) (Answer, error) {
	since, err := a.since(q, 0)
	if err != nil {
		return Answer{}, err
	}
	keep := func(e *view.Eviction) bool {
		of := q.Get("job") == "" || e.Job == q.Get("job") || e.For == q.Get("job")
		return of && !e.At.Before(since) && under(e.Queue, q.Get("queue"))
	}
	return list(nil, filtered(a.source.Recorder.Evictions(), keep), q), nil
}

func (a *api) events(_ *http.Request, q query) (Answer, error) {
	since, err := a.since(q, 0)
	if err != nil {
		return Answer{}, err
	}
	keep := func(e *view.Event) bool {
		of := (q.Get("job") == "" || e.Job == q.Get("job")) && (q.Get("code") == "" || e.Code == q.Get("code"))
		return of && !e.At.Before(since)
	}
	return list(nil, filtered(a.source.Recorder.Events(), keep), q), nil
}

func (a *api) usage(_ *http.Request, q query) (Answer, error) {
	since, err := a.since(q, time.Hour)
	if err != nil {
		return Answer{}, err
	}
	resource := q.Get("resource")
	if resource == "" {
		resource = amount.GPUName
	}
	return one(nil, a.source.Recorder.Usage(resource, since, q.Get("queue")))
}
